"""What one node has open: what it reports, without damped addresses, and those in their grace."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace

from salt_ext.core.cluster.address import Address, Network, sort_key
from salt_ext.core.cluster.flapping import Flapping
from salt_ext.core.cluster.member import Claim, Limits, Member
from salt_ext.core.cluster.node import AddressType

Item = Address | Network

_KINDS = tuple(AddressType)


@dataclass(slots=True)
class _Lingering:
    """One address in its grace."""

    until: float
    since: float


@dataclass(slots=True)
class NodeClaims:
    """
    One Node object. An address that it stops reporting lingers for ``grace`` seconds.

    Each address has its own end, and reporting others changes none. Open addresses, lingering ones
    included, are never more than ``addresses_per_node``: beyond that, those that would end first
    end at once. Times are monotonic seconds.
    """

    limits: Limits
    grace: float
    flapping: Flapping
    reported: Member
    """The accepted addresses of its last report; labels and readiness as reported."""
    open: Member
    """What counts now. An unchanged member stays the same object, which is fast to compare."""
    _counted: frozenset[Claim] = frozenset()
    """The reported claims that are not damped."""
    _lingering: dict[Claim, _Lingering] = field(default_factory=dict)
    _attributes_at: float | None = None
    """When a change of labels or readiness is shown that came too fast."""

    @classmethod
    def begin(
        cls,
        member: Member,
        limits: Limits,
        grace: float,
        flapping: Flapping,
        now: float,
        *,
        counts: bool,
    ) -> NodeClaims:
        """Return a new node."""
        # The name may have been away for longer than its damping lasts.
        flapping.settle(now)
        bare = replace(member, addresses={})
        begun = cls(limits, grace, flapping, reported=bare, open=bare)
        begun.report(member, now, counts=counts)
        return begun

    @classmethod
    def restore(
        cls, member: Member, limits: Limits, grace: float, flapping: Flapping, now: float
    ) -> NodeClaims:
        """
        Return a node as the store has it: each stored address counts as reported.

        One that is damped lingers: it was stored in its grace.
        """
        claims = member.claims()
        counted = frozenset(claim for claim in claims if not flapping.is_damped(claim))
        reported = member if counted == claims else replace(member, addresses=_by_kind(counted))
        restored = cls(limits, grace, flapping, reported=reported, open=member, _counted=counted)
        for claim in claims - counted:
            restored._linger(claim, now)
        restored._compose(now)
        return restored

    def report(self, member: Member, now: float, *, counts: bool) -> None:
        """
        Take what the node reports now; :meth:`settle` comes first.

        ``counts`` is whether the node did this: an older state of the API server does not count.
        """
        before, after = self.reported.claims(), member.claims()
        self.reported = member
        for claim in before - after:
            damped = self.flapping.is_damped(claim)
            self.flapping.dropped(claim, now, counts=counts)
            if not damped:
                self._linger(claim, now)
        for claim in after - before:
            self.flapping.added(claim, now, counts=counts)
        self._count()
        self._compose(now)

    def settle(self, now: float) -> None:
        """End what has come to its end."""
        if self.flapping.settle(now):
            self._count()
        for claim in [one for one, lingering in self._lingering.items() if lingering.until <= now]:
            del self._lingering[claim]
        self._compose(now)

    def next_change(self) -> float | None:
        """Return when :meth:`settle` has something to do."""
        times = [lingering.until for lingering in self._lingering.values()]
        others = (self.flapping.next_end(), self._attributes_at)
        times.extend(at for at in others if at is not None)
        return min(times, default=None)

    def items(self) -> set[Item]:
        """Return the reported addresses that count."""
        return {item for _, item in self._counted}

    def lingering(self) -> set[Item]:
        """Return the addresses in their grace."""
        return {item for _, item in self._lingering} if self._lingering else set()

    def unclaimed_since(self, item: Item) -> float | None:
        """
        Return since when the node does not claim a lingering address; None while it does.

        That is when it dropped the last of the types with which it claimed it.
        """
        since = [one.since for (_, it), one in self._lingering.items() if it == item]
        return None if item in self.items() else max(since, default=None)

    def end_grace(self, item: Item, now: float) -> None:
        """End the grace of an address that another node claims."""
        for claim in [claim for claim in self._lingering if claim[1] == item]:
            del self._lingering[claim]
        self._compose(now)

    def _linger(self, claim: Claim, now: float) -> None:
        # The limits may be narrower than those under which it was stored.
        if self.grace > 0 and self.limits.reject_reason(claim[1]) is None:
            self._lingering[claim] = _Lingering(now + self.grace, now)

    def _count(self) -> None:
        """Update which claims count; a damped one may linger, a counted one does not."""
        self._counted = frozenset(
            claim for claim in self.reported.claims() if not self.flapping.is_damped(claim)
        )
        for claim in self._counted:
            self._lingering.pop(claim, None)
        room = max(0, self.limits.addresses_per_node - len(self._counted))
        if len(self._lingering) > room:
            kept = sorted(self._lingering.items(), key=_longest_first)[:room]
            self._lingering = dict(kept)

    def _compose(self, now: float) -> None:
        labels, ready = self._attributes(now)
        addresses = self.reported.addresses
        if self._lingering or len(self._counted) != len(self.reported.claims()):
            addresses = _by_kind({*self._counted, *self._lingering})
        composed = replace(self.reported, addresses=addresses, labels=labels, ready=ready)
        if composed != self.open:
            self.open = self.reported if composed == self.reported else composed

    def _attributes(self, now: float) -> tuple[Mapping[str, str], bool]:
        """Return the labels and the readiness to show: the reported ones, but not too often."""
        shown = self.open.labels, self.open.ready
        reported = self.reported.labels, self.reported.ready
        self._attributes_at = None
        if shown == reported:
            return reported
        free_at = self.flapping.attribute_change_at()
        if now < free_at:
            self._attributes_at = free_at
            return shown
        self.flapping.attributes_changed(now)
        return reported


def _by_kind(claims: Set[Claim]) -> dict[AddressType, tuple[Item, ...]]:
    """Return claims as a member has them: sorted, and without empty types."""
    by_kind = {kind: [item for one, item in claims if one is kind] for kind in _KINDS}
    return {kind: tuple(sorted(items, key=sort_key)) for kind, items in by_kind.items() if items}


def _longest_first(entry: tuple[Claim, _Lingering]) -> tuple[float, int, tuple[int, int, int]]:
    (kind, item), lingering = entry
    return -lingering.until, _KINDS.index(kind), sort_key(item)
