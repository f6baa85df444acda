"""What the guard of one cluster holds, and what persons decided on it: stored, logged, fired."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping

import msgspec

from salt_ext.core import events
from salt_ext.core.cluster.diff import Difference
from salt_ext.core.cluster.guard import Guard
from salt_ext.core.cluster.hold import Doubts, Held, Kind
from salt_ext.store import Store
from salt_ext.store.decisions import ClusterDecisions
from salt_ext.watch.confirmations import TakenConfirmations

log = logging.getLogger(__name__)

_REPORT_INTERVAL = 60.0
"""Seconds between two messages on one held change whose nodes go on to change."""


class HeldChanges:
    """Passes decisions of persons to the guard, and what the guard holds to the store."""

    def __init__(
        self, cluster: str, store: Store, guard: Guard, fire: Callable[[events.Event], None]
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._guard = guard
        self._fire = fire
        self.current: tuple[Held, ...] | None = None
        """The held changes; None until this process has judged a view."""
        self._reported: dict[tuple[Kind, bool], tuple[str, float]] = {}
        """The token of each held change that was logged and fired, and when."""
        self._decided = ClusterDecisions()
        """What the file of decisions says, as this process read or wrote it last."""
        self._confirmations = TakenConfirmations()
        self._doubts = Doubts()
        """What the store has of an older state."""

    def load(self) -> None:
        """Load what the guard of an earlier process held, and what persons decided."""
        guard = self._guard
        self._doubts = self._store.holds.doubts(self._cluster)
        guard.load_doubts(self._doubts)
        self._decided = self._store.decisions.of(self._cluster)
        guard.pinned = self._decided.identity
        guard.released = _by_kind(self._decided.released)
        guard.rejected = _by_kind(self._decided.rejected)

    def save(self, holds: tuple[Held, ...]) -> bool:
        """Store and report what is held now; return False when that is the same as before."""
        doubts = self._guard.doubts
        if doubts != self._doubts:
            self._store.holds.save_doubts(self._cluster, doubts)
            self._doubts = doubts
        if holds == self.current:
            return False
        self._store.holds.replace(self._cluster, holds, time.time())
        self.current = holds
        self._report(holds)
        return True

    def take_decisions(self) -> bool:
        """Pass to the guard what persons have decided since; return True if there was any."""
        if self.current is None or not (self.current or self._decided.confirmations):
            return False
        decided = self._store.decisions.of(self._cluster)
        if not decided.confirmations and decided.rejected == self._decided.rejected:
            return False
        self._decided = decided
        self._guard.rejected = {}
        for kind, subjects in _by_kind(decided.rejected).items():
            self._guard.reject(kind, subjects)
        tokens = {change.token for change in self.current}
        for one in decided.confirmations:
            kind = Kind(one.kind)
            # Of nodes, each fingerprint says whether it is the one that was shown.
            if kind.is_of_whole_view and one.token not in tokens:
                log.warning(
                    "cluster %s: the confirmation by %s came too late: what is held (%s) has "
                    "changed since; see salt-run k8s_nodes.status [confirmation-void]",
                    *(self._cluster, one.by, one.kind),
                )
                continue
            self._guard.release(kind, one.subjects)
            self._confirmations.take(one.token, kind, one.subjects)
            log.warning(
                "cluster %s: %s confirmed: %s [change-confirmed]", self._cluster, one.by, one.why
            )
        self.save_decisions({one.token for one in decided.confirmations})
        return True

    def save_decisions(self, taken: Collection[str] = ()) -> None:
        """Write which decisions the guard has yet to act on; ``taken`` are tokens."""
        guard, known = self._guard, self._decided
        released, rejected = _texts(guard.released), _texts(guard.rejected)
        identity = guard.accepted.identity if guard.accepted else guard.pinned
        stored = self._store.decisions.of(self._cluster)
        same = (released, identity) == (stored.released, stored.identity)
        if same and rejected == known.rejected and not taken:
            return

        def change(old: ClusterDecisions) -> ClusterDecisions:
            # A person may have rejected more meanwhile: only what the guard dropped goes.
            kept = {
                kind: {
                    name: print_
                    for name, print_ in subjects.items()
                    if known.rejected.get(kind, {}).get(name) != print_
                    or rejected.get(kind, {}).get(name) == print_
                }
                for kind, subjects in old.rejected.items()
            }
            return msgspec.structs.replace(
                old,
                identity=identity,
                confirmations=[one for one in old.confirmations if one.token not in taken],
                released=released,
                rejected={kind: subjects for kind, subjects in kept.items() if subjects},
            )

        self._decided = self._store.decisions.update(self._cluster, change)

    def let_in_by(self, difference: Difference) -> dict[str, str]:
        """Return, by node that joined or changed, the token of the confirmation behind it."""
        return self._confirmations.let_in_by(difference)

    def followed(self, difference: Difference, revision: int) -> None:
        """Record in the history which revision followed from the confirmations that were taken."""
        if tokens := self._confirmations.end(difference):
            self._store.history.followed(self._cluster, tokens, revision)

    def _report(self, holds: tuple[Held, ...]) -> None:
        """Log and fire what is held, at once when it is new; a picture that moves, now and then."""
        now = time.monotonic()
        current = {(change.kind, change.rejected): change for change in holds}
        for gone in self._reported.keys() - current.keys():
            del self._reported[gone]
        for key, change in current.items():
            token, at = self._reported.get(key, ("", -_REPORT_INTERVAL))
            if change.token == token or now < at + _REPORT_INTERVAL:
                continue
            self._reported[key] = change.token, now
            # A person knows of what was rejected, and what one node claims is in ``refusals``.
            if change.rejected or not change.kind.confirmable:
                continue
            effect = change.effect.text(self._store.subscriptions.count(self._cluster))
            log.error(
                "cluster %s: change held (%s): %s; if released: %s; see salt-run "
                "k8s_nodes.status; if it is right, run salt-run k8s_nodes.confirm %s %s "
                "[change-held]",
                *(self._cluster, change.kind.value, change.why, effect),
                *(self._cluster, change.token),
            )
            self._fire(events.held(self._cluster, change, effect))


def _by_kind(decided: Mapping[str, Mapping[str, str]]) -> dict[Kind, dict[str, str]]:
    return {Kind(kind): dict(subjects) for kind, subjects in decided.items()}


def _texts(decided: Mapping[Kind, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    return {kind.value: dict(subjects) for kind, subjects in decided.items() if subjects}
