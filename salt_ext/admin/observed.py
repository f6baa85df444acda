"""``observed``: what would have been published, were it not for mode ``observe``."""

from __future__ import annotations

import time
from collections.abc import Sequence

from salt_ext.core import answers
from salt_ext.core.config.apply import Mode
from salt_ext.core.config.config import Config
from salt_ext.core.display import utc
from salt_ext.core.errors import BadArgument
from salt_ext.core.rollout.observed import Totals, What, start_of
from salt_ext.rollout.observed import MAX_NAMED
from salt_ext.store import Store
from salt_ext.store.observed import KEPT, ObservedEntry

_STATUS_SINCE = 7 * 86_400.0
"""Seconds that the line in ``status`` is about."""


def observed(
    config: Config,
    store: Store,
    cluster: str | None = None,
    *,
    minion: str | None = None,
    since: str = "7d",
    count: int = 20,
) -> answers.Observed:
    """
    Return the newest ``count`` changes that were not made, newest first, and what all come to.

    :class:`UnknownCluster` when the cluster is not configured and has no entries;
    :class:`BadArgument` when ``since`` is not a time.
    """
    now = time.time()
    try:
        start = start_of(since, now)
    except (ValueError, OverflowError) as exc:
        allowed = "a number of m, h, d or w, as 6d, or a date and time, as 2026-03-01T12:00:00Z"
        raise BadArgument("since", since, allowed) from exc
    if cluster and cluster not in store.observed.clusters():
        config.known(cluster)
    entries = [
        entry
        for entry in store.observed.entries(cluster or None, start)
        if not minion or minion in entry.change.minions
    ]
    return {
        "summary": _totals(entries, now).text(now) if entries else _nothing(start, now),
        "observing": _observing(config),
        "entries": [_item(entry) for entry in entries[: max(0, count)]],
    }


def line(store: Store, now: float) -> str:
    """Return what the last week comes to, for ``status``."""
    entries = store.observed.entries(None, now - _STATUS_SINCE)
    if not entries:
        return "no change so far"
    return f"{_totals(entries, now).text(now)}; run `salt-run k8s_nodes.observed`"


def _nothing(start: float, now: float) -> str:
    return f"no change since {utc(max(0.0, start, now - KEPT))}"


def _observing(config: Config) -> list[str]:
    clusters = [f"cluster {name}" for name in config.names if config.mode(name) is Mode.OBSERVE]
    classes = [
        f"class {action.name or '(none)'}"
        for action in (*config.apply.classes, config.apply.default)
        if action.mode is Mode.OBSERVE
    ]
    return [*clusters, *classes]


def _totals(entries: Sequence[ObservedEntry], now: float) -> Totals:
    made = [entry for entry in entries if entry.change.what is not What.HOLD]
    # Many entries have the same group of minions, which is one object.
    groups = {id(entry.change.minions): entry.change.minions for entry in made}
    return Totals(
        since=min((entry.at for entry in entries), default=now),
        changes=sum(entry.times + entry.change.folded for entry in made),
        opens=sum(entry.times * entry.change.opens.count for entry in made),
        closes=sum(entry.times * entry.change.closes.count for entry in made),
        holds=len(entries) - len(made),
        minions=len(frozenset[str]().union(*groups.values())),
    )


def _item(entry: ObservedEntry) -> answers.ObservedEntry:
    change = entry.change
    item: answers.ObservedEntry = {
        "at": utc(entry.at),
        "what": change.what.value,
        "cluster": change.cluster,
        "why": change.why,
    }
    if entry.until > entry.at:
        item["until"] = utc(entry.until)
    if entry.times > 1:
        item["times"] = entry.times
    if change.folded:
        item["folded"] = change.folded
    if change.what is What.HOLD:
        item["nodes"] = list(change.nodes)
        return item
    item["observed_by"] = change.observed_by
    item["revision"] = change.revision
    item["publishes"] = change.publishes
    item["class"] = change.class_ or None
    if change.what is What.APPLY:
        item["opens"], item["opens_count"] = list(change.opens.first), change.opens.count
        item["closes"], item["closes_count"] = list(change.closes.first), change.closes.count
        item["desired"] = change.desired
        item["first"] = list(change.first)
        item["rollout"] = change.rollout
    item["minions"] = len(change.minions)
    item["names"] = list(change.minions[:MAX_NAMED])
    if change.waits:
        item["waits"] = change.waits
    return item
