"""Whom to publish to now, and why not to the others: the same answer for whoever asks."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from itertools import groupby

from salt_ext.core.config.apply import ANY_GRAINS, Action, Mode
from salt_ext.core.config.config import Config
from salt_ext.core.rollout.drift import LedgerEntry, MinionCluster, OutOfSync, retry_after
from salt_ext.core.rollout.wave import (
    Candidate,
    MinionOutcome,
    NextBatch,
    RolloutPolicy,
    RolloutState,
    next_batch,
)
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.store import Store

TargetMatches = Callable[[str], Set[str]]
"""The minions that a compound target means."""

_UNKNOWN = "its class is not known: the master has no grains of it, and has it ask for its pillar"

_MINUTE = 60.0
_ASKED = 600.0
"""Seconds until a minion whose class is still not known is asked once more."""
_ENGINE = 10.0
"""Seconds that the engine has to notice that a job did not return."""


def no_minions(_: str) -> frozenset[str]:
    """Mean no minion by any target."""
    return frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyRequest:
    """What is asked for: by an event, by the engine's timer or by a person."""

    clusters: frozenset[str]
    minions: str | None = None
    """Compound target; None for every minion."""
    force: bool = False
    """A person's word: also whose next try is later, who is only observed, who was stopped."""


@dataclass(slots=True, kw_only=True)
class Selection:
    """Whom to publish to, class by class."""

    chosen: list[tuple[Action, list[str]]] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)
    """Minions that are behind and not published to now, and why not."""
    classes: dict[str, Action] = field(default_factory=dict)
    """Of every minion that is behind and whose class is known."""
    waves: dict[str, RolloutState | None] = field(default_factory=dict)
    """Those that are not what they were."""
    strangers: list[str] = field(default_factory=list)
    """Minions whose class is not known, and who are to ask for their pillar: it brings grains."""
    paced: dict[str, float] = field(default_factory=dict)
    """Minions whose next run may not follow the last one at once, and when it may."""
    rows: dict[str, list[OutOfSync]] = field(default_factory=dict)
    """What each minion that is behind lacks."""

    @property
    def something(self) -> bool:
        """Whether there is something to do now."""
        return bool(self.chosen or self.waves or self.strangers)


