"""Which minions to publish to now, and why not to the others: the same answer for every caller."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby

from salt_ext.core.config.apply import Action, Mode
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
from salt_ext.rollout.classes import MinionClasses, TargetMatches
from salt_ext.rollout.closing import ClosingSelection, ClosingSelector
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.publishing import recovering
from salt_ext.store import Store

UNKNOWN_CLASS = "unknown class: no cached grains; asked the minion to refresh its pillar"
RECOVERING = "the store was lost: waiting until the nodes agree with what minions were served"
OBSERVED = "observed only (mode: observe)"
RATE_LIMITED = "rate limited: its last runs are less than apply:min_interval ago"

_MINUTE = 60.0
_ASK_INTERVAL = 600.0
"""Seconds until a minion whose class is still unknown is asked for its pillar once more."""
_RETIRED_INTERVAL = 3600.0
"""Seconds until a minion that still references a removed cluster is asked for its pillar again."""
_ENGINE_MARGIN = 30.0
"""Seconds that the engine has to notice that a job did not return, and to ask whether it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyRequest:
    """What the reactor, the engine's timer or an operator asks for."""

    clusters: frozenset[str]
    minions: str | None = None
    """Compound target; None for every minion."""
    force: bool = False
    """Also minions that are backing off, observed only, or in a stopped class."""

    @property
    def whole(self) -> bool:
        """Whether it may move the rollouts on: it is for everybody, and by the rules."""
        return self.minions is None and not self.force


@dataclass(slots=True, kw_only=True)
class Selection:
    """What to publish now, class by class."""

    batches: list[tuple[Action, list[str]]] = field(default_factory=list)
    """What to publish to which minions."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a minion that is out of sync is not in a batch."""
    classes: dict[str, Action] = field(default_factory=dict)
    """The class of each minion that is out of sync, where it is known."""
    rollouts: dict[str, RolloutState | None] = field(default_factory=dict)
    """The rollouts that have moved on, by class; None for one that has ended."""
    unknown_class: list[str] = field(default_factory=list)
    """Minions to ask for their pillar: with it comes the grains that tell their class."""
    rate_limited: dict[str, float] = field(default_factory=dict)
    """Minions that have run lately, and when each may run again."""
    out_of_sync: dict[str, list[OutOfSync]] = field(default_factory=dict)
    """What each minion lacks."""
    retired: dict[str, list[OutOfSync]] = field(default_factory=dict)
    """Minions to ask for their pillar: it had references to clusters that were removed."""
    closing: ClosingSelection = field(default_factory=ClosingSelection)
    """What to publish for departed addresses."""

    def due(self) -> set[str]:
        """Return the minions that a run of ``apply`` would do something for now."""
        batched = {minion for _, minions in self.batches for minion in minions}
        moved = {name for name, action in self.classes.items() if action.name in self.rollouts}
        return batched | moved | {*self.unknown_class}


