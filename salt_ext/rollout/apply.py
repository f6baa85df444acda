"""Publish the firewall to the minions that are out of sync."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from salt_ext.core import answers
from salt_ext.core.config.apply import Action
from salt_ext.core.config.config import Config
from salt_ext.core.display import names
from salt_ext.core.errors import StoreError
from salt_ext.core.rollout.drift import OutOfSync
from salt_ext.core.rollout.judgement import CLOSE, REFRESH_PILLAR, SYNC_MODULES, Job
from salt_ext.master.publisher import MasterSilent, NotPublished
from salt_ext.rollout.classes import TargetMatches, no_minions
from salt_ext.rollout.departures import DepartureTracker
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.payload import PayloadBuilder, Publication
from salt_ext.rollout.publishing import decided_stop, recovering
from salt_ext.rollout.selection import ApplyRequest, BatchSelector, Selection
from salt_ext.store import Store
from salt_ext.store.locks import APPLY, exclusive

log = logging.getLogger(__name__)

SYNC_ALL = Action(name="", function="saltutil.sync_all")
"""Brings a minion's own modules up to date; ``state.apply`` of an SLS does not."""

REFRESH = Action(name="", function="saltutil.refresh_pillar")
"""Makes a minion ask for its pillar, and changes nothing on it."""

_STEPS = ((SYNC_ALL, SYNC_MODULES), (REFRESH, REFRESH_PILLAR))

_RETRY_AFTER = 5.0
"""Seconds until a job that the master did not publish is tried again."""

_LOCK_TIMEOUT = 60.0
"""Seconds that an operator's request waits for another run of apply."""


class JobPublisher(Protocol):
    """What sends jobs to minions."""

    def new_jid(self) -> str:
        """Return a job id for the next publish."""

    def apply(self, jid: str, minions: Sequence[str], action: Action, /) -> None:
        """Publish, and do not wait; :class:`NotPublished` when nothing was sent."""


