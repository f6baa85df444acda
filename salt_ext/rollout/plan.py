"""What would change on which minion, and why; nothing is published."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable, Mapping, Set
from itertools import groupby

from salt_ext.core import answers
from salt_ext.core.cluster.address import sort_key
from salt_ext.core.config.config import Config
from salt_ext.core.display import utc
from salt_ext.core.rollout.departures import CLOSE
from salt_ext.core.rollout.drift import OutOfSync, Resolved
from salt_ext.rollout.classes import TargetMatches
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.publishing import publishing_stopped
from salt_ext.rollout.selection import ApplyRequest, BatchSelector, Selection
from salt_ext.store import Store

MAX_LISTED = 100
"""Addresses that are named in one list."""


def plan(
    config: Config,
    store: Store,
    match: TargetMatches,
    clusters: frozenset[str],
    minions: str | None = None,
) -> answers.Plan:
    """
    Return the minions that are out of sync, and which addresses would come and go on each.

    ``added`` and ``removed`` are None where it is not known what is in force: nothing was proven
    yet, or the minion has started since; ``publishes`` is None where its class is not known.
    """
    # What a removed cluster has opened is due with any request.
    clusters |= store.applied.clusters() - frozenset(config.names)
    now = time.time()
    selector = BatchSelector(config, store, DesiredState(store), match)
    selection = selector.select(ApplyRequest(clusters=clusters, minions=minions), now)
    asked_for = match(minions) if minions is not None else None
    batched = {name for _, names in selection.batches for name in names}
    planned: dict[str, answers.PlannedMinion] = {}
    for name, rows in selection.out_of_sync.items():
        shown = [row for row in rows if row.cluster in clusters]
        if not shown or (asked_for is not None and name not in asked_for):
            continue
        action = selection.classes.get(name)
        planned[name] = {
            "publishes": str(action) if action else None,
            "class": (action.name or None) if action else None,
            "when": "now" if name in batched else when(name, rows, selection, config, now),
            "clusters": {row.cluster: _changes(store, config, row, now) for row in shown},
        }
    _add_closings(planned, store, selection, clusters, asked_for)
    return {"minions": planned, "waiting": publishing_stopped(config, store)}


def _add_closings(
    planned: dict[str, answers.PlannedMinion],
    store: Store,
    selection: Selection,
    clusters: frozenset[str],
    asked_for: Set[str] | None,
) -> None:
    """Add the departed addresses that are not proven to be closed."""
    batched = {name for _, names in selection.closing.batches for name in names}
    for minion, rows in groupby(store.departures.open(), lambda one: one.minion):
        closes: list[answers.PlannedClosing] = [
            {
                "address": one.address,
                "cluster": one.cluster,
                "cause": one.cause,
                "since": utc(one.since),
                "open_by": one.open_by or "not checked yet",
            }
            for one in rows
            if one.cluster in clusters
        ]
        if not closes or (asked_for is not None and minion not in asked_for):
            continue
        waits = selection.closing.reasons.get(minion, "now")
        when = "now" if minion in batched else waits
        entry = planned.setdefault(
            minion, {"publishes": CLOSE, "class": None, "when": when, "clusters": {}}
        )
        entry["closes"] = closes[:MAX_LISTED]
        entry["closes_when"] = when


def when(
    name: str, rows: Iterable[OutOfSync], selection: Selection, config: Config, now: float
) -> str:
    """Return in words when a minion that is out of sync is published to."""
    timeout = config.apply.timeout
    in_flight = next((row for row in rows if row.in_flight(now, timeout)), None)
    if in_flight is not None:
        return f"job {in_flight.entry.jid} is on its way"
    if name in selection.reasons:
        return selection.reasons[name]
    next_at = max(row.entry.next_at for row in rows)
    return f"in {next_at - now:.0f} s" if next_at > now else "now"


def _changes(store: Store, config: Config, row: OutOfSync, now: float) -> answers.PlannedChange:
    applied = row.entry.applied
    had = store.address_sets.get(applied) if applied is not None else None
    added, removed = (None, None) if had is None else address_changes(had, row.resolved)
    change: answers.PlannedChange = {
        "why": row.why(now, config.apply.timeout),
        "added": added,
        "removed": removed,
        "desired": len(_addresses(row.resolved)),
    }
    if row.unresolved:
        change["unresolved"] = list(row.unresolved)
    return change


def address_changes(applied: Resolved, desired: Resolved) -> tuple[list[str], list[str]]:
    """Return the addresses that come and those that go, each in order and at most MAX_LISTED."""
    old, new = _addresses(applied), _addresses(desired)
    return _ordered(new - old), _ordered(old - new)


def _addresses(served: Mapping[str, Iterable[str]]) -> frozenset[str]:
    return frozenset(address for addresses in served.values() for address in addresses)


def _ordered(addresses: frozenset[str]) -> list[str]:
    ordered = sorted(addresses, key=order)
    left = len(ordered) - MAX_LISTED
    return [*ordered[:MAX_LISTED], *([f"and {left} more"] if left > 0 else [])]


def order(text: str) -> tuple[tuple[int, int, int], str]:
    """Return the key by which addresses are listed."""
    try:
        return sort_key(ipaddress.ip_network(text)), text
    except ValueError:
        # A node list that the configuration gives to a minion has a line for each node.
        return (9, 0, 0), text
