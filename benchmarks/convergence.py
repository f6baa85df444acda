"""From a node's join to its open connection and from its leave to its closed one, by packets."""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
from pathlib import Path

from benchmarks.row import Row, Say
from lab.world import World

PART = "convergence"
POLL_EVERY = 60
"""Seconds between two runs of a cron job, the finest that cron can do."""
OUR_TURNS = 5
POLL_TURNS = 2
WITHIN = 30.0
STATIC = {"firewall": {"services": {"postgresql": {"port": 5432, "ips_allow": ["10.77.3.1"]}}}}
"""A pillar without references."""


def rows(say: Say) -> list[Row]:
    """Return join and leave, ours against a cron job."""
    ours = _ours(say)
    polled = _polled(say)
    named = zip(
        ("node joins, its address opens", "node leaves, its address closes"),
        ours,
        polled,
        strict=True,
    )
    return [
        Row(
            part=PART,
            name=f"{name} (median; beside a cron job every {POLL_EVERY} s)",
            unit="s",
            ours=statistics.median(mine),
            alternative=statistics.median(theirs),
        )
        for name, mine, theirs in named
    ]


def _ours(say: Say) -> tuple[list[float], list[float]]:
    say("a world with the extension")
    with World.up(f"bench{os.getpid()}", minions=1) as world:
        return _turns(world, OUR_TURNS, WITHIN, say, settled=True)


def _polled(say: Say) -> tuple[list[float], list[float]]:
    say(f"a world without it, and a cron job every {POLL_EVERY} s")
    with World.up(f"poll{os.getpid()}", minions=1, extension=False, pillar=STATIC) as world:
        argv = [sys.executable, "-m", "benchmarks.workers.cron", str(POLL_EVERY)]
        endpoint = world.api.endpoint
        argv += [endpoint.url, str(endpoint.ca_file), str(endpoint.tokens["reader"])]
        argv += [str(world.srv / "pillar" / "firewall.sls")]
        argv += [str(Path(sys.executable).with_name("salt"))]
        cron = world.master.host.popen(argv, log=world.folder / "cron.log")
        try:
            return _turns(world, POLL_TURNS, POLL_EVERY + WITHIN, say, settled=False)
        finally:
            cron.kill()
            cron.wait()


def _turns(
    world: World, count: int, within: float, say: Say, *, settled: bool
) -> tuple[list[float], list[float]]:
    opened, closed = [], []
    dice = random.Random(7)
    for turn in range(count):
        name = f"node{turn}"
        world.join(name, create=False)
        probe = world.traffic[name].connect()
        probe.wait("closed", within=WITHIN)
        _phase(world, dice, settled=settled)
        at = world.join(name).at
        opened.append(probe.wait("open", since=at, within=within).at - at)
        _phase(world, dice, settled=settled)
        at = world.leave(name)
        closed.append(probe.wait("closed", since=at, within=within).at - at)
        say(f"  opened after {opened[-1]:.2f} s, closed after {closed[-1]:.2f} s")
        world.remove_host(name)
    return opened, closed


def _phase(world: World, dice: random.Random, *, settled: bool) -> None:
    """Begin where nothing is under way; a change comes at any moment of a cron job's minute."""
    if settled:
        world.settle()
    else:
        time.sleep(dice.uniform(0, POLL_EVERY / 2))
