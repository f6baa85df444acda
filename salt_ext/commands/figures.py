"""Reads the figures from the store: the same for every way of handing them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from salt_ext.commands.places import Places
from salt_ext.core import figures
from salt_ext.core.config import Config
from salt_ext.core.figures import Sample
from salt_ext.store import Store


class Figures:
    """The figures of every configured cluster; labels are cluster names and fixed reasons."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._places = Places(store)

    def samples(self) -> Iterator[Sample]:
        """Yield what is known now."""
        wanted = Counter(cluster for _, cluster in self._places.desired(self._config))
        late = Counter(one.cluster for one in self._places.behind(self._config) if not one.renewal)
        for name in self._config.names:
            label = (("cluster", name),)
            yield Sample(figures.MINIONS, wanted[name], label)
            yield Sample(figures.BEHIND, late[name], label)
            yield Sample(figures.REVISION, self._store.snapshots.revision(name), label)
            yield from self._health(name, label)

    def _health(self, name: str, label: tuple[tuple[str, str], ...]) -> Iterator[Sample]:
        held = Counter(change.kind for change in self._store.held.of(name))
        for kind, count in held.items():
            yield Sample(figures.HELD, count, (*label, ("reason", kind)))
        health = self._store.health.of(name)
        if health is None:
            return
        yield Sample(figures.IN_SYNC, health.state == "watching", label)
        yield Sample(figures.NODES, health.nodes, label)
        yield Sample(figures.LISTED, health.listed_at, label)
        yield Sample(figures.HEARD, health.heard_at, label)
        yield Sample(figures.TOLD, health.told_at, label)
        yield Sample(figures.FAILURES, health.failures, label)
        yield Sample(figures.LISTS, health.lists, label)
        yield Sample(figures.EVENTS, health.events, label)
        yield Sample(figures.IGNORED, health.ignored, label)
        yield Sample(figures.ERRORS, health.errors, label)
        for reason, count in health.refused.items():
            yield Sample(figures.REFUSED, count, (*label, ("reason", reason)))
