"""From a node's join to the set in every kernel, through a published k8s_firewall.sync."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from benchmarks import quick_machine
from benchmarks.comparison import Comparison, Progress, quantile
from benchmarks.join_leave import (
    EMPTY_RUN,
    JoinLeaveTimes,
    create_other_nodes,
    empty_run_seconds,
    join_and_leave,
)
from lab.world.provisioning import provision

ADDRESSES = 50
TURNS = {1: 12, 10: 8}
FORMULA_TURNS = {1: 3, 10: 2}
AIMS = {1: (0.5, 1.0), 10: (0.8, 1.5)}
"""Seconds on a quick machine, of the median and of the worst join, by minions."""

_SETS = {
    "k8s_firewall": {
        # Not the units of the machine's own systemd.
        "boot": False,
        "sets": {"postgresql": ["10.77.3.1", "k8s://prod"]},
        "gates": {5432: "postgresql"},
    }
}
_RULES = {
    "firewall": {
        "services": {"postgresql": {"port": 5432, "ips_allow": ["10.77.3.1", "k8s://prod"]}}
    }
}
_ALL_SYNC = {"sets": {"target": "minion*", "function": "k8s_firewall.sync"}}


def comparisons(part: str, progress: Progress) -> list[Comparison]:
    """Return joins and leaves, for one minion and for ten, beside Salt's own state runs."""
    rows: list[Comparison] = []
    for minions in AIMS:
        progress(f"{minions} minions run a published sync, {ADDRESSES} addresses")
        sync, empty_run = _measure("sets", minions, _SETS, _ALL_SYNC, TURNS[minions], progress)
        progress(f"{minions} minions apply one rule per address")
        formula, _ = _measure("rules", minions, _RULES, None, FORMULA_TURNS[minions], progress)
        rows += _rows(part, minions, sync, empty_run, formula)
    return rows


def _rows(
    part: str, minions: int, sync: JoinLeaveTimes, empty_run: float, formula: JoinLeaveTimes
) -> list[Comparison]:
    quick = quick_machine.EMPTY_RUN_S[minions]
    name = f"node {{}} through sync, {minions} minions, {{}}"
    rows = [
        Comparison(
            part=part,
            name=name.format("joins", which),
            unit="s",
            ours=quantile(sync.opened, fraction),
            peer=empty_run,
            peer_name=EMPTY_RUN,
            aim=quick_machine.aim(aim, quick),
            derivation=f"{aim:g} s, an empty state run of {quick:g} s",
        )
        for fraction, which, aim in zip(
            (0.5, 0.99), ("median", "worst"), AIMS[minions], strict=True
        )
    ]
    rows += [
        Comparison(
            part=part,
            name=name.format("leaves", which),
            unit="s",
            ours=quantile(sync.closed, fraction),
            peer=empty_run,
            peer_name=EMPTY_RUN,
        )
        for fraction, which in ((0.5, "median"), (0.99, "worst"))
    ]
    rows += [
        Comparison(
            part=part,
            name=f"{name.format(what, 'median')}, beside a formula",
            unit="s",
            ours=quantile(ours, 0.5),
            peer=quantile(theirs, 0.5),
            peer_name="a formula with one rule per address, driven by the same engine",
        )
        for what, ours, theirs in (
            ("joins", sync.opened, formula.opened),
            ("leaves", sync.closed, formula.closed),
        )
    ]
    return rows


def _measure(
    name: str,
    minions: int,
    pillar: Mapping[str, Any],
    classes: Mapping[str, Any] | None,
    count: int,
    progress: Progress,
) -> tuple[JoinLeaveTimes, float]:
    """Return joins and leaves, and the seconds of an empty state run, in a world of its own."""
    with provision(
        f"{name}{os.getpid()}",
        minions=minions,
        api="real",
        traffic=False,
        pillar=pillar,
        k8s_nodes={"apply": {"classes": classes}},
    ) as world:
        create_other_nodes(world, ADDRESSES - 2)
        times = join_and_leave(world, count, progress)
        return times, empty_run_seconds(world)
