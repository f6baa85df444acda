"""Sets in the kernel: what is in the pillar is in them, at once, and nothing else changes."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import random
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from k8s_firewall_parts import ipset_sets
from k8s_firewall_parts.state_dir import StateDir
from lab.network.namespace import Namespace
from tests.firewall import once, place
from tests.firewall.place import MEMBER, OTHER, PORT, Minion, Place

pytestmark = pytest.mark.root

MEMBERS = [str(MEMBER.v4), str(MEMBER.v6)]
OTHERS = [str(OTHER.v4), str(OTHER.v6)]
FORMULA = place.FORMULA / "_modules"


def many(count: int, first: str = "172.16.0.0") -> list[str]:
    begin = int(ipaddress.ip_address(first))
    return [str(ipaddress.ip_address(begin + number)) for number in range(count)]


def held(minion: Minion, backend: str, name: str = "prod") -> set[str]:
    """What the kernel's sets of a name have, read without the module."""
    if backend == "ipset":
        saved = minion.host.run("ipset", "save").splitlines()
        return {
            line.split()[2]
            for line in saved
            if line.startswith((f"add {name}_v4 ", f"add {name}_v6 "))
        }
    found: set[str] = set()
    listing = json.loads(minion.host.run("nft", "-j", "list", "table", "inet", "k8s_firewall"))
    for one in listing["nftables"]:
        if one.get("set", {}).get("name", "").startswith(f"{name}_v"):
            for element in one["set"].get("elem", []):
                text = element
                if isinstance(element, dict):
                    text = f"{element['prefix']['addr']}/{element['prefix']['len']}"
                found.add(text)
    return found


