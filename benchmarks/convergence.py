"""
From a node's join to the rules of all minions, where a formula writes one rule per address.

The peers are Salt's own: an empty state run, the CPU of the formula by itself, and the cron job
that people have today.
"""

from __future__ import annotations

import os
import random
import sqlite3
import statistics
import sys
import time
from contextlib import closing
from pathlib import Path

from benchmarks import quick_machine
from benchmarks.comparison import Comparison, Progress, quantile
from benchmarks.host_cpu import HostCpu, idle_rate
from benchmarks.join_leave import (
    EMPTY_RUN,
    NODE,
    TIMEOUT,
    JoinLeaveTimes,
    create_other_nodes,
    empty_run_seconds,
    join_and_leave,
    settle,
    start_node_host,
)
from benchmarks.real_api import require_real_api
from benchmarks.reference_loop import PEER_NAME, loop_cpu
from benchmarks.workers import cron_job
from lab.errors import LabError
from lab.polling import wait_until
from lab.world.provisioning import provision
from lab.world.world import World
from salt_ext.core.rollout.drift import MAX_RETRY_DELAY

PART = "convergence"
CRON_PERIOD = 60
"""Seconds between two runs of a cron job, the finest that cron can do."""
TURNS = 20
MANY = 10
MANY_TURNS = 6
CRON_TURNS = 2
FORMULA_RUNS = 3
ADDRESSES = 50
CORES = os.cpu_count() or 1
EVENTS = 20
FLOOD, FLOOD_SECONDS = 200, 60
LONGEST_DELAY = 2
"""Seconds after which a change is announced at the latest, however many follow it."""

AIM_MEDIAN, AIM_WORST = 2.0, 4.0
"""Seconds on a quick machine, of a join or leave with one minion."""
AIM_RETURN = 15.0
"""Seconds on a quick machine, of a minion's return after an hour."""

STATIC = {"firewall": {"services": {"postgresql": {"port": 5432, "ips_allow": ["10.77.3.1"]}}}}
"""A pillar without references."""
REFERRING = {
    "firewall": {
        "services": {"postgresql": {"port": 5432, "ips_allow": ["10.77.3.1", "k8s://prod"]}}
    }
}
# The flood doubles the cluster many times, and the growth guard would hold that.
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


def comparisons(progress: Progress) -> list[Comparison]:
    """Return joins and leaves for one and for ten minions, a minion's return, and a flood."""
    require_real_api()
    progress(f"one minion, {ADDRESSES} addresses")
    with _world("one", 1) as world:
        create_other_nodes(world, ADDRESSES - 2)
        times = join_and_leave(world, TURNS, progress)
        empty_run = empty_run_seconds(world)
        returned = _minion_returns(world, progress)
    progress(f"a master without the extension, and a cron job every {CRON_PERIOD} s")
    cron = _cron_times(progress)
    rows = [
        *_one_minion("joins, its address opens", times.opened, empty_run, cron.opened),
        *_one_minion("leaves, its address closes", times.closed, empty_run, cron.closed),
        returned,
    ]
    progress(f"{MANY} minions, {ADDRESSES} addresses")
    with _world("ten", MANY) as world:
        create_other_nodes(world, ADDRESSES - 2)
        rows += _many_minions(world, progress)
        return [*rows, _unrelated_changes(world, progress), _flood(world, progress)]


def _one_minion(
    what: str, ours: list[float], empty_run: float, cron: list[float]
) -> list[Comparison]:
    quick = quick_machine.EMPTY_RUN_S[1]
    name = f"node {what}, {ADDRESSES} addresses, 1 minion"
    rows = [
        Comparison(
            part=PART,
            name=f"{name}, {which}",
            unit="s",
            ours=quantile(ours, fraction),
            peer=empty_run,
            peer_name=EMPTY_RUN,
            aim=quick_machine.aim(aim, quick),
            derivation=f"{aim:g} s, an empty state run of {quick:g} s",
        )
        for fraction, which, aim in ((0.5, "median", AIM_MEDIAN), (0.99, "worst", AIM_WORST))
    ]
    beside_cron = Comparison(
        part=PART,
        name=f"{name}, median, beside a cron job",
        unit="s",
        ours=quantile(ours, 0.5),
        peer=statistics.median(cron),
        peer_name=f"a cron job every {CRON_PERIOD} s",
    )
    return [*rows, beside_cron]


