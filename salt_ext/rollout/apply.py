"""JobPublisher the firewall to the minions that are behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from salt_ext.core import answers
from salt_ext.core.config.apply import Action
from salt_ext.core.config.config import Config
from salt_ext.core.errors import StoreError
from salt_ext.core.rollout.drift import OutOfSync
from salt_ext.master.publisher import MasterSilent, NotPublished
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.payload import PayloadBuilder, Publication
from salt_ext.rollout.selection import (
    ApplyRequest,
    BatchSelector,
    Selection,
    TargetMatches,
    names,
    no_minions,
)
from salt_ext.store import Store
from salt_ext.store.ledger import ASK, SYNC, Job
from salt_ext.store.locks import APPLY, exclusive

log = logging.getLogger(__name__)

SYNC_ALL = Action(name="", function="saltutil.sync_all")
"""Brings a minion's own modules up to date; ``state.apply`` of an SLS does not."""

REFRESH = Action(name="", function="saltutil.refresh_pillar")
"""Makes a minion ask for its pillar, and changes nothing on it."""

_STEPS = ((SYNC_ALL, SYNC), (REFRESH, ASK))

_AGAIN = 5.0
"""Seconds until what the master did not publish is tried again."""

_PATIENCE = 60.0
"""Seconds that a wish of its own waits for another apply."""


class JobPublisher(Protocol):
    """What sends jobs to minions."""

    def new_jid(self) -> str:
        """Return a job id for the next publish."""

    def apply(self, jid: str, minions: Sequence[str], what: Action) -> None:
        """Publish, and do not wait; :class:`NotPublished` when nothing was sent."""


class ApplyRun:
    """One apply at a time per master, whatever the process that asks for it."""

    def __init__(
        self,
        config: Config,
        store: Store,
        publisher: JobPublisher,
        meant: TargetMatches = no_minions,
        module_version: str = "",
    ) -> None:
        self._config = config
        self._store = store
        self._publisher = publisher
        self._places = DesiredState(store)
        self._choosing = BatchSelector(config, store, self._places, meant)
        self._delivering = PayloadBuilder(config, store, self._places)
        self._module_version = module_version

    def run(
        self, clusters: frozenset[str], *, minions: str | None = None, force: bool = False
    ) -> answers.Applied:
        """
        Publish to every minion that is behind in one of the clusters and due.

        A call that finds another at work leaves a note, and the other one looks again for all
        clusters when it is done: a trigger is never lost, and never publishes twice. What only
        this call wishes, with ``minions`` or ``force``, waits for the other one.
        """
        if self._config.in_doubt:
            # A slip of the pen must not become a highstate everywhere.
            return {"jobs": {}, "waiting": f"nothing is published: {self._config.in_doubt[0]}"}
        wish = ApplyRequest(clusters=clusters, minions=minions, force=force)
        told: answers.Applied = {"jobs": {}}
        again = Path(self._config.state_dir) / "apply.again"
        try:
            again.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            again.touch(mode=0o600)
        except OSError as exc:
            raise StoreError(f"{again}: {exc.strerror}") from exc
        patience = _PATIENCE if force or minions is not None else 0.0
        while True:
            with exclusive(again.with_name(APPLY), within=patience) as mine:
                if not mine:
                    told["waiting"] = (
                        f"another apply is at work for {patience:.0f} s now: this was not done"
                        if patience
                        else "another apply is at work and looks again"
                    )
                    return told
                again.unlink(missing_ok=True)
                answers = self._publish(wish, told)
            # A master that is silent would hold this thread once more for nothing; the engine's
            # timer finds whoever is behind.
            if not answers or not again.exists():
                return told
            wish, patience = ApplyRequest(clusters=frozenset(self._config.names)), 0.0

    def _publish(self, wish: ApplyRequest, told: answers.Applied) -> bool:
        """Publish to whom the wish means; False when the master does not answer."""
        paused = self._store.control.paused()
        if paused is not None:
            told["waiting"] = f"paused by {paused.by}; salt-run k8s_nodes.resume goes on"
            return True
        now = time.time()
        revisions = {name: self._store.snapshots.revision(name) for name in self._config.names}
        choice = self._choosing.choose(wish, now)
        for name, wave in choice.waves.items():
            if wave is not None and wave.stopped:
                log.error("minions of class %s: %s", name or "(none)", wave.stopped)
            self._store.rollouts.keep(name, wave)
        if choice.waiting:
            told["skipped"] = dict(sorted(choice.waiting.items()))
        batches = self._batches(choice)
        try:
            for parcel, class_, batch in batches:
                self._send(parcel, class_, batch, choice.rows, revisions, now, told["jobs"])
        except MasterSilent:
            left = sum(len(minions) for *_, minions in batches)
            told["waiting"] = f"the master does not answer; {left} more minions are left for later"
            log.error("%s", told["waiting"])
            return False
        return True

    def _batches(self, choice: Selection) -> Iterator[tuple[Publication, str, list[str]]]:
        """Yield what is sent at a time, its class, and to whom."""
        modules = self._store.ledger.modules()
        self._delivering.turn()
        for what, minions in choice.chosen:
            ready = [
                name
                for name in minions
                if not what.sync or modules.get(name) == self._module_version
            ]
            raw = [name for name in minions if name not in ready]
            yield from self._cut(Publication(what=SYNC_ALL, minions=raw), what.name)
            for parcel in self._delivering.parcels(what, ready, choice.rows):
                yield from self._cut(parcel, what.name)
        yield from self._cut(Publication(what=REFRESH, minions=choice.strangers), REFRESH.name)

    def _cut(
        self, parcel: Publication, class_: str
    ) -> Iterator[tuple[Publication, str, list[str]]]:
        size = self._config.apply.batch
        for start in range(0, len(parcel.minions), size):
            yield parcel, class_, parcel.minions[start : start + size]

    def _send(
        self,
        parcel: Publication,
        class_: str,
        batch: list[str],
        rows: dict[str, list[OutOfSync]],
        revisions: dict[str, int],
        now: float,
        jobs: dict[str, list[str]],
    ) -> None:
        what = parcel.what
        jid = self._publisher.new_jid()
        # A class may call one of these two itself, and then it is what is to be proven.
        step = next(({"step": it} for one, it in _STEPS if what is one), {})
        # Its deadline counts from when it is sent: the batches before it may have taken long, and a
        # job that is missed too early is sent twice. What it carries is as old as the choice.
        job = Job(jid=jid, at=time.time(), class_=class_, function=what.function, **step)
        # Written before it is sent: a job that nobody knows of could never be acknowledged.
        sent = [row for name in batch for row in rows[name]]
        self._store.ledger.dispatched(job, sent, revisions, chosen_at=now)
        try:
            self._publisher.apply(jid, batch, parcel.to(batch))
        except NotPublished as exc:
            log.error("%s; it is tried again", exc)
            # The master's failure, and not theirs: it neither makes them wait longer nor spares
            # the next change its canaries.
            next_at = time.time() + _AGAIN
            for name in batch:
                self._store.ledger.failed(
                    jid, name, str(exc), counted=False, next_at=next_at, now=now
                )
            if isinstance(exc, MasterSilent):
                raise
            return
        # A busy master takes its time over a publish, too.
        self._store.ledger.sent(jid, time.time())
        log.info("job %s: %s on %d minions: %s", jid, what, len(batch), names(batch))
        jobs[jid] = batch
