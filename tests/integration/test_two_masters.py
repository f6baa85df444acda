"""Two masters with the same minions: each is complete by itself, and both end in the same state."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from lab.network.address import KUBE
from lab.polling import wait_until
from lab.world.world import World
from tests.integration.looking import BOTH, WITHIN, Looking
from tests.integration.surroundings import a_world

pytestmark = pytest.mark.root

STALE = "served by another master with a stale view"


@pytest.fixture(scope="module")
def pair(machine: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[World]:
    """A world with two masters, gone with this file: it costs as much as two."""
    prod = {"timing": {"inactivity": 3}, "guards": {"shrink_percent": 100}}
    block = {"clusters": {"prod": prod}}
    plan = {"masters": 2, "traffic": False, "k8s_nodes": block}
    yield from a_world(request, f"m{os.getpid()}", **plan)


@pytest.fixture
def masters(pair: World) -> Iterator[list[Looking]]:
    """Both masters, running, without nodes and with nothing left to do."""
    found = [Looking(pair, master) for master in pair.masters]
    pair.nodes.delete_all()
    wait(*found)
    yield found
    for master in pair.masters:
        master.start()
        master.wait(len(BOTH))


def wait(*masters: Looking) -> None:
    """Wait until the view of each master is the cluster's, and its minions have it."""
    nodes = {node["metadata"]["name"] for node in masters[0].world.nodes.list()}
    for one in masters:

        def seen(one: Looking = one) -> bool:
            snapshot = one.store.snapshots.load("prod")
            return snapshot is not None and snapshot.members.keys() == nodes

        wait_until(seen, within=WITHIN, what=f"{nodes} in the store of {one.master.host.name}")
        one.wait(*BOTH)


def in_force(world: World, address: str) -> list[bool]:
    """Whether each minion lets an address in, one by a rule for it and one by its set."""
    rules = world.hosts["minion1"].run(["iptables", "-S"]).stdout
    listed = ["nft", "list", "set", "inet", "k8s_firewall", "postgresql_v4"]
    return [f"-s {address}/32" in rules, address in world.hosts["minion2"].run(listed).stdout]


def test_both_see_everything_and_a_change_is_a_run_by_each(masters: list[Looking]) -> None:
    world = masters[0].world
    origins = {one.store.snapshots.store_id() for one in masters}
    engines = {one.status()["engine_pid"] for one in masters}
    assert (len(origins), len(engines)) == (2, 2)
    before = [[one.proven(minion) for minion in BOTH] for one in masters]
    for number in (201, 202):
        world.nodes.create(f"x{number}", internal=[f"10.77.2.{number}"])
        wait(*masters)
    world.nodes.delete("x202")
    wait(*masters)
    assert in_force(world, "10.77.2.201") == [True, True]
    assert in_force(world, "10.77.2.202") == [False, False]
    for one, counts in zip(masters, before, strict=True):
        for minion, count in zip(BOTH, counts, strict=True):
            # One for each change, and never more than one too many.
            assert 3 <= one.proven(minion) - count <= 6


def test_when_one_dies_the_other_goes_on_and_it_catches_up(masters: list[Looking]) -> None:
    world, (dead, alive) = masters[0].world, masters
    world.nodes.create("x201", internal=["10.77.2.201"])
    wait(*masters)
    dead.master.kill()
    # Two changes for one master are one for the other: their revisions go apart.
    world.nodes.create("x202", internal=["10.77.2.202"])
    wait(alive)
    world.nodes.delete("x201")
    wait(alive)
    assert in_force(world, "10.77.2.202") == [True, True]
    assert in_force(world, "10.77.2.201") == [False, False]
    dead.master.start()
    dead.master.wait(len(BOTH))
    wait(*masters)
    assert dead.revision() != alive.revision()
    world.nodes.create("x203", internal=["10.77.2.203"])
    wait(*masters)
    assert in_force(world, "10.77.2.203") == [True, True]
    assert in_force(world, "10.77.2.201") == [False, False]


def test_one_that_sees_nothing_any_more_undoes_nothing(masters: list[Looking]) -> None:
    world, (good, blind) = masters[0].world, masters
    world.nodes.create("x201", internal=["10.77.2.201"])
    wait(*masters)
    host = blind.master.host
    reject = ["OUTPUT", "-d", str(KUBE.v4), "-j", "REJECT"]
    host.run(["iptables", "-I", *reject])
    try:
        wait_until(
            lambda: blind.status()["clusters"]["prod"]["stale"], within=WITHIN, what="a stale view"
        )
        world.nodes.delete("x201")
        wait(good)
        minion = world.minions[1]
        minion.kill()
        minion.start()
        # Both apply it after its start, in whatever order.
        blind.wait_for("minion2", STALE)
        good.wait(*BOTH)
        assert not in_force(world, "10.77.2.201")[1]
    finally:
        host.run(["iptables", "-D", *reject])
    wait(*masters)
    assert in_force(world, "10.77.2.201") == [False, False]
