"""
Write down what mode ``observe`` does not publish, and say what ``enforce`` would publish now.

Level-triggered like the rollout: each look compares what every observed minion should have with
what it would have by then, so a change that came while the engine was down is found all the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from salt_ext.core.cluster.hold import Effect
from salt_ext.core.config.apply import Action, Mode
from salt_ext.core.config.config import Config
from salt_ext.core.references.resolve import digest
from salt_ext.core.rollout.departures import Served
from salt_ext.core.rollout.drift import Desired, LedgerEntry, MinionCluster, Resolved
from salt_ext.core.rollout.observed import (
    Addresses,
    Baseline,
    ObservedChange,
    Shift,
    What,
    any_observed,
    causes,
    in_force_after,
    key_of,
    mark,
    observed_by,
    shift,
    steps,
    subject_of,
)
from salt_ext.core.rollout.wave import Candidate, RolloutPolicy, RolloutState, next_batch
from salt_ext.rollout.classes import MinionClasses, TargetMatches
from salt_ext.rollout.plan import order
from salt_ext.rollout.publishing import publishing_stopped
from salt_ext.store import Store
from salt_ext.store.holds import HeldChange

MAX_NAMED = 20
"""Minions and nodes that one entry names."""

_NOTHING: Resolved = {}
_EMPTY = digest(_NOTHING)


@dataclass(frozen=True, slots=True)
class _Moved:
    """One observed minion and cluster whose addresses have changed."""

    minion: str
    cluster: str
    before: str
    """Digest of what it would have had; empty while that is unknown."""
    after: str
    target: Desired
    action: Action | None
    observed_by: str


@dataclass(slots=True)
class _Round:
    """What one look has read, for all minions together."""

    config: Config
    desired: Mapping[MinionCluster, Desired]
    now: float
    classes: MinionClasses
    baselines: dict[MinionCluster, Baseline]
    sets: dict[str, Resolved] = field(default_factory=dict)
    served: dict[str, Served] = field(default_factory=dict)
    moves: dict[MinionCluster, tuple[str, str]] = field(default_factory=dict)
    """Digests of what each would have had and would have now, where these may differ."""

    def served_by(self, key: str) -> Served:
        """Return the addresses of a digest; none while it is unknown."""
        if key not in self.served:
            self.served[key] = Served.of(self.sets.get(key, _NOTHING))
        return self.served[key]


class ObservedChanges:
    """Runs in the engine, after each look at what is desired; publishes nothing."""

    def __init__(self, store: Store, match: TargetMatches) -> None:
        self._store = store
        self._match = match
        self._idle = False
        """Whether nothing is observed, and nothing was before: the configuration stays as it is."""
        self._held: dict[tuple[str, str], tuple[float, str]] = {}
        self._marks: dict[tuple[str, tuple[str, ...]], str] = {}

    def update(
        self,
        config: Config,
        desired: Mapping[MinionCluster, Desired],
        ledger: Mapping[MinionCluster, LedgerEntry],
        now: float,
        reapplied: Mapping[str, str] | None = None,
    ) -> None:
        """
        Write down what would have been published since the last look.

        ``reapplied`` are minions that have to be applied again although nothing changed, and why.
        """
        if self._idle:
            return
        observes = any_observed(config)
        baselines = self._store.observed.baselines()
        if not observes and not baselines:
            self._idle = True
            return
        look = _Round(config, desired, now, MinionClasses(config.apply, self._match), baselines)
        moved, quiet, ended = self._compare(look, ledger)
        changes = self._changes(look, moved, ledger) if moved else []
        if reapplied:
            changes += self._reapplied(look, reapplied, {one.minion for one in moved})
        changes += self._holds(config)
        if changes or quiet or ended or moved:
            written = {(one.minion, one.cluster): one for one in moved}
            self._store.observed.record(
                changes,
                now,
                baselines={
                    **quiet,
                    **{
                        pair: Baseline(digest=one.after, seen=self._mark(one.target))
                        for pair, one in written.items()
                        if pair in desired
                    },
                },
                sets={
                    key: look.sets[key]
                    for key in {
                        *(one.after for one in moved),
                        *(one.digest for one in quiet.values()),
                    }
                    if key in look.sets
                },
                ended=[*ended, *(pair for pair in written if pair not in desired)],
            )

    def _mark(self, target: Desired) -> str:
        if not target.unresolved:
            return target.digest
        key = target.digest, target.unresolved
        if key not in self._marks:
            if len(self._marks) > 10_000:
                self._marks.clear()
            self._marks[key] = mark(target)
        return self._marks[key]

    def _compare(
        self, look: _Round, ledger: Mapping[MinionCluster, LedgerEntry]
    ) -> tuple[list[_Moved], dict[MinionCluster, Baseline], list[MinionCluster]]:
        """Return what has changed, what begins to be observed as it is, and what ends to be."""
        found: list[tuple[MinionCluster, Desired, str, Action | None, str]] = []
        ended: list[MinionCluster] = []
        actions: dict[str, Action | None] = {}
        by: dict[tuple[str, str | None], str] = {}
        gone = look.baselines.keys() - look.desired.keys()
        for pair in [*look.desired, *sorted(gone)]:
            minion, cluster = pair
            if minion not in actions:
                actions[minion] = look.classes.of(minion)
            action = actions[minion]
            kind = cluster, action.name if action is not None else None
            if kind not in by:
                by[kind] = observed_by(look.config, cluster, action)
            known = look.baselines.get(pair)
            if not by[kind] or (known is None and cluster not in look.config.names):
                if known is not None:
                    ended.append(pair)
                continue
            target = look.desired.get(pair) or Desired(digest=_EMPTY)
            if known is None:
                before = _applied(ledger.get(pair))
            elif known.seen == self._mark(target) and pair not in gone:
                continue
            else:
                before = known.digest
            found.append((pair, target, before, action, by[kind]))
        self._read_sets(look, found)
        moved, quiet = [], {}
        for pair, target, before, action, observers in found:
            known = look.baselines.get(pair)
            if before not in look.sets:
                before = ""
            after = self._after(look, before, target)
            look.moves[pair] = before, after
            if known is None and after == (before or _EMPTY) and not target.unresolved:
                quiet[pair] = Baseline(digest=after, seen=self._mark(target))
                continue
            if pair in gone and before == _EMPTY:
                ended.append(pair)
                continue
            moved.append(_Moved(*pair, before, after, target, action, observers))
        return moved, quiet, ended

    def _read_sets(
        self,
        look: _Round,
        found: Iterable[tuple[MinionCluster, Desired, str, Action | None, str]],
    ) -> None:
        minions = {pair[0] for pair, *_ in found}
        wanted = {before for _, _, before, *_ in found if before}
        wanted |= {one.digest for pair, one in look.baselines.items() if pair[0] in minions}
        look.sets = self._store.address_sets.all(wanted)
        for pair, target in look.desired.items():
            if pair[0] in minions:
                look.sets.setdefault(target.digest, target.resolved)
        look.sets.setdefault(_EMPTY, _NOTHING)

    def _after(self, look: _Round, before: str, target: Desired) -> str:
        old = look.sets.get(before, _NOTHING)
        if not any(text in old for text in target.unresolved):
            return target.digest
        now = in_force_after(old, target)
        key = digest(now)
        look.sets.setdefault(key, now)
        return key

    def _changes(
        self, look: _Round, moved: list[_Moved], ledger: Mapping[MinionCluster, LedgerEntry]
    ) -> list[ObservedChange]:
        """Return one change for all minions where it is the same."""
        clusters: dict[str, list[str]] = defaultdict(list)
        names = {one.minion for one in moved}
        for minion, cluster in look.desired.keys() | look.baselines.keys():
            if minion in names:
                clusters[minion].append(cluster)
        shifts: dict[tuple[str, str, tuple[tuple[str, str], ...]], Shift] = {}
        groups: dict[tuple[object, ...], list[_Moved]] = defaultdict(list)
        moves: dict[tuple[object, ...], Shift] = {}
        for one in moved:
            others = tuple(
                sorted(
                    self._elsewhere(look, (one.minion, cluster))
                    for cluster in clusters[one.minion]
                    if cluster != one.cluster
                )
            )
            key = one.before, one.after, others
            if key not in shifts:
                shifts[key] = shift(
                    look.served_by(one.before),
                    look.served_by(one.after),
                    [look.served_by(before) for before, _ in others],
                    [look.served_by(after) for _, after in others],
                )
            class_ = one.action.name if one.action is not None else None
            same = one.cluster, one.before, one.after, one.target.unresolved, class_, shifts[key]
            groups[same].append(one)
            moves[same] = shifts[key]
        waves = self._waves(look, moved, ledger)
        stopped = publishing_stopped(look.config, self._store) or ""
        revisions = {
            name: self._store.snapshots.revision(name) for name in {one.cluster for one in moved}
        }
        return [
            self._change(look, members, moves[same], revisions[members[0].cluster], waves, stopped)
            for same, members in groups.items()
        ]

    def _elsewhere(self, look: _Round, pair: MinionCluster) -> tuple[str, str]:
        """Return what another cluster of a minion serves it before and now."""
        if pair in look.moves:
            return look.moves[pair]
        target, known = look.desired.get(pair), look.baselines.get(pair)
        # An enforced one counts as it should be.
        now = known.digest if known is not None else (target.digest if target else _EMPTY)
        return now, now

    def _change(
        self,
        look: _Round,
        members: list[_Moved],
        moved: Shift,
        revision: int,
        waves: Mapping[str, _Wave],
        stopped: str,
    ) -> ObservedChange:
        one = members[0]
        old, now = look.sets.get(one.before, _NOTHING), look.sets.get(one.after, _NOTHING)
        why = causes(old, now, one.target.unresolved)
        if not one.before:
            why = f"nothing was proven before; {why}"
        minions = tuple(sorted(member.minion for member in members))
        wave = waves.get(one.action.name) if one.action is not None else None
        first = [minion for minion in minions if wave is not None and minion in wave.minions]
        waits = [stopped, wave.stopped if wave is not None else ""]
        if one.action is None:
            waits.append("unknown class: no cached grains")
        if one.target.unresolved:
            waits.append(f"unresolved: {', '.join(one.target.unresolved)}")
        class_ = one.action.name if one.action is not None else None
        return ObservedChange(
            what=What.APPLY,
            cluster=one.cluster,
            why=why,
            key=key_of(
                (
                    *(What.APPLY, one.before, one.after, one.observed_by, class_),
                    *(one.target.unresolved, *sorted(moved.opens), "-", *sorted(moved.closes)),
                )
            ),
            subject=subject_of(minions, moved),
            minions=minions,
            observed_by=one.observed_by,
            revision=revision,
            publishes=str(one.action) if one.action is not None else None,
            class_=class_,
            opens=_listed(moved.opens),
            closes=_listed(moved.closes),
            desired=len(look.served_by(one.after).addresses),
            first=tuple(first[:MAX_NAMED]),
            rollout=wave.text if wave is not None else "",
            waits="; ".join(filter(None, waits)),
        )

    def _waves(
        self, look: _Round, moved: list[_Moved], ledger: Mapping[MinionCluster, LedgerEntry]
    ) -> dict[str, _Wave]:
        """Return which minions of each class would have been published to first."""
        by_class: dict[str, dict[str, LedgerEntry | None]] = defaultdict(dict)
        for one in moved:
            if one.action is not None:
                by_class[one.action.name][one.minion] = ledger.get((one.minion, one.cluster))
        rollouts = self._store.rollouts.all()
        return {
            name: _wave(look.config, minions, rollouts.get(name), look.now)
            for name, minions in by_class.items()
        }

    def _reapplied(
        self, look: _Round, reapplied: Mapping[str, str], moved: set[str]
    ) -> list[ObservedChange]:
        """Return the runs that minions need although no address changed."""
        groups: dict[tuple[str, str, str, str | None], list[str]] = defaultdict(list)
        published: dict[str | None, str | None] = {}
        for minion, cluster in look.baselines:
            why = reapplied.get(minion)
            if why is None or minion in moved:
                continue
            action = look.classes.of(minion)
            observers = observed_by(look.config, cluster, action)
            if observers:
                class_ = action.name if action is not None else None
                published[class_] = str(action) if action is not None else None
                groups[cluster, why, observers, class_].append(minion)
        stopped = publishing_stopped(look.config, self._store) or ""
        return [
            ObservedChange(
                what=What.REAPPLY,
                cluster=cluster,
                why=why,
                key=key_of((What.REAPPLY, why, observers, class_)),
                subject=f"minion {minions[0]}" if len(minions) == 1 else why,
                minions=tuple(sorted(minions)),
                observed_by=observers,
                revision=self._store.snapshots.revision(cluster),
                publishes=published[class_],
                class_=class_,
                waits=stopped,
            )
            for (cluster, why, observers, class_), minions in groups.items()
        ]

    def _holds(self, config: Config) -> list[ObservedChange]:
        """Return the changes that guards hold since the last look, in clusters that count."""
        actions = (*config.apply.classes, config.apply.default)
        every = any(action.mode is Mode.OBSERVE for action in actions)
        found = []
        held: dict[tuple[str, str], tuple[float, str]] = {}
        for name in config.names:
            if not every and config.mode(name) is not Mode.OBSERVE:
                continue
            for change in self._store.holds.of(name):
                place = name, change.kind
                held[place] = change.since, change.token
                if self._held.get(place) != held[place]:
                    found.append(_hold(name, change))
        self._held = held
        return found


@dataclass(frozen=True, slots=True)
class _Wave:
    """The first batch of a class, and how the others would follow."""

    minions: frozenset[str]
    text: str
    stopped: str = ""


def _wave(
    config: Config,
    minions: Mapping[str, LedgerEntry | None],
    state: RolloutState | None,
    now: float,
) -> _Wave:
    apply = config.apply
    policy = RolloutPolicy(
        canary=apply.canary, abort_percent=apply.abort_percent, batch=apply.batch
    )
    candidates = [
        Candidate(minion=name, due=True, applied_at=(entry.applied_at or 0.0) if entry else 0.0)
        for name, entry in sorted(minions.items())
    ]
    step = next_batch(state, candidates, [], policy, now, lambda _: 0.0)
    stopped = step.state.stopped if step.state is not None else ""
    text = steps(len(minions), step.minions, canary=apply.canary, batch=apply.batch)
    return _Wave(frozenset(step.minions), text, stopped)


def _hold(cluster: str, change: HeldChange) -> ObservedChange:
    return ObservedChange(
        what=What.HOLD,
        cluster=cluster,
        why=f"{change.kind}: {change.why}{_effect(change.effect)}",
        key=key_of((What.HOLD, change.kind, change.since)),
        subject=f"hold {change.kind}",
        nodes=tuple(change.keys[:MAX_NAMED]),
    )


def _effect(effect: Effect) -> str:
    if effect == Effect():
        return ""
    return (
        f" ({effect.leave} nodes leave, {effect.join} join; "
        f"{effect.open} addresses open, {effect.close} close)"
    )


def _applied(entry: LedgerEntry | None) -> str:
    """Return the digest of what a minion has, or was sent; empty while that is unknown."""
    return (entry.dispatched or entry.applied or "") if entry is not None else ""


def _listed(addresses: Iterable[str]) -> Addresses:
    return Addresses.of(sorted(addresses, key=order))
