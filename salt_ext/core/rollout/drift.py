"""Which minions are out of date: the desired addresses compared with the proven ones."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from salt_ext.core.references.resolve import digest

MinionCluster = tuple[str, str]
"""A minion and a cluster that its pillar refers to."""

Resolved = Mapping[str, tuple[str, ...]]
"""Addresses by reference text."""

_Key = tuple[tuple[str, int], ...]

MAX_RETRY_DELAY = 900.0
"""Longest time between a failure and the next try, in seconds."""

NO_RETURN = "did not return"
"""Start of the error of a job without a return."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribedReference:
    """A reference in a minion's pillar, or one that was there until a moment ago."""

    minion: str
    cluster: str
    reference: str
    gone: bool = False
    refused: bool = False
    """The cluster's ``serve_to`` excludes this minion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """The addresses of one cluster that a minion should have."""

    digest: str
    resolved: Resolved = field(default_factory=dict, hash=False)
    unresolved: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """The state of one minion and one cluster; times are seconds since the epoch."""

    minion: str
    cluster: str
    applied: str | None = None
    """Digest of the last proven run."""
    applied_at: float | None = None
    jid: str | None = None
    """The job in flight, if any."""
    dispatched: str | None = None
    """Digest that was desired when that job was published."""
    dispatched_at: float | None = None
    """When that job was chosen: what it brings may be as old as this."""
    sent_at: float | None = None
    """When it was sent, after those that were chosen with it; from then on it is waited for."""
    attempts: int = 0
    """Failed tries since the last proven run."""
    next_at: float = 0.0
    """No try before this time."""
    error: str | None = None
    behind_since: float | None = None
    """Since when the minion is known to be out of date."""
    failing_since: float | None = None
    """Time of the first failed try since the last proven run."""
    failed_at: float | None = None
    """Time of the last failed try."""
    silent: bool = False
    """The last try failed because the minion did not return."""
    revision: int | None = None
    """The cluster's revision of the last proven run."""
    dispatched_revision: int | None = None
    running_at: float | None = None
    """When the minion last answered that the job in flight still runs."""

    def in_flight(self, now: float, timeout: float) -> bool:
        """
        Whether a job that may still return is in flight.

        A dispatch time later than ``now`` means that the clock was set back since.
        """
        sent = self.dispatched_at if self.sent_at is None else self.sent_at
        sent = sent if self.running_at is None else self.running_at
        return self.jid is not None and sent is not None and abs(now - sent) < timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfSync:
    """A minion without proof that it has the desired addresses of a cluster."""

    minion: str
    cluster: str
    desired: str
    entry: LedgerEntry
    unresolved: tuple[str, ...] = ()
    resolved: Resolved = field(default_factory=dict, hash=False)
    proof_expired: bool = False
    """There is a proof, but it is older than ``apply:reapply_after``."""

    def in_flight(self, now: float, timeout: float) -> bool:
        """Whether a job that may still return is in flight."""
        return self.entry.in_flight(now, timeout)

    def due(self, now: float, timeout: float) -> bool:
        """Whether to publish to it now."""
        # A longer wait means that the clock was set back.
        waits = 0.0 < self.entry.next_at - now <= MAX_RETRY_DELAY
        return not self.in_flight(now, timeout) and not waits

    def why(self, now: float, timeout: float) -> str:
        """Return why it is out of date, or still is, for operators."""
        if self.in_flight(now, timeout):
            if self.entry.running_at is not None:
                minutes = max(1, round((now - (self.entry.sent_at or now)) / 60))
                return f"its run has been going for {minutes} min (job {self.entry.jid})"
            return f"job {self.entry.jid} has not returned yet"
        if self.entry.error:
            return self.entry.error
        if self.proof_expired:
            return "last proof is older than apply:reapply_after; re-applying"
        if self.entry.applied is None:
            return "never applied"
        return "addresses changed"


