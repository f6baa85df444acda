"""Puts the addresses of nodes into one minion's pillar: what the ext_pillar does."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, MutableMapping
from functools import cache, partial
from typing import Any

from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.config.apply import MODULE
from salt_ext.core.config.config import KEY, Config
from salt_ext.core.errors import BadReference, StoreError
from salt_ext.core.references import expand, node_lists, reference
from salt_ext.core.references.expand import Expansion, Unresolved
from salt_ext.core.references.node_lists import ListedNode
from salt_ext.core.references.resolve import digest
from salt_ext.core.references.scan import find_references
from salt_ext.master.pillar_compile import PillarCompile
from salt_ext.master.targets import Matches
from salt_ext.references import payload_grant
from salt_ext.references.node_lists import (
    NOT_SERVED,
    Lists,
    cluster_of,
    lists_for,
    nodes_by_cluster,
)
from salt_ext.references.node_lists import recorded as listed
from salt_ext.references.resolver import Resolver
from salt_ext.store import Store
from salt_ext.store.history import HistoryEntry
from salt_ext.store.subscriptions import Answer, Seen

log = logging.getLogger(__name__)

_PUT_BACK = "stands in a pillar= override, which Salt puts back over what became of it"

_SILENT = 120.0
"""Seconds after which what nobody has told anew counts as stale."""


class PillarRenderer:
    """Serves pillars from one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._store_is = ""
        self.resolving = Resolver(store)

    def serve(
        self,
        minion: str,
        pillarenv: str,
        pillar: MutableMapping[str, Any],
        config: Config,
        matches: Matches,
        compiled: Callable[[], PillarCompile],
        prepare: Callable[[str], None] | None = None,
    ) -> Expansion:
        """
        Replace the references of a pillar, in place, and record them.

        ``compiled`` is asked only when it matters what kind of compile this is, and ``prepare``
        is called with the name of each cluster before it is looked up. Never raises
        for a store that cannot be used: then the references stay as they are.
        """
        compiled = cache(compiled)
        refused: set[str] = set()
        used: dict[str, Snapshot] = {}

        def answer(text: str) -> tuple[str, ...] | Unresolved:
            try:
                name = reference.parse(text).cluster
            except BadReference as exc:
                return Unresolved(str(exc))
            target = self._target(name, config)
            if target is not None and not matches(target):
                refused.add(text)
                return Unresolved(NOT_SERVED.format(target))
            if prepare is not None:
                prepare(name)
            found = self.resolving.addresses(text, config)
            if not isinstance(found, Unresolved):
                used[name] = self.resolving.held(name)
            return found

        def nodes(text: str) -> tuple[ListedNode, ...] | Unresolved:
            found = self.resolving.nodes(text, config)
            if not isinstance(found, Unresolved):
                # With each answer: of many clusters not all are held at the end.
                used[cluster_of(text)] = self.resolving.held(cluster_of(text))
            return found

        done = expand.expand(pillar, answer)
        if done.resolved or done.unresolved:
            for text in find_references(compiled().override):
                done.unresolved.setdefault(text, _PUT_BACK)
        for text, why in done.unresolved.items():
            log.warning("%s: %s stays in the pillar: %s", minion, text, why)
        known = partial(self._known, minion, pillarenv)
        lists = lists_for(config, matches, nodes, known, prepare)
        for text, handed in lists.items():
            if isinstance(handed, Unresolved):
                done.unresolved[text] = handed.why
                log.warning("%s: it is not handed %s: %s", minion, text, handed.why)
        changed = dict(done.changed)
        if done.resolved or done.unresolved or lists:
            mine = _mapping(changed.get(KEY, pillar.get(KEY)))
            changed[KEY] = {**mine, **self._told(done, used, lists)}
            basis = payload_grant.grant(minion, pillar.get(MODULE), done, config, self._store)
            # What a person laid over this one compile is no ground for later ones.
            if basis is not None and not lists and compiled().permanent:
                changed[KEY]["delivery"] = basis
        if config.names:
            self._record(minion, pillarenv, {**_seen(done, refused), **listed(lists)}, compiled)
        # Last: an error of our own on the way here leaves every reference in the pillar.
        pillar.update(changed)
        return done

    def _target(self, name: str, config: Config) -> str | None:
        cluster = config.clusters.get(name) or config.broken.get(name)
        return cluster.serve_to if cluster else None

    def _known(self, minion: str, pillarenv: str) -> list[str]:
        try:
            return self._store.subscriptions.references_of(minion, pillarenv)
        except StoreError:
            return []

    def _record(
        self,
        minion: str,
        pillarenv: str,
        seen: Mapping[str, Seen],
        compiled: Callable[[], PillarCompile],
    ) -> None:
        subscriptions = self._store.subscriptions
        try:
            if subscriptions.differs(minion, pillarenv, seen) and compiled().permanent:
                now, before = time.time(), set(subscriptions.references_of(minion, pillarenv))
                subscriptions.record(minion, pillarenv, seen, now, complete=compiled().complete)
                after = set(subscriptions.references_of(minion, pillarenv))
                if before != after:
                    detail = {
                        "minion": minion,
                        "pillarenv": pillarenv,
                        "refers_to": sorted(after - before),
                        "no_longer_to": sorted(before - after),
                    }
                    self._store.history.record(
                        HistoryEntry(at=now, cluster="", what="pillar", detail=detail)
                    )
        except StoreError as exc:
            log.error(
                "%s: which clusters its pillar references could not be recorded, so that it is "
                "not told of changes until its pillar is compiled again: %s",
                minion,
                exc,
            )

    def _told(
        self,
        done: Expansion,
        used: Mapping[str, Snapshot],
        lists: Lists,
    ) -> dict[str, Any]:
        clusters: dict[str, dict[str, Any]] = {
            name: {
                "revision": snapshot.revision,
                "observed_at": snapshot.observed_at,
                "stale": self._stale(name),
                "store": self._origin(),
            }
            for name, snapshot in sorted(used.items())
        }
        served = {address for found in done.resolved.values() for address in found}
        for name, nodes in nodes_by_cluster(lists).items():
            clusters[name]["nodes"] = nodes
            served |= node_lists.addresses_of(nodes)
        return {
            "clusters": clusters,
            "served": sorted(served),
            "unresolved": dict(sorted(done.unresolved.items())),
        }

    def _origin(self) -> str:
        if not self._store_is:
            with contextlib.suppress(StoreError):
                self._store_is = self._store.snapshots.store_id()
        return self._store_is

    def _stale(self, cluster: str) -> bool:
        try:
            health = self._store.health.of(cluster)
        except StoreError:
            return True
        return (
            health is None
            or health.state != "watching"
            or not 0 <= time.time() - health.reported_at < _SILENT
        )


def _seen(done: Expansion, refused: set[str]) -> dict[str, Seen]:
    seen = {
        text: Seen(
            cluster=reference.parse(text).cluster,
            answer=Answer.SERVED,
            digest=digest({text: addresses}),
        )
        for text, addresses in done.resolved.items()
    }
    for text in done.unresolved:
        try:
            cluster = reference.parse(text).cluster
        except BadReference:
            cluster = ""
        answer = Answer.REFUSED if text in refused else Answer.UNRESOLVED
        seen.setdefault(text, Seen(cluster=cluster, answer=answer))
    return seen


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


_kept: dict[str, PillarRenderer] = {}


def renderer(config: Config) -> PillarRenderer:
    """Return what this process keeps for a state folder, made at the first call."""
    if config.state_dir not in _kept:
        _kept[config.state_dir] = PillarRenderer(Store(config.state_dir))
    return _kept[config.state_dir]
