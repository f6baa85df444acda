"""The way of existing formulas, one rule per address: from a node's join to all minions' rules."""

from __future__ import annotations

import os
import random
import sqlite3
import statistics
import sys
import time
from contextlib import closing
from pathlib import Path

from benchmarks.row import Row, Say
from benchmarks.turns import (
    NODE,
    WITHIN,
    Spent,
    Turns,
    fill,
    host_of_node,
    needs_an_api,
    quiet,
    share,
    turns,
)
from benchmarks.workers import cron
from lab.errors import LabError
from lab.polling import wait_until
from lab.world.world import World
from salt_ext.core.rollout.drift import LONGEST_WAIT

PART = "convergence"
POLL_EVERY = 60
"""Seconds between two runs of a cron job, the finest that cron can do."""
TURNS = 20
MANY = 10
MANY_TURNS = 6
POLL_TURNS = 2
ADDRESSES = 50
CORES = os.cpu_count() or 1
EVENTS = 20
FLOOD, FLOOD_SECONDS = 200, 60
LONGEST = 2
"""The maximum delay of a change, timing:max_delay by default."""
STATIC = {"firewall": {"services": {"postgresql": {"port": 5432, "ips_allow": ["10.77.3.1"]}}}}
"""A pillar without references."""
REFERRING = {
    "firewall": {
        "services": {"postgresql": {"port": 5432, "ips_allow": ["10.77.3.1", "k8s://prod"]}}
    }
}
# The flood doubles the cluster many times, which is what the growth guard is there to hold.
FLOODABLE = {
    # All minions apply a formula.
    "apply": {"classes": None},
    "clusters": {
        "prod": {
            "allowed_networks": ["10.77.2.0/24", "10.99.0.0/16"],
            "guards": {"growth_nodes": 1000},
        }
    },
}


def rows(say: Say) -> list[Row]:
    """Return join and leave for one and for ten minions, and what a flood and an absence cost."""
    needs_an_api()
    say(f"one minion, {ADDRESSES} addresses")
    with _world("one", 1) as world:
        fill(world, ADDRESSES - 2)
        one = turns(world, TURNS, say)
        back = _comes_back(world, say)
    say(f"a master without the extension, and a cron job every {POLL_EVERY} s")
    polled = _polled(say)
    found = [
        *_rows_of_one("joins, its address opens", one.opened, polled.opened),
        *_rows_of_one("leaves, its address closes", one.closed, polled.closed),
        Row(
            part=PART,
            name="a minion comes back after an hour: from its start to status with all up to date",
            unit="s",
            ours=back,
            aim=15,
        ),
    ]
    say(f"{MANY} minions, {ADDRESSES} addresses")
    with _world("ten", MANY) as world:
        fill(world, ADDRESSES - 2)
        return [*found, *_ten(world, say), _event(world, say), _flood(world, say)]


def _rows_of_one(what: str, ours: list[float], theirs: list[float]) -> list[Row]:
    name = f"node {what}, {ADDRESSES} addresses, 1 minion"
    return [
        Row(
            part=PART,
            name=f"{name}, {which} (a cron job every {POLL_EVERY} s)",
            unit="s",
            ours=share(ours, quantile),
            alternative=statistics.median(theirs),
            aim=aim,
        )
        for quantile, which, aim in ((0.5, "median", 2), (0.99, f"worst of {len(ours)}", 4))
    ]


def _ten(world: World, say: Say) -> list[Row]:
    minions = [minion.host for minion in world.minions]
    host_of_node(world)
    say("  what the formula itself burns")
    burnt = []
    for _ in range(3):
        spent = Spent(minions)
        world.salt("*", "state.apply", "firewall")
        burnt.append(spent.read())
    formula = statistics.median(burnt)
    quiet(world)
    idle = Spent([world.master.host])
    time.sleep(10)
    idle_rate = idle.read() / idle.wall
    spent = Spent([world.master.host])
    found = turns(world, MANY_TURNS, say)
    runs = 2 * MANY_TURNS
    master = (spent.read() - idle_rate * spent.wall) / runs
    aim = formula / CORES + 1
    why = f"(the formula burns {formula:.1f} CPU s on {MANY} minions, {CORES} cores)"
    return [
        Row(
            part=PART,
            name=f"node {what}, {ADDRESSES} addresses, all {MANY} minions, {which}",
            unit="s",
            ours=share(times, quantile),
            alternative=formula / CORES,
            aim=round(aim, 2),
            why=why,
        )
        for what, times in (("joins", found.opened), ("leaves", found.closed))
        for quantile, which in ((0.5, "median"), (0.99, f"worst of {MANY_TURNS}"))
    ] + [
        Row(
            part=PART,
            name=f"a run over {MANY} minions: CPU of the master, status asked for throughout",
            unit="s",
            ours=master,
        )
    ]