class ApplyRun:
    """One apply at a time per master, whichever process asks for it."""

    def __init__(
        self,
        config: Config,
        store: Store,
        publisher: JobPublisher,
        match: TargetMatches = no_minions,
        module_version: str = "",
    ) -> None:
        self._config = config
        self._store = store
        self._publisher = publisher
        self._desired_state = DesiredState(store)
        self._departures = DepartureTracker(store, self._desired_state)
        self._selector = BatchSelector(config, store, self._desired_state, match)
        self._payloads = PayloadBuilder(config, store, self._desired_state)
        self._module_version = module_version

    def run(
        self, clusters: frozenset[str], *, minions: str | None = None, force: bool = False
    ) -> answers.Applied:
        """
        Publish to every minion that is out of sync in one of the clusters and due.

        A call that meets another one leaves a note for it. The other one then looks once more at
        all clusters, so that a trigger is never lost and never publishes twice. A request with
        ``minions`` or ``force`` waits for the other one, since that would not do the same.
        """
        if self._config.in_doubt:
            # A typing error must not become a highstate everywhere.
            return {"jobs": {}, "waiting": f"nothing is published: {self._config.in_doubt[0]}"}
        request = ApplyRequest(clusters=clusters, minions=minions, force=force)
        answer: answers.Applied = {"jobs": {}}
        note = Path(self._config.state_dir) / "apply.again"
        try:
            note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            note.touch(mode=0o600)
        except OSError as exc:
            raise StoreError(f"{note}: {exc.strerror}") from exc
        timeout = 0.0 if request.whole else _LOCK_TIMEOUT
        while True:
            with exclusive(note.with_name(APPLY), timeout=timeout) as locked:
                if not locked:
                    answer["waiting"] = (
                        f"another apply has been running for {timeout:.0f} s; "
                        "this one published nothing: run it again"
                        if timeout
                        else "another apply is running; it publishes for this one too"
                    )
                    return answer
                note.unlink(missing_ok=True)
                master_answers = self._publish(request, answer)
            # A silent master would hold this thread once more for nothing; the engine's timer
            # finds the minions that are left.
            if not master_answers or not note.exists():
                return answer
            request, timeout = ApplyRequest(clusters=frozenset(self._config.names)), 0.0

    def _publish(self, request: ApplyRequest, answer: answers.Applied) -> bool:
        """Publish what a request selects; False when the master does not answer."""
        stopped = decided_stop(self._store)
        if stopped is not None:
            answer["waiting"] = stopped
            return True
        now = time.time()
        ledger = self._store.applied.all()
        desired = self._departures.update(self._config, ledger)
        out_of_sync = self._desired_state.out_of_sync(self._config, ledger, desired)
        revisions = {name: self._store.snapshots.revision(name) for name in self._config.names}
        selection = self._selector.select(request, now, out_of_sync)
        for name, rollout in selection.rollouts.items():
            if rollout is not None and rollout.stopped:
                log.error("class %s: %s [class-stopped]", name or "(none)", rollout.stopped)
            self._store.rollouts.save(name, rollout)
        if (waiting := recovering(self._config, self._store)) is not None:
            answer["waiting"] = str(waiting)
        if selection.reasons:
            answer["skipped"] = dict(sorted(selection.reasons.items()))
        batches = self._batches(selection)
        try:
            for publication, class_, batch in batches:
                rows = self._rows(publication, batch, selection)
                if jid := self._send(publication, class_, batch, rows, revisions, now):
                    answer["jobs"][jid] = batch
        except MasterSilent:
            left = sum(len(minions) for *_, minions in batches)
            answer["waiting"] = (
                f"the master does not answer; {left} more minions are published to later"
            )
            log.error("%s [master-silent]", answer["waiting"])
            return False
        return True

    def _batches(self, selection: Selection) -> Iterator[tuple[Publication, str, list[str]]]:
        """Yield each publication in parts of a batch's size, with its class and its minions."""
        modules = self._store.minion_facts.module_versions()
        self._payloads.reset()
        for action, minions in selection.batches:
            ready = [
                name
                for name in minions
                if not action.sync or modules.get(name) == self._module_version
            ]
            outdated = [name for name in minions if name not in ready]
            yield from self._parts(Publication(action=SYNC_ALL, minions=outdated), action.name)
            for publication in self._payloads.publications(action, ready, selection.out_of_sync):
                yield from self._parts(publication, action.name)
        ask = Publication(action=REFRESH, minions=[*selection.unknown_class, *selection.retired])
        yield from self._parts(ask, REFRESH.name)
        for action, minions in selection.closing.batches:
            # Also a minion whose firewall is the formula of others: the module is brought there.
            outdated = [name for name in minions if self._outdated(modules, name)]
            ready = [name for name in minions if name not in outdated]
            for part in (
                Publication(action=SYNC_ALL, minions=outdated, closing=True),
                Publication(action=action, minions=ready, closing=True),
            ):
                yield from self._parts(part, action.name)

    def _outdated(self, modules: Mapping[str, str], minion: str) -> bool:
        return bool(self._module_version) and modules.get(minion) != self._module_version

    @staticmethod
    def _rows(publication: Publication, batch: list[str], selection: Selection) -> list[OutOfSync]:
        """Return what a publish is to bring in sync; nothing where it is for departures."""
        if publication.closing:
            return []
        known = {**selection.retired, **selection.out_of_sync}
        return [
            row
            for name in batch
            for row in (
                [*selection.out_of_sync.get(name, ()), *selection.retired.get(name, ())]
                if publication.action is REFRESH
                else known[name]
            )
        ]

    def _parts(
        self, publication: Publication, class_: str
    ) -> Iterator[tuple[Publication, str, list[str]]]:
        size = self._config.apply.batch
        for start in range(0, len(publication.minions), size):
            yield publication, class_, publication.minions[start : start + size]

    def _send(
        self,
        publication: Publication,
        class_: str,
        batch: list[str],
        rows: list[OutOfSync],
        revisions: dict[str, int],
        now: float,
    ) -> str:
        """Publish one job; return its id, empty when the master did not take it."""
        action = publication.action
        jid = self._publisher.new_jid()
        # A class may have one of these two functions itself; then it is what has to be proven.
        step = next(({"step": step} for special, step in _STEPS if action is special), {})
        if publication.closing and not step:
            step = {"step": CLOSE}
        # The deadline counts from the publish: earlier batches may have taken long, and a job that
        # is given up too early is sent twice. Its addresses are as old as the selection.
        job = Job(jid=jid, at=time.time(), class_=class_, function=action.function, **step)
        # Written before it is sent: an unknown job could never be acknowledged.
        closing = batch if publication.closing else ()
        self._store.jobs.record_dispatch(job, rows, revisions, selected_at=now, closing=closing)
        try:
            self._publisher.apply(jid, batch, publication.action_for(batch))
        except NotPublished as exc:
            log.error("%s; next try in %.0f s [job-not-published]", exc, _RETRY_AFTER)
            # The master's failure, not theirs: it neither makes them wait longer nor spares the
            # next change its canaries.
            next_at = time.time() + _RETRY_AFTER
            for name in batch:
                self._store.applied.record_failure(
                    jid, name, str(exc), counted=False, next_at=next_at, now=now
                )
                self._store.departures.record_closing(
                    jid, name, error=str(exc), counted=False, next_at=next_at
                )
            if isinstance(exc, MasterSilent):
                raise
            return ""
        # A busy master takes its time over a publish, too.
        self._store.jobs.record_sent(jid, time.time())
        log.info(
            "job %s: %s published to %d minions: %s [job-published]",
            *(jid, action, len(batch), names(batch)),
        )
        return jid
