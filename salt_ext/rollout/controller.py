"""Sees to it that every minion gets there: takes proofs, finds silence, asks for another try."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Mapping
from typing import Any

from salt_ext.core import events
from salt_ext.core.config.apply import MODULE
from salt_ext.core.config.config import Config
from salt_ext.core.errors import StoreError
from salt_ext.core.rollout.drift import NO_RETURN, LedgerEntry, MinionCluster, retry_after
from salt_ext.core.rollout.job_result import judge
from salt_ext.master import minion_module
from salt_ext.master.bus import Bus
from salt_ext.master.job_cache import JobCache
from salt_ext.master.targets import TargetMatcher
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.event_listener import HintMailbox
from salt_ext.rollout.minion_events import MinionEvents
from salt_ext.rollout.reactor_watchdog import ReactorWatchdog
from salt_ext.rollout.selection import ApplyRequest, BatchSelector, Selection
from salt_ext.store import Store
from salt_ext.store.jobs import REFRESH_PILLAR, SYNC_MODULES, Job
from salt_ext.supervisor import Heartbeat

log = logging.getLogger(__name__)

_SOON = 0.05
"""Seconds until the job cache is asked again for a return that the bus has announced."""
_TICK = 1.0
"""Seconds between two looks when nothing was announced."""
_UNANNOUNCED = 5.0
"""Seconds between two looks for returns whose announcement was lost."""
_PATIENCE = 3.0
"""Seconds that the reactor has to act on a change before it is reminded."""
_HANGS = 60.0
"""Seconds without coming round after which this thread counts as hung."""
_TELL_EVERY = 5.0
"""Seconds between two words that this thread lives; ``check`` takes a long silence for an error."""
_REMIND = 10.0
"""Seconds between two reminders of one cluster."""
_JUST = 5.0
"""Seconds for which the end of a minion's wait counts as new."""
_TARGETS = 15.0
"""Seconds for which the minions of a class are known."""


