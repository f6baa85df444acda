"""Publishes the firewall to the minions that are behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from salt_ext.commands.choosing import Choosing, Meant, Wish, names, nobody
from salt_ext.commands.delivering import Delivering, Parcel
from salt_ext.commands.places import Places
from salt_ext.core.config import Config
from salt_ext.core.convergence import Behind
from salt_ext.core.errors import StoreError
from salt_ext.core.publishing import Published
from salt_ext.master.publisher import NotPublished
from salt_ext.store import Store
from salt_ext.store.ledger import ASK, SYNC, Job
from salt_ext.store.locks import APPLY, alone

log = logging.getLogger(__name__)

SYNC_ALL = Published(name="", function="saltutil.sync_all")
"""Brings a minion's own modules up to date; ``state.apply`` of an SLS does not."""

REFRESH = Published(name="", function="saltutil.refresh_pillar")
"""Makes a minion ask for its pillar, and changes nothing on it."""

_STEPS = ((SYNC_ALL, SYNC), (REFRESH, ASK))

_AGAIN = 5.0
"""Seconds until what the master did not publish is tried again."""

_PATIENCE = 60.0
"""Seconds that a wish of its own waits for another apply."""


class Publishes(Protocol):
    """What sends jobs to minions."""

    def new_jid(self) -> str:
        """Return a job id for the next publish."""

    def apply(self, jid: str, minions: Sequence[str], what: Published) -> None:
        """Publish, and do not wait; :class:`NotPublished` when nothing was sent."""


class Applying:
    """One apply at a time per master, whatever the process that asks for it."""

    def __init__(
        self,
        config: Config,
        store: Store,
        publisher: Publishes,
        meant: Meant = nobody,
        module_version: str = "",
    ) -> None:
        self._config = config
        self._store = store
        self._publisher = publisher
        self._places = Places(store)
        self._choosing = Choosing(config, store, self._places, meant)
        self._delivering = Delivering(config, store, self._places)
        self._module_version = module_version

    def run(
        self, clusters: frozenset[str], *, minions: str | None = None, force: bool = False
    ) -> dict[str, Any]:
        """
        Publish to every minion that is behind in one of the clusters and due.

        A call that finds another at work leaves a note, and the other one looks again for all
        clusters when it is done: a trigger is never lost, and never publishes twice. What only
        this call wishes, with ``minions`` or ``force``, waits for the other one.
        """
        if self._config.in_doubt:
            # A slip of the pen must not become a highstate everywhere.
            return {"jobs": {}, "waiting": f"nothing is published: {self._config.in_doubt[0]}"}
        wish = Wish(clusters=clusters, minions=minions, force=force)
        told: dict[str, Any] = {"jobs": {}}
        again = Path(self._config.state_dir) / "apply.again"
        try:
            again.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            again.touch(mode=0o600)
        except OSError as exc:
            raise StoreError(f"{again}: {exc.strerror}") from exc
        patience = _PATIENCE if force or minions is not None else 0.0
        while True:
            with alone(again.with_name(APPLY), within=patience) as mine:
                if not mine:
                    told["waiting"] = (
                        f"another apply is at work for {patience:.0f} s now: this was not done"
                        if patience
                        else "another apply is at work and looks again"
                    )
                    return told
                again.unlink(missing_ok=True)
                self._publish(wish, told)
            if not again.exists():
                return told
            wish, patience = Wish(clusters=frozenset(self._config.names)), 0.0

    def _publish(self, wish: Wish, told: dict[str, Any]) -> None:
        paused = self._store.words.paused()
        if paused is not None:
            told["waiting"] = f"paused by {paused.by}; salt-run k8s_nodes.resume goes on"
            return
        now = time.time()
        revisions = {name: self._store.snapshots.revision(name) for name in self._config.names}
        choice = self._choosing.choose(wish, now)
        for name, wave in choice.waves.items():
            if wave is not None and wave.stopped:
                log.error("minions of class %s: %s", name or "(none)", wave.stopped)
            self._store.waves.keep(name, wave)
        modules = self._store.ledger.modules()
        self._delivering.turn()
        for what, minions in choice.chosen:
            ready = [
                name
                for name in minions
                if not what.sync or modules.get(name) == self._module_version
            ]
            raw = [name for name in minions if name not in ready]
            parcels = [Parcel(what=SYNC_ALL, minions=raw)]
            parcels += self._delivering.parcels(what, ready, choice.rows)
            for parcel in parcels:
                self._send(parcel, what.name, choice.rows, revisions, now, told["jobs"])
        asking = Parcel(what=REFRESH, minions=choice.strangers)
        self._send(asking, REFRESH.name, choice.rows, revisions, now, told["jobs"])
        if choice.waiting:
            told["held"] = dict(sorted(choice.waiting.items()))

    def _send(
        self,
        parcel: Parcel,
        class_: str,
        rows: dict[str, list[Behind]],
        revisions: dict[str, int],
        now: float,
        jobs: dict[str, list[str]],
    ) -> None:
        size, what = self._config.apply.batch, parcel.what
        for start in range(0, len(parcel.minions), size):
            batch = parcel.minions[start : start + size]
            jid = self._publisher.new_jid()
            # A class may call one of these two itself, and then it is what is to be proven.
            step = next(({"step": it} for one, it in _STEPS if what is one), {})
            job = Job(jid=jid, at=now, class_=class_, function=what.function, **step)
            # Written before it is sent: a job that nobody knows of could never be acknowledged.
            self._store.ledger.dispatched(
                job, [row for name in batch for row in rows[name]], revisions
            )
            try:
                self._publisher.apply(jid, batch, parcel.to(batch))
            except NotPublished as exc:
                log.error("%s; it is tried again", exc)
                # The master's failure, and not theirs: it neither makes them wait longer nor
                # spares the next change its canaries.
                for name in batch:
                    self._store.ledger.failed(
                        jid, name, str(exc), counted=False, next_at=now + _AGAIN, now=now
                    )
                continue
            log.info("job %s: %s on %d minions: %s", jid, what, len(batch), names(batch))
            jobs[jid] = batch
