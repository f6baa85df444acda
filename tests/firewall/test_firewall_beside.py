"""Gates and sets, with packets, beside what others have loaded, and at the kernel's limits."""

from __future__ import annotations

import contextlib
import random
import time
from typing import Any

import pytest

from tests.firewall import full_table, place
from tests.firewall.place import MEMBER, OTHER, PORT, Host, Minion, Place
from tests.firewall.test_firewall_rules import DOCKER, FAIL2BAN, FIREWALLD, KUBE_PROXY, load
from tests.firewall.test_firewall_sets import many, run_once

pytestmark = pytest.mark.root

MEMBERS = [str(MEMBER.v4), str(MEMBER.v6)]
OTHERS = [str(OTHER.v4), str(OTHER.v6)]
GATE = {"sets": {"prod": MEMBERS}, "gates": {PORT: "prod", f"{PORT}/udp": "prod"}}
OPENED = FIREWALLD.replace("tcp dport 22", f"meta l4proto {{ tcp, udp }} th dport {{ 22, {PORT} }}")


def theirs(host: Host) -> str:
    """Everybody's rules and sets but ours, without counters."""
    listed = host.run("nft", "--stateless", "list", "ruleset")
    ours = listed.find("table inet k8s_firewall")
    if ours >= 0:
        listed = listed[:ours] + listed[listed.index("\n}\n", ours) + 3 :]
    saved = [line for line in host.run("ipset", "save").splitlines() if "prod_" not in line]
    return "\n".join([*listed.split(), *saved])


@pytest.fixture(params=[DOCKER, KUBE_PROXY, FAIL2BAN, OPENED], ids=["docker", "kube", "f2b", "fwd"])
def others(request: pytest.FixtureRequest, here: Place) -> str:
    load(here.server, request.param)
    here.server.run("ipset", "create", "f2b-bad", "hash:ip")
    here.server.run("ipset", "add", "f2b-bad", "192.0.2.66")
    return theirs(here.server)


@pytest.mark.parametrize("backend", ["nft", "ipset"])
def test_a_gate_beside_others_is_in_force_and_touches_nothing_of_theirs(
    minion: Minion, here: Place, others: str, backend: str
) -> None:
    minion.sync(backend=backend, **GATE)
    for udp in (False, True):
        for to in (here.server.v4, here.server.v6):
            assert here.member.gets_in(to, udp=udp)
            assert not here.stranger.gets_in(to, udp=udp)
    minion.sync(backend=backend, **{**GATE, "sets": {"prod": OTHERS}})
    assert here.other.gets_in(here.server.v4)
    assert not here.member.gets_in(here.server.v4)
    assert theirs(here.server) == others
    assert minion.call("status")["problems"] == []
    assert minion.call("remove")["result"] is True
    assert theirs(here.server) == others


@pytest.mark.parametrize("count", [5_000, 70_000])
def test_the_last_of_many_addresses_gets_in_and_keeps_it_until_it_leaves(
    minion: Minion, here: Place, count: int
) -> None:
    these = many(count)

    def bring(members: list[str]) -> None:
        block = {"sets": {"prod": [*these, *members]}, "gates": {PORT: "prod"}}
        child = run_once(minion, {"k8s_firewall": block})
        assert '"result": true' in child.communicate()[0]

    bring(MEMBERS)
    for to in (here.server.v4, here.server.v6):
        assert here.member.gets_in(to)
        assert not here.stranger.gets_in(to)
    with contextlib.closing(here.member.connect(here.server.v4)) as one:
        assert one.answered()
        bring([*MEMBERS, *OTHERS])
        assert one.answered()
        bring(OTHERS)
        assert not one.answered()
    assert here.other.gets_in(here.server.v6)
    assert not here.member.gets_in(here.server.v6)


def test_with_a_full_conntrack_table_nobody_else_gets_in_and_a_leave_still_closes(
    minion: Minion, here: Place
) -> None:
    minion.sync(**GATE)
    with contextlib.closing(here.member.connect(here.server.v4)) as one:
        assert one.answered()
        full_table.fill(here.server.namespace)
        # The kernel itself drops what it has no room for; who was in stays in.
        assert not here.stranger.gets_in(here.server.v4)
        assert not here.stranger.gets_in(here.server.v4, udp=True)
        assert one.answered()
        minion.sync(**{**GATE, "sets": {"prod": OTHERS}})
        assert not one.answered()
    assert not here.stranger.gets_in(here.server.v4)
    here.server.run("conntrack", "-F")
    assert here.other.gets_in(here.server.v4)
    assert not here.member.gets_in(here.server.v4)


def test_a_stranger_never_gets_in_while_runs_are_killed(minion: Minion, here: Place) -> None:
    dice = random.Random(5)
    minion.sync(**GATE)
    for turn in range(6):
        # Another shape each time, so that the whole table is replaced.
        block = {"sets": {"prod": MEMBERS, f"more{turn}": many(5_000)}, "gates": {PORT: "prod"}}
        child = run_once(minion, {"k8s_firewall": block})
        assert child.stdout is not None
        child.stdout.readline()
        until = time.monotonic() + dice.uniform(0, 0.12)
        while time.monotonic() < until:
            with pytest.raises(OSError, match="timed out"):
                attempt(here)
        child.kill()
        child.communicate()
        assert here.member.gets_in(here.server.v4)
        assert not here.stranger.gets_in(here.server.v4)
    minion.sync(**GATE)
    assert minion.call("status")["problems"] == []


def attempt(here: Place) -> Any:
    """One packet's fate, of a stranger."""
    with here.stranger.namespace.entered():
        return place.socket.create_connection((here.server.v4, PORT), timeout=0.02)


def test_a_flush_by_others_of_their_own_tables_leaves_the_gate(minion: Minion, here: Place) -> None:
    load(here.server, KUBE_PROXY)
    minion.sync(**GATE)
    for command in ("iptables", "ip6tables"):
        here.server.run(command, "-w", "-F")
        here.server.run(command, "-w", "-P", "INPUT", "ACCEPT")
    load(here.server, OPENED)
    here.server.run("nft", "flush", "table", "inet", "firewalld")
    assert here.member.gets_in(here.server.v4)
    assert not here.stranger.gets_in(here.server.v4)
    assert minion.call("status")["problems"] == []


def test_a_reload_of_rules_that_name_a_set_keeps_the_set(minion: Minion, here: Place) -> None:
    minion.sync(backend="ipset", sets={"prod": MEMBERS})
    rule = f"-A INPUT -p tcp --dport {PORT} -m set ! --match-set prod_v4 src -j DROP"
    for _ in range(2):
        here.server.run("iptables-restore", text=f"*filter\n{rule}\nCOMMIT\n")
        assert here.member.gets_in(here.server.v4)
        assert not here.stranger.gets_in(here.server.v4)
    minion.sync(backend="ipset", sets={"prod": OTHERS})
    here.server.run("iptables-restore", text=f"*filter\n{rule}\nCOMMIT\n")
    assert here.other.gets_in(here.server.v4)
    assert not here.member.gets_in(here.server.v4)
    assert minion.call("status")["problems"] == []
