"""After the store was lost: ask minions what they were served, and wait until the views agree."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

import msgspec

from salt_ext.core.config.apply import Action
from salt_ext.core.config.config import Config
from salt_ext.core.display import names
from salt_ext.core.errors import K8sNodesError
from salt_ext.core.rollout.recovery import (
    FUNCTION,
    KNOWN,
    Facts,
    Report,
    Served,
    canonical,
    judge,
    read_served,
)
from salt_ext.master.publisher import NotPublished
from salt_ext.references.discovery import ExtPillarMissing, MinionPillars, discover
from salt_ext.rollout.apply import JobPublisher
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.job_probes import Returns
from salt_ext.rollout.publishing import decided_stop
from salt_ext.store import Store
from salt_ext.store.continuity import StoreLoss
from salt_ext.store.decisions import Decisions, Recovery
from salt_ext.store.history import HistoryEntry
from salt_ext.supervisor import Heartbeat

log = logging.getLogger(__name__)

RESTORED = "the store was restored"

_TICK = 1.0
"""Seconds between two rounds."""
_SLICE = 5.0
"""Seconds of one round in which pillars are compiled."""
_SPACING = 2.0
"""Seconds between two batches of questions."""
_TIMEOUT = 15.0
"""Seconds that minions have to answer."""
_ASK_AGAIN = 300.0
"""Seconds until minions that were silent are asked once more."""
_MAX_KNOWN = 50
"""Digests that a question names."""
_HANGS_AFTER = 600.0
"""Seconds without a round after which this thread counts as hung: a pillar may take long."""


@dataclass(slots=True)
class _Questions:
    """What minions were asked since the loss, and answered."""

    store: object
    discovered: bool = False
    after: str = ""
    left: int = 0
    """Minions whose pillar was not read yet."""
    to_ask: list[str] | None = None
    """None until it is known which minions there are."""
    next_at: float = 0.0
    jobs: dict[str, tuple[set[str], float]] = field(default_factory=dict)
    """Job id to the minions that may still answer, and until when."""
    silent: set[str] = field(default_factory=set)
    """Minions that did not answer in time; they may be asked again."""
    served: dict[str, Served] = field(default_factory=dict)
    lists: dict[str, frozenset[str]] = field(default_factory=dict)
    """Address lists by the digest that a minion gave with it."""
    judged: object = None
    """What the last judgement was made from."""

    @property
    def pending(self) -> int:
        """Minions that were not asked yet, or may still answer their first question."""
        asked = {name for waiting, _ in self.jobs.values() for name in waiting}
        return self.left + len((asked | {*(self.to_ask or ())}) - self.silent)


class StoreRecovery:
    """Runs in a thread of its own; publishes questions only, which change nothing on a minion."""

    def __init__(
        self,
        config: Config,
        store: Store,
        minions: MinionPillars,
        publisher: JobPublisher,
        jobs: Callable[[], Returns],
        stop: threading.Event,
    ) -> None:
        """``jobs`` makes a reader of the job cache; it is called when it is needed first."""
        self._config = config
        self._store = store
        self._minions = minions
        self._publisher = publisher
        self._make_jobs = jobs
        self._jobs: Returns | None = None
        self._stop = stop
        self._error = ""
        self._desired_state = DesiredState(store)
        self._questions: _Questions | None = None
        self.heartbeat = Heartbeat(_HANGS_AFTER)

    def run(self) -> None:
        """Look once a second whether the store was lost, and recover from that."""
        while not self._stop.wait(_TICK):
            self.heartbeat.beat()
            try:
                self.step()
                self._error = ""
            except K8sNodesError as exc:
                # Each second the same one: a file that a person has to look at.
                if str(exc) != self._error:
                    log.error("store: %s [recovery-failed]", exc)
                self._error = str(exc)

    def step(self) -> None:
        """Do one round."""
        continuity = self._store.continuity
        if continuity.bind_first():
            return
        loss = continuity.loss()
        if loss is None:
            self._go_on_discovering()
            return
        recovery = continuity.recovery(loss) or self._begin(loss)
        if self._questions is None or self._questions.store != loss.mark:
            self._questions = _Questions(store=loss.mark)
        # Also while it is paused: this asks no minion.
        self._discover(self._questions)
        if decided_stop(self._store) is not None:
            return
        self._collect(self._questions)
        self._ask(self._questions)
        self._judge(self._questions, recovery)

    def _go_on_discovering(self) -> None:
        """Find the minions of a lost store to the end, also where a person ended the recovery."""
        if self._questions is not None and not self._questions.discovered:
            self._discover(self._questions)
        else:
            self._questions = None

    def _begin(self, loss: StoreLoss) -> Recovery:
        """Write down that the store was lost, once."""
        now = time.time()
        if loss.earlier:
            # What it takes for proven may be undone since.
            for minion in self._store.subscriptions.known():
                self._store.applied.invalidate(minion, RESTORED, now)
        recovery = Recovery(store=loss.mark, since=now, why=loss.why, aside=loss.aside)
        self._store.decisions.change(lambda old: msgspec.structs.replace(old, recovery=recovery))
        log.error(
            "store: %s. Nothing is published until the nodes agree with what minions were "
            "served; see salt-run k8s_nodes.status [store-lost]",
            loss.why,
        )
        self._record("store lost", now, why=loss.why, set_aside=loss.aside)
        return recovery

    def _discover(self, questions: _Questions) -> None:
        """Read the pillars of all accepted minions, some in each round."""
        if questions.discovered:
            return
        try:
            found = discover(self._store, self._minions, after=questions.after, within=_SLICE)
        except ExtPillarMissing:
            questions.discovered = True
            return
        questions.left = found["left"]
        questions.after = found.get("go_on_after", "")
        questions.discovered = not questions.after
        for minion, why in found["failed"].items():
            log.warning("minion %s: not discovered: %s [minion-not-discovered]", minion, why)

    def _ask(self, questions: _Questions) -> None:
        """Ask the next batch of minions, when it is time."""
        now = time.monotonic()
        if questions.to_ask is None:
            questions.to_ask = sorted(self._minions.accepted_minions())
        if now < questions.next_at:
            return
        if not questions.to_ask:
            if not questions.silent or questions.jobs:
                return
            questions.to_ask = sorted(questions.silent)
        size = self._config.apply.batch
        batch = questions.to_ask[:size]
        known = list(questions.lists)[:_MAX_KNOWN]
        jid = self._publisher.new_jid()
        try:
            self._publisher.apply(
                jid, batch, Action(function=FUNCTION, kwarg={KNOWN: known} if known else {})
            )
        except NotPublished as exc:
            questions.next_at = now + _TIMEOUT
            log.warning("store: cannot ask minions: %s [recovery-not-asked]", exc)
            return
        log.info("job %s: asked %s what they were served [recovery-asked]", jid, names(batch))
        questions.to_ask = questions.to_ask[size:]
        questions.jobs[jid] = set(batch), now + _TIMEOUT
        questions.next_at = now + (_SPACING if questions.to_ask else _ASK_AGAIN)

    def _collect(self, questions: _Questions) -> None:
        """Take the answers that the job cache has."""
        now = time.monotonic()
        if self._jobs is None:
            self._jobs = self._make_jobs()
        for jid, (waiting, until) in list(questions.jobs.items()):
            returns = self._jobs.returns(jid)
            for minion in waiting & returns.keys():
                self._take(questions, minion, returns[minion].get("return"))
            waiting -= returns.keys()
            if not waiting or now >= until:
                questions.silent |= waiting
                del questions.jobs[jid]

    def _take(self, questions: _Questions, minion: str, returned: object) -> None:
        questions.silent.discard(minion)
        served = read_served(returned, questions.lists)
        if served is None:
            return
        if isinstance(returned, Mapping) and isinstance(returned.get("digest"), str):
            shared = questions.lists.setdefault(returned["digest"], served.addresses)
            if shared == served.addresses:
                served = replace(served, addresses=shared)
        questions.served[minion] = served

    def _judge(self, questions: _Questions, recovery: Recovery) -> None:
        """Compare the views with the answers; end the recovery when all agree."""
        listed = frozenset(self._config.names)
        basis = (
            tuple(self._store.snapshots.stamp(name) for name in sorted(listed)),
            questions.pending,
            len(questions.served),
            questions.discovered,
        )
        if basis == questions.judged and not listed <= {*recovery.agreed}:
            return
        questions.judged = basis
        reports = judge(self._facts(questions), sorted(listed))
        for name, report in reports.items():
            if report.agrees and name not in recovery.agreed:
                log.warning("cluster %s: %s [recovery-agrees]", name, report.text)
            elif recovery.reports.get(name) != report.text and not questions.pending:
                log.error("cluster %s: %s [recovery-disagrees]", name, report.text)
        self._write(recovery, reports, listed)

    def _facts(self, questions: _Questions) -> Facts:
        loaded = ((name, self._store.snapshots.load(name)) for name in self._config.names)
        clusters = {**self._config.broken, **self._config.clusters}
        sets: dict[str, frozenset[str]] = {}
        desired: dict[str, dict[str, frozenset[str]]] = {}
        for (minion, cluster), target in self._desired_state.desired(self._config).items():
            if target.digest not in sets:
                sets[target.digest] = canonical(chain.from_iterable(target.resolved.values()))
            desired.setdefault(minion, {})[cluster] = sets[target.digest]
        return Facts(
            snapshots={name: one for name, one in loaded if one is not None},
            pinned={name: self._store.decisions.of(name).identity for name in self._config.names},
            rules={name: one.rules for name, one in clusters.items() if one is not None},
            desired=desired,
            served=questions.served,
            unasked=questions.pending,
        )

    def _write(
        self, recovery: Recovery, reports: Mapping[str, Report], listed: frozenset[str]
    ) -> None:
        agreed = {*recovery.agreed, *(name for name, one in reports.items() if one.agrees)}
        texts = {
            **recovery.reports,
            **{name: one.text for name, one in reports.items() if name not in recovery.agreed},
        }
        self._store.decisions.change(
            _if_still(
                recovery,
                lambda old: msgspec.structs.replace(
                    old,
                    recovery=msgspec.structs.replace(
                        recovery, agreed=sorted(agreed), reports=texts
                    ),
                ),
            )
        )
        if listed <= agreed:
            self._end(recovery, texts)

    def _end(self, recovery: Recovery, reports: Mapping[str, str]) -> None:
        self._record("recovered", time.time(), why=recovery.why, clusters=dict(reports))
        self._store.continuity.bind()
        log.warning(
            "store: all clusters agree with what minions were served; publishing again "
            "[store-recovered]"
        )

    def _record(self, what: str, now: float, **detail: object) -> None:
        self._store.history.record(HistoryEntry(at=now, cluster="", what=what, detail=detail))


def _if_still(
    recovery: Recovery, change: Callable[[Decisions], Decisions]
) -> Callable[[Decisions], Decisions]:
    """Return a change that is made only while a person has not ended the recovery."""

    def apply(old: Decisions) -> Decisions:
        known = old.recovery
        return change(old) if known is not None and known.store == recovery.store else old

    return apply
