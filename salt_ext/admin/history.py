"""``history``: what changed when, by whose hand, and how long each minion took to apply it."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import cast

from salt_ext.core import answers
from salt_ext.core.config.config import Config
from salt_ext.core.display import utc
from salt_ext.core.rollout.departures import Departure, State, canonical
from salt_ext.store import Store
from salt_ext.store.history import HistoryEntry
from salt_ext.store.timings import ApplyTiming

_MAX_TIMINGS = 5000
"""Timings of one cluster that are searched."""
_MAX_DEPARTED = 10_000
"""Departures of one change that are looked at, open ones first."""
_MAX_MINIONS = 100
"""Minions of one change that are named with what became of its departures."""
_MAX_SEARCHED = 2000
"""Entries of each cluster that are searched for one minion."""
_NOTICED_WITHIN = 5.0
"""Seconds after a change within which the engine notices the minions that are out of date."""


def history(
    config: Config,
    store: Store,
    cluster: str | None,
    count: int,
    kinds: Collection[str] = (),
    minion: str | None = None,
) -> answers.History:
    """
    Return the newest ``count`` entries, newest first, of one cluster or of everything.

    Each change of a cluster has the seconds until each minion proved it. ``kinds`` and ``minion``
    leave out all other entries. :class:`UnknownCluster` when the cluster is not configured.
    """
    recorded = store.history.clusters()
    if cluster:
        names = [cluster if cluster in recorded else config.known(cluster)]
    else:
        names = sorted({"", *config.names, *recorded})
    searched = count if minion is None else _MAX_SEARCHED
    entries = [entry for name in names for entry in store.history.newest(name, searched, kinds)]
    entries.sort(key=lambda entry: entry.at, reverse=True)
    timings = {name: store.timings.newest(name, _MAX_TIMINGS) for name in names}
    items = (_item(entry, timings[entry.cluster], store) for entry in entries)
    if minion is not None:
        items = (item for item in items if _concerns(item, minion))
    return {"entries": [*itertools.islice(items, max(0, count))]}


def _concerns(item: answers.HistoryItem, minion: str) -> bool:
    named = item.get("minions")
    return (
        item.get("minion") == minion
        or (isinstance(named, list) and minion in named)
        or minion in item.get("seconds", {})
        or minion in item.get("closed", {})
        or minion in item.get("still_open", {})
    )


def _item(entry: HistoryEntry, timings: Sequence[ApplyTiming], store: Store) -> answers.HistoryItem:
    item: dict[str, object] = {
        "at": utc(entry.at),
        "what": entry.what,
        **({"cluster": entry.cluster} if entry.cluster else {}),
        **{key: value for key, value in entry.detail.items() if key != "cluster"},
    }
    if entry.first_at is not None:
        item |= {"times": entry.times, "first_at": utc(entry.first_at)}
    if entry.what == "changed":
        revision = int(entry.detail.get("revision", 0))
        item["seconds"] = seconds_to_apply(entry.at, revision, timings)
    if entry.what in ("changed", "departed"):
        item |= _departures(entry, store.departures.since(entry.cluster, entry.at, _MAX_DEPARTED))
    # The detail is JSON from the store, written by this version or an older one.
    return cast("answers.HistoryItem", item)


def _departures(entry: HistoryEntry, rows: Sequence[Departure]) -> dict[str, object]:
    """
    Return what has become of the addresses that left with one change.

    An address is called removed only once it is proven to be closed on each minion that had it.
    """
    still_open: dict[str, dict[str, str]] = {}
    for one in rows:
        if one.state is State.OPEN:
            by = one.open_by or "not checked yet"
            still_open.setdefault(one.minion, {})[one.address] = by
    closed: dict[str, answers.ClosedOn] = {}
    for one in sorted(rows, key=lambda row: row.ended_at or 0.0):
        if one.state in (State.CLOSED, State.SPARED) and one.minion not in still_open:
            at = one.ended_at or entry.at
            closed[one.minion] = {
                "at": utc(at),
                "seconds": round(at - entry.at, 2),
                "evidence": one.evidence,
            }
    found: dict[str, object] = {}
    if still_open:
        found["still_open"] = dict(sorted(still_open.items())[:_MAX_MINIONS])
    if closed:
        found["closed"] = dict(sorted(closed.items())[:_MAX_MINIONS])
    if "removed" in entry.detail:
        remaining = {address for listed in still_open.values() for address in listed}
        found["removed"] = [
            address for address in entry.detail["removed"] if canonical(address) not in remaining
        ]
    return found


def seconds_to_apply(at: float, revision: int, timings: Sequence[ApplyTiming]) -> dict[str, float]:
    """
    Return the seconds from a change until each minion proved it.

    That is its first run with this revision or a later one, if it was out of date at that time.
    """
    seconds: dict[str, float] = {}
    for timing in sorted(timings, key=lambda timing: timing.at):
        behind_since = timing.at - timing.seconds
        if (
            timing.at >= at
            and behind_since <= at + _NOTICED_WITHIN
            and (timing.revision or 0) >= revision
        ):
            seconds.setdefault(timing.minion, round(timing.at - at, 2))
    return dict(sorted(seconds.items()))
