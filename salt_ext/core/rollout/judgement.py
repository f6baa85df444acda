"""
What a minion's return proves: evidence from the store in, a judgement for the store out.

::

    store.applied.evidence(jid, minion) ──► judge(return, evidence) ──► store.applied.settle(…)

Every rule about proof is here, and none in SQL: which clusters changed while the job ran, which
references the run's pillar was not served, and which departures the kernel was seen to be without.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from salt_ext.core.rollout import departures, job_result
from salt_ext.core.rollout.departures import Closing, Departure, Findings

APPLY, SYNC_MODULES, REFRESH_PILLAR, CLOSE = "apply", "sync", "refresh", "close"

CHANGED_MEANWHILE = "the cluster changed during the run; re-applying"

_MAX_PROBLEMS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One publish; ``at`` is seconds since the epoch."""

    jid: str
    at: float
    class_: str
    function: str
    step: str = APPLY
    """``SYNC_MODULES`` or ``REFRESH_PILLAR`` where the job only prepares the minions for the run
    that is to be proven; ``CLOSE`` where it closes departed addresses after that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchedCluster:
    """What a job was to bring one minion of one cluster, and what became of the cluster since."""

    cluster: str
    digest: str | None
    at: float
    """When that was selected."""
    revision: int | None = None
    """The cluster's revision then."""
    revision_now: int | None = None
    references: Mapping[str, str] | None = None
    """Digest of each reference then; None where the addresses are not kept."""
    late: bool = False
    """Whether the minion was given up for this job before it returned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedReference:
    """What the last compile of one pillar recorded of a reference."""

    pillarenv: str
    reference: str
    cluster: str
    served: bool
    digest: str
    changed_at: float
    gone_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the store knows of one job and one minion when it returns."""

    jid: str
    minion: str
    job: Job | None
    clusters: tuple[DispatchedCluster, ...] = ()
    references: tuple[RecordedReference, ...] = ()
    departures: tuple[Departure, ...] = ()
    closing: Closing | None = None
    attempts: int = 0
    compiles: bool = False
    """Whether the run compiles the pillar on this master, which records its references."""

    @property
    def function(self) -> str:
        """The published function."""
        return self.job.function if self.job is not None else "state.apply"

    @property
    def step(self) -> str:
        """The step of the job."""
        return self.job.step if self.job is not None else APPLY


class Outcome(str, Enum):
    """What a job came to on one minion."""

    PROVEN = "proven"
    FAILED = "failed"
    REFUSED = "refused"
    """Another state run was in progress: nothing was tried."""
    MODULES_SYNCED = "modules synced"
    PILLAR_REFRESHED = "pillar refreshed"
    CHECKED = "checked"
    """A job that closes: only the departures say what it proves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterProof:
    """What is proven of one cluster; ``digest`` is None where nothing is."""

    cluster: str
    digest: str | None
    revision: int | None
    dispatched: str | None
    dispatched_at: float
    late: bool
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the store has to write down."""

    jid: str
    minion: str
    outcome: Outcome
    error: str = ""
    proofs: tuple[ClusterProof, ...] = ()
    acknowledged: tuple[tuple[str, str], ...] = ()
    """Pillar environment and text of references that were gone before a proven run."""
    findings: Findings | None = None
    """None where the return says nothing about departures."""
    problems: tuple[str, ...] | None = None
    """Parts that fail on the minion; None where the return does not say."""
    late: bool = False
    attempts: int = 0
    """Failed tries before this one."""
    closing_attempts: int = 0


def judge(returned: Mapping[str, object], evidence: Evidence, now: float) -> Judgement:
    """Judge one minion's return as the master's job cache holds it."""
    function = evidence.function
    result = job_result.judge(returned, function)
    outcome, error = _outcome(result, evidence)
    proofs: tuple[ClusterProof, ...] = ()
    acknowledged: tuple[tuple[str, str], ...] = ()
    if outcome is Outcome.PROVEN:
        proofs = tuple(_proof(one, evidence.references) for one in evidence.clusters)
        acknowledged = tuple(_acknowledged(evidence))
    return Judgement(
        jid=evidence.jid,
        minion=evidence.minion,
        outcome=outcome,
        error=error,
        proofs=proofs,
        acknowledged=acknowledged,
        findings=_findings(returned, evidence, now),
        problems=_problems(returned, function),
        late=any(one.late for one in evidence.clusters),
        attempts=evidence.attempts,
        closing_attempts=evidence.closing.attempts if evidence.closing is not None else 0,
    )


