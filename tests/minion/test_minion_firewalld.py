"""Firewalld removes its own settings: from its files, and from the kernel where it runs."""

from __future__ import annotations

import pytest

from k8s_firewall_parts import errors, firewalld, programs
from k8s_firewall_parts.openings import FirewalldSetting, NftRule, Opening

A, B = "192.0.2.1", "192.0.2.2"
RICH = f'rule family="ipv4" source address="{A}" port port="5432" protocol="tcp" accept'
ZONES = f"""\
internal
  target: default
  sources: {A} {B}
  rich rules:
\t{RICH}
\trule family="ipv4" source address="{A}" drop

public (active)
  sources:
"""


class Daemon:
    """Stands for firewalld's programs."""

    def __init__(self) -> None:
        self.runs = True
        self.table = ""
        self.calls: list[str] = []

    def run(self, argv: list[str]) -> str:
        text = " ".join(argv)
        if argv[0] == "nft":
            if not self.table:
                raise errors.CommandFailed(argv, 1, "No such file or directory")
            return self.table
        if text == "firewall-cmd --state":
            if not self.runs:
                raise errors.CommandFailed(argv, 252, "not running")
            return "running\n"
        if "--list-rich-rules" in argv:
            return f"{RICH}\n"
        if "--list-all-zones" in argv:
            return ZONES
        self.calls.append(text)
        return ""


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Daemon:
    daemon = Daemon()
    monkeypatch.setattr(programs, "run", daemon.run)
    return daemon


def rule(table: str) -> Opening:
    return Opening("nft", "rule", (A,), removal=NftRule("inet", table, "input", 7))


def test_rules_in_its_table_are_left_to_it_while_it_runs(daemon: Daemon) -> None:
    own, other = rule("firewalld"), rule("filter")
    (kept, setting) = firewalld.settings_for([own, other, own])
    assert kept == other
    assert setting.removal == FirewalldSetting("firewalld", "", "", A)
    assert firewalld.settings_for([other]) == [other]
    daemon.runs = False
    assert firewalld.settings_for([own, other]) == [other, own]


def test_a_setting_goes_from_the_files_and_from_the_kernel(daemon: Daemon) -> None:
    firewalld.remove([FirewalldSetting("x.xml", "--zone=internal", "--remove-source", A)])
    assert daemon.calls == [
        f"firewall-cmd --permanent --zone=internal --remove-source={A}",
        f"firewall-cmd --zone=internal --remove-source={A}",
    ]
    daemon.calls.clear()
    daemon.runs = False
    firewalld.remove([FirewalldSetting("x.xml", "--zone=internal", "", A)])
    assert daemon.calls == [f"firewall-offline-cmd --zone=internal --remove-rich-rule={RICH}"]


def test_what_no_file_has_goes_from_each_zone(daemon: Daemon) -> None:
    firewalld.remove([FirewalldSetting("firewalld", "", "", A)])
    assert daemon.calls == [
        f"firewall-cmd --zone=internal --remove-source={A}",
        f"firewall-cmd --zone=internal --remove-rich-rule={RICH}",
    ]


def test_rules_that_it_leaves_go_with_a_reload(daemon: Daemon) -> None:
    daemon.table = f"ip saddr {A} goto filter_IN_internal"
    firewalld.remove([FirewalldSetting("x.xml", "--zone=internal", "--remove-source", A)])
    assert daemon.calls[-1] == "firewall-cmd --reload"
