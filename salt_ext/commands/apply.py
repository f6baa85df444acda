"""Publishes the firewall to the minions that are behind."""

from __future__ import annotations

import logging
import time
from itertools import groupby
from pathlib import Path
from typing import Any

from salt_ext.commands.places import Places
from salt_ext.core.config import Config
from salt_ext.core.convergence import Behind
from salt_ext.core.errors import StoreError
from salt_ext.master.publisher import NotPublished, Publisher
from salt_ext.store import Store
from salt_ext.store.locks import APPLY, alone

log = logging.getLogger(__name__)


class Applying:
    """One apply at a time per master, whatever the process that asks for it."""

    def __init__(self, config: Config, store: Store, publisher: Publisher) -> None:
        self._config = config
        self._store = store
        self._publisher = publisher
        self._places = Places(store)

    def run(self, clusters: frozenset[str], *, force: bool = False) -> dict[str, Any]:
        """
        Publish to every minion that is behind in one of the clusters and due.

        A call that finds another at work leaves a note, and the other one looks again for all
        clusters when it is done: a trigger is never lost, and never publishes twice.
        """
        jobs: dict[str, list[str]] = {}
        again = Path(self._config.state_dir) / "apply.again"
        try:
            again.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            again.touch(mode=0o600)
        except OSError as exc:
            raise StoreError(f"{again}: {exc.strerror}") from exc
        while again.exists():
            with alone(again.with_name(APPLY)) as mine:
                if not mine:
                    return {"jobs": jobs, "waiting": "another apply is at work and looks again"}
                again.unlink(missing_ok=True)
                jobs.update(self._publish(clusters, force=force))
            clusters, force = frozenset(self._config.names), False
        return {"jobs": jobs}

    def _publish(self, clusters: frozenset[str], *, force: bool) -> dict[str, list[str]]:
        now = time.time()
        timeout = self._config.apply.timeout
        # One job brings a minion all of its clusters; a busy one would refuse a second.
        whole = [list(rows) for _, rows in groupby(self._places.behind(self._config), _minion)]
        whole = [
            rows
            for rows in whole
            if not any(one.in_flight(now, timeout) for one in rows)
            and any(one.cluster in clusters and (force or one.due(now, timeout)) for one in rows)
        ]
        jobs = {}
        size = self._config.apply.batch
        for start in range(0, len(whole), size):
            batch = whole[start : start + size]
            jid = self._publisher.new_jid()
            minions = [rows[0].minion for rows in batch]
            # Written before it is sent: a job that nobody knows of could never be acknowledged.
            self._store.ledger.dispatched(jid, [row for rows in batch for row in rows], now)
            try:
                self._publisher.apply(jid, minions, self._config.apply)
            except NotPublished as exc:
                log.error("%s; it is tried again", exc)
                for minion in minions:
                    self._store.ledger.failed(
                        jid, minion, str(exc), counted=True, next_at=now + 5.0
                    )
                continue
            log.info("job %s: applying to %d minions: %s", jid, len(minions), ", ".join(minions))
            jobs[jid] = minions
        return jobs


def _minion(one: Behind) -> str:
    return one.minion
