"""What stands between engine and firewall stops, dies or comes back: everybody gets there."""

from __future__ import annotations

import os
import signal
import time

import pytest

from lab.polling import wait_until
from lab.world.world import World
from tests.integration.looking import BOTH, WITHIN, Looking, freeze, minion, node, rules

pytestmark = pytest.mark.root

POOLS = """
firewall:
  services:
    postgresql:
      port: 5432
      ips_allow:
        - 10.77.3.1
        - fd77:0:0:3::1
        - k8s://prod?labelSelector=pool={{ {'minion1': 'web', 'minion2': 'db'}[opts['id']] }}
"""


@pytest.fixture(scope="module")
def world(ruled: World) -> World:
    """The rules of every minion can be read in one way."""
    return ruled


def join(looking: Looking, name: str, address: str, pool: str) -> None:
    """A node joins a pool, and is stored."""
    revision = looking.revision()
    looking.world.nodes.create(name, internal=[address], labels={"pool": pool})
    looking.changed(revision)


def test_only_those_are_run_whose_pool_a_node_joins_or_leaves(looking: Looking) -> None:
    world = looking.world
    (world.srv / "pillar" / "firewall.sls").write_text(POOLS)
    world.salt("*", "saltutil.refresh_pillar", wait=True)
    join(looking, "x1", "10.77.2.201", "web")
    join(looking, "x2", "10.77.2.202", "db")
    looking.wait(*BOTH)
    assert "10.77.2.201/" not in rules(world, "minion2")
    before = [looking.proven(name) for name in BOTH]
    # What comes after it, and is for the other one, shows that it was acted on.
    join(looking, "x3", "10.77.2.203", "web")
    looking.wait(*BOTH)
    assert "10.77.2.203/" in rules(world)
    assert [looking.proven(name) for name in BOTH] == [before[0] + 1, before[1]]
    revision = looking.revision()
    world.nodes.delete("x2")
    looking.changed(revision)
    looking.wait(*BOTH)
    # A removal is proven as an addition is.
    assert [looking.proven(name) for name in BOTH] == [before[0] + 1, before[1] + 1]
    assert looking.minion("minion2")["revision"] == looking.revision()
    assert "10.77.2.202/" not in rules(world, "minion2")


def test_a_reference_that_is_taken_out_is_closed_and_then_nothing_is_known(
    looking: Looking,
) -> None:
    world = looking.world
    node(looking, "x1", "10.77.2.201")
    looking.wait(*BOTH)
    pillar = world.srv / "pillar" / "firewall.sls"
    pillar.write_text(pillar.read_text().replace("- k8s://prod\n", ""))
    world.salt("minion2", "saltutil.refresh_pillar", wait=True)
    wait_until(lambda: looking.minion("minion2") == {}, within=WITHIN, what="a proof", every=0.05)
    assert "10.77.2.201/" not in rules(world, "minion2")


def test_a_minion_that_is_cut_off_during_a_change_gets_there(looking: Looking) -> None:
    world = looking.world
    world.cut("minion2")
    try:
        node(looking, "x1", "10.77.2.201")
        looking.wait("minion1")
        looking.wait_for("minion2", "has not returned yet")
    finally:
        world.reconnect("minion2")
    looking.wait(*BOTH)
    assert "10.77.2.201/" in rules(world, "minion2")


def test_a_key_that_is_accepted_again_subscribes_a_minion_that_never_ended(
    looking: Looking,
) -> None:
    world = looking.world
    still = minion(world, "minion2")
    process = still.process
    # Held, so that it does not authenticate again before it was missed.
    freeze(still)
    try:
        world.master.call("salt-key", "-y", "-d", "minion2")
        wait_until(
            lambda: looking.minion("minion2") == {},
            within=WITHIN,
            what="a forgotten minion",
            every=0.1,
        )
        node(looking, "x1", "10.77.2.201")
        looking.wait("minion1")
    finally:
        freeze(still, signal.SIGCONT)

    def known() -> bool:
        # Whatever is published makes it authenticate again, and is accepted by itself here.
        world.master.call("salt", "--async", "minion1", "test.ping")
        return bool(looking.minion("minion2"))

    wait_until(known, within=WITHIN, what="a minion that is known", every=0.5)
    looking.wait("minion2")
    assert still.process == process
    assert "10.77.2.201/" in rules(world, "minion2")