def _event(world: World, say: Say) -> Row:
    """A node changes a label that no reference asks for: engine, reactor and runner, and no run."""
    say(f"{EVENTS} changes that concern no minion")
    before = _runs(world)
    quiet(world)
    idle = Spent([world.master.host])
    time.sleep(10)
    idle_rate = idle.read() / idle.wall
    spent = Spent([world.master.host])
    for turn in range(EVENTS):
        world.nodes.label("other50", {"turn": str(turn)})
        time.sleep(0.5)
    cost = (spent.read() - idle_rate * spent.wall) / EVENTS
    if _runs(world) != before:
        raise LabError("a change that concerns no minion was published")
    return Row(
        part=PART, name="a change that concerns no minion: CPU of the master", unit="s", ours=cost
    )


def _flood(world: World, say: Say) -> Row:
    say(f"{FLOOD} nodes join in {FLOOD_SECONDS} s")
    quiet(world)
    before = _runs(world)
    begun = time.monotonic()
    for number in range(FLOOD):
        world.nodes.create(f"flood{number}", internal=[f"10.99.0.{number + 1}"], at_once=True)
        time.sleep(max(0.0, begun + (number + 1) * FLOOD_SECONDS / FLOOD - time.monotonic()))
    took = time.monotonic() - begun
    world.settle(within=5 * WITHIN)
    return Row(
        part=PART,
        name=f"{FLOOD} nodes join in {took:.0f} s, {MANY} minions: runs of a minion",
        unit="runs",
        ours=(_runs(world) - before) / MANY,
        alternative=FLOOD,
        aim=1 + took / LONGEST,
    )


def _comes_back(world: World, say: Say) -> float:
    """As after an hour of attempts: the next one is as far away as one ever is."""
    say("a minion is off, the cluster changes, and it comes back")
    quiet(world)
    world.minions[0].kill()
    world.nodes.delete("other50")
    wait_until(
        lambda: world.salt_run("k8s_nodes.status")["minions"]["minion1"]["prod"].get(
            "failed_attempts"
        ),
        within=2 * WITHIN,
        what="an attempt",
        every=0.2,
    )
    with closing(sqlite3.connect(_store(world))) as raw, raw:
        raw.execute("UPDATE ledger SET attempts = 20, next_at = ?", (time.time() + LONGEST_WAIT,))
    begun = time.monotonic()
    world.minions[0].start()
    world.settle(within=2 * WITHIN)
    return time.monotonic() - begun


def _world(name: str, minions: int) -> World:
    return World.up(
        f"{name}{os.getpid()}",
        minions=minions,
        api="real",
        traffic=False,
        pillar=REFERRING,
        k8s_nodes=FLOODABLE,
    )


def _store(world: World) -> Path:
    return world.master.host.folder / "state" / "store.sqlite3"


def _runs(world: World) -> int:
    """Minions that were published to so far, each as often as it was."""
    with closing(sqlite3.connect(_store(world))) as raw:
        (count,) = raw.execute("SELECT total(minions) FROM job").fetchone()
    return int(count)


def _polled(say: Say) -> Turns:
    with World.up(
        f"poll{os.getpid()}", minions=1, api="real", extension=False, traffic=False, pillar=STATIC
    ) as world:
        fill(world, ADDRESSES - 2)
        argv = [sys.executable, cron.__file__, str(POLL_EVERY)]
        endpoint = world.api.endpoint
        argv += [endpoint.url, str(endpoint.ca_file), str(endpoint.tokens["reader"])]
        argv += [str(world.srv / "pillar" / "firewall.sls")]
        argv += [str(Path(sys.executable).with_name("salt"))]
        job = world.master.host.popen(argv, log=world.folder / "cron.log")
        try:
            return _polled_turns(world, say)
        finally:
            job.kill()
            job.wait()


def _polled_turns(world: World, say: Say) -> Turns:
    """A change comes at any moment of a cron job's minute."""
    found, dice = Turns(), random.Random(7)
    host_of_node(world)
    probe = world.traffic[NODE].connect()
    for _ in range(POLL_TURNS):
        time.sleep(dice.uniform(0, POLL_EVERY / 2))
        at = world.join(NODE).at
        found.opened.append(probe.wait("open", since=at, within=2 * POLL_EVERY).at - at)
        time.sleep(dice.uniform(0, POLL_EVERY / 2))
        at = world.leave(NODE)
        found.closed.append(probe.wait("closed", since=at, within=2 * POLL_EVERY).at - at)
        say(f"  open after {found.opened[-1]:.2f} s, closed after {found.closed[-1]:.2f} s")
    return found
