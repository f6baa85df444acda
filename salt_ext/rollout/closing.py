"""Which minions are sent a job for their departures: as a step of its own, after the proof."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from salt_ext.core.config.apply import Action, Mode
from salt_ext.core.config.config import Config
from salt_ext.core.rollout.closing import due, groups, recheck_due
from salt_ext.core.rollout.departures import ARGUMENT, CLOSE, MAX_IN_JOB, SYNC, Closing, Departure
from salt_ext.core.rollout.drift import OutOfSync
from salt_ext.store import Store

AFTER_RUN = "after a run without it"


@dataclass(slots=True, kw_only=True)
class ClosingSelection:
    """What to publish now for departures."""

    batches: list[tuple[Action, list[str]]] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a minion with open departures is not in a batch."""
    due: dict[str, set[str]] = field(default_factory=dict)
    """Cluster to the minions in the batches."""
    wakes: dict[str, float] = field(default_factory=dict)
    """Minions that wait for their next try, and until when."""

    def without(self, minions: Collection[str], why: str) -> ClosingSelection:
        """Return what remains without some minions."""
        if not minions:
            return self
        batches = [
            (action, [name for name in batch if name not in minions])
            for action, batch in self.batches
        ]
        due = {cluster: names.difference(minions) for cluster, names in self.due.items()}
        concerned = {
            *self.reasons,
            *self.wakes,
            *(name for _, batch in self.batches for name in batch),
        }
        return ClosingSelection(
            batches=[(action, batch) for action, batch in batches if batch],
            reasons={**self.reasons, **dict.fromkeys(concerned.intersection(minions), why)},
            due={cluster: names for cluster, names in due.items() if names},
            wakes={name: until for name, until in self.wakes.items() if name not in minions},
        )


class ClosingSelector:
    """Decides, and writes nothing."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store

    def select(
        self,
        out_of_sync: Mapping[str, list[OutOfSync]],
        class_of: Callable[[str], Action | None],
        now: float,
        *,
        timeout: float,
        room: int,
        clusters: Collection[str],
        minions: Collection[str] | None,
        busy: Collection[str],
        force: bool,
    ) -> ClosingSelection:
        """Return the jobs to publish now, for at most ``room`` minions that are not ``busy``."""
        found = ClosingSelection()
        closings = self._store.departures.closings()
        if not closings:
            return found
        open_rows = {
            minion: list(rows)
            for minion, rows in groupby(self._store.departures.open(), lambda one: one.minion)
        }
        chosen: list[tuple[str, list[Departure]]] = []
        for minion, rows in open_rows.items():
            if minions is not None and minion not in minions:
                continue
            if minion in busy:
                found.reasons[minion] = AFTER_RUN
                continue
            ready = self._ready(minion, rows, out_of_sync, class_of, found, force=force)
            ready = [row for row in ready if row.cluster in clusters or self._retired(row)]
            closing = closings.get(minion) or Closing(minion=minion)
            if not ready:
                continue
            if closing.in_flight(now, timeout):
                found.reasons[minion] = f"job {closing.jid} is on its way"
            elif force or due(closing, now, timeout):
                chosen.append((minion, ready))
            else:
                found.reasons[minion] = closing.error or "still open when last checked"
                found.wakes[minion] = closing.next_at
        chosen += self._rechecks(closings, open_rows, out_of_sync, class_of, now, timeout, minions)
        flying = sum(one.in_flight(now, timeout) for one in closings.values())
        room = max(0, min(room, self._config.apply.batch - flying))
        for minion, rows in chosen[:room]:
            for row in rows:
                found.due.setdefault(row.cluster, set()).add(minion)
        for minion, _ in chosen[room:]:
            found.reasons[minion] = "waiting for other minions (apply:batch, apply:max_per_minute)"
        for named, members in groups(chosen[:room]).items():
            action = Action(function=CLOSE, kwarg={ARGUMENT: dict(named)})
            found.batches.append((action, members))
        return found

    def _ready(
        self,
        minion: str,
        rows: list[Departure],
        out_of_sync: Mapping[str, list[OutOfSync]],
        class_of: Callable[[str], Action | None],
        found: ClosingSelection,
        *,
        force: bool,
    ) -> list[Departure]:
        """Return the enforced departures whose run is over: proven, or failed."""
        lacking = out_of_sync.get(minion, ())
        # A formula that fails, and a proof that has expired, keep nothing open: the minion asks
        # for its pillar and closes only what that does not allow.
        behind = {
            row.cluster for row in lacking if not row.proof_expired and not row.entry.attempts
        }
        if any(row.entry.jid is not None for row in lacking):
            found.reasons[minion] = "waiting for the run in flight"
            return []
        proven = [row for row in rows if row.cluster not in behind]
        if not proven:
            found.reasons[minion] = AFTER_RUN
            return []
        action = class_of(minion)
        enforced = [
            row
            for row in proven
            if force
            or Mode.OBSERVE not in (self._class_mode(action), self._config.mode(row.cluster))
        ]
        if not enforced:
            found.reasons[minion] = "observed only (mode: observe)"
        return enforced

    def _class_mode(self, action: Action | None) -> Mode:
        """Return the mode of a class; one that is unknown may be any of them."""
        if action is not None:
            return action.mode
        every = (*self._config.apply.classes, self._config.apply.default)
        observed = any(one.mode is Mode.OBSERVE for one in every)
        return Mode.OBSERVE if observed else Mode.ENFORCE

    def _retired(self, row: Departure) -> bool:
        return row.cluster not in self._config.names

    def _rechecks(
        self,
        closings: Mapping[str, Closing],
        open_rows: Collection[str],
        out_of_sync: Collection[str],
        class_of: Callable[[str], Action | None],
        now: float,
        timeout: float,
        minions: Collection[str] | None,
    ) -> list[tuple[str, list[Departure]]]:
        """Return the minions whose closed addresses are looked for again."""
        names = [
            minion
            for minion, closing in closings.items()
            if minion not in open_rows
            and minion not in out_of_sync
            and (minions is None or minion in minions)
            and recheck_due(closing, now, timeout)
            and self._needs_recheck(class_of(minion))
        ]
        ended = self._store.departures.ended_of(names, MAX_IN_JOB)
        enforced = {
            minion: [row for row in rows if self._config.mode(row.cluster) is not Mode.OBSERVE]
            for minion, rows in ended.items()
        }
        return [(minion, rows) for minion, rows in enforced.items() if rows]

    def _needs_recheck(self, action: Action | None) -> bool:
        """Whether the usual run of a class answers nothing about departures."""
        if action is not None and action.function == SYNC:
            return False
        return self._class_mode(action) is not Mode.OBSERVE