def test_a_minion_with_test_true_is_not_taken_for_applied(looking: Looking) -> None:
    world = looking.world
    testing = minion(world, "minion2")
    hosts = [master.host for master in world.masters]
    testing.kill()
    testing.configure({"test": True}, hosts)
    testing.start()
    try:
        node(looking, "x1", "10.77.2.201")
        looking.wait("minion1")
        looking.wait_for("minion2", "nothing was changed: the minion runs with test: True")
        assert "10.77.2.201/" not in rules(world, "minion2")
    finally:
        testing.kill()
        testing.configure({}, hosts)
    testing.start()
    looking.wait("minion2")
    assert "10.77.2.201/" in rules(world, "minion2")


def test_an_engine_that_hangs_is_told_of_and_what_it_missed_is_done_after(
    looking: Looking,
) -> None:
    told = looking.status()
    assert told["engine"] == "running"
    os.kill(told["engine_pid"], signal.SIGSTOP)
    try:
        looking.world.nodes.create("x1", internal=["10.77.2.201"])
        wait_until(
            lambda: looking.status()["engine"].startswith("stuck"),
            within=WITHIN,
            what="a stuck engine",
        )
        assert looking.status()["engine_pid"] == told["engine_pid"]
        assert looking.status()["clusters"]["prod"]["stale"]
    finally:
        os.kill(told["engine_pid"], signal.SIGCONT)
    wait_until(
        lambda: all("10.77.2.201/" in rules(looking.world, name) for name in BOTH),
        within=WITHIN,
        what="a node that is let in",
        every=0.1,
    )


def test_a_master_that_is_killed_in_the_middle_of_everything_gets_there(looking: Looking) -> None:
    world = looking.world
    still = minion(world, "minion2")
    freeze(still)
    try:
        node(looking, "x1", "10.77.2.201")
        looking.wait("minion1")
        # Published, and not returned.
        looking.wait_for("minion2", "has not returned yet")
        # Persisted, and without the event that somebody would have acted on.
        world.salt_run("k8s_nodes.pause")
        node(looking, "x2", "10.77.2.202")
        world.master.kill()
        looking.store.decisions.resume()
        assert "10.77.2.202/" not in rules(world)
    finally:
        freeze(still, signal.SIGCONT)
    published = looking.runs()
    world.master.start()
    world.master.wait(len(BOTH))
    looking.wait(*BOTH)
    for name in BOTH:
        assert "10.77.2.201/" in rules(world, name)
        assert "10.77.2.202/" in rules(world, name)
    assert looking.runs() > published


def _joined_and_left(world: World) -> bool:
    world.nodes.create("briefly", internal=["10.77.2.210"])
    world.nodes.delete("briefly")
    return True


def test_two_hundred_nodes_that_join_are_few_runs_and_none_starves(looking: Looking) -> None:
    world, before = looking.world, [looking.proven(name) for name in BOTH]
    begin = time.monotonic()
    for number in range(1, 201):
        world.nodes.create(f"x{number}", internal=[f"10.77.2.{number}"])
        if number == 150:
            # Others go on to join and to leave meanwhile, however long it takes.
            wait_until(
                lambda: _joined_and_left(world) and "10.77.2.1/" in rules(world),
                within=WITHIN,
                what="the first",
                every=0.04,
            )
        time.sleep(max(0.0, begin + number * 0.04 - time.monotonic()))
    wait_until(lambda: "10.77.2.200/" in rules(world), within=WITHIN, what="the last", every=0.1)
    looking.wait(*BOTH)
    took = time.monotonic() - begin
    for name, count in zip(BOTH, before, strict=True):
        assert rules(world, name).count("-s 10.77.2.") == 200
        # A burst of three, and then one in 2.5 s.
        assert looking.proven(name) - count <= 3 + took / 2.5
