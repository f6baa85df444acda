"""What would change where, and why; nothing is published."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable, Mapping

from salt_ext.core import answers
from salt_ext.core.cluster.address import order
from salt_ext.core.config.config import Config
from salt_ext.core.display import utc
from salt_ext.core.rollout.drift import OutOfSync, Served
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.selection import ApplyRequest, BatchSelector, Selection, TargetMatches
from salt_ext.store import Store

MOST = 100
"""Addresses that are named in one list."""


def plan(
    config: Config,
    store: Store,
    meant: TargetMatches,
    clusters: frozenset[str],
    minions: str | None = None,
) -> answers.Plan:
    """
    Return the minions that are behind, and which addresses would come and go on each.

    ``added`` and ``removed`` are None where it is not known what is in force: nothing was proven
    yet, or the minion has started since; ``publishes`` is None where its class is not known.
    """
    now = time.time()
    choosing = BatchSelector(config, store, DesiredState(store), meant)
    choice = choosing.choose(ApplyRequest(clusters=clusters, minions=minions), now)
    asked = meant(minions) if minions is not None else None
    at_once = {name for _, names in choice.chosen for name in names}
    told: dict[str, answers.PlannedMinion] = {}
    for name, rows in choice.rows.items():
        mine = [row for row in rows if row.cluster in clusters]
        if not mine or (asked is not None and name not in asked):
            continue
        what = choice.classes.get(name)
        told[name] = {
            "publishes": str(what) if what else None,
            "class": (what.name or None) if what else None,
            "when": when(name, rows, choice, config, now) if name not in at_once else "now",
            "clusters": {row.cluster: _changes(store, config, row, now) for row in mine},
        }
    return {"minions": told, "waiting": publishing_stopped(config, store)}


def publishing_stopped(config: Config, store: Store) -> str | None:
    """Return why nothing at all is published, None when something may be."""
    paused = store.control.paused()
    if paused is not None:
        return f"paused by {paused.by} since {utc(paused.at)}"
    if config.in_doubt:
        return f"nothing is published: {config.in_doubt[0]}"
    return None


def when(
    name: str, rows: Iterable[OutOfSync], choice: Selection, config: Config, now: float
) -> str:
    """Return in words when a minion that is behind is published to."""
    timeout = config.apply.timeout
    flying = next((row for row in rows if row.in_flight(now, timeout)), None)
    if flying is not None:
        return f"job {flying.entry.jid} is on its way"
    if name in choice.waiting:
        return choice.waiting[name]
    next_at = max(row.entry.next_at for row in rows)
    return f"in {next_at - now:.0f} s" if next_at > now else "now"


def _changes(store: Store, config: Config, row: OutOfSync, now: float) -> answers.PlannedChange:
    applied = row.entry.applied
    had = store.ledger.served(applied) if applied is not None else None
    added, removed = (None, None) if had is None else address_changes(had, row.served)
    told: answers.PlannedChange = {
        "why": row.why(now, config.apply.timeout),
        "added": added,
        "removed": removed,
        "desired": len(_addresses(row.served)),
    }
    if row.unresolved:
        told["unresolved"] = list(row.unresolved)
    return told


def address_changes(had: Served, wants: Served) -> tuple[list[str], list[str]]:
    """Return the addresses that come and those that go, each in order and not too many."""
    old, new = _addresses(had), _addresses(wants)
    return _ordered(new - old), _ordered(old - new)


def _addresses(served: Mapping[str, Iterable[str]]) -> frozenset[str]:
    return frozenset(address for found in served.values() for address in found)


def _ordered(addresses: frozenset[str]) -> list[str]:
    read = sorted(addresses, key=_order)
    more = [f"and {len(read) - MOST} more"] if len(read) > MOST else []
    return [*read[:MOST], *more]


def _order(text: str) -> tuple[tuple[int, int, int], str]:
    try:
        return order(ipaddress.ip_network(text)), text
    except ValueError:
        # A list that the configuration hands to a minion has a line for each node.
        return (9, 0, 0), text
