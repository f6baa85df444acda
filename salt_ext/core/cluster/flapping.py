"""
Damping of one node that claims and drops addresses, or changes its labels, again and again.

Only the node's own claims count, so that no node can close an address of another one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from salt_ext.core.cluster.member import Claim
from salt_ext.core.cluster.resource_version import is_older

RETURNS = 3
"""Returns of one address within :data:`WINDOW`, of which the last is damped."""
WINDOW = 600.0
"""Seconds for which a return counts."""
FIRST_HOLD = 30.0
"""Seconds that a node must keep a damped address; doubles each time it is damped again."""
MAX_HOLD = 3600.0
_CALM = 3600.0
"""Seconds without a damped address after which the first hold applies again."""
CHANGES = 4
"""Times that a node may replace all its addresses within :data:`WINDOW`."""

ATTRIBUTE_BURST = 10
"""Changes of labels and readiness that are shown at once; enough for a node that starts."""
ATTRIBUTE_INTERVAL = 30.0
"""Seconds between further ones; the newest state is shown then."""


@dataclass(slots=True)
class _Record:
    claimed: bool
    since: float
    """When the node claimed or dropped it last."""
    returns: deque[float] = field(default_factory=lambda: deque(maxlen=RETURNS))
    hold: float = 0.0
    """Seconds that the node must keep it; 0 while it is not damped."""

    @property
    def ends_at(self) -> float:
        return self.since + (self.hold if self.claimed else WINDOW)


@dataclass(slots=True)
class Flapping:
    """
    What one node name did lately; it outlives the Node object. Times are monotonic seconds.

    An address is damped at its third return within ten minutes. A node that claims ever new
    addresses is damped too, once it has used up ``max_changes`` within that time.
    """

    max_changes: int
    newest: str = ""
    """The highest resourceVersion that the node was seen with."""
    level: int = 0
    """How many times the hold has doubled."""
    _records: dict[Claim, _Record] = field(default_factory=dict)
    """Addresses that the node dropped lately, or that are damped; the last changed one last."""
    _damped: dict[Claim, _Record] = field(default_factory=dict)
    _added: deque[float] = field(default_factory=deque)
    _released_at: float | None = None
    _attributes_free_at: float = 0.0
    """Each change of labels or readiness moves this time on by one interval."""

    def is_newer(self, version: str) -> bool:
        """
        Return whether a report is newer than all before, so that it counts.

        An API server that lags answers with older ones in between: the node did nothing.
        """
        if version and (version == self.newest or is_older(version, self.newest)):
            return False
        self.newest = version
        return True

    def added(self, claim: Claim, now: float, *, counts: bool = True) -> None:
        """Record that the node claims an address that it did not claim before."""
        self._forget(now)
        if not counts:
            self._touch(claim, now, claimed=True)
            return
        many = len(self._added) >= self.max_changes
        self._added.append(now)
        if many:
            self._added.popleft()
        record = self._records.pop(claim, None)
        if record is None:
            if not many:
                return
            record = _Record(claimed=True, since=now)
        else:
            record.claimed, record.since = True, now
            record.returns.append(now)
        self._records[claim] = record
        often = len(record.returns) == RETURNS and record.returns[0] > now - WINDOW
        if (many or often) and not record.hold:
            self._damp(claim, record)
        self._trim()

    def dropped(self, claim: Claim, now: float, *, counts: bool = True) -> None:
        """Record that the node no longer claims an address."""
        self._forget(now)
        if not counts:
            self._touch(claim, now, claimed=False)
            return
        record = self._records.pop(claim, None) or _Record(claimed=False, since=now)
        record.claimed, record.since = False, now
        self._records[claim] = record
        self._trim()

    def left(self, claims: Iterable[Claim], now: float) -> None:
        """Record that the Node object is gone, which is no drop of what it claimed."""
        for claim in claims:
            self.dropped(claim, now, counts=False)

    def is_damped(self, claim: Claim) -> bool:
        """Whether a claim does not count until the node has kept it for a while."""
        return claim in self._damped

    def damped(self) -> dict[Claim, float]:
        """Return the damped addresses, and for how long the node must keep each."""
        return {claim: record.hold for claim, record in self._damped.items()}

    def settle(self, now: float) -> list[Claim]:
        """Return the addresses whose damping has ended: the node kept them, or gave them up."""
        ended = [claim for claim, record in self._damped.items() if record.ends_at <= now]
        for claim in ended:
            self._damped.pop(claim).hold = 0.0
            self._released_at = now
        return ended

    def next_end(self) -> float | None:
        """Return when the next damping ends unless the node changes again."""
        return min((record.ends_at for record in self._damped.values()), default=None)

    def restore(self, claims: list[Claim], level: int, now: float) -> None:
        """Damp addresses as an earlier process did; they must be kept from now on."""
        self.level = level
        for claim in claims:
            record = _Record(claimed=False, since=now, hold=_hold(level))
            self._records[claim] = self._damped[claim] = record

    def attribute_change_at(self) -> float:
        """Return the time from which the next change of labels or readiness may be shown."""
        return self._attributes_free_at - (ATTRIBUTE_BURST - 1) * ATTRIBUTE_INTERVAL

    def attributes_changed(self, now: float) -> None:
        """Record a change of labels or readiness that is shown."""
        self._attributes_free_at = max(now, self._attributes_free_at) + ATTRIBUTE_INTERVAL

    def is_idle(self, now: float) -> bool:
        """Whether nothing is left to remember."""
        self._forget(now)
        calm = not self._records and not self._added and not self.level
        return calm and now >= self._attributes_free_at

    def _damp(self, claim: Claim, record: _Record) -> None:
        if self._released_at is not None:
            self.level, self._released_at = self.level + 1, None
        record.hold = _hold(self.level)
        self._damped[claim] = record

    def _touch(self, claim: Claim, now: float, *, claimed: bool) -> None:
        """Begin the time of a damped address again; nothing is damped by this."""
        record = self._records.pop(claim, None)
        if record is not None:
            record.claimed, record.since = claimed, now
            self._records[claim] = record

    def _forget(self, now: float) -> None:
        """Drop what no longer counts."""
        while self._added and self._added[0] <= now - WINDOW:
            self._added.popleft()
        for claim, record in list(self._records.items()):
            if record.since > now - WINDOW:
                break
            if not record.hold:
                del self._records[claim]
        released_at = self._released_at
        if not self._damped and released_at is not None and now - released_at >= _CALM:
            self.level, self._released_at = 0, None

    def _trim(self) -> None:
        """Keep a bounded number of records: a node that claims more is damped for that."""
        if len(self._records) <= 2 * self.max_changes:
            return
        oldest = next((one for one, record in self._records.items() if not record.claimed), None)
        if oldest is not None:
            del self._records[oldest]
            self._damped.pop(oldest, None)


def _hold(level: int) -> float:
    return min(MAX_HOLD, FIRST_HOLD * 2.0 ** min(level, 16))
