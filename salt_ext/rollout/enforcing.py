"""What a switch from ``observe`` to ``enforce`` would publish now, by the same selection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from salt_ext.core.config.apply import Mode
from salt_ext.core.config.config import Config
from salt_ext.core.display import names
from salt_ext.core.rollout.departures import Departure, addresses_of
from salt_ext.core.rollout.drift import OutOfSync
from salt_ext.core.rollout.observed import observed_by
from salt_ext.rollout.classes import MinionClasses, TargetMatches
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.selection import ApplyRequest, BatchSelector
from salt_ext.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """What would be published, and where."""

    minions: frozenset[str]
    """The minions that would be published to, sooner or later."""
    of: int
    """All minions that the cluster or class has."""
    opens: frozenset[str]
    closes: frozenset[str]
    first: tuple[str, ...] = ()
    """The minions of the first batch, or the canaries."""
    first_opens: int = 0
    first_closes: int = 0
    unproven: int = 0
    """Minions where nothing was proven: what they have is unknown."""
    observed_by: tuple[str, ...] = ()
    """What would still keep minions from it."""
    unknown_class: int = 0

    def __str__(self) -> str:
        addresses = f"open {_addresses(len(self.opens))} and close {len(self.closes)}"
        parts = [f"would publish to {len(self.minions)} of {self.of} minions now, {addresses}"]
        if self.first:
            parts.append(
                f"first {names(self.first)}: {self.first_opens} to open, "
                f"{self.first_closes} to close"
            )
        if self.unproven:
            parts.append(f"nothing is proven on {self.unproven} of them")
        if self.unknown_class:
            parts.append(f"{self.unknown_class} more have an unknown class")
        if self.observed_by:
            parts.append(f"others stay observed by {names(self.observed_by)}")
        return "; ".join(parts)


def of_cluster(
    config: Config, store: Store, match: TargetMatches, name: str, now: float
) -> Switch | None:
    """Return what ``mode: enforce`` of a cluster would publish; None while it has a mistake."""
    cluster = config.clusters.get(name)
    if cluster is None:
        return None
    clusters = {**config.clusters, name: replace(cluster, mode=Mode.ENFORCE)}
    return _switch(replace(config, clusters=clusters), store, match, now, cluster=name)


def of_class(config: Config, store: Store, match: TargetMatches, name: str, now: float) -> Switch:
    """Return what ``mode: enforce`` of a class would publish."""
    apply = config.apply
    enforced = replace(
        apply,
        classes=tuple(
            replace(one, mode=Mode.ENFORCE) if one.name == name else one for one in apply.classes
        ),
        default=(
            replace(apply.default, mode=Mode.ENFORCE)
            if apply.default.name == name
            else apply.default
        ),
    )
    return _switch(replace(config, apply=enforced), store, match, now, class_=name)


def _switch(
    config: Config,
    store: Store,
    match: TargetMatches,
    now: float,
    *,
    cluster: str | None = None,
    class_: str | None = None,
) -> Switch:
    desired_state = DesiredState(store)
    desired = desired_state.desired(config)
    rows = desired_state.out_of_sync(config, desired=desired)
    request = ApplyRequest(clusters=frozenset(config.names))
    selection = BatchSelector(config, store, desired_state, match).select(request, now, rows)
    classes = MinionClasses(config.apply, match)

    def concerned(minion: str, of: str) -> bool:
        if cluster is not None:
            return of == cluster
        action = classes.of(minion)
        return action is not None and action.name == class_

    kept, published, unknown = _sorted(config, rows, concerned, classes)
    closings = [one for one in store.departures.open() if concerned(one.minion, one.cluster)]
    closings = [
        one for one in closings if not observed_by(config, one.cluster, classes.of(one.minion))
    ]
    changes = _changes(store, published, closings)
    minions = frozenset(changes)
    batched = {name for _, batch in selection.batches for name in batch}
    # With a class that is stopped, or minions that are rate limited, nothing is published at once.
    first = tuple(sorted(batched & minions))
    return Switch(
        minions=minions,
        of=len({minion for minion, of in desired if concerned(minion, of)}),
        opens=_all(changes, 0),
        closes=_all(changes, 1),
        first=first,
        first_opens=len(_all({name: changes[name] for name in first}, 0)),
        first_closes=len(_all({name: changes[name] for name in first}, 1)),
        unproven=len({row.minion for row in published if row.entry.applied is None}),
        observed_by=tuple(sorted(kept)),
        unknown_class=len(unknown),
    )


def _sorted(
    config: Config,
    rows: list[OutOfSync],
    concerned: Callable[[str, str], bool],
    classes: MinionClasses,
) -> tuple[set[str], list[OutOfSync], set[str]]:
    """Return what still keeps minions from it, what would be published, and unknown classes."""
    kept: set[str] = set()
    published: list[OutOfSync] = []
    unknown: set[str] = set()
    for row in rows:
        if not concerned(row.minion, row.cluster):
            continue
        action = classes.of(row.minion)
        observers = observed_by(config, row.cluster, action)
        if action is None:
            unknown.add(row.minion)
        elif observers:
            kept.add(observers)
        else:
            published.append(row)
    return kept, published, unknown


_Changes = dict[str, tuple[set[str], set[str]]]
"""By minion, the addresses that open and those that close."""


def _changes(store: Store, rows: list[OutOfSync], closings: list[Departure]) -> _Changes:
    digests = {row.entry.applied for row in rows if row.entry.applied is not None}
    applied = {
        key: addresses_of(resolved) for key, resolved in store.address_sets.all(digests).items()
    }
    desired: dict[str, frozenset[str]] = {}
    changes: _Changes = {}
    for row in rows:
        if row.desired not in desired:
            desired[row.desired] = addresses_of(row.resolved)
        opens, closes = changes.setdefault(row.minion, (set(), set()))
        had = applied.get(row.entry.applied or "", frozenset())
        opens |= desired[row.desired] - had
        closes |= had - desired[row.desired] if not row.unresolved else frozenset()
    for one in closings:
        changes.setdefault(one.minion, (set(), set()))[1].add(one.address)
    return changes


def _all(changes: _Changes, part: int) -> frozenset[str]:
    return frozenset(address for change in changes.values() for address in change[part])


def _addresses(count: int) -> str:
    return f"{count} address{'' if count == 1 else 'es'}"
