"""Who is behind: the difference between what minions should have and what they proved to have."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from salt_ext.core.references.resolve import digest

MinionCluster = tuple[str, str]
"""A minion and a cluster that it references."""

Served = Mapping[str, tuple[str, ...]]
"""The addresses that each reference means."""

_Key = tuple[tuple[str, int], ...]

LONGEST_WAIT = 900.0
"""Seconds between a failure and the next try at most."""

NO_RETURN = "did not return"
"""How the error of a job begins that a minion never answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribedReference:
    """A reference that stands, or stood until a moment ago, in a minion's pillar."""

    minion: str
    cluster: str
    reference: str
    gone: bool = False
    refused: bool = False
    """The cluster does not serve this minion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What a minion should have of one cluster."""

    digest: str
    served: Served = field(default_factory=dict, hash=False)
    unresolved: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """What is known of one minion and one cluster; times are seconds since the epoch."""

    minion: str
    cluster: str
    applied: str | None = None
    """Digest that the newest proven run had."""
    applied_at: float | None = None
    jid: str | None = None
    """The job that is on its way, if one is."""
    dispatched: str | None = None
    """Digest that was current when that job was published."""
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
    """Since when it has been known to lack something."""
    failing_since: float | None = None
    """When the first try failed since the last proven run."""
    failed_at: float | None = None
    """When the last try failed."""
    silent: bool = False
    """The last try failed because there was no return."""
    revision: int | None = None
    """The cluster's revision that the newest proven run had."""
    dispatched_revision: int | None = None

    def in_flight(self, now: float, timeout: float) -> bool:
        """
        Whether a job that may still return is on its way.

        One that was sent later than now was sent before the clock was set back.
        """
        sent = self.dispatched_at if self.sent_at is None else self.sent_at
        return self.jid is not None and sent is not None and abs(now - sent) < timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfSync:
    """A minion that has not proved to have the current addresses of a cluster."""

    minion: str
    cluster: str
    desired: str
    entry: LedgerEntry
    unresolved: tuple[str, ...] = ()
    served: Served = field(default_factory=dict, hash=False)
    renewal: bool = False
    """It has proved it, but long ago."""

    def in_flight(self, now: float, timeout: float) -> bool:
        """Whether a job that may still return is on its way."""
        return self.entry.in_flight(now, timeout)

    def due(self, now: float, timeout: float) -> bool:
        """Whether it should be published now."""
        # No wait is longer than that, unless the clock was set back meanwhile.
        waits = 0.0 < self.entry.next_at - now <= LONGEST_WAIT
        return not self.in_flight(now, timeout) and not waits

    def why(self, now: float, timeout: float) -> str:
        """Return the reason in words."""
        if self.in_flight(now, timeout):
            return f"job {self.entry.jid} has not returned yet"
        if self.entry.error:
            return self.entry.error
        if self.renewal:
            return "applied long ago: once more"
        if self.entry.applied is None:
            return "never applied"
        return "addresses changed"


class DigestCache:
    """
    Remembers the digest of each set of references: many minions have the same ones.

    What was not asked for between two calls of :meth:`turn` is forgotten.
    """

    def __init__(self) -> None:
        self._before: dict[_Key, tuple[Served, str]] = {}
        self._known: dict[_Key, tuple[Served, str]] = {}

    def turn(self) -> None:
        """Begin another round."""
        self._before, self._known = self._known, {}

    def of(self, served: Served) -> str:
        """Return the digest of what references were served."""
        # An id means the same tuple as long as that lives, which it does in what is kept here.
        key = tuple(sorted((text, id(found)) for text, found in served.items()))
        known = self._known.get(key) or self._before.get(key) or (dict(served), digest(served))
        self._known[key] = known
        return known[1]


def desired(
    wanted: Iterable[SubscribedReference],
    resolve: Callable[[str], tuple[str, ...] | None],
    digests: DigestCache | None = None,
) -> dict[MinionCluster, Desired]:
    """
    Return what each minion should have for each cluster, and what stays unresolved.

    A minion all of whose references to a cluster are gone wants the digest of nothing: it is
    behind until a run without them is proven.
    """
    served: dict[MinionCluster, dict[str, tuple[str, ...]]] = {}
    unresolved: dict[MinionCluster, list[str]] = {}
    for want in wanted:
        place = want.minion, want.cluster
        served.setdefault(place, {})
        if want.gone:
            continue
        addresses = None if want.refused else resolve(want.reference)
        if addresses is None:
            unresolved.setdefault(place, []).append(want.reference)
        else:
            served[place][want.reference] = addresses
    digests = digests or DigestCache()
    digests.turn()
    return {
        place: Desired(
            digest=digests.of(found),
            served=found,
            unresolved=tuple(sorted(unresolved.get(place, ()))),
        )
        for place, found in served.items()
    }


def proof_expired(entry: LedgerEntry, now: float, lasts: float) -> bool:
    """Whether a proof is so old that it is asked for once more; not all at the same time."""
    spread = 0.8 + zlib.crc32(entry.minion.encode()) % 1000 / 5000
    return bool(lasts) and entry.applied_at is not None and now > entry.applied_at + lasts * spread


def out_of_sync(
    targets: Mapping[MinionCluster, Desired],
    ledger: Mapping[MinionCluster, LedgerEntry],
    old: Callable[[LedgerEntry], bool] = lambda _: False,
) -> list[OutOfSync]:
    """
    Return the minions whose proven digest is not the desired one, in order.

    Also, as a renewal, those whose proof is ``old``.
    """
    found = []
    for place, want in sorted(targets.items(), key=lambda item: item[0]):
        entry = ledger.get(place) or LedgerEntry(minion=place[0], cluster=place[1])
        renewal = entry.applied == want.digest
        if renewal and not old(entry):
            continue
        # A pillar that has nothing but unresolved references has nothing to apply.
        if want.served or not want.unresolved:
            found.append(
                OutOfSync(
                    minion=place[0],
                    cluster=place[1],
                    desired=want.digest,
                    entry=entry,
                    unresolved=want.unresolved,
                    served=want.served,
                    renewal=renewal,
                )
            )
    return found


def retry_after(attempts: int, *, refused: bool, dice: random.Random) -> float:
    """
    Return the seconds until the next try: jittered, doubling from 5 s to 15 min.

    A refusal because a state run is in progress is no failure: it is tried again soon.
    """
    ceiling = 5.0 if refused else min(LONGEST_WAIT, 5.0 * 2 ** min(attempts, 16))
    return dice.uniform(ceiling / 2, ceiling)