def _many_minions(world: World, progress: Progress) -> list[Comparison]:
    start_node_host(world)
    progress("  CPU of the formula by itself")
    formula_cpu = _formula_cpu(world)
    settle(world)
    master = [world.master.host]
    rate = idle_rate(master)
    meter = HostCpu(master)
    times = join_and_leave(world, MANY_TURNS, progress)
    master_cpu = meter.seconds(idle_rate=rate) / (2 * MANY_TURNS)
    rows = [
        Comparison(
            part=PART,
            name=f"node {what}, {ADDRESSES} addresses, all {MANY} minions, {which}",
            unit="s",
            ours=quantile(measured, fraction),
            peer=formula_cpu / CORES,
            peer_name="the formula's own CPU, shared by all cores",
            aim=quick_machine.aim(quick_machine.FORMULA_S + 1, quick_machine.FORMULA_S),
            derivation=f"the formula's own {quick_machine.FORMULA_S:g} s and 1 s more",
        )
        for what, measured in (("joins", times.opened), ("leaves", times.closed))
        for fraction, which in ((0.5, "median"), (0.99, "worst"))
    ]
    cpu = Comparison(
        part=PART,
        name=f"a run over {MANY} minions: CPU of the master, with status called throughout",
        unit="s",
        ours=master_cpu,
        peer=loop_cpu(),
        peer_name=PEER_NAME,
    )
    return [*rows, cpu]


def _formula_cpu(world: World) -> float:
    """Return the CPU seconds that the minions use for one state run of the formula."""
    minions = [minion.host for minion in world.minions]
    seconds = []
    for _ in range(FORMULA_RUNS):
        meter = HostCpu(minions)
        world.salt("*", "state.apply", "firewall")
        seconds.append(meter.seconds())
    return statistics.median(seconds)


def _unrelated_changes(world: World, progress: Progress) -> Comparison:
    """Change a label that no reference selects by: engine, reactor and runner work, no minion."""
    progress(f"{EVENTS} changes that concern no minion")
    before = _published(world)
    settle(world)
    master = [world.master.host]
    rate = idle_rate(master)
    meter = HostCpu(master)
    for turn in range(EVENTS):
        world.nodes.label("other50", {"turn": str(turn)})
        time.sleep(0.5)
    cpu = meter.seconds(idle_rate=rate) / EVENTS
    if _published(world) != before:
        raise LabError("a change that concerns no minion was published")
    return Comparison(
        part=PART,
        name="a change that concerns no minion: CPU of the master",
        unit="s",
        ours=cpu,
        peer=loop_cpu(),
        peer_name=PEER_NAME,
    )


def _flood(world: World, progress: Progress) -> Comparison:
    progress(f"{FLOOD} nodes join in {FLOOD_SECONDS} s")
    settle(world)
    before = _published(world)
    begun = time.monotonic()
    for number in range(FLOOD):
        world.nodes.create(f"flood{number}", internal=[f"10.99.0.{number + 1}"], at_once=True)
        time.sleep(max(0.0, begun + (number + 1) * FLOOD_SECONDS / FLOOD - time.monotonic()))
    took = time.monotonic() - begun
    world.settle(within=5 * TIMEOUT)
    return Comparison(
        part=PART,
        name=f"{FLOOD} nodes join within {FLOOD_SECONDS} s, {MANY} minions: runs of a minion",
        unit="runs",
        ours=(_published(world) - before) / MANY,
        peer=FLOOD,
        peer_name="one run for each change",
        aim=(1 + took / LONGEST_DELAY) / FLOOD,
        derivation=f"one run for each {LONGEST_DELAY} s of the flood and one more",
    )