class BatchSelector:
    """Decides, and writes nothing."""

    def __init__(
        self, config: Config, store: Store, places: DesiredState, meant: TargetMatches
    ) -> None:
        self._config = config
        self._store = store
        self._places = places
        self._meant = meant
        self._dice = random.Random()  # noqa: S311

    def choose(
        self, wish: ApplyRequest, now: float, late: list[OutOfSync] | None = None
    ) -> Selection:
        """Return whom to publish to now."""
        ledger = self._store.applied.all()
        if late is None:
            late = self._places.behind(self._config, ledger)
        choice = Selection(rows={name: list(rows) for name, rows in groupby(late, _minion)})
        waves = self._store.rollouts.all()
        if not choice.rows and not waves:
            return choice
        members = {
            one.target: self._meant(one.target)
            for one in self._config.apply.classes
            if one.target is not None
        }
        known = self._known(members)
        choice.classes = {
            name: self._config.apply.class_of(name, members) for name in choice.rows if known(name)
        }
        outcomes = self._outcomes(ledger, members, known, now)
        asked = self._meant(wish.minions) if wish.minions is not None else None
        strangers = choice.rows.keys() - choice.classes.keys()
        choice.waiting = {name: _UNKNOWN for name in strangers if asked is None or name in asked}
        choice.paced = self._paced(choice.rows, now)
        room = self._config.apply.max_per_minute - self._store.jobs.minions_published_to(
            now - _MINUTE, now
        )
        choice.strangers = self._asked(choice, wish, now)[: max(0, room)]
        room -= len(choice.strangers)
        for what in (*self._config.apply.classes, self._config.apply.default):
            mine = [name for name in choice.rows if choice.classes.get(name) is what]
            candidates = []
            for name in mine:
                if asked is not None and name not in asked:
                    continue
                candidate = self._candidate(what, name, choice, wish, now)
                if candidate is not None:
                    candidates.append(candidate)
            taken = self._step(what, candidates, outcomes.get(what.name, []), waves, wish, now)
            whole = asked is None and not wish.force
            if whole and taken.state != waves.get(what.name):
                choice.waves[what.name] = taken.state
            told = list(taken.minions[: max(0, room)])
            room -= len(told)
            for one in candidates:
                if one.due and one.minion not in told:
                    ceiling = f"at most {self._config.apply.max_per_minute} publishes a minute"
                    choice.waiting[one.minion] = (
                        ceiling if one.minion in taken.minions else taken.why
                    )
            if told:
                choice.chosen.append((what, told))
        for name in waves.keys() - {one.name for one in self._config.apply.classes} - {""}:
            choice.waves[name] = None
        return choice

    def _known(self, members: Mapping[str, Set[str]]) -> Callable[[str], bool]:
        """Return what tells whether a minion's class is known: its grains may have gone."""
        apply = self._config.apply
        if not any(one.needs_grains for one in apply.classes):
            return lambda _: True
        told = self._meant(ANY_GRAINS)
        return lambda minion: apply.knows_class(minion, members, told)

    def _asked(self, choice: Selection, wish: ApplyRequest, now: float) -> list[str]:
        """Return who of those whose class is not known is to ask for its pillar now."""
        timeout = self._config.apply.timeout + _ENGINE
        every = (*self._config.apply.classes, self._config.apply.default)
        if all(one.mode is Mode.OBSERVE for one in every):
            return []
        return [
            name
            for name in sorted(choice.waiting)
            if not any(_has_asked(row.entry, now) for row in choice.rows[name])
            and any(
                row.cluster in wish.clusters
                and row.due(now, timeout)
                and self._config.mode(row.cluster) is not Mode.OBSERVE
                for row in choice.rows[name]
            )
        ]

    def _paced(self, rows: Mapping[str, list[OutOfSync]], now: float) -> dict[str, float]:
        paced, rested = {}, self._store.minion_facts.full_burst_at()
        for name in rows.keys() & rested.keys():
            last = max(row.entry.dispatched_at or 0.0 for row in rows[name])
            until = self._config.apply.next_run(last, rested[name])
            # After a clock that was set back, nobody knows when its last run was.
            if last <= now and until > last:
                paced[name] = until
        return paced

    def _candidate(
        self, what: Action, name: str, choice: Selection, wish: ApplyRequest, now: float
    ) -> Candidate | None:
        # The engine sees a silence first, and counts it: only where there is none does this end it.
        rows, timeout = choice.rows[name], self._config.apply.timeout + _ENGINE
        # One job brings a minion all of its clusters; a busy one would refuse a second.
        flying = [row.entry.dispatched_at for row in rows if row.in_flight(now, timeout)]
        pushing = [
            row
            for row in rows
            if wish.force or Mode.OBSERVE not in (what.mode, self._config.mode(row.cluster))
        ]
        if not pushing:
            choice.waiting[name] = "only observed"
            return None
        due = not flying and any(
            row.cluster in wish.clusters and (wish.force or row.due(now, timeout))
            for row in pushing
        )
        if due and not wish.force and now < choice.paced.get(name, 0.0):
            choice.waiting[name] = "its last runs were a moment ago"
            due = False
        return Candidate(
            minion=name,
            due=due,
            in_flight_since=max((at for at in flying if at is not None), default=None),
            # One that has proved it begins no wave.
            attempts=max(row.entry.attempts or int(row.proof_expired) for row in rows),
            applied_at=max(row.entry.applied_at or 0.0 for row in rows),
        )

    def _step(
        self,
        what: Action,
        candidates: list[Candidate],
        outcomes: list[MinionOutcome],
        waves: Mapping[str, RolloutState],
        wish: ApplyRequest,
        now: float,
    ) -> NextBatch:
        if wish.force:
            return NextBatch(state=None, minions=tuple(one.minion for one in candidates if one.due))
        apply = self._config.apply
        care = RolloutPolicy(
            canary=apply.canary, abort_percent=apply.abort_percent, batch=apply.batch
        )

        def wait(tries: int) -> float:
            return retry_after(tries, refused=False, rng=self._dice)

        return next_batch(waves.get(what.name), candidates, outcomes, care, now, wait)

    def _outcomes(
        self,
        ledger: Mapping[MinionCluster, LedgerEntry],
        members: Mapping[str, Set[str]],
        known: Callable[[str], bool],
        now: float,
    ) -> dict[str, list[MinionOutcome]]:
        found: dict[str, list[MinionOutcome]] = {}
        told = (
            entry
            for entry in ledger.values()
            if entry.dispatched_at is not None and entry.dispatched_at <= now
        )
        for minion, entries in groupby(sorted(told, key=_minion), _minion):
            if known(minion):
                what = self._config.apply.class_of(minion, members)
                found.setdefault(what.name, []).append(_outcome(list(entries), now))
        return found


def _outcome(entries: list[LedgerEntry], now: float) -> MinionOutcome:
    def known(at: float | None) -> float:
        # Later than now was before the clock was set back: no answer to what was told since.
        return at if at is not None and at <= now else 0.0

    last = max(entry.dispatched_at or 0.0 for entry in entries)
    newest = [entry for entry in entries if entry.dispatched_at == last]
    failing = [known(entry.failing_since) for entry in newest if entry.failing_since is not None]
    return MinionOutcome(
        dispatched_at=last,
        applied_at=min((known(entry.applied_at) for entry in newest), default=None),
        failing_since=min(failing, default=None),
        failed_at=max((known(entry.failed_at) for entry in newest), default=None),
        silent=any(entry.silent for entry in newest),
    )


def _has_asked(entry: LedgerEntry, now: float) -> bool:
    """Whether a minion that was to ask for its pillar has said a moment ago that it does."""
    at = entry.dispatched_at
    return entry.dispatched is None and at is not None and abs(now - at) < _ASKED


def _minion(one: OutOfSync | LedgerEntry) -> str:
    return one.minion
