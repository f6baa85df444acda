"""The history names the person who called, where Salt or the kernel knows it."""

from __future__ import annotations

import os
import pwd
import sys
from types import SimpleNamespace

import pytest

from salt_ext.master import caller as module
from salt_ext.master.caller import Caller, caller

USERS = {"root": 0, "kim": 1000, "lee": 1001, "salt": 450}


@pytest.fixture
def process(monkeypatch, tmp_path):
    """Return how to run as a user, in a program, with a login that the kernel knows, and sudo."""

    def run(user: str, *, program: str = "salt-run", login: str | None = None, **environ: str):
        monkeypatch.setattr(os, "geteuid", lambda: USERS[user])
        monkeypatch.setattr(sys, "argv", [f"/usr/bin/{program}"])
        (tmp_path / "loginuid").write_text(str(2**32 - 1 if login is None else USERS[login]))
        for name in ("SUDO_USER", "SUDO_UID", "USER", "LOGNAME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)

    monkeypatch.setattr(module, "_LOGIN", tmp_path / "loginuid")
    monkeypatch.setattr(
        pwd, "getpwnam", lambda name: SimpleNamespace(pw_uid=USERS[name], pw_name=name)
    )
    names = {uid: name for name, uid in USERS.items()}
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name=names[uid]))
    return run


SUDO = {"SUDO_USER": "kim", "SUDO_UID": "1000"}


@pytest.mark.parametrize(
    ("user", "login", "environ", "name"),
    [
        ("root", "root", {}, "root"),
        ("root", None, {}, "root (no login)"),
        ("kim", "kim", {}, "kim"),
        ("root", "kim", {}, "kim as root"),
        ("salt", "kim", {}, "kim as salt"),
        ("salt", "root", {}, "root as salt"),
        ("salt", None, {}, "salt (no login)"),
        ("root", None, SUDO, "kim as root (sudo)"),
        ("salt", None, SUDO, "kim as salt (sudo)"),
        # The kernel knows better than a variable, which names another person.
        ("root", "lee", SUDO, "lee as root"),
        ("root", "root", SUDO, "root"),
        # Only root, or the master's user after root has become it, can have been called by sudo.
        ("kim", None, {"SUDO_USER": "lee", "SUDO_UID": "1001"}, "kim (no login)"),
        ("root", None, {"SUDO_USER": "lee", "SUDO_UID": "1000"}, "root (no login)"),
        ("root", None, {"SUDO_USER": "lee"}, "root (no login)"),
        ("root", None, {"SUDO_USER": "x\n", "SUDO_UID": "1000"}, "root (no login)"),
        ("root", None, {"SUDO_USER": "root", "SUDO_UID": "0"}, "root (no login)"),
        ("root", None, {"USER": "kim", "LOGNAME": "kim"}, "root (no login)"),
    ],
)
def test_at_a_shell(process, user, login, environ, name):
    process(user, login=login, **environ)
    # What Salt says of a local call: the user of the process, or sudo's variable as it stands.
    for said in (None, "UNKNOWN", user, f"sudo_{environ.get('SUDO_USER')}"):
        assert caller({"user": "salt"}, said) == Caller(name)


def test_a_user_whom_the_system_does_not_know_has_a_number(process, monkeypatch):
    process("root", login="kim")
    monkeypatch.delitem(USERS, "kim")
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    assert caller({}, None) == Caller("uid 1000 as uid 0")


def test_a_kernel_without_logins(process, tmp_path):
    process("root")
    (tmp_path / "loginuid").unlink()
    assert caller({}, None) == Caller("root (no login)")


class TestInsideTheMaster:
    """Its environment and login are those of whoever has started it, and name the wrong person."""

    @pytest.fixture(autouse=True)
    def _master(self, process):
        process("root", program="salt-master", login="kim", **SUDO)

    def test_the_user_of_an_external_authentication(self):
        assert caller({"id": "m_master"}, "lee") == Caller("lee (via the master)")
        assert caller({"id": "m_master"}, "root") == Caller("root (via the master)")

    def test_a_name_that_breaks_the_line(self):
        name = caller({"id": "m_master"}, "lee\n\x1b[2J").name
        assert name == "'lee\\n\\x1b[2J' (via the master)"
        assert len(caller({"id": "m_master"}, "x" * 10_000).name) < 150

    def test_the_reactor(self):
        assert caller({"id": "m_master"}, "Reactor") == Caller("reactor", person=False)

    def test_an_orchestration_of_which_salt_names_no_user(self):
        for said in (None, "UNKNOWN"):
            assert caller({}, said) == Caller("unknown, inside the master", person=False)

    @pytest.mark.parametrize("own", ["m_master", "m"])
    def test_a_minion_that_may_call_runners(self, tmp_path, own):
        (tmp_path / "master").write_text(f"id: {own}\n")
        opts = {"conf_file": str(tmp_path / "master"), "fun": "k8s_nodes.pause"}
        # Salt names the user of the master's process.
        found = caller({**opts, "id": "web1_master"}, "root")
        assert found == Caller("minion web1_master (peer_run)", person=False)
        assert caller({**opts, "id": own}, "root") == Caller("root (via the master)")
