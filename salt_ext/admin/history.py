"""Who or what changed which addresses when, and how long each minion took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from salt_ext.core.config.config import Config
from salt_ext.core.display import utc
from salt_ext.store import Store
from salt_ext.store.history import HistoryEntry
from salt_ext.store.timings import ApplyTiming

_MOST_RUNS = 5000
"""Measured runs of one cluster that are looked through."""
_SEEN_WITHIN = 5.0
"""Seconds within which it is noticed that a change has left a minion behind."""


def history(config: Config, store: Store, cluster: str | None, most: int) -> dict[str, Any]:
    """Return the newest entries, newest first; each change with the minions that it reached."""
    names = [config.known(cluster)] if cluster else ["", *config.names]
    entries = [entry for name in names for entry in store.history.newest(name, most)]
    entries.sort(key=lambda entry: entry.at, reverse=True)
    runs = {name: store.timings.newest(name, _MOST_RUNS) for name in names}
    return {"entries": [_told(entry, runs[entry.cluster]) for entry in entries[:most]]}


def _told(entry: HistoryEntry, runs: Sequence[ApplyTiming]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "at": utc(entry.at),
        "what": entry.what,
        **({"cluster": entry.cluster} if entry.cluster else {}),
        **{key: value for key, value in entry.detail.items() if key != "cluster"},
    }
    if entry.what == "changed":
        told["seconds"] = seconds_to_apply(entry.at, int(entry.detail.get("revision", 0)), runs)
    return told


def seconds_to_apply(at: float, revision: int, runs: Sequence[ApplyTiming]) -> dict[str, float]:
    """
    Return how many seconds after a change each minion had proved it.

    That is the first run with its revision or a later one, of a minion that was behind then.
    """
    found: dict[str, float] = {}
    for run in sorted(runs, key=lambda run: run.at):
        behind_since = run.at - run.seconds
        if run.at >= at and behind_since <= at + _SEEN_WITHIN and (run.revision or 0) >= revision:
            found.setdefault(run.minion, round(run.at - at, 2))
    return dict(sorted(found.items()))
