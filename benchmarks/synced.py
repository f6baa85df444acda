"""From a node's join to the set in every kernel through a published k8s_firewall.sync."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from benchmarks.row import Row, Say
from benchmarks.turns import Turns, fill, share, turns
from lab.world.provisioning import provision

ADDRESSES = 50
TURNS = {1: 12, 10: 8}
FORMULA_TURNS = {1: 3, 10: 2}
AIMS = {1: (0.5, 1.0), 10: (0.8, 1.5)}
"""Seconds, of the median and of the worst, by minions."""

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


def rows(part: str, say: Say) -> list[Row]:
    """Return joins and leaves, for one minion and for ten, beside a formula's state run."""
    found: list[Row] = []
    for minions, aims in AIMS.items():
        say(f"{minions} minions take a published sync, {ADDRESSES} addresses")
        ours = _turns("sets", minions, _SETS, _ALL_SYNC, TURNS[minions], say)
        say(f"{minions} minions apply one rule per address")
        theirs = _turns("rules", minions, _RULES, None, FORMULA_TURNS[minions], say)
        for what, mine, others, its_aims in (
            ("joins: in force in the kernel", ours.opened, theirs.opened, aims),
            ("leaves: shut out", ours.closed, theirs.closed, (None, None)),
        ):
            for quantile, which, aim in (
                (0.5, "median", its_aims[0]),
                (0.99, f"worst of {len(mine)}", its_aims[1]),
            ):
                name = f"node {what} through sync, {minions} minions, {which} (beside a formula)"
                found.append(
                    Row(
                        part=part,
                        name=name,
                        unit="s",
                        ours=share(mine, quantile),
                        alternative=share(others, quantile),
                        aim=aim,
                    )
                )
    return found


def _turns(
    name: str,
    minions: int,
    pillar: Mapping[str, Any],
    classes: Mapping[str, Any] | None,
    count: int,
    say: Say,
) -> Turns:
    with provision(
        f"{name}{os.getpid()}",
        minions=minions,
        api="real",
        traffic=False,
        pillar=pillar,
        k8s_nodes={"apply": {"classes": classes}},
    ) as world:
        fill(world, ADDRESSES - 2)
        return turns(world, count, say)
