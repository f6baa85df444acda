"""Write down what references serve no more, and end what is wanted again: before each selection."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from cachetools import LRUCache

from salt_ext.core.config.config import Config
from salt_ext.core.display import names
from salt_ext.core.references.resolve import digest
from salt_ext.core.rollout.departures import Departure, Move, Served, move
from salt_ext.core.rollout.drift import Desired, LedgerEntry, MinionCluster, Resolved
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.store import Store
from salt_ext.store.departures import BaselineChange
from salt_ext.store.history import HistoryEntry

log = logging.getLogger(__name__)

_CACHED = 256
"""Sets of references that are kept in memory: many minions share one."""

_MAX_NAMED = 100
"""Addresses and minions that one entry of the history names."""

_Desired = Mapping[MinionCluster, Desired]


class DepartureTracker:
    """
    Compares what each minion should have now with its baseline, whatever has changed that.

    A view, a pillar, a group, the configuration: the difference is a departure. Level-triggered,
    so it does not matter which process looks, and when.
    """

    def __init__(self, store: Store, desired_state: DesiredState) -> None:
        self._store = store
        self._desired_state = desired_state
        self._moves: dict[tuple[str, str, str, bool], Move] = {}
        self._kept: LRUCache[tuple[str, tuple[str, ...], str], tuple[str, Resolved]] = LRUCache(
            maxsize=_CACHED
        )
        self._sets: LRUCache[str, Served] = LRUCache(maxsize=_CACHED)

    def update(self, config: Config, ledger: Mapping[MinionCluster, LedgerEntry]) -> _Desired:
        """Write down what has departed or is wanted again; return what is desired now."""
        # Read first: a view that is stored meanwhile must not end its own departures.
        still_open = self._store.departures.open()
        desired = self._desired_state.desired(config)
        self._end_wanted(still_open, desired)
        self._advance(config, desired, ledger)
        return desired

    def _end_wanted(self, still_open: list[Departure], desired: _Desired) -> None:
        if not still_open:
            return
        by_minion: dict[str, list[str]] = {}
        for departure in still_open:
            by_minion.setdefault(departure.minion, []).append(departure.address)
        again: dict[str, set[str]] = {}
        for (minion, _), target in desired.items():
            if minion in by_minion:
                addresses = by_minion[minion]
                wanted = set(addresses) - self._served(target.digest, target.resolved).without(
                    addresses
                )
                if wanted:
                    again.setdefault(minion, set()).update(wanted)
        if again:
            self._store.departures.want(again, time.time())
            for minion, wanted in again.items():
                log.info("minion %s: wanted again: %s [departure-void]", minion, names(wanted))

    def _served(self, key: str, resolved: Resolved) -> Served:
        if key not in self._sets:
            self._sets[key] = Served.of(resolved)
        return self._sets[key]

    def _advance(
        self, config: Config, desired: _Desired, ledger: Mapping[MinionCluster, LedgerEntry]
    ) -> None:
        baselines = self._store.departures.baselines()
        moved = [
            pair
            for pair, target in desired.items()
            if baselines.get(pair) != target.digest and (pair in baselines or target.resolved)
        ]
        moved += baselines.keys() - desired.keys()
        if not moved:
            return
        before = {
            pair: known
            for pair in moved
            if (known := _before(baselines.get(pair), ledger.get(pair)))
        }
        sets = self._store.address_sets.all({*before.values()})
        minions = {minion for minion, _ in moved}
        targets: dict[str, list[tuple[str, Desired]]] = {}
        for (minion, cluster), target in desired.items():
            if minion in minions:
                targets.setdefault(minion, []).append((cluster, target))
        tracked = self._store.departures.closings().keys()
        self._moves = {}
        changes: list[BaselineChange] = []
        new_sets: dict[str, Resolved] = {}
        for pair in moved:
            key = before.get(pair, "")
            old = sets.get(key, {})
            after, now = self._now(desired.get(pair), key, old)
            if after is not None and after == baselines.get(pair):
                # With an unresolved reference, what it had served stays.
                continue
            if after is not None:
                new_sets[after] = now
            changes.append(
                self._change(
                    pair,
                    baselines.get(pair),
                    after,
                    self._move(key, old, after or "", now, pair[1], config),
                    [one for name, one in targets.get(pair[0], ()) if name != pair[1]],
                    tracked=pair[0] in tracked,
                )
            )
        if changes:
            now_at = time.time()
            written = self._store.departures.advance(changes, new_sets, now_at)
            self._record(written, now_at)

    def _now(self, target: Desired | None, key: str, old: Resolved) -> tuple[str | None, Resolved]:
        """Return what counts as served now: nothing departs with an unresolved reference."""
        if target is None:
            return None, {}
        kept = tuple(text for text in target.unresolved if text in old)
        if not kept:
            return target.digest, target.resolved
        cache = target.digest, kept, key
        if cache not in self._kept:
            now = {**target.resolved, **{text: old[text] for text in kept}}
            self._kept[cache] = digest(now), now
        return self._kept[cache]

    def _move(
        self, key: str, old: Resolved, after: str, now: Resolved, cluster: str, config: Config
    ) -> Move:
        configured = cluster in config.names
        cache = key, after, cluster, configured
        if cache not in self._moves:
            self._moves[cache] = move(old, now, cluster, configured=configured)
        return self._moves[cache]

    def _change(
        self,
        pair: MinionCluster,
        before: str | None,
        after: str | None,
        moved: Move,
        elsewhere: list[Desired],
        *,
        tracked: bool,
    ) -> BaselineChange:
        departed = moved.departed
        for other in elsewhere if departed else ():
            gone = self._served(other.digest, other.resolved).without(departed)
            departed = {address: why for address, why in departed.items() if address in gone}
        return BaselineChange(
            minion=pair[0],
            cluster=pair[1],
            before=before,
            after=after,
            departed=departed,
            returned=moved.returned if tracked else (),
        )

    def _record(self, written: list[BaselineChange], now: float) -> None:
        """Add to the history what departed for another cause than a view, by cluster."""
        for cluster in sorted({change.cluster for change in written if change.departed}):
            # What a view took is in the entry of its change already.
            begun = {
                (one.minion, one.address): one.cause
                for one in self._store.departures.since(cluster, now, 10_000)
            }
            if not begun:
                continue
            addresses = sorted({address for _, address in begun})
            minions = sorted({minion for minion, _ in begun})
            detail = {
                "addresses": addresses[:_MAX_NAMED],
                "minions": minions[:_MAX_NAMED],
                "causes": sorted(set(begun.values()))[:_MAX_NAMED],
                "truncated": max(len(addresses), len(minions)) > _MAX_NAMED,
            }
            log.info(
                "cluster %s: %d addresses are served no more to %s: %s [departed]",
                *(cluster, len(addresses), names(minions), names(set(begun.values()))),
            )
            self._store.history.record(
                HistoryEntry(at=now, cluster=cluster, what="departed", detail=detail)
            )


def _before(baseline: str | None, entry: LedgerEntry | None) -> str | None:
    """Return the digest of what a minion had; a store may know a publish and no baseline yet."""
    if baseline is not None or entry is None:
        return baseline
    return entry.dispatched or entry.applied