class RolloutController:
    """Runs in a thread of its own."""

    def __init__(
        self,
        config: Config,
        store: Store,
        opts: dict[str, Any],
        board: HintMailbox,
        stop: threading.Event,
    ) -> None:
        self._config = config
        self._store = store
        self._opts = opts
        self._board = board
        self._stop = stop
        self._places = DesiredState(store)
        self._choosing = BatchSelector(
            config, store, self._places, TargetMatcher(opts, keep=_TARGETS)
        )
        self._attending = MinionEvents(store)
        self._heeding = ReactorWatchdog(store)
        self._dice = random.Random()  # noqa: S311
        self._hinted: dict[str, float] = {}
        """Job to the time until which its announced return is looked for."""
        self._look_at = 0.0
        self._behind_since: dict[MinionCluster, float] = {}
        self._reminded: dict[str, float] = {}
        self._waits: dict[str, float] = {}
        """Minions whose next run is too early now, and when it is not."""
        self._tell_at = 0.0
        self.heartbeat = Heartbeat(_HANGS)

    def run(self) -> None:
        """Go on until told to stop."""
        bus = Bus(self._opts)
        jobs = JobCache(self._opts)
        while not self._stop.is_set():
            self.heartbeat.beat()
            hints = self._board.take(self._patience())
            now = time.monotonic()
            self._hinted |= dict.fromkeys(hints.returned, now + 2.0)
            try:
                settled = self._settle(jobs)
                self._attending.attend(hints, self._store.applied.all(), now)
                self._remind(bus, settled)
                self._tell(now)
            except StoreError as exc:
                log.error("%s; trying again", exc)
                self._stop.wait(_TICK)
            # Whoever floods the bus with events gets no more than a third of a core of it.
            self._stop.wait(min(_TICK, 2 * (time.monotonic() - now)))

    def _tell(self, now: float) -> None:
        """Say, after a whole round, that this thread works: one that always falls never does."""
        if now >= self._tell_at:
            self._store.health.minion_loop_seen(time.time())
            self._tell_at = now + _TELL_EVERY

    def _patience(self) -> float:
        if self._hinted:
            return _SOON
        left = min(self._waits.values(), default=float("inf")) - time.time()
        return max(_SOON, min(_TICK, left))

    def _settle(self, jobs: JobCache) -> frozenset[str]:
        """Take the proofs that are there; return the clusters where something was settled."""
        now = time.monotonic()
        outstanding = self._store.applied.outstanding()
        everything = now >= self._look_at
        if everything:
            self._look_at = now + _UNANNOUNCED
        settled: set[str] = set()
        for jid, entries in outstanding.items():
            if everything or jid in self._hinted or self._overdue(entries, time.time()):
                settled |= self._settle_job(jid, entries, jobs)
        self._hinted = {
            jid: until for jid, until in self._hinted.items() if jid in outstanding and now < until
        }
        return frozenset(settled)

    def _settle_job(self, jid: str, entries: list[LedgerEntry], jobs: JobCache) -> set[str]:
        returns = jobs.returns(jid)
        job = self._store.jobs.get(jid)
        now = time.time()
        settled = set()
        for minion in {entry.minion for entry in entries}:
            mine = [entry for entry in entries if entry.minion == minion]
            told = returns.get(minion)
            if told is not None:
                self._judge(jid, job, minion, told, mine)
            elif self._overdue(mine, now):
                error = f"{NO_RETURN} to job {jid}"
                self._failed(jid, minion, error, mine, refused=False, silent=True)
            else:
                continue
            settled |= {entry.cluster for entry in mine}
        return settled

    def _overdue(self, entries: list[LedgerEntry], now: float) -> bool:
        timeout = self._config.apply.timeout
        return not any(one.in_flight(now, timeout) for one in entries)

    def _judge(
        self, jid: str, job: Job | None, minion: str, told: Any, mine: list[LedgerEntry]
    ) -> None:
        verdict = judge(told, job.function if job else "state.apply")
        if not verdict.applied:
            self._failed(jid, minion, verdict.error, mine, refused=verdict.refused)
            if job is not None and _is_ours(job) and not isinstance(told.get("return"), dict):
                # Ours answer with a mapping: it has lost the module, or cannot load it.
                self._store.minion_facts.clear_module_version(minion)
        elif job is not None and job.step == SYNC_MODULES:
            self._store.applied.record_module_sync(jid, minion, minion_module.shipped_version())
            log.info("%s: modules brought up to date by job %s", minion, jid)
        elif job is not None and job.step == REFRESH_PILLAR:
            self._store.applied.record_pillar_refresh(jid, minion)
        elif unserved := self._unserved(jid, job, minion):
            # Its states have succeeded on a pillar in which ours had no part, or an old one.
            error = f"its pillar was not served {unserved[0]} as it is now: see k8s_nodes.check"
            self._failed(jid, minion, error, mine, refused=False)
        else:
            self._store.applied.record_proof(
                jid, minion, time.time(), min_interval=self._config.apply.min_interval
            )
            log.info("%s: applied by job %s", minion, jid)
            if job is not None and _is_ours(job):
                self._compare(minion, told)
                self._hear_of_connections(minion, job, told)

    def _unserved(self, jid: str, job: Job | None, minion: str) -> list[str]:
        """Return the references that a run's pillar was not served, where that can be known."""
        what = self._config.apply.find_class(job.class_) if job is not None else None
        if what is None or job is None or what.function != job.function or not what.compiles:
            return []
        # Another one in a cluster of masters may have compiled it, and recorded that by itself.
        if self._opts.get("cluster_id"):
            return []
        return self._store.applied.unserved_references(jid, minion)

    def _compare(self, minion: str, told: Any) -> None:
        """See to it that a module of another version is brought up to date before the next run."""
        answer = told.get("return")
        version = answer.get("version") if isinstance(answer, dict) else None
        if version is None or self._store.minion_facts.module_versions().get(minion) == str(
            version
        ):
            return
        self._store.minion_facts.set_module_version(minion, str(version))
        # Read each time: the package may have been upgraded under a running engine.
        ours = minion_module.shipped_version()
        if ours not in ("", str(version)):
            log.warning(
                "%s has version %s of %s, this master has %s: it is synced before its next run",
                *(minion, version, MODULE, ours),
            )

    def _hear_of_connections(self, minion: str, job: Job, told: Any) -> None:
        """Keep whether a minion can end connections, for `check`; a delivery does not tell."""
        answer = told.get("return")
        if not isinstance(answer, dict) or job.function != f"{MODULE}.sync":
            return
        if answer.get("delivered") is not True:
            able = answer.get("ends_connections") is not False
            self._store.minion_facts.set_can_reset(minion, able=able)

    def _failed(
        self,
        jid: str,
        minion: str,
        error: str,
        mine: list[LedgerEntry],
        *,
        refused: bool,
        silent: bool = False,
    ) -> None:
        attempts = max(entry.attempts for entry in mine)
        wait = retry_after(attempts, refused=refused, rng=self._dice)
        log.warning("%s: %s; next try in %.0f s", minion, error, wait)
        now = time.time()
        self._store.applied.record_failure(
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
        unknown = [
            (one.minion, one.cluster)
            for one in late
            if one.entry.behind_since is None and not one.proof_expired
        ]
        if unknown:
            self._store.applied.mark_out_of_sync(unknown, now)
        if not late or self._config.in_doubt or self._store.control.paused() is not None:
            self._waits = {}
            self._heeding.nothing_to_heed()
            return
        wish = ApplyRequest(clusters=frozenset(self._config.names))
        choice = self._choosing.choose(wish, now, late)
        waits = {
            name: max(choice.paced.get(name, 0.0), min(row.entry.next_at for row in rows))
            for name, rows in choice.rows.items()
        }
        self._waits = {name: until for name, until in waits.items() if until > now}
        ripe = self._ripe(waits, now, clock)
        due = self._due(choice, settled, ripe, clock)
        self._heeding.look(now, due=bool(due))
        for cluster, minions in due.items():
            reminded = self._reminded.get(cluster, 0.0)
            news = [since for place, since in self._behind_since.items() if place[1] == cluster]
            if (
                cluster in settled
                or max([*ripe.values(), *news], default=0.0) > reminded
                or clock >= reminded + _REMIND
            ):
                self._reminded[cluster] = clock
                log.info("%s: %d minions are behind", cluster, minions)
                event = events.lagging(cluster, minions)
                bus.fire(event.tag, event.data)
                self._heeding.reminded(now)

    def _ripe(self, waits: Mapping[str, float], now: float, clock: float) -> dict[str, float]:
        """
        Return the minions whose min_interval or backoff has just ended, and when.

        What was asked for before that was too early, and all of it may have happened between two
        looks of ours.
        """
        return {
            name: clock - (now - until)
            for name, until in waits.items()
            if now - _JUST < until <= now
        }

    def _due(
        self, choice: Selection, settled: frozenset[str], ripe: Mapping[str, float], clock: float
    ) -> dict[str, int]:
        """Return how many minions wait to be published to, by cluster."""
        turning = choice.waves.keys()
        names = {name for _, minions in choice.chosen for name in minions} | {*choice.strangers}
        names |= {name for name, what in choice.classes.items() if what.name in turning}
        due: dict[str, set[str]] = {}
        for name in names:
            for row in choice.rows[name]:
                waited = clock - self._behind_since[row.minion, row.cluster]
                if waited >= _PATIENCE or row.cluster in settled or name in ripe:
                    due.setdefault(row.cluster, set()).add(name)
        return {cluster: len(found) for cluster, found in due.items()}


def _is_ours(job: Job) -> bool:
    """Whether a job calls the module that minions get from this master's files."""
    return job.function.startswith(f"{MODULE}.")
