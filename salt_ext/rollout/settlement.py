"""Settle jobs: what the master's job cache has of a job becomes what the ledger says."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterable, Mapping

from salt_ext.core.config.apply import MODULE
from salt_ext.core.config.config import Config
from salt_ext.core.display import names
from salt_ext.core.rollout.departures import Closing, State, summary
from salt_ext.core.rollout.drift import NO_RETURN, LedgerEntry, retry_after
from salt_ext.core.rollout.judgement import Job, Judgement, Outcome, judge
from salt_ext.master import minion_module
from salt_ext.rollout.apply import JobPublisher
from salt_ext.rollout.job_probes import JobProbes, Returned, Returns
from salt_ext.store import Store

log = logging.getLogger(__name__)

_ANNOUNCED_FOR = 2.0
"""Seconds for which an announced return is looked for: the bus may be ahead of the job cache."""
_FULL_LOOK_INTERVAL = 5.0
"""Seconds between two looks for returns whose announcement was lost."""

_LATE_LOOK_INTERVAL = 30.0
"""Seconds between two looks for returns of minions that were given up."""


class JobSettlement:
    """Finds proofs, failures and minions that did not return, job by job."""

    def __init__(
        self,
        config: Config,
        store: Store,
        opts: Mapping[str, object],
        publisher: JobPublisher | None = None,
    ) -> None:
        """Settle for one master; without a ``publisher``, no minion is asked whether a job runs."""
        self._config = config
        self._store = store
        self._master_cluster = bool(opts.get("cluster_id"))
        self._dice = random.Random()  # noqa: S311
        self._probes = JobProbes(store, publisher)
        self._announced: dict[str, float] = {}
        """Job to the monotonic time until which its announced return is looked for."""
        self._full_look_at = 0.0
        self._late_look_at = 0.0

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
        closings = self._store.departures.outstanding()
        full_look = now >= self._full_look_at
        if full_look:
            self._full_look_at = now + _FULL_LOOK_INTERVAL
        settled: set[str] = set()
        for jid, entries in outstanding.items():
            if full_look or jid in self._announced or self.overdue(entries, time.time()):
                settled |= self._settle_job(jid, entries, jobs)
        for jid, waiting in closings.items():
            if full_look or jid in self._announced or self._closing_overdue(waiting):
                settled |= self._settle_closing(jid, waiting, jobs.returns(jid))
        settled |= self._settle_late(jobs, now)
        self._probes.forget_all_but(outstanding)
        known = outstanding.keys() | closings.keys()
        self._announced = {
            jid: until for jid, until in self._announced.items() if jid in known and now < until
        }
        return frozenset(settled)

    def settle_return(
        self,
        jid: str,
        job: Job | None,
        minion: str,
        returned: Returned,
        entries: Iterable[LedgerEntry] = (),
    ) -> Judgement:
        """Judge one minion's return, and write down what it proves."""
        now = time.time()
        evidence = self._store.applied.evidence(jid, minion, compiles=self._compiles(job))
        judgement = judge(returned, evidence, now)
        attempts = max((entry.attempts for entry in entries), default=evidence.attempts)
        refused = judgement.outcome is Outcome.REFUSED
        wait = retry_after(attempts, refused=refused, rng=self._dice)
        close_wait = retry_after(judgement.closing_attempts, refused=False, rng=self._dice)
        self._store.applied.settle(
            judgement,
            now,
            min_interval=self._config.apply.min_interval,
            next_at=now + wait,
            close_at=now + close_wait,
            module_version=minion_module.shipped_version(),
        )
        self._log(judgement, wait)
        if job is not None and _calls_module(job):
            self._record_module(minion, job, returned, judgement)
        return judgement

    def _log(self, judgement: Judgement, wait: float) -> None:
        jid, minion, outcome = judgement.jid, judgement.minion, judgement.outcome
        if outcome is Outcome.PROVEN:
            log.info("minion %s: applied by job %s [applied]", minion, jid)
        elif outcome is Outcome.MODULES_SYNCED:
            log.info("minion %s: modules synced by job %s [modules-synced]", minion, jid)
        elif outcome in (Outcome.FAILED, Outcome.REFUSED):
            log.warning(
                "minion %s: %s; next try in %.0f s [apply-failed]", minion, judgement.error, wait
            )
        findings = judgement.findings
        if findings is None:
            return
        ended = [one.address for one in findings.changed if one.state is not State.OPEN]
        if ended:
            log.info("minion %s: closed, proven: %s [departures-closed]", minion, names(ended))
        if findings.error:
            log.warning("minion %s: %s [departures-unproven]", minion, findings.error)
        elif findings.remaining and not findings.untried:
            opened = (one for one in findings.changed if one.state is State.OPEN)
            log.warning(
                "minion %s: %s [departures-open]",
                minion,
                summary(opened) or f"{findings.remaining} departed addresses are still open",
            )

    def _record_module(
        self, minion: str, job: Job, returned: Returned, judgement: Judgement
    ) -> None:
        answer = returned.get("return")
        if not isinstance(answer, Mapping):
            # The module answers with a mapping: the minion has lost it, or cannot load it.
            if judgement.outcome is not Outcome.PROVEN:
                self._store.minion_facts.clear_module_version(minion)
        elif judgement.outcome in (Outcome.PROVEN, Outcome.CHECKED):
            self._record_module_version(minion, answer)
            self._record_connections(minion, job, answer)

    def overdue(self, entries: Iterable[LedgerEntry], now: float) -> bool:
        """Return whether none of these minions can still return in time."""
        timeout = self._config.apply.timeout
        return not any(entry.in_flight(now, timeout) for entry in entries)

    def _settle_job(self, jid: str, entries: list[LedgerEntry], jobs: Returns) -> set[str]:
        job = self._store.jobs.get(jid)
        now = time.time()
        settled = set()
        by_minion: dict[str, list[LedgerEntry]] = {}
        for entry in entries:
            by_minion.setdefault(entry.minion, []).append(entry)
        late = {name for name, rows in by_minion.items() if self.overdue(rows, now)}
        # Read before the returns: a run that ends between the two has returned.
        running, silent = self._probes.ask(jid, late, by_minion, jobs, now)
        returns = jobs.returns(jid)
        self._store.applied.record_running(jid, running - returns.keys(), now)
        for minion, of_minion in by_minion.items():
            returned = returns.get(minion)
            if returned is not None:
                self.settle_return(jid, job, minion, returned, of_minion)
            elif minion in silent:
                self._fail_silent(jid, minion, of_minion)
            else:
                continue
            settled |= {entry.cluster for entry in of_minion}
        return settled

    def _settle_closing(
        self, jid: str, waiting: list[Closing], returns: Mapping[str, Returned]
    ) -> set[str]:
        job = self._store.jobs.get(jid)
        now = time.time()
        settled = set()
        for closing in waiting:
            returned = returns.get(closing.minion)
            if returned is not None:
                self._settle_one_closing(jid, job, closing, returned)
            elif not closing.in_flight(now, self._config.apply.timeout):
                self._fail_closing(jid, closing, f"{NO_RETURN} to job {jid}")
            else:
                continue
            rows = self._store.departures.of(closing.minion)
            settled |= {row.cluster for row in rows if row.state is State.OPEN}
        return settled

    def _settle_one_closing(
        self, jid: str, job: Job | None, closing: Closing, returned: Returned
    ) -> None:
        judgement = self.settle_return(jid, job, closing.minion, returned)
        if judgement.findings is None and judgement.outcome is not Outcome.MODULES_SYNCED:
            why = judgement.error or "the return says nothing about departures"
            self._fail_closing(jid, closing, f"its modules were not synced: {why}")

    def _fail_closing(self, jid: str, closing: Closing, error: str) -> None:
        wait = retry_after(closing.attempts, refused=False, rng=self._dice)
        log.warning(
            "minion %s: %s; departed addresses stay open; next try in %.0f s [closing-failed]",
            *(closing.minion, error, wait),
        )
        self._store.departures.record_closing(
            jid, closing.minion, error=error, counted=True, next_at=time.time() + wait
        )

    def _closing_overdue(self, waiting: Iterable[Closing]) -> bool:
        timeout = self._config.apply.timeout
        return not any(closing.in_flight(time.time(), timeout) for closing in waiting)

    def _settle_late(self, jobs: Returns, clock: float) -> set[str]:
        """Settle returns that came after their minions were given up; return their clusters."""
        look = clock >= self._late_look_at
        if look:
            self._late_look_at = clock + _LATE_LOOK_INTERVAL
        elif not self._announced:
            return set()
        settled: set[str] = set()
        for jid, minions in self._store.applied.late().items():
            if not look and jid not in self._announced:
                continue
            returns = jobs.returns(jid)
            for minion in minions:
                if minion in returns:
                    job = self._store.jobs.get(jid)
                    log.info("minion %s: job %s returned late [returned-late]", minion, jid)
                    judgement = self.settle_return(jid, job, minion, returns[minion])
                    settled |= {proof.cluster for proof in judgement.proofs}
        return settled

    def _compiles(self, job: Job | None) -> bool:
        """Whether the run of a job compiles the pillar on this master, as far as is known."""
        action = self._config.apply.find_class(job.class_) if job is not None else None
        if action is None or job is None or action.function != job.function:
            return False
        # Another master of the cluster may have compiled it, and recorded that in its own store.
        return action.compiles and not self._master_cluster

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

    def _fail_silent(self, jid: str, minion: str, entries: list[LedgerEntry]) -> None:
        error = f"{NO_RETURN} to job {jid}"
        wait = retry_after(max(entry.attempts for entry in entries), refused=False, rng=self._dice)
        log.warning("minion %s: %s; next try in %.0f s [no-return]", minion, error, wait)
        now = time.time()
        self._store.applied.record_failure(
            jid, minion, error, counted=True, next_at=now + wait, now=now, silent=True
        )


def _calls_module(job: Job) -> bool:
    """Return whether a job calls the module that minions get from this master's files."""
    return job.function.startswith(f"{MODULE}.")
