"""Settle jobs: what the master's job cache has of a job becomes what the ledger says."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from salt_ext.core.config.apply import MODULE
from salt_ext.core.config.config import Config
from salt_ext.core.rollout.drift import NO_RETURN, LedgerEntry, retry_after
from salt_ext.core.rollout.job_result import judge
from salt_ext.master import minion_module
from salt_ext.store import Store
from salt_ext.store.jobs import REFRESH_PILLAR, SYNC_MODULES, Job

log = logging.getLogger(__name__)

_ANNOUNCED_FOR = 2.0
"""Seconds for which an announced return is looked for: the bus may be ahead of the job cache."""
_FULL_LOOK_INTERVAL = 5.0
"""Seconds between two looks for returns whose announcement was lost."""

Returned = Mapping[str, object]
"""One minion's return: ``return``, and ``retcode`` and ``success`` where the minion sent them."""


class Returns(Protocol):
    """The returns that the master has verified."""

    def returns(self, jid: str) -> Mapping[str, Returned]:
        """Return what each minion answered to a job."""


class JobSettlement:
    """Finds proofs, failures and minions that did not return, job by job."""

    def __init__(self, config: Config, store: Store, opts: Mapping[str, object]) -> None:
        self._config = config
        self._store = store
        self._master_cluster = bool(opts.get("cluster_id"))
        self._dice = random.Random()  # noqa: S311
        self._announced: dict[str, float] = {}
        """Job to the monotonic time until which its announced return is looked for."""
        self._full_look_at = 0.0

    def announce(self, jids: Iterable[str]) -> None:
        """Take that something may have returned to these jobs."""
        self._announced |= dict.fromkeys(jids, time.monotonic() + _ANNOUNCED_FOR)

    @property
    def expects_returns(self) -> bool:
        """Whether an announced return is still to be found."""
        return bool(self._announced)

    def settle(self, jobs: Returns) -> frozenset[str]:
        """Settle every job that can be; return the clusters of the minions concerned."""
        now = time.monotonic()
        outstanding = self._store.applied.outstanding()
        full_look = now >= self._full_look_at
        if full_look:
            self._full_look_at = now + _FULL_LOOK_INTERVAL
        settled: set[str] = set()
        for jid, entries in outstanding.items():
            if full_look or jid in self._announced or self.overdue(entries, time.time()):
                settled |= self._settle_job(jid, entries, jobs.returns(jid))
        self._announced = {
            jid: until
            for jid, until in self._announced.items()
            if jid in outstanding and now < until
        }
        return frozenset(settled)

    def settle_return(
        self,
        jid: str,
        job: Job | None,
        minion: str,
        returned: Returned,
        entries: list[LedgerEntry],
    ) -> None:
        """Judge one minion's return, and write down what it proves."""
        result = judge(returned, job.function if job else "state.apply")
        if not result.applied:
            self._fail(jid, minion, result.error, entries, refused=result.refused)
            if (
                job is not None
                and _calls_module(job)
                and not isinstance(returned.get("return"), dict)
            ):
                # The module answers with a mapping: the minion has lost it, or cannot load it.
                self._store.minion_facts.clear_module_version(minion)
        elif job is not None and job.step == SYNC_MODULES:
            self._store.applied.record_module_sync(jid, minion, minion_module.shipped_version())
            log.info("minion %s: modules synced by job %s [modules-synced]", minion, jid)
        elif job is not None and job.step == REFRESH_PILLAR:
            self._store.applied.record_pillar_refresh(jid, minion)
        elif unserved := self._unserved(jid, job, minion):
            # The states have succeeded on a pillar without our ext_pillar, or on an old one.
            error = (
                f"the pillar of this run was not served {unserved[0]} as it is now; "
                "run `salt-run k8s_nodes.check`"
            )
            self._fail(jid, minion, error, entries, refused=False)
        else:
            self._prove(jid, job, minion, returned)

    def overdue(self, entries: Iterable[LedgerEntry], now: float) -> bool:
        """Return whether none of these minions can still return in time."""
        timeout = self._config.apply.timeout
        return not any(entry.in_flight(now, timeout) for entry in entries)

    def _settle_job(
        self, jid: str, entries: list[LedgerEntry], returns: Mapping[str, Returned]
    ) -> set[str]:
        job = self._store.jobs.get(jid)
        now = time.time()
        settled = set()
        for minion in {entry.minion for entry in entries}:
            of_minion = [entry for entry in entries if entry.minion == minion]
            returned = returns.get(minion)
            if returned is not None:
                self.settle_return(jid, job, minion, returned, of_minion)
            elif self.overdue(of_minion, now):
                error = f"{NO_RETURN} to job {jid}"
                self._fail(jid, minion, error, of_minion, refused=False, silent=True)
            else:
                continue
            settled |= {entry.cluster for entry in of_minion}
        return settled

    def _prove(self, jid: str, job: Job | None, minion: str, returned: Returned) -> None:
        self._store.applied.record_proof(
            jid, minion, time.time(), min_interval=self._config.apply.min_interval
        )
        log.info("minion %s: applied by job %s [applied]", minion, jid)
        answer = returned.get("return")
        if job is not None and _calls_module(job) and isinstance(answer, dict):
            self._record_module_version(minion, answer)
            self._record_connections(minion, job, answer)

    def _unserved(self, jid: str, job: Job | None, minion: str) -> list[str]:
        """Return the references that a run's pillar was not served, where that can be known."""
        action = self._config.apply.find_class(job.class_) if job is not None else None
        if action is None or job is None:
            return []
        if action.function != job.function or not action.compiles:
            return []
        # Another master of the cluster may have compiled it, and recorded that in its own store.
        return [] if self._master_cluster else self._store.applied.unserved_references(jid, minion)

    def _record_module_version(self, minion: str, answer: Mapping[str, object]) -> None:
        """Have a module of another version synced before the next run."""
        version = answer.get("version")
        if version is None or self._store.minion_facts.module_versions().get(minion) == str(
            version
        ):
            return
        self._store.minion_facts.set_module_version(minion, str(version))
        # Read each time: the package may have been upgraded under a running engine.
        shipped = minion_module.shipped_version()
        if shipped not in ("", str(version)):
            log.warning(
                "minion %s: has version %s of %s, this master has %s; syncing before its next run "
                "[module-outdated]",
                *(minion, version, MODULE, shipped),
            )

    def _record_connections(self, minion: str, job: Job, answer: Mapping[str, object]) -> None:
        """Keep for `check` whether a minion can end connections; a delivery does not say it."""
        if job.function == f"{MODULE}.sync" and answer.get("delivered") is not True:
            able = answer.get("ends_connections") is not False
            self._store.minion_facts.set_can_reset(minion, able=able)

    def _fail(
        self,
        jid: str,
        minion: str,
        error: str,
        entries: list[LedgerEntry],
        *,
        refused: bool,
        silent: bool = False,
    ) -> None:
        attempts = max(entry.attempts for entry in entries)
        wait = retry_after(attempts, refused=refused, rng=self._dice)
        log.warning("minion %s: %s; next try in %.0f s [apply-failed]", minion, error, wait)
        now = time.time()
        self._store.applied.record_failure(
            jid, minion, error, counted=not refused, next_at=now + wait, now=now, silent=silent
        )


def _calls_module(job: Job) -> bool:
    """Return whether a job calls the module that minions get from this master's files."""
    return job.function.startswith(f"{MODULE}.")
