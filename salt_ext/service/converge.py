"""Sees to it that every minion gets there: takes proofs, finds silence, asks for another try."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from typing import Any

from salt_ext.commands.places import Places
from salt_ext.core import events
from salt_ext.core.config import Config
from salt_ext.core.convergence import NO_RETURN, Entry, Place, retry_after
from salt_ext.core.errors import StoreError
from salt_ext.core.verdict import judge
from salt_ext.master import module
from salt_ext.master.bus import Bus, listening
from salt_ext.master.job_cache import JobCache
from salt_ext.service.group import Pulse
from salt_ext.store import Store
from salt_ext.store.ledger import SYNC, Job

log = logging.getLogger(__name__)

_SOON = 0.05
"""Seconds until the job cache is asked again for a return that the bus has announced."""
_TICK = 1.0
"""Seconds between two looks when nothing was announced."""
_UNANNOUNCED = 5.0
"""Seconds between two looks for returns whose announcement was lost."""
_PATIENCE = 3.0
"""Seconds that the reactor has to act on a change before it is reminded."""
_HANGS = 120.0
"""Seconds without coming round after which this thread counts as hung."""
_REMIND = 10.0
"""Seconds between two reminders of one cluster."""


class Convergence:
    """Runs in a thread of its own."""

    def __init__(
        self,
        config: Config,
        store: Store,
        opts: dict[str, Any],
        stop: threading.Event,
    ) -> None:
        self._config = config
        self._store = store
        self._opts = opts
        self._stop = stop
        self._places = Places(store)
        self._module_version = module.version()
        self._dice = random.Random()  # noqa: S311
        self._hinted: dict[str, float] = {}
        """Job to the time until which its announced return is looked for."""
        self._look_at = 0.0
        self._behind_since: dict[Place, float] = {}
        self._reminded: dict[str, float] = {}
        self.pulse = Pulse(_HANGS)

    def run(self) -> None:
        """Go on until told to stop."""
        bus = Bus(self._opts)
        jobs = JobCache(self._opts)
        with listening(self._opts) as event:
            while not self._stop.is_set():
                self.pulse.beat()
                got = event.get_event(
                    wait=_SOON if self._hinted else _TICK,
                    tag="salt/job/",
                    match_type="startswith",
                    full=True,
                )
                self._hear(str(got["tag"]) if got else "")
                try:
                    settled = self._settle(jobs)
                    self._remind(bus, settled)
                except StoreError as exc:
                    log.error("%s; trying again", exc)
                    self._stop.wait(_TICK)

    def _hear(self, tag: str) -> None:
        """Take a tag as a hint to look; what the event says is not believed."""
        parts = tag.split("/")
        if len(parts) == 5 and parts[3] == "ret":
            self._hinted[parts[2]] = time.monotonic() + 2.0

    def _settle(self, jobs: JobCache) -> frozenset[str]:
        """Take the proofs that are there; return the clusters where something was settled."""
        now = time.monotonic()
        if not self._hinted and now < self._look_at:
            return frozenset()
        outstanding = self._store.ledger.outstanding()
        everything = now >= self._look_at
        if everything:
            self._look_at = now + _UNANNOUNCED
        settled: set[str] = set()
        for jid, entries in outstanding.items():
            if everything or jid in self._hinted:
                settled |= self._settle_job(jid, entries, jobs)
        self._hinted = {
            jid: until for jid, until in self._hinted.items() if jid in outstanding and now < until
        }
        return frozenset(settled)

    def _settle_job(self, jid: str, entries: list[Entry], jobs: JobCache) -> set[str]:
        returns = jobs.returns(jid)
        job = self._store.ledger.job(jid)
        now = time.time()
        settled = set()
        for minion in {entry.minion for entry in entries}:
            mine = [entry for entry in entries if entry.minion == minion]
            told = returns.get(minion)
            if told is not None:
                self._judge(jid, job, minion, told, mine)
            elif all(now >= (one.dispatched_at or 0) + self._config.apply.timeout for one in mine):
                error = f"{NO_RETURN} to job {jid}"
                self._failed(jid, minion, error, mine, refused=False, silent=True)
            else:
                continue
            settled |= {entry.cluster for entry in mine}
        return settled

    def _judge(self, jid: str, job: Job | None, minion: str, told: Any, mine: list[Entry]) -> None:
        verdict = judge(told, job.function if job else "state.apply")
        if not verdict.applied:
            self._failed(jid, minion, verdict.error, mine, refused=verdict.refused)
        elif job is not None and job.step == SYNC:
            self._store.ledger.synced(jid, minion, self._module_version)
            log.info("%s: modules brought up to date by job %s", minion, jid)
        else:
            self._store.ledger.proven(jid, minion, time.time())
            log.info("%s: applied by job %s", minion, jid)

    def _failed(
        self,
        jid: str,
        minion: str,
        error: str,
        mine: list[Entry],
        *,
        refused: bool,
        silent: bool = False,
    ) -> None:
        attempts = max(entry.attempts for entry in mine)
        wait = retry_after(attempts, refused=refused, dice=self._dice)
        log.warning("%s: %s; next try in %.0f s", minion, error, wait)
        now = time.time()
        self._store.ledger.failed(
            jid, minion, error, counted=not refused, next_at=now + wait, now=now, silent=silent
        )

    def _remind(self, bus: Bus, settled: frozenset[str]) -> None:
        """Fire ``lagging`` for clusters with minions that are due and that nobody took up."""
        now, clock = time.time(), time.monotonic()
        late = self._places.behind(self._config)
        self._behind_since = {
            (one.minion, one.cluster): self._behind_since.get((one.minion, one.cluster), clock)
            for one in late
        }
        due: Counter[str] = Counter()
        for one in late:
            waited = clock - self._behind_since[one.minion, one.cluster]
            if one.due(now, self._config.apply.timeout) and (
                waited >= _PATIENCE or one.cluster in settled
            ):
                due[one.cluster] += 1
        for cluster, minions in due.items():
            if cluster in settled or clock >= self._reminded.get(cluster, 0.0) + _REMIND:
                self._reminded[cluster] = clock
                log.info("%s: %d minions are behind", cluster, minions)
                event = events.lagging(cluster, minions)
                bus.fire(event.tag, event.data)
