"""Ask minions that have not returned whether their job still runs, before they are given up."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from salt_ext.core.config.apply import Action
from salt_ext.core.display import names
from salt_ext.core.rollout.drift import LedgerEntry
from salt_ext.core.rollout.judgement import Probe, still_runs
from salt_ext.master.publisher import NotPublished
from salt_ext.rollout.apply import JobPublisher
from salt_ext.rollout.publishing import decided_stop
from salt_ext.store import Store

log = logging.getLogger(__name__)

FIND_JOB = "saltutil.find_job"

ANSWER_TIMEOUT = 10.0
"""Seconds that minions have to answer."""
LONGEST_RUN = 86_400.0
"""Seconds after which a run that still goes on is waited for no more."""

Returned = Mapping[str, object]
"""One minion's return: ``return``, and ``retcode`` and ``success`` where the minion sent them."""


class Returns(Protocol):
    """The returns that the master has verified."""

    def returns(self, jid: str) -> Mapping[str, Returned]:
        """Return what each minion answered to a job."""


class JobProbes:
    """One question for each job and time-out; it changes nothing on the minion."""

    def __init__(self, store: Store, publisher: JobPublisher | None) -> None:
        self._store = store
        self._publisher = publisher
        self._probes: dict[str, Probe] = {}

    def forget_all_but(self, jids: Collection[str]) -> None:
        """Forget the questions about jobs that were settled."""
        self._probes = {jid: probe for jid, probe in self._probes.items() if jid in jids}

    def ask(
        self,
        jid: str,
        late: Collection[str],
        entries: Mapping[str, Sequence[LedgerEntry]],
        jobs: Returns,
        now: float,
    ) -> tuple[set[str], set[str]]:
        """
        Ask minions that are ``late``; return those whose run goes on, and those to give up.

        A minion in neither has not answered yet.
        """
        # Too old to be waited for, whatever they answer.
        stale = {name for name in late if _sent(entries[name]) <= now - LONGEST_RUN}
        asked = set(late) - stale
        if not asked:
            return set(), stale
        probe = self._probes.get(jid)
        if probe is None:
            probe = self._publish(jid, asked, now)
            if probe is None:
                return set(), set(late)
            self._probes[jid] = probe
            return set(), stale
        answers = jobs.returns(probe.jid)
        verdicts = {name: still_runs(answers.get(name), jid) for name in asked & probe.minions}
        running = {name for name, runs in verdicts.items() if runs}
        over = not 0 <= probe.until - now <= ANSWER_TIMEOUT
        silent = {name for name, runs in verdicts.items() if runs is False or (over and not runs)}
        if over or running | silent >= asked:
            # Minions that are late since get a question of their own.
            del self._probes[jid]
        return running, silent | stale

    def _publish(self, jid: str, minions: set[str], now: float) -> Probe | None:
        if self._publisher is None or decided_stop(self._store) is not None:
            return None
        probe_jid = self._publisher.new_jid()
        try:
            self._publisher.apply(probe_jid, sorted(minions), Action(function=FIND_JOB, arg=(jid,)))
        except NotPublished as exc:
            log.warning("job %s: cannot ask whether it still runs: %s [probe-failed]", jid, exc)
            return None
        log.info(
            "job %s: no return of %s; asked whether it still runs [job-probed]", jid, names(minions)
        )
        return Probe(jid=probe_jid, until=now + ANSWER_TIMEOUT, minions=frozenset(minions))


def _sent(entries: Sequence[LedgerEntry]) -> float:
    return min(entry.sent_at or entry.dispatched_at or 0.0 for entry in entries)
