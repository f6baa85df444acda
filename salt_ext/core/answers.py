"""
The answers of the runner functions, as JSON has them; ``docs/answers.md`` shows an example of each.

All layers below the runner return these, hence their place in the core. Times are texts in ISO 8601
and UTC, durations are seconds. Keys of the classes with ``total=False`` may be missing.
"""

from __future__ import annotations

from typing import TypedDict


class Error(TypedDict):
    """The answer of any function that failed."""

    error: str
    retcode: int


# status


class ClassStatus(TypedDict):
    """One class of minions that always has these keys."""

    publishes: str
    mode: str


class Class(ClassStatus, total=False):
    """One class of minions; the last two keys are there while it is stopped."""

    target: str
    stopped: str
    next_try_seconds: float


class Requests(TypedDict):
    """Counters of the requests to one API server since the engine started."""

    lists: int
    watch_events: int
    ignored_events: int
    failed: int
    consecutive_failures: int


class HeldPicture(TypedDict):
    """The keys of a held change that are always there."""

    what: str
    why: str
    since: str | None
    names: list[str]
    count: int
    if_released: str | None
    token: str | None
    release: str | None
    reject: str | None


class HeldChange(HeldPicture, total=False):
    """One change that a guard holds, and what its release would do."""

    rejected: bool
    confirmed: str


class _Refused(TypedDict):
    count: int
    nodes: list[str]


class Refused(_Refused, total=False):
    """Addresses that are not let in for one reason; ``key`` of the cluster's block decides."""

    key: str


class ClusterView(TypedDict):
    """The keys of a cluster that are always there."""

    state: str
    stale: bool
    nodes: int | None
    revision: int | None
    changed_at: str | None
    mode: str
    warnings: list[str]
    held: list[HeldChange]


class Cluster(ClusterView, total=False):
    """One cluster; these keys are there once the engine has reported on it."""

    listed_at: str | None
    heard_seconds_ago: float | None
    error: str | None
    stale_since: str | None
    requests: Requests
    next_try_seconds: float
    refused_addresses: dict[str, Refused]


class Published(TypedDict):
    """The job that is in flight to a minion."""

    jid: str
    at: str | None
    revision: int | None


class OpenDeparture(TypedDict):
    """One address that references serve no more, and that may still get in."""

    address: str
    cause: str
    since: str
    open_by: str
    checked_at: str | None


class MinionState(TypedDict):
    """The keys of a minion and a cluster that are always there."""

    up_to_date: bool
    applied_at: str | None
    revision: int | None


class Minion(MinionState, total=False):
    """One minion and one cluster."""

    unresolved: list[str]
    why: str
    behind_since: str | None
    last_error: str | None
    next_try_at: str | None
    next: str
    failed_attempts: int
    failing_since: str | None
    published: Published
    module: str
    open_departures: int
    departures: list[OpenDeparture]
    departures_next: str


class Recovery(TypedDict):
    """The recovery from a loss of the store."""

    why: str
    since: str | None
    set_aside: str
    clusters: dict[str, str]


class _Status(TypedDict):
    engine: str
    engine_pid: int | None
    publishing: str
    summary: str
    problems: list[str]
    classes: dict[str, Class]
    clusters: dict[str, Cluster | str]
    minions: dict[str, dict[str, Minion]]


class Status(_Status, total=False):
    """
    The answer of ``status``; ``minions`` is keyed by minion, then by cluster.

    A terminal shows a text in place of a healthy cluster. ``recovery`` is there after a loss of the
    store, ``observed`` while anything is in mode ``observe``.
    """

    recovery: Recovery
    observed: str


# nodes


class Readiness(TypedDict):
    """The key of a node that is always there."""

    ready: bool


class Node(Readiness, total=False):
    """One node with its accepted addresses."""

    InternalIP: list[str]
    ExternalIP: list[str]
    podCIDR: list[str]


# apply and plan


class Jobs(TypedDict):
    """The jobs that were published, each with its minions."""

    jobs: dict[str, list[str]]