def _minion_returns(world: World, progress: Progress) -> Comparison:
    """Let a minion come back as after an hour: the next attempt is as late as it can be."""
    progress("a minion starts, and nothing has changed")
    settle(world)
    world.minions[0].kill()
    begun = time.monotonic()
    world.minions[0].start()
    world.master.wait(1, within=TIMEOUT)
    start = time.monotonic() - begun
    progress("a minion is off, the cluster changes, and the minion comes back")
    settle(world)
    world.minions[0].kill()
    world.nodes.delete("other50")
    wait_until(
        lambda: world.salt_run("k8s_nodes.status")["minions"]["minion1"]["prod"].get(
            "failed_attempts"
        ),
        within=2 * TIMEOUT,
        what="an attempt",
        every=0.2,
    )
    with closing(sqlite3.connect(_store(world))) as raw, raw:
        raw.execute(
            "UPDATE ledger SET attempts = 20, next_at = ?", (time.time() + MAX_RETRY_DELAY,)
        )
    begun = time.monotonic()
    world.minions[0].start()
    world.settle(within=2 * TIMEOUT)
    return Comparison(
        part=PART,
        name="a minion comes back after an hour: from its start to all up to date",
        unit="s",
        ours=time.monotonic() - begun,
        peer=start,
        peer_name="the start of the same minion until it answers",
        aim=quick_machine.aim(AIM_RETURN, quick_machine.MINION_START_S),
        derivation=f"{AIM_RETURN:g} s, a start of {quick_machine.MINION_START_S:g} s",
    )


def _world(name: str, minions: int) -> World:
    return provision(
        f"{name}{os.getpid()}",
        minions=minions,
        api="real",
        traffic=False,
        pillar=REFERRING,
        k8s_nodes=FLOODABLE,
    )


def _store(world: World) -> Path:
    return world.master.host.folder / "state" / "store.sqlite3"


def _published(world: World) -> int:
    """Return how many minions were published to, each counted as often as it was."""
    with closing(sqlite3.connect(_store(world))) as raw:
        (count,) = raw.execute("SELECT total(minions) FROM job").fetchone()
    return int(count)


def _cron_times(progress: Progress) -> JoinLeaveTimes:
    with provision(
        f"cron{os.getpid()}", minions=1, api="real", extension=False, traffic=False, pillar=STATIC
    ) as world:
        create_other_nodes(world, ADDRESSES - 2)
        argv = [sys.executable, cron_job.__file__, str(CRON_PERIOD)]
        endpoint = world.api.endpoint
        argv += [endpoint.url, str(endpoint.ca_file), str(endpoint.tokens["reader"])]
        argv += [str(world.srv / "pillar" / "firewall.sls")]
        argv += [str(Path(sys.executable).with_name("salt"))]
        job = world.master.host.popen(argv, log=world.folder / "cron.log")
        try:
            return _cron_turns(world, progress)
        finally:
            job.kill()
            job.wait()


def _cron_turns(world: World, progress: Progress) -> JoinLeaveTimes:
    """Let each change come at a random moment of the cron job's minute."""
    times, dice = JoinLeaveTimes(), random.Random(7)
    start_node_host(world)
    probe = world.traffic[NODE].connect()
    for _ in range(CRON_TURNS):
        time.sleep(dice.uniform(0, CRON_PERIOD / 2))
        at = world.join(NODE).at
        times.opened.append(probe.wait("open", since=at, within=2 * CRON_PERIOD).at - at)
        time.sleep(dice.uniform(0, CRON_PERIOD / 2))
        at = world.leave(NODE)
        times.closed.append(probe.wait("closed", since=at, within=2 * CRON_PERIOD).at - at)
        progress(f"  open after {times.opened[-1]:.2f} s, closed after {times.closed[-1]:.2f} s")
    return times