class BatchSelector:
    """Decides, and writes nothing."""

    def __init__(
        self, config: Config, store: Store, desired_state: DesiredState, match: TargetMatches
    ) -> None:
        self._config = config
        self._store = store
        self._desired_state = desired_state
        self._match = match
        self._dice = random.Random()  # noqa: S311
        self._closing = ClosingSelector(config, store)

    def select(
        self, request: ApplyRequest, now: float, out_of_sync: list[OutOfSync] | None = None
    ) -> Selection:
        """Return what to publish now; ``out_of_sync`` spares another look at the store."""
        apply = self._config.apply
        ledger = self._store.applied.all()
        if out_of_sync is None:
            out_of_sync = self._desired_state.out_of_sync(self._config, ledger)
        waiting = self._recovering()
        selection = Selection(
            out_of_sync={name: list(rows) for name, rows in groupby(out_of_sync, _minion)}
        )
        rollouts = self._store.rollouts.all()
        retired = self._retired(ledger, request, now)
        departures = bool(self._store.departures.closings())
        if not (selection.out_of_sync or rollouts or retired or departures):
            return selection
        classes = MinionClasses(apply, self._match)
        selection.classes = {
            name: action
            for name in selection.out_of_sync
            if (action := classes.of(name)) is not None
        }
        selection.rate_limited = self._rate_limited(selection.out_of_sync, now)
        outcomes = self._outcomes(ledger, classes, now)
        asked_for = self._match(request.minions) if request.minions is not None else None
        minions = [
            name
            for name in selection.out_of_sync
            if name not in waiting and (asked_for is None or name in asked_for)
        ]
        for name in minions:
            if name not in selection.classes:
                selection.reasons[name] = UNKNOWN_CLASS
        room = apply.max_per_minute - self._store.jobs.minions_published_to(now - _MINUTE, now)
        to_ask = self._to_ask(selection, request, now)
        selection.unknown_class = to_ask[: max(0, room)]
        room -= len(selection.unknown_class)
        for action in (*apply.classes, apply.default):
            members = [name for name in minions if selection.classes.get(name) is action]
            candidates = self._candidates(action, members, selection, request, now)
            step = self._step(
                action, candidates, outcomes.get(action.name, []), rollouts, request, now
            )
            if request.whole and step.state != rollouts.get(action.name):
                selection.rollouts[action.name] = step.state
            batch = list(step.minions[: max(0, room)])
            room -= len(batch)
            for one in candidates:
                if one.due and one.minion not in batch:
                    selection.reasons[one.minion] = (
                        self._ceiling() if one.minion in step.minions else step.why
                    )
            if batch:
                selection.batches.append((action, batch))
        configured = {action.name for action in (*apply.classes, apply.default)}
        selection.rollouts |= dict.fromkeys(rollouts.keys() - configured)
        asked = [
            name
            for name in retired
            if (asked_for is None or name in asked_for) and name not in selection.unknown_class
        ]
        selection.retired = {name: retired[name] for name in asked[: max(0, room)]}
        room -= len(selection.retired)
        closing = self._closing.select(
            selection.out_of_sync,
            classes.of,
            now,
            timeout=apply.timeout + _ENGINE_MARGIN,
            room=room,
            clusters=request.clusters,
            minions=asked_for,
            busy={name for _, batch in selection.batches for name in batch},
            force=request.force,
        )
        selection.closing = closing.without(waiting, RECOVERING)
        selection.reasons |= dict.fromkeys(waiting & selection.out_of_sync.keys(), RECOVERING)
        return selection

    def _recovering(self) -> frozenset[str]:
        """Return the minions with a cluster that waits, since the store was lost."""
        found = recovering(self._config, self._store)
        if found is None:
            return frozenset()
        pairs = self._desired_state.desired(self._config)
        return frozenset(minion for minion, cluster in pairs if cluster in found.waiting)

    def _retired(
        self, ledger: Mapping[MinionCluster, LedgerEntry], request: ApplyRequest, now: float
    ) -> dict[str, list[OutOfSync]]:
        """
        Return the minions that are to be asked for their pillar, since a cluster was removed.

        Their pillar tells whether the reference is gone too. Asked at once, and again each hour
        while it is still there: no event tells when it is taken out.
        """
        timeout = self._config.apply.timeout + _ENGINE_MARGIN
        every = (*self._config.apply.classes, self._config.apply.default)
        if all(action.mode is Mode.OBSERVE for action in every):
            return {}
        rows: dict[str, list[OutOfSync]] = {}
        for (minion, cluster), remains in self._desired_state.retired(self._config).items():
            entry = ledger.get((minion, cluster)) or LedgerEntry(minion=minion, cluster=cluster)
            row = OutOfSync(
                minion=minion, cluster=cluster, desired=entry.applied or "", entry=entry
            )
            interval = _RETIRED_INTERVAL if remains else _ASK_INTERVAL
            asked = _asked_lately(entry, now, interval) and not request.force
            if row.due(now, timeout) and not asked:
                rows.setdefault(minion, []).append(row)
        return rows

    def _ceiling(self) -> str:
        most = self._config.apply.max_per_minute
        return f"rate limited: at most {most} publishes a minute (apply:max_per_minute)"

    def _to_ask(self, selection: Selection, request: ApplyRequest, now: float) -> list[str]:
        """Return the minions of unknown class that are to be asked for their pillar now."""
        timeout = self._config.apply.timeout + _ENGINE_MARGIN
        every = (*self._config.apply.classes, self._config.apply.default)
        if all(action.mode is Mode.OBSERVE for action in every):
            return []
        return [
            name
            for name in sorted(selection.reasons)
            if not any(
                _asked_lately(row.entry, now, _ASK_INTERVAL) for row in selection.out_of_sync[name]
            )
            and any(
                self._requested(row, request)
                and row.due(now, timeout)
                and self._config.mode(row.cluster) is not Mode.OBSERVE
                for row in selection.out_of_sync[name]
            )
        ]

    def _rate_limited(
        self, out_of_sync: Mapping[str, list[OutOfSync]], now: float
    ) -> dict[str, float]:
        limited, rested = {}, self._store.minion_facts.full_burst_at()
        for name in out_of_sync.keys() & rested.keys():
            last = max(row.entry.dispatched_at or 0.0 for row in out_of_sync[name])
            until = self._config.apply.next_run(last, rested[name])
            # After the clock was set back, the time of its last run is unknown.
            if last <= now and until > last:
                limited[name] = until
        return limited

    def _candidates(
        self,
        action: Action,
        minions: list[str],
        selection: Selection,
        request: ApplyRequest,
        now: float,
    ) -> list[Candidate]:
        candidates = []
        for name in minions:
            rows = selection.out_of_sync[name]
            enforced = [row for row in rows if request.force or self._enforced(action, row)]
            if not enforced:
                selection.reasons[name] = OBSERVED
                continue
            candidate = self._candidate(name, rows, enforced, request, now)
            limited = now < selection.rate_limited.get(name, 0.0) and not request.force
            if candidate.due and limited:
                selection.reasons[name] = RATE_LIMITED
                candidate = replace(candidate, due=False)
            candidates.append(candidate)
        return candidates

    def _requested(self, row: OutOfSync, request: ApplyRequest) -> bool:
        """Whether a request is for this row: a cluster that was removed has no other request."""
        return row.cluster in request.clusters or row.cluster not in self._config.names

    def _enforced(self, action: Action, row: OutOfSync) -> bool:
        return Mode.OBSERVE not in (action.mode, self._config.mode(row.cluster))

    def _candidate(
        self,
        name: str,
        rows: list[OutOfSync],
        enforced: list[OutOfSync],
        request: ApplyRequest,
        now: float,
    ) -> Candidate:
        # The engine notices first that a job did not return, and counts it. Only without an engine
        # does this time-out end it.
        timeout = self._config.apply.timeout + _ENGINE_MARGIN
        # One job brings a minion all of its clusters; it would refuse a second one meanwhile.
        flying = [row.entry.dispatched_at for row in rows if row.in_flight(now, timeout)]
        due = not flying and any(
            self._requested(row, request) and (request.force or row.due(now, timeout))
            for row in enforced
        )
        return Candidate(
            minion=name,
            due=due,
            in_flight_since=max((at for at in flying if at is not None), default=None),
            # A minion that has proved it, if long ago, begins no rollout.
            attempts=max(row.entry.attempts or int(row.proof_expired) for row in rows),
            applied_at=max(row.entry.applied_at or 0.0 for row in rows),
        )

    def _step(
        self,
        action: Action,
        candidates: list[Candidate],
        outcomes: list[MinionOutcome],
        rollouts: Mapping[str, RolloutState],
        request: ApplyRequest,
        now: float,
    ) -> NextBatch:
        if request.force:
            return NextBatch(state=None, minions=tuple(one.minion for one in candidates if one.due))
        apply = self._config.apply
        policy = RolloutPolicy(
            canary=apply.canary, abort_percent=apply.abort_percent, batch=apply.batch
        )

        def wait(tries: int) -> float:
            return retry_after(tries, refused=False, rng=self._dice)

        return next_batch(rollouts.get(action.name), candidates, outcomes, policy, now, wait)

    def _outcomes(
        self, ledger: Mapping[MinionCluster, LedgerEntry], classes: MinionClasses, now: float
    ) -> dict[str, list[MinionOutcome]]:
        outcomes: dict[str, list[MinionOutcome]] = {}
        published = (
            entry
            for entry in ledger.values()
            if entry.dispatched_at is not None and entry.dispatched_at <= now
        )
        for minion, entries in groupby(sorted(published, key=_minion), _minion):
            action = classes.of(minion)
            if action is not None:
                outcomes.setdefault(action.name, []).append(_outcome(list(entries), now))
        return outcomes


def _outcome(entries: list[LedgerEntry], now: float) -> MinionOutcome:
    def past(at: float | None) -> float:
        # A later time is from before the clock was set back: it answers no later publish.
        return at if at is not None and at <= now else 0.0

    last = max(entry.dispatched_at or 0.0 for entry in entries)
    newest = [entry for entry in entries if entry.dispatched_at == last]
    failing = [past(entry.failing_since) for entry in newest if entry.failing_since is not None]
    return MinionOutcome(
        dispatched_at=last,
        applied_at=min((past(entry.applied_at) for entry in newest), default=None),
        failing_since=min(failing, default=None),
        failed_at=max((past(entry.failed_at) for entry in newest), default=None),
        silent=any(entry.silent for entry in newest),
    )


def _asked_lately(entry: LedgerEntry, now: float, interval: float) -> bool:
    """Return whether a minion has answered lately that it asks for its pillar."""
    at = entry.dispatched_at
    return entry.dispatched is None and at is not None and abs(now - at) < interval


def _minion(row: OutOfSync | LedgerEntry) -> str:
    return row.minion