class Applied(Jobs, total=False):
    """The answer of ``apply``; ``skipped`` has the reason for each minion without a job."""

    skipped: dict[str, str]
    waiting: str


class Change(TypedDict):
    """The change of one cluster for one minion; the lists are None without a proof before."""

    why: str
    added: list[str] | None
    removed: list[str] | None
    desired: int


class PlannedChange(Change, total=False):
    """The same, with the references that mean nothing now."""

    unresolved: list[str]


class PlannedClosing(TypedDict):
    """One address that departed from a minion, and is not proven to be closed."""

    address: str
    cluster: str
    cause: str
    since: str
    open_by: str


PlannedRun = TypedDict(
    "PlannedRun",
    {
        "publishes": str | None,
        "class": str | None,
        "when": str,
        "clusters": dict[str, PlannedChange],
    },
)
"""The keys of a planned minion that are always there."""


class PlannedMinion(PlannedRun, total=False):
    """One minion that is out of date; ``publishes`` is None while its class is unknown."""

    closes: list[PlannedClosing]
    closes_when: str


class Plan(TypedDict):
    """The answer of ``plan``; ``waiting`` is why nothing at all is published, or None."""

    minions: dict[str, PlannedMinion]
    waiting: str | None


# observed


ObservedRun = TypedDict(
    "ObservedRun",
    {
        "publishes": str | None,
        "class": str | None,
        "rollout": str,
        "waits": str,
    },
    total=False,
)
"""What would have been published; ``class`` is None for minions outside all classes."""


class ObservedFacts(TypedDict):
    """The keys of every change that was not made."""

    at: str
    what: str
    cluster: str
    why: str


class ObservedEntry(ObservedFacts, ObservedRun, total=False):
    """One change that was not made; ``what`` decides which of these keys it has."""

    until: str
    times: int
    folded: int
    observed_by: str
    revision: int | None
    opens: list[str]
    opens_count: int
    closes: list[str]
    closes_count: int
    desired: int
    minions: int
    names: list[str]
    first: list[str]
    nodes: list[str]


class Observed(TypedDict):
    """The answer of ``observed``, newest first."""

    summary: str
    observing: list[str]
    entries: list[ObservedEntry]


# history, refresh, pause, resume, confirm


class Release(TypedDict):
    """One held change in the answer of ``confirm`` or ``reject``."""

    what: str
    why: str
    keys: list[str]
    if_released: str


class ClosedOn(TypedDict):
    """When a minion's kernel was seen to let in none of the addresses, and what was read."""

    at: str
    seconds: float
    evidence: str


class Happened(TypedDict):
    """The keys of every entry of the history."""

    at: str
    what: str


class HistoryItem(Happened, total=False):
    """One entry of the history; ``what`` decides which of these keys it has."""

    cluster: str
    revision: int
    added: list[str]
    removed: list[str]
    truncated: bool
    nodes: int
    seconds: dict[str, float]
    closed: dict[str, ClosedOn]
    still_open: dict[str, dict[str, str]]
    addresses: list[str]
    causes: list[str]
    minion: str
    pillarenv: str
    refers_to: list[str]
    no_longer_to: list[str]
    by: str
    reason: str
    token: str
    changes: list[Release]
    force: bool
    minions: str | list[str] | None
    jobs: list[str]
    out_of_date: int
    restarted_classes: list[str]
    set_aside: str
    recovered: str
    clusters: list[str]
    compiled: int
    failed: int
    omitted: str
    times: int
    first_at: str


class History(TypedDict):
    """The answer of ``history``, newest first."""

    entries: list[HistoryItem]


class LetInBy(TypedDict, total=False):
    """The confirmation that let an address in; only its token where the entry was dropped."""

    token: str
    by: str
    at: str
    reason: str


class AddressOnMinion(TypedDict, total=False):
    """What became of one address on one minion."""

    in_force: bool
    departed_at: str
    cause: str
    state: str
    ended_at: str
    evidence: str
    open_by: str


