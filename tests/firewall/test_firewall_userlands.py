"""Closed on Debian 11, 12 and 13: their own nft, iptables and ipset, in one kernel, by packets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.firewall import userland
from tests.firewall.place import MEMBER, OTHER, PORT, Host, Minion, Place
from tests.firewall.userland import Userland

pytestmark = pytest.mark.root

MEMBERS = [str(MEMBER.v4), str(MEMBER.v6)]
OTHERS = [str(OTHER.v4), str(OTHER.v6)]
DROP = ("-A", "INPUT", "-p", "tcp", "--dport", str(PORT), "-j", "DROP")
VERSIONS = {
    "bullseye": ("v0.9.8", "v1.8.7", "v7.10"),
    "bookworm": ("v1.0.6", "v1.8.9", "v7.17"),
    "trixie": ("v1.1.3", "v1.8.11", "v7.22"),
}


@pytest.fixture(params=list(VERSIONS))
def debian(request: pytest.FixtureRequest, minion: Minion, tmp_path: Path) -> Iterator[Userland]:
    with userland.used(request.param, minion, tmp_path) as one:
        yield one
        for program in ("iptables-legacy", "ip6tables-legacy"):
            one.run(program, "-w", "-F")


def gets_in(host: Host, server: Host) -> list[bool]:
    return [host.gets_in(to) for to in (server.v4, server.v6)]


def leaves(minion: Minion) -> dict[str, Any]:
    """Serve both, then only the other, with nothing configured; return the second answer."""
    for revision, served in enumerate(([*MEMBERS, *OTHERS], OTHERS), 1):
        clusters = {"prod": {"revision": revision, "observed_at": float(revision)}}
        minion.wants(nodes={"served": served, "clusters": clusters, "unresolved": {}}, keep=[])
        done = minion.call("sync")
        assert done["result"] is True, done
    return dict(done)


def closes(here: Place, minion: Minion) -> None:
    """Compare what the minion says with packets, before a node leaves and after it."""
    assert gets_in(here.member, here.server) == [True, True]
    assert {one["verdict"] for one in minion.call("verify", MEMBERS).values()} == {"open"}
    done = leaves(minion)
    assert done["departures"].keys() == {"closed"}, done["departures"]
    assert done["departures"]["closed"].keys() == set(MEMBERS)
    is_closed(here, minion)


def is_closed(here: Place, minion: Minion) -> None:
    assert gets_in(here.member, here.server) == [False, False]
    assert gets_in(here.other, here.server) == [True, True]
    found = minion.call("verify", [*MEMBERS, *OTHERS])
    assert [found[one]["verdict"] for one in MEMBERS] == ["closed"] * 2, found
    assert [found[one]["verdict"] for one in OTHERS] == ["open"] * 2, found


def test_the_programs_are_those_of_the_release(debian: Userland) -> None:
    nft, iptables, ipset = VERSIONS[debian.release.name]
    assert nft in debian.run("nft", "--version")
    assert f"{iptables} (nf_tables)" in debian.run("iptables", "--version")
    assert ipset in debian.run("ipset", "--version")


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_appended_rules_and_their_saved_files_are_closed(
    minion: Minion, here: Place, debian: Userland, variant: str
) -> None:
    saves = {"iptables": "/etc/iptables/rules.v4", "ip6tables": "/etc/iptables/rules.v6"}
    (debian.file("/etc/iptables")).mkdir(exist_ok=True)
    programs = {family: f"{family}-{variant}" for family in saves}
    for one in (*MEMBERS, *OTHERS):
        program = programs["ip6tables" if ":" in one else "iptables"]
        debian.run(program, "-w", "-A", "INPUT", "-s", one, "-p", "tcp", "-j", "ACCEPT")
    for family, program in programs.items():
        debian.run(program, "-w", *DROP)
        debian.file(saves[family]).write_text(debian.run(f"{program}-save"))
    closes(here, minion)
    # As the next boot does.
    for family, program in programs.items():
        debian.run(f"{program}-restore", text=debian.file(saves[family]).read_text())
    is_closed(here, minion)


def test_appended_nft_rules_and_their_boot_file_are_closed(
    minion: Minion, here: Place, debian: Userland
) -> None:
    rules = [
        f"add rule inet filter input {'ip6' if ':' in one else 'ip'} saddr {one} tcp dport {PORT} "
        "counter accept\n"
        for one in (*MEMBERS, *OTHERS)
    ]
    debian.run("nft", "-f", "-", text=(
        "table inet filter { chain input { type filter hook input priority 0; policy drop;\n"
        "iifname lo accept\nct state established accept\nmeta l4proto ipv6-icmp accept\n}\n}\n"
        + "".join(rules)
    ))  # fmt: skip
    saved = debian.file("/etc/nftables.conf")
    saved.write_text("flush ruleset\n" + debian.run("nft", "list", "ruleset"))
    closes(here, minion)
    debian.run("nft", "-f", "/etc/nftables.conf")
    is_closed(here, minion)


def test_a_foreign_nft_rule_in_the_table_of_iptables_hides_nothing(
    minion: Minion, here: Place, debian: Userland
) -> None:
    """The program iptables-save of each release then prints no rule of that table."""
    debian.allow(*MEMBERS, *OTHERS)
    debian.both(*DROP)
    for family in ("ip", "ip6"):
        debian.run("nft", "add", "chain", family, "filter", "mine")
        debian.run("nft", "add", "rule", family, "filter", "mine", "ct", "state",
                   "established,related", "accept")  # fmt: skip
    assert MEMBERS[0] not in debian.run("iptables-save")
    closes(here, minion)


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_a_rule_that_its_own_text_does_not_delete_keeps_back_no_other(
    minion: Minion, here: Place, debian: Userland, variant: str
) -> None:
    for one in (*MEMBERS, *OTHERS):
        program = f"{'ip6tables' if ':' in one else 'iptables'}-{variant}"
        debian.run(program, "-w", "-A", "INPUT", "-s", one, "-p", "tcp",
                   "-m", "recent", "--name", "seen", "--set", "-j", "ACCEPT")  # fmt: skip
        debian.run(program, "-w", "-A", "INPUT", "-s", one, "-p", "tcp", "-j", "ACCEPT")
    for family in ("iptables", "ip6tables"):
        debian.run(f"{family}-{variant}", "-w", *DROP)
    closes(here, minion)


OWN: dict[str, dict[str, Any]] = {
    "gates": {"gates": {PORT: "prod"}},
    "gates of ipsets": {"gates": {PORT: "prod"}, "backend": "ipset"},
    "rules": {"rules": [{"name": "db", "ports": [PORT], "sources": ["prod"]}]},
}


@pytest.mark.parametrize("own", OWN)
def test_what_the_module_writes_itself_is_closed(
    minion: Minion, here: Place, debian: Userland, own: str
) -> None:
    for revision, served in enumerate(([*MEMBERS, *OTHERS], OTHERS), 1):
        clusters = {"prod": {"revision": revision, "observed_at": float(revision)}}
        minion.wants(
            nodes={"served": served, "clusters": clusters, "unresolved": {}}, keep=[],
            sets={"prod": served}, **OWN[own],
        )  # fmt: skip
        done = minion.call("sync")
        assert done["result"] is True, done
        if revision == 1:
            assert gets_in(here.member, here.server) == [True, True]
    is_closed(here, minion)