def _outcome(result: job_result.JobResult, evidence: Evidence) -> tuple[Outcome, str]:
    if evidence.step == CLOSE:
        return Outcome.CHECKED, result.error
    if not result.applied:
        return (Outcome.REFUSED if result.refused else Outcome.FAILED), result.error
    if evidence.step == SYNC_MODULES:
        return Outcome.MODULES_SYNCED, ""
    if evidence.step == REFRESH_PILLAR:
        return Outcome.PILLAR_REFRESHED, ""
    if evidence.compiles and (unserved := unserved_references(evidence)):
        # The states have succeeded on a pillar without our ext_pillar, or on an old one.
        return Outcome.FAILED, (
            f"the pillar of this run was not served {unserved[0]} as it is now; "
            "run `salt-run k8s_nodes.check`"
        )
    return Outcome.PROVEN, ""


def unserved_references(evidence: Evidence) -> list[str]:
    """
    Return the references that the minion's pillar did not get as a job was to apply them.

    Only of clusters that are as they were when it was published: a proof sees to the others. A run
    compiles the pillar of one environment, and its return does not say which: it is enough that
    one of them is right.
    """
    dispatched = {
        one.cluster: one.references
        for one in evidence.clusters
        if one.references is not None
        and one.revision_now is not None
        and one.revision_now == one.revision
    }
    unserved: dict[str, list[str]] = {}
    for row in evidence.references:
        expected = dispatched.get(row.cluster, {}).get(row.reference)
        if row.gone_at is None and expected is not None:
            in_environment = unserved.setdefault(row.pillarenv, [])
            if not row.served or row.digest != expected:
                in_environment.append(row.reference)
    return min(map(sorted, unserved.values()), key=len, default=[])


def _proof(one: DispatchedCluster, references: Iterable[RecordedReference]) -> ClusterProof:
    """
    Return what a success proves: what was desired when the job was published is applied.

    Where the cluster changed meanwhile, the minion's pillar may have had addresses of a moment in
    between. Then nothing is proven, even if the cluster is again as it was.
    """
    changed = None not in (one.revision, one.revision_now) and one.revision != one.revision_now
    doubtful = changed and _may_have_differed(one, references)
    return ClusterProof(
        cluster=one.cluster,
        digest=None if doubtful else one.digest,
        revision=None if doubtful else one.revision,
        dispatched=one.digest,
        dispatched_at=one.at,
        late=one.late,
        error=CHANGED_MEANWHILE if doubtful else None,
    )


def _may_have_differed(one: DispatchedCluster, references: Iterable[RecordedReference]) -> bool:
    """
    Whether a pillar since a job was published may have had other addresses than the job's.

    A compile that got the same as the one before it writes nothing.
    """
    rows = [
        row
        for row in references
        if row.cluster == one.cluster and row.served and row.gone_at is None
    ]
    recorded = {(row.reference, row.digest) for row in rows}
    return any(row.changed_at >= one.at for row in rows) or (
        set((one.references or {}).items()) != recorded
    )


def _acknowledged(evidence: Evidence) -> Iterable[tuple[str, str]]:
    """Yield the references that were gone when the job was published: it has taken them out."""
    at = {one.cluster: one.at for one in evidence.clusters}
    for row in evidence.references:
        if row.gone_at is not None and row.gone_at < at.get(row.cluster, 0.0):
            yield row.pillarenv, row.reference


def _findings(returned: Mapping[str, object], evidence: Evidence, now: float) -> Findings | None:
    verdicts = departures.read_verdicts(returned, evidence.function)
    if verdicts is None or evidence.step not in (APPLY, CLOSE):
        return None
    selected = [one.at for one in evidence.clusters]
    if evidence.closing is not None and evidence.closing.jid == evidence.jid:
        selected.append(evidence.closing.sent_at or 0.0)
    cluster = evidence.clusters[0].cluster if evidence.clusters else ""
    return departures.judge(
        verdicts,
        evidence.departures,
        min(selected, default=0.0),
        now,
        minion=evidence.minion,
        cluster=cluster,
        closing=evidence.step == CLOSE,
    )


def _problems(returned: Mapping[str, object], function: str) -> tuple[str, ...] | None:
    answer = returned.get("return")
    if function not in (departures.SYNC, departures.CLOSE) or not isinstance(answer, Mapping):
        return None
    given = answer.get("problems")
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, (list, tuple)):
        return ()
    return tuple(map(departures.one_line, given[:_MAX_PROBLEMS]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A job that asks minions whether another job still runs there."""

    jid: str
    until: float
    minions: frozenset[str] = field(default_factory=frozenset)


def still_runs(answer: Mapping[str, object] | None, jid: str) -> bool | None:
    """Read one minion's answer to ``saltutil.find_job``; None where it has not answered."""
    if answer is None:
        return None
    found = answer.get("return")
    return isinstance(found, Mapping) and str(found.get("jid")) == jid