class IntervalOnMinion(AddressOnMinion, total=False):
    """The same for one interval, with the first proof of a view that has the address."""

    applied_at: str


class NodeAddress(TypedDict):
    """The keys of an interval that are always there."""

    cluster: str
    node: str
    address: str
    opened_at: str
    opened_revision: int
    closed_at: str | None
    closed_revision: int | None
    minions: dict[str, IntervalOnMinion]


class AddressInterval(NodeAddress, total=False):
    """The time for which one node had an address in the stored view of its cluster."""

    let_in_by: LetInBy


class OpenedAddress(TypedDict):
    """The keys of the answer of ``history`` about an address that are always there."""

    address: str
    intervals: list[AddressInterval]
    other_minions: dict[str, AddressOnMinion]


class AddressHistory(OpenedAddress, total=False):
    """The answer of ``history`` about an address, newest interval first."""

    at: str


class Listed(TypedDict):
    """One cluster that was listed anew."""

    listed_at: str
    nodes: int
    revision: int
    held: int


Refreshed = dict[str, Listed | str]
"""The answer of ``refresh``: each cluster, or why it was not listed."""


class PausedBy(TypedDict):
    """The keys of the answer of ``pause`` that are always there."""

    paused: bool
    by: str
    since: str


class Paused(PausedBy, total=False):
    """The answer of ``pause``."""

    reason: str


class _Resumed(TypedDict):
    paused: bool
    was_paused: bool
    restarted_classes: list[str]


class Resumed(_Resumed, total=False):
    """The answer of ``resume``."""

    set_aside: str
    """The name that a file of decisions has now, which could not be used."""
    recovered: str
    """What was lost, where that ends the recovery from a loss of the store."""


class Decision(TypedDict):
    """The key of the answers of ``confirm`` and ``reject`` that is always there."""

    still_held: list[HeldChange]


class DecisionMade(Decision, total=False):
    """Their other keys: ``refused`` says why nothing was done."""

    takes_effect: str
    refused: str
    retcode: int


class Confirmed(DecisionMade):
    """The answer of ``confirm``; ``released`` is empty when it only shows what is held."""

    released: list[Release]


class Rejected(DecisionMade):
    """The answer of ``reject``."""

    rejected: list[Release]


# discover


class Discovery(TypedDict):
    """The keys of the answer of ``discover`` that are always there."""

    compiled: int
    referring: dict[str, list[str]]
    failed: dict[str, str]
    without_grains: list[str]
    forgotten: list[str]
    left: int


class Discovered(Discovery, total=False):
    """The answer of ``discover``; with ``go_on_after`` while minions are left."""

    go_on_after: str


# check


class Problem(TypedDict):
    """The keys of every finding."""

    level: str
    where: str
    what: str


class FindingItem(Problem, total=False):
    """One finding, with its remedy where there is one."""

    fix: str


class ClusterInfo(TypedDict):
    """The answer of a cluster's API server."""

    server: str
    version: str
    credential: str
    clock_ahead_seconds: float | None
    credential_ends: str | None
    rights: dict[str, bool]


class Unreachable(TypedDict):
    """Why a cluster's API server gave no answer."""

    error: str


class Checked(TypedDict):
    """The answer of ``check`` to a program; ``retcode`` is 1 when there is an error."""

    result: str
    retcode: int
    findings: list[FindingItem]
    clusters: dict[str, ClusterInfo | Unreachable]
    groups: list[str]


class CheckResult(TypedDict):
    """The keys of the answer of ``check`` at a terminal that are always there."""

    result: str
    retcode: int


class CheckScreen(CheckResult, total=False):
    """The answer of ``check`` at a terminal: lines to read."""

    errors: list[str]
    warnings: list[str]
    notes: list[str]
    clusters: dict[str, str]


# setup


class Setup(TypedDict):
    """The answer of ``setup`` to a program; files are keyed by their paths."""

    put: dict[str, str]
    take_out: dict[str, list[str]]
    unchanged: list[str]
    manifest: str
    steps: list[str]