def run_once(minion: Minion, pillar: dict[str, Any]) -> subprocess.Popen[str]:
    with minion.host.namespace.entered():
        child = subprocess.Popen(
            [sys.executable, once.__file__, str(minion.state_dir)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={"PYTHONPATH": str(FORMULA)},
        )  # fmt: skip
    assert child.stdin is not None
    child.stdin.write(json.dumps(pillar))
    child.stdin.close()
    child.stdin = None
    return child


def result(child: subprocess.Popen[str]) -> dict[str, Any]:
    assert child.stdout is not None
    done = json.loads(child.communicate()[0].splitlines()[1])
    assert done["result"] is True, done
    return dict(done)


@pytest.fixture(params=["nft", "ipset"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_the_pillar_has_is_in_the_kernel(minion: Minion, backend: str) -> None:
    items = ["192.0.2.7", "2001:DB8::0:1", "198.51.100.0/24", "192.0.2.9/32", "2001:db8:1::/48"]
    done = minion.sync(backend=backend, sets={"prod": items})
    wanted = {"192.0.2.7", "2001:db8::1", "198.51.100.0/24", "192.0.2.9", "2001:db8:1::/48"}
    assert held(minion, backend) == wanted
    assert set(minion.call("sets", "prod")["prod"]) == wanted
    assert set(done["changes"]["sets"]["prod"]["added"]) == wanted
    assert minion.call("status")["problems"] == []


def test_a_set_may_be_named_as_a_tool_names_other_things(
    minion: Minion, here: Place, backend: str
) -> None:
    longest = "x" * 28
    names = ["ip", "ip6", "tcp", "log", "set", "table", "drop", "inet", "all", longest]
    for members in (OTHERS, MEMBERS):
        minion.sync(backend=backend, sets=dict.fromkeys(names, members), gates={PORT: names})
        assert all(held(minion, backend, name) == set(members) for name in names)
    assert here.member.gets_in(here.server.v4)
    assert not here.other.gets_in(here.server.v4)
    assert minion.call("status")["problems"] == []
    minion.sync(backend=backend, sets={longest: MEMBERS}, gates={PORT: longest})
    assert held(minion, backend, longest) == set(MEMBERS)
    assert held(minion, backend, "ip") == set()
    assert here.member.gets_in(here.server.v6)


def test_networks_that_overlap_or_touch_are_one(minion: Minion, backend: str) -> None:
    items = ["10.0.0.0/25", "10.0.0.128/25", "10.0.0.7", "10.0.0.0/26", "10.0.2.0/24"]
    minion.sync(backend=backend, sets={"prod": items})
    assert held(minion, backend) == {"10.0.0.0/24", "10.0.2.0/24", "10.0.0.7"}
    minion.sync(backend=backend, sets={"prod": ["10.0.0.128/25", "10.0.2.0/24"]})
    assert held(minion, backend) == {"10.0.0.128/25", "10.0.2.0/24"}


def test_everyone_can_be_a_member_because_somebody_wrote_it(minion: Minion, backend: str) -> None:
    minion.sync(backend=backend, sets={"prod": ["0.0.0.0/0", "::/0"]})
    assert minion.call("sync")["comment"] == "firewall up to date"
    assert minion.call("sets", "prod")["prod"] == ["0.0.0.0/0", "::/0"]


@pytest.mark.parametrize("count", [5_000, 70_000])
def test_many_addresses_and_one_change_among_them(minion: Minion, backend: str, count: int) -> None:
    def bring(these: list[str]) -> dict[str, Any]:
        pillar = {"k8s_firewall": {"backend": backend, "sets": {"prod": these}}}
        done = result(run_once(minion, pillar))
        assert held(minion, backend) == set(these)
        return dict(done["changes"]["sets"]["prod"])

    these = many(count)
    bring(these)
    done = bring([*these[1:], "192.0.2.1"])
    assert done == {"added": ["192.0.2.1"], "removed": [these[0]]}
    done = bring(many(count // 2, "172.31.0.0"))
    assert len(done["removed"]) == 101


def test_nothing_is_touched_when_nothing_differs(minion: Minion, here: Place) -> None:
    sets = {"prod": [*MEMBERS, "198.51.100.0/24"]}
    minion.sync(sets=sets, gates={PORT: "prod"})
    files = {path: path.stat().st_mtime_ns for path in minion.state_dir.glob("*.*")}
    with here.server.namespace.entered():
        monitor = subprocess.Popen(["nft", "monitor"], stdout=subprocess.PIPE, text=True)
    try:
        assert monitor.stdout is not None
        # The monitor is there as soon as it has seen somebody else's change.
        _marked(here, monitor, "before")
        assert minion.sync(sets=sets, gates={PORT: "prod"})["comment"] == "firewall up to date"
        assert not [line for line in _marked(here, monitor, "after") if "k8s_firewall" in line]
    finally:
        monitor.kill()
        monitor.communicate()
    assert {path: path.stat().st_mtime_ns for path in minion.state_dir.glob("*.*")} == files


def _marked(here: Place, monitor: subprocess.Popen[str], mark: str) -> list[str]:
    until = time.monotonic() + 10
    lines: list[str] = []
    number = 0
    while time.monotonic() < until:
        here.server.run("nft", "add", "table", "ip", f"{mark}{number}")
        number += 1
        assert monitor.stdout is not None
        with contextlib.suppress(TimeoutError):
            for line in _lines(monitor.stdout):
                lines.append(line)
                if mark in line:
                    return lines
    raise AssertionError("nft monitor says nothing")


def _lines(stream: Any) -> Any:
    while select.select([stream], [], [], 0.2)[0]:
        yield stream.readline()
    raise TimeoutError


def test_one_change_is_one_transaction(minion: Minion, here: Place) -> None:
    minion.sync(sets={"prod": MEMBERS, "web": ["192.0.2.1"]}, gates={PORT: "prod", 80: "web"})
    before = here.server.run("nft", "-a", "list", "table", "inet", "k8s_firewall")
    minion.sync(sets={"prod": [], "web": ["192.0.2.2"]}, gates={PORT: "prod", 80: "web"})
    after = here.server.run("nft", "-a", "list", "table", "inet", "k8s_firewall")
    # The same rules, not new ones: handles are never used twice.
    assert [line for line in before.splitlines() if "saddr" in line] == [
        line for line in after.splitlines() if "saddr" in line
    ]


def test_a_set_that_has_gone_from_the_pillar_is_gone(minion: Minion, backend: str) -> None:
    minion.sync(backend=backend, sets={"prod": MEMBERS, "web": ["192.0.2.1"]})
    minion.sync(backend=backend, sets={"prod": MEMBERS})
    assert not held(minion, backend, "web")
    assert list(minion.call("sets")) == ["keep", "prod"]
    minion.sync(backend=backend, sets={})
    assert minion.host.run("ipset", "list", "-n") == ""
    assert "k8s_firewall" not in minion.host.run("nft", "list", "tables")
    assert minion.call("status")["problems"] == []


def test_an_ipset_that_a_rule_names_is_emptied_and_goes_later(minion: Minion, here: Place) -> None:
    minion.sync(backend="ipset", sets={"prod": MEMBERS})
    rule = ["INPUT", "-m", "set", "--match-set", "prod_v4", "src", "-j", "ACCEPT"]
    here.server.run("iptables", "-w", "-A", *rule)
    minion.sync(backend="ipset", sets={})
    assert held(minion, "ipset") == set()
    here.server.run("iptables", "-w", "-D", *rule)
    minion.sync(backend="ipset", sets={})
    assert here.server.run("ipset", "list", "-n") == ""


def test_the_other_back_end_takes_over(minion: Minion) -> None:
    minion.sync(backend="nft", sets={"prod": MEMBERS})
    minion.sync(backend="ipset", sets={"prod": MEMBERS})
    assert held(minion, "ipset") == set(MEMBERS)
    assert "k8s_firewall" not in minion.host.run("nft", "list", "tables")
    minion.sync(backend="nft", sets={"prod": MEMBERS})
    assert held(minion, "nft") == set(MEMBERS)
    assert minion.host.run("ipset", "list", "-n") == ""


@pytest.mark.parametrize("variant", ["", "-legacy", "-nft"])
def test_anybodys_rule_can_name_an_ipset(minion: Minion, here: Place, variant: str) -> None:
    place.variant(here.server, variant)
    minion.sync(backend="ipset", sets={"prod": []})
    try:
        for command, name in (("iptables", "prod_v4"), ("ip6tables", "prod_v6")):
            here.server.run(
                f"{command}{variant}", "-w", "-A", "INPUT", "-p", "tcp", "--dport", str(PORT),
                "-m", "set", "!", "--match-set", name, "src", "-j", "DROP",
            )  # fmt: skip
        for members, expected in (([], False), (MEMBERS, True), ([], False), (MEMBERS, True)):
            minion.sync(backend="ipset", sets={"prod": members})
            for to in (here.server.v4, here.server.v6):
                assert here.member.gets_in(to) is expected
                assert not here.stranger.gets_in(to)
        with contextlib.ExitStack() as stack:
            both = [
                stack.enter_context(contextlib.closing(here.member.connect(to)))
                for to in (here.server.v4, here.server.v6)
            ]
            assert all(one.answered() for one in both)
            minion.sync(backend="ipset", sets={"prod": [*MEMBERS, "192.0.2.1"]})
            assert all(one.answered() for one in both)
            minion.sync(backend="ipset", sets={"prod": ["192.0.2.1"]})
            assert not any(one.answered() for one in both)
    finally:
        for command in ("iptables", "ip6tables"):
            here.server.run(f"{command}{variant}", "-w", "-F", "INPUT")


def test_an_ipset_of_somebody_else_is_left_alone(minion: Minion, here: Place) -> None:
    here.server.run("ipset", "create", "prod_v4", "hash:ip")
    here.server.run("ipset", "add", "prod_v4", "192.0.2.99")
    minion.wants(backend="ipset", sets={"prod": MEMBERS})
    done = minion.call("sync")
    assert done["result"] is False
    assert "another program has an ipset prod_v4 of type" in done["comment"]
    assert held(minion, "ipset") == {"192.0.2.99"}


@pytest.mark.parametrize(
    ("options", "of_entries"),
    [
        ("timeout 0", ""),
        ("timeout 1", " timeout 600"),
        ("comment", ' comment "by hand"'),
        ("counters skbinfo", ""),
        ("forceadd maxelem 2", ""),
    ],
)
def test_an_ipset_with_other_options_is_taken_over_and_who_left_is_closed(
    minion: Minion, here: Place, options: str, of_entries: str
) -> None:
    network = "198.51.100.0/24"
    for family, member in zip(("inet", "inet6"), MEMBERS, strict=True):
        name = "prod_v4" if family == "inet" else "prod_v6"
        here.server.run("ipset", "create", name, "hash:net", "family", family, *options.split())
        lines = [f"add {name} {member}{of_entries}"]
        if family == "inet":
            lines.append(f"add {name} {network}{of_entries}")
        here.server.run("ipset", "restore", text="\n".join(lines) + "\n")
        command = "iptables" if family == "inet" else "ip6tables"
        for rule in (
            "-m conntrack --ctstate ESTABLISHED -j ACCEPT",
            f"-p tcp --dport {PORT} -m set --match-set {name} src -j ACCEPT",
            f"-p tcp --dport {PORT} -j DROP",
        ):
            here.server.run(command, "-w", "-A", "INPUT", *rule.split())
    with contextlib.ExitStack() as stack:
        leaving = [
            stack.enter_context(contextlib.closing(here.member.connect(to)))
            for to in (here.server.v4, here.server.v6)
        ]
        assert all(one.answered() for one in leaving)
        done = minion.sync(backend="ipset", sets={"prod": [*OTHERS, network, "192.0.2.1"]})
        assert set(done["changes"]["sets"]["prod"]["removed"]) == set(MEMBERS)
        assert all(one.reset() for one in leaving)
    for to in (here.server.v4, here.server.v6):
        assert here.other.gets_in(to)
        assert not here.member.gets_in(to)
    saved = here.server.run("ipset", "save")
    assert not [word for word in ("timeout", "comment", "forceadd", "skbinfo") if word in saved]
    assert (
        minion.sync(backend="ipset", sets={"prod": [*OTHERS, network, "192.0.2.1"]})["comment"]
        == "firewall up to date"
    )


def test_sets_of_others_are_not_read(minion: Minion, here: Place) -> None:
    # A blocklist of that size takes seconds.
    lines = ["create blocked hash:ip maxelem 300000", *(f"add blocked {one}" for one in many(9))]
    here.server.run("ipset", "restore", text="\n".join(lines) + "\n")
    minion.sync(backend="ipset", sets={"prod": MEMBERS})
    with here.server.namespace.entered():
        assert set(ipset_sets.read({"prod_v4", "gone"})) == {"prod_v4"}


def test_what_nobody_has_changed_is_not_read_again(
    minion: Minion, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = minion.functions["k8s_firewall.sync"].__globals__["Run"].sync.__globals__["plan"]
    table = sys.modules[plan.NftTable.__module__]
    read: list[str] = []
    read_table = table.read_table
    monkeypatch.setattr(table, "read_table", lambda: read.append("all") or read_table())
    minion.sync(sets={"prod": MEMBERS}, gates={PORT: "prod"})
    assert read == ["all"]
    for items in (["192.0.2.1"], ["192.0.2.2", "198.51.100.0/24"], MEMBERS):
        minion.sync(sets={"prod": items}, gates={PORT: "prod"})
        assert held(minion, "nft") == set(items)
    assert read == ["all"]
    assert minion.call("status")["problems"] == []
    for line in (
        "add element inet k8s_firewall prod_v4 { 192.0.2.66 }",
        "flush set inet k8s_firewall prod_v6",
        "add rule inet k8s_firewall gate_input accept",
        "flush ruleset",
        "add table ip somebody",
    ):
        here.server.run("nft", line)
        read.clear()
        minion.sync(sets={"prod": [*MEMBERS, "192.0.2.3"]}, gates={PORT: "prod"})
        minion.sync(sets={"prod": MEMBERS}, gates={PORT: "prod"})
        assert read == ["all"], line
        assert held(minion, "nft") == set(MEMBERS)
        assert not here.stranger.gets_in(here.server.v4)


def test_what_changes_between_the_look_and_the_change_is_read_again(
    minion: Minion, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = minion.functions["k8s_firewall.sync"].__globals__["Run"].sync.__globals__["plan"]
    minion.sync(sets={"prod": MEMBERS}, gates={PORT: "prod"})
    make = plan.make
    harm = [f"delete element inet k8s_firewall prod_v4 {{ {MEMBERS[0]} }}"]

    def late(*args: Any) -> Any:
        made = make(*args)
        if harm:
            here.server.run("nft", harm.pop())
        return made

    monkeypatch.setattr(plan, "make", late)
    some = many(9)
    minion.sync(sets={"prod": [*MEMBERS[1:], *some]}, gates={PORT: "prod"})
    assert held(minion, "nft") == {*MEMBERS[1:], *some}
    # One that does not fail is found the next time.
    harm.append("add element inet k8s_firewall prod_v4 { 192.0.2.66 }")
    for _ in range(2):
        minion.sync(sets={"prod": some[1:]}, gates={PORT: "prod"})
    assert held(minion, "nft") == set(some[1:])


# What is not whole changes nothing

GOOD: dict[str, Any] = {"sets": {"prod": MEMBERS}, "gates": {PORT: "prod"}}


@pytest.mark.parametrize(
    ("pillar", "says"),
    [
        ({}, "pillar is empty"),
        ({"other": 1}, "has no mapping k8s_firewall"),
        ({"k8s_firewall": None}, "has no mapping k8s_firewall"),
        ({"k8s_firewall": {"sets": {"prod": None}}}, "k8s_firewall:sets:prod is not a list"),
        ({"k8s_firewall": {"sets": {"prod": ["1.2.3.4; reboot"]}}}, "'1.2.3.4; reboot'"),
        ({"k8s_firewall": {"sets": {"prod": ["010.0.0.1"]}}}, "k8s_firewall:sets:prod: '010"),
        ({"k8s_firewall": {"sets": {"prod": ["10.0.0.1/8"]}}}, "'10.0.0.1/8' is not a network"),
        (
            {"k8s_firewall": {"sets": {"prod": ["fe80::1%eth0"]}}},
            "'fe80::1%eth0' is not an IP address",
        ),
        ({"k8s_firewall": {"sets": {"prod": ["::ffff:192.0.2.1"]}}}, "is an IPv4-mapped address"),
        ({"k8s_firewall": {"sets": {"1prod": []}}}, "k8s_firewall:sets:1prod is not a valid name"),
        ({"k8s_firewall": {"sets": {"x" * 29: []}}}, "is not a valid name"),
        ({"k8s_firewall": {"sets": {"keep": []}}}, "is not a valid name"),
        ({"k8s_firewall": {"sets": {"a_v4": []}}}, "looks like a name"),
        ({"k8s_firewall": {"sets": {"k8sfw-x": []}}}, "sets:k8sfw-x begins with k8sfw-"),
        ({"k8s_firewall": {"backend": "pf"}}, "k8s_firewall:backend is 'pf'"),
        ({"k8s_firewall": {"set": {}}}, "k8s_firewall:set is not a known key"),
        ({"k8s_firewall": {"sets": {}, "gates": {PORT: "prod"}}}, "names the unknown set 'prod'"),
        ({"k8s_firewall": {"sets": {"a": []}, "gates": {"http": "a"}}}, "gates:http is not a port"),
        ({"k8s_firewall": {"sets": {"a": []}, "gates": {0: "a"}}}, "gates:0 is not a port"),
        # To nft an octal number.
        ({"k8s_firewall": {"sets": {"a": []}, "gates": {"0022": "a"}}}, "gates:0022 is not a port"),
        ({"k8s_firewall": {"sets": {"a": []}, "gates": {80: []}}}, "not the name of a set"),
        (
            {"k8s_firewall": {"sets": {"a": []}, "gates": {80: "a", "70-90": "a"}}},
            "overlaps the gate",
        ),
        (
            {"k8s_firewall": {"sets": {"new": ["k8s://prod"]}}},
            "sets:new: k8s://prod is not resolved",
        ),
        ({"_errors": ["Rendering SLS 'x' failed"], "k8s_firewall": GOOD}, "did not compile"),
    ],
)
def test_a_pillar_that_is_not_whole_changes_nothing(
    minion: Minion, here: Place, pillar: dict[str, Any], says: str
) -> None:
    minion.sync(**GOOD)
    before = here.server.run("nft", "-a", "list", "ruleset")
    files = {path: path.read_bytes() for path in minion.state_dir.iterdir()}
    minion.pillar(pillar)
    done = minion.call("sync")
    assert done["result"] is False
    assert says in done["comment"]
    assert "firewall unchanged" in done["comment"]
    assert here.server.run("nft", "-a", "list", "ruleset") == before
    assert {path: path.read_bytes() for path in minion.state_dir.iterdir()} == files


def test_a_set_with_an_unresolved_reference_stays_and_others_go_on(
    minion: Minion, backend: str
) -> None:
    minion.sync(backend=backend, sets={"prod": MEMBERS, "web": ["192.0.2.1"]})
    minion.wants(backend=backend, sets={"prod": ["k8s://prdo"], "web": ["192.0.2.2"]})
    done = minion.call("sync")
    assert done["result"] is False
    assert "the set prod is unchanged: k8s://prdo is not resolved" in done["comment"]
    assert held(minion, backend) == set(MEMBERS)
    assert held(minion, backend, "web") == {"192.0.2.2"}
    assert minion.call("sync")["result"] is False


def served(
    revision: int, observed_at: float, *, store: str = "a", stale: bool = False
) -> dict[str, Any]:
    told = {"revision": revision, "observed_at": observed_at, "store": store, "stale": stale}
    return {"clusters": {"prod": told}}


@pytest.mark.parametrize(
    ("revision", "observed_at", "accepted"),
    [(6, 90.0, False), (7, 100.0, True), (8, 90.0, True), (1, 200.0, True)],
    ids=["an old pillar", "the same", "a clock set back", "a store made anew"],
)
def test_an_older_pillar_is_refused(
    minion: Minion, revision: int, observed_at: float, accepted: bool
) -> None:
    minion.wants(nodes=served(7, 100.0), **GOOD)
    assert minion.call("sync")["revision"] == {"prod": 7}
    minion.wants(nodes=served(revision, observed_at), sets={"prod": []}, gates={PORT: "prod"})
    done = minion.call("sync")
    assert done["result"] is accepted
    assert held(minion, "nft") == (set() if accepted else set(MEMBERS))
    assert done["revision"] == {"prod": revision if accepted else 7}
    if not accepted:
        assert "cluster prod: served revision 6, applied 7" in done["comment"]


@pytest.mark.parametrize(
    ("observed_at", "stale", "accepted"),
    [(99.9, False, True), (101.0, True, True), (99.9, True, False)],
    ids=["a moment apart", "the newer one", "one that sees nothing any more"],
)
def test_revisions_of_two_masters_say_nothing_of_each_other(
    minion: Minion, observed_at: float, stale: bool, accepted: bool
) -> None:
    minion.sync(nodes=served(7, 100.0), **GOOD)
    other = served(3, observed_at, store="b", stale=stale)
    minion.wants(nodes=other, sets={"prod": []}, gates={PORT: "prod"})
    done = minion.call("sync")
    assert done["result"] is accepted
    assert held(minion, "nft") == (set() if accepted else set(MEMBERS))
    assert accepted or "another master with a stale view" in done["comment"]


def test_with_test_the_difference_is_told_and_nothing_done(minion: Minion, here: Place) -> None:
    minion.sync(**GOOD)
    before = here.server.run("nft", "-a", "list", "ruleset")
    minion.wants(sets={"prod": ["192.0.2.1"]}, gates={PORT: "prod"})
    done = minion.call("sync", test=True)
    assert done["result"] is None
    assert done["changes"]["sets"]["prod"] == {"added": ["192.0.2.1"], "removed": MEMBERS}
    assert here.server.run("nft", "-a", "list", "ruleset") == before
    minion.wants(**GOOD)
    assert minion.call("sync", test=True)["result"] is True


def test_a_missing_program_is_named(minion: Minion, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = minion.functions["k8s_firewall.sync"].__globals__["Run"].sync.__globals__["connections"]
    minion.wants(backend="ipset", sets={"prod": MEMBERS})
    monkeypatch.setattr(parts.programs, "_PATH", "/nowhere")
    assert "program ipset is not installed" in minion.call("sync")["comment"]


def test_a_disk_that_takes_nothing_is_said_and_mended(minion: Minion, here: Place) -> None:
    minion.sync(**GOOD)
    (minion.state_dir / "applied.json").unlink()
    (minion.state_dir / "applied.json").mkdir()
    minion.wants(sets={"prod": ["192.0.2.1"]}, gates={PORT: "prod"})
    done = minion.call("sync")
    assert done["result"] is False
    assert "the next boot will not load it" in done["comment"]
    assert "applied.json" in done["comment"]
    assert held(minion, "nft") == {"192.0.2.1"}
    (minion.state_dir / "applied.json").rmdir()
    assert minion.call("sync")["result"] is True
    assert minion.call("status")["problems"] == []


# Others at the same time, the end in the middle, and the next boot


def test_two_runs_at_once_take_turns(minion: Minion, backend: str) -> None:
    pillars = [
        {"k8s_firewall": {"backend": backend, "sets": {"prod": many(2_000, first)}}}
        for first in ("172.16.0.0", "172.17.0.0", "172.18.0.0")
    ]
    children = [run_once(minion, pillar) for pillar in pillars * 2]
    for child in children:
        result(child)
    assert held(minion, backend) == set(minion.call("sets", "prod")["prod"])
    assert minion.call("status")["problems"] == []


def test_killed_at_any_moment_the_old_or_the_new_is_in_force(minion: Minion, backend: str) -> None:
    dice = random.Random(3)
    either = [many(20_000), many(20_000, "172.24.0.0")]
    minion.sync(backend=backend, sets={"prod": either[0]})
    for turn in range(8):
        wanted = {"k8s_firewall": {"backend": backend, "sets": {"prod": either[turn % 2]}}}
        child = run_once(minion, wanted)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(dice.uniform(0, 0.4))
        child.kill()
        child.communicate()
        # Until what it may have left at work has ended: a listing meanwhile is of two states.
        with StateDir(str(minion.state_dir)).locked():
            assert held(minion, backend) in [set(one) for one in either]
    done = minion.sync(backend=backend, sets={"prod": either[0]})
    assert held(minion, backend) == set(either[0]), done
    assert minion.call("status")["problems"] == []
    assert "k8sfw" not in minion.host.run("ipset", "list", "-n")


def test_the_next_boot_has_it_all(minion: Minion, here: Place, backend: str) -> None:
    items = [*MEMBERS, "198.51.100.0/24", "192.0.0.0/2"]
    minion.sync(backend=backend, sets={"prod": items}, gates={PORT: "prod"})
    before = held(minion, backend)
    fresh = Namespace(f"k8s-fw.{place.name()}.boot")
    fresh.create()
    try:
        booted = Minion.__new__(Minion)
        booted.host = place.Host(fresh, place.SECOND)
        ruleset = minion.state_dir / "ruleset.nft"
        booted.host.run("nft", "-f", str(ruleset))
        if backend == "ipset":
            saved: Path = minion.state_dir / "sets.ipset"
            names = minion.state_dir / "sets.create"
            for _ in range(2):
                booted.host.run("xargs", "-L", "1", "-a", str(names), "ipset", "-exist")
                booted.host.run("ipset", "-exist", "restore", "-file", str(saved))
        # After that comes the network.
        here.switch.plug(fresh, place.SECOND)
        for host in (here.member, here.stranger):
            host.run("ip", "neigh", "flush", "all")
        with place.service(booted.host, PORT):
            for to in (booted.host.v4, booted.host.v6):
                assert here.member.gets_in(to)
                assert not here.stranger.gets_in(to)
        assert held(booted, backend) == before
        with fresh.entered():
            assert minion.functions["k8s_firewall.status"]()["problems"] == []
    finally:
        fresh.remove()
        here.switch.unplug(place.SECOND)


def test_a_file_for_the_next_boot_that_is_gone_is_written_again(
    minion: Minion, backend: str
) -> None:
    minion.sync(backend=backend, sets={"prod": MEMBERS}, gates={PORT: "prod"})
    for name in ("ruleset.nft", *(["sets.ipset", "sets.create"] if backend == "ipset" else [])):
        (minion.state_dir / name).unlink()
        assert "next boot" in minion.call("status")["comment"]
        minion.call("sync")
        assert (minion.state_dir / name).exists()
