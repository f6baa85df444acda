"""Salt prints the runner's answers, and turns them into exit codes and successes."""

from __future__ import annotations

import contextlib
import json
import logging
import pwd
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import salt.config
import salt.runner
import yaml

from salt_ext.master.caller import caller
from salt_ext.store import Store
from salt_ext.store.control import ControlFlag

SCRIPT = Path(sys.executable).with_name("salt-run")
UNKNOWN = "cluster 'other' is not configured; configured: prod"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("master")
    settings = {
        "root_dir": str(found),
        "k8s_nodes": {
            "state_dir": str(found / "state"),
            "clusters": {"prod": {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]}},
        },
    }
    (found / "master").write_text(yaml.safe_dump(settings))
    # The master makes it when it starts.
    (found / "var/cache/salt/master/proc").mkdir(parents=True)
    with bus(Path(salt.config.master_config(str(found / "master"))["sock_dir"])):
        yield found


@contextlib.contextmanager
def bus(folder: Path):
    """Accept events as a master does: without it, salt-run waits for seconds."""
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "master_event_pull.ipc"))
        listening.listen()
        threading.Thread(target=accept, args=(listening,), daemon=True).start()
        yield
        listening.shutdown(socket.SHUT_RDWR)


def accept(listening: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection:
                while connection.recv(65_536):
                    pass


@pytest.fixture
def salt_run(folder):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPT), "-c", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("k8s_nodes.nodes", "other"), UNKNOWN),
        (("k8s_nodes.history", "count=x"), "count: 'x' is not allowed; allowed: a number"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(salt_run, arguments, text):
    done = salt_run(*arguments)
    assert done.stdout == f"error:\n    {text}\nretcode:\n    1\n"
    assert done.returncode == 1
    assert text not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mistake_is_json_where_json_is_asked_for(salt_run):
    done = salt_run("k8s_nodes.apply", "other", "--out=json")
    assert json.loads(done.stdout) == {"error": UNKNOWN, "retcode": 1}
    assert done.returncode == 1


def test_a_success_exits_with_0(salt_run):
    done = salt_run("k8s_nodes.apply", "prod", "--out=json")
    assert json.loads(done.stdout) == {"jobs": {}}
    assert done.returncode == 0


LOGIN = Path("/proc/self/loginuid")


def test_the_history_names_who_called_by_sudo_and_why(salt_run, monkeypatch):
    user = pwd.getpwuid(1)
    monkeypatch.setenv("SUDO_USER", user.pw_name)
    monkeypatch.setenv("SUDO_UID", "1")
    monkeypatch.setattr(sys, "argv", ["salt-run"])
    name = caller({"user": "root"}, None).name
    assert user.pw_name in name or LOGIN.read_text() != str(2**32 - 1)
    salt_run("k8s_nodes.pause", "reason=core: a new switch", "--out=json")
    salt_run("k8s_nodes.resume", "--out=json")
    entries = json.loads(salt_run("k8s_nodes.history", "what=paused", "--out=json").stdout)
    (entry,) = entries["entries"]
    assert (entry["by"], entry["reason"]) == (name, "core: a new switch")


def test_the_history_names_whom_the_kernel_knows_and_not_whom_a_variable_names(folder):
    script = (
        "import os, sys; open('/proc/self/loginuid', 'w').write('1');"
        "os.environ.update(SUDO_USER='mail', SUDO_UID=str(__import__('pwd').getpwnam('mail')[2]));"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(SCRIPT), "-c", str(folder), "k8s_nodes.pause"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "/proc/self/loginuid" in done.stderr:
        pytest.skip("this kernel keeps no logins, or does not let a test set one")
    assert f"by:\n    {pwd.getpwuid(1).pw_name} as root\n" in done.stdout


def test_check_exits_with_1_when_there_is_an_error(salt_run):
    done = salt_run("k8s_nodes.check")
    assert done.returncode == 1
    assert "\nerrors:\n    - ext_pillar: has no k8s_nodes" in done.stdout
    assert "      -> add `- k8s_nodes: {}` at the end of the list" in done.stdout
    # One screen, even of a set-up that is wrong in everything.
    assert len(done.stdout.splitlines()) <= 40
    done = salt_run("k8s_nodes.check", "--out=json")
    assert done.returncode == 1
    assert {"level", "where", "what", "fix"} == set(json.loads(done.stdout)["findings"][0])


def test_setup_prints_text_that_can_be_pasted(salt_run, folder):
    done = salt_run("k8s_nodes.setup")
    assert done.returncode == 0
    first, *lines = done.stdout.splitlines()
    assert first == f"# ---- {folder}/master.d/k8s_nodes.conf: a new file"
    pasted = "\n".join(lines[: lines.index("")])
    assert yaml.safe_load(pasted)["ext_pillar"] == [{"k8s_nodes": {}}]


@pytest.fixture
def reactor(folder):
    """The client that the reactor keeps for all of its calls."""
    opts = salt.config.master_config(str(folder / "master"))
    client = salt.runner.RunnerClient({**opts, "debounce": True})
    yield client
    # Salt leaves the caller in the module, which a loader of the same process gets again.
    client.functions["k8s_nodes.apply"].__globals__.pop("__user__", None)
    # The client leaves its MasterMinion open; Salt 3008 warns of it unless these are None.
    mminion = client.mminion
    if hasattr(client, "destroy"):  # Salt 3006.0 has neither of the two.
        mminion.destroy()
        client.destroy()
    mminion.returners = mminion.functions = mminion.utils = None


def call(client, cluster: str) -> dict:
    return client.cmd("k8s_nodes.apply", [cluster], print_event=False, full_return=True)


def test_a_mistake_of_the_reactors_call_is_in_the_masters_log(reactor, caplog):
    with caplog.at_level(logging.ERROR):
        job = call(reactor, "other")
    assert job["return"]["error"] == UNKNOWN
    assert [record.getMessage() for record in caplog.records if record.exc_info is None] == [
        f"runner: {UNKNOWN} [runner-error]"
    ]


def test_a_mistake_is_a_failed_job_and_the_next_call_a_successful_one(reactor):
    assert [call(reactor, name)["success"] for name in ("prod", "other", "prod")] == [
        True,
        False,
        True,
    ]


def test_the_history_names_the_reactor(reactor, folder):
    store = Store(str(folder / "state"))
    low = {"fun": "k8s_nodes.resume", "arg": [], "kwarg": {}, "__user__": "Reactor"}
    store.decisions.pause(ControlFlag("kim", 1.0))
    reactor.low("k8s_nodes.resume", low, print_event=False)
    entry = store.history.newest("", 1)[0]
    assert (entry.what, entry.detail["by"], entry.automatic) == ("resumed", "reactor", True)