class DigestCache:
    """
    Caches the digest of each set of references: many minions have the same set.

    A digest that was not used between two calls of :meth:`begin_round` is dropped.
    """

    def __init__(self) -> None:
        self._previous: dict[_Key, tuple[Resolved, str]] = {}
        self._current: dict[_Key, tuple[Resolved, str]] = {}

    def begin_round(self) -> None:
        """Begin another round; drop the digests that the last round did not use."""
        self._previous, self._current = self._current, {}

    def digest_of(self, resolved: Resolved) -> str:
        """Return the digest of references with their addresses."""
        # An id identifies a tuple while that lives; the cached values keep it alive.
        key = tuple(sorted((text, id(addresses)) for text, addresses in resolved.items()))
        cached = (
            self._current.get(key) or self._previous.get(key) or (dict(resolved), digest(resolved))
        )
        self._current[key] = cached
        return cached[1]


def desired_state(
    references: Iterable[SubscribedReference],
    resolve: Callable[[str], tuple[str, ...] | None],
    digests: DigestCache | None = None,
) -> dict[MinionCluster, Desired]:
    """
    Return the desired addresses of each minion and cluster, and its unresolved references.

    ``resolve`` returns the addresses of a reference, None when it cannot be resolved. A minion
    whose references to a cluster are all gone gets the digest of no references: it is out of date
    until a run without them is proven.
    """
    resolved: dict[MinionCluster, dict[str, tuple[str, ...]]] = {}
    unresolved: dict[MinionCluster, list[str]] = {}
    for subscribed in references:
        pair = subscribed.minion, subscribed.cluster
        resolved.setdefault(pair, {})
        if subscribed.gone:
            continue
        addresses = None if subscribed.refused else resolve(subscribed.reference)
        if addresses is None:
            unresolved.setdefault(pair, []).append(subscribed.reference)
        else:
            resolved[pair][subscribed.reference] = addresses
    digests = digests or DigestCache()
    digests.begin_round()
    return {
        pair: Desired(
            digest=digests.digest_of(by_text),
            resolved=by_text,
            unresolved=tuple(sorted(unresolved.get(pair, ()))),
        )
        for pair, by_text in resolved.items()
    }


def proof_expired(entry: LedgerEntry, now: float, reapply_after: float) -> bool:
    """
    Whether a proof is older than ``reapply_after`` seconds; never with 0.

    Each minion's time differs by up to 20 percent, so that not all are due at once.
    """
    if not reapply_after or entry.applied_at is None:
        return False
    spread = 0.8 + zlib.crc32(entry.minion.encode()) % 1000 / 5000
    return now > entry.applied_at + reapply_after * spread


def out_of_sync(
    desired: Mapping[MinionCluster, Desired],
    ledger: Mapping[MinionCluster, LedgerEntry],
    expired: Callable[[LedgerEntry], bool] = lambda _: False,
) -> list[OutOfSync]:
    """
    Return the minions whose proven digest is not the desired one, in order.

    Minions whose proof is ``expired`` are included.
    """
    rows = []
    for pair, target in sorted(desired.items(), key=lambda item: item[0]):
        entry = ledger.get(pair) or LedgerEntry(minion=pair[0], cluster=pair[1])
        proven = entry.applied == target.digest
        if proven and not expired(entry):
            continue
        # With unresolved references alone there is nothing to apply.
        if target.resolved or not target.unresolved:
            rows.append(
                OutOfSync(
                    minion=pair[0],
                    cluster=pair[1],
                    desired=target.digest,
                    entry=entry,
                    unresolved=target.unresolved,
                    resolved=target.resolved,
                    proof_expired=proven,
                )
            )
    return rows


def retry_after(attempts: int, *, refused: bool, rng: random.Random) -> float:
    """
    Return the seconds until the next try: jittered, doubling from 5 s to 15 min.

    A minion that refused because of another state run is tried again within 5 s.
    """
    ceiling = 5.0 if refused else min(MAX_RETRY_DELAY, 5.0 * 2 ** min(attempts, 16))
    return rng.uniform(ceiling / 2, ceiling)
