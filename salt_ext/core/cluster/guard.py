"""
Which changes of a cluster are stored at once, and which are held until confirmed.

Each kind of doubt is a :class:`Kind`. A held change is either proven by the cluster itself (a
later version, a second LIST, a deletion seen on the watch) or confirmed by an operator with
``salt-run k8s_nodes.confirm``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace

from salt_ext.core.cluster.hold import Held, Kind, fingerprint, fingerprints
from salt_ext.core.cluster.member import Member
from salt_ext.core.cluster.resource_version import is_older


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Thresholds above which a change is held; times are in seconds."""

    min_nodes: int = 0
    shrink_percent: int = 30
    shrink_nodes: int = 3
    shrink_confirm_after: float = 60.0
    growth_percent: int = 100
    growth_nodes: int = 50
    growth_window: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One complete view of a cluster."""

    members: Mapping[str, Member]
    identity: str
    version: str
    regressed: bool = False
    """Some node has a lower resourceVersion than was seen before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Which part of a view may be stored now, and which changes are held."""

    members: Mapping[str, Member] | None
    """The nodes to store; None while nothing may be stored."""
    held: tuple[Held, ...] = ()
    list_again_at: float | None = None
    """When another LIST could prove a held change; monotonic seconds."""


@dataclass(slots=True)
class Guard:
    """Compares each view with the last accepted one; times are monotonic seconds."""

    rules: Rules
    accepted: View | None = None
    rollback_seen: bool = False
    """An older state was seen: nodes missing since then may be missing because of it."""
    returned: frozenset[str] = frozenset()
    """Nodes that appeared with an older state; their addresses may belong to others now."""
    rollback_before_restart: bool = False
    """An earlier process saw an older state: any new node may have appeared with it."""
    _missing_since: dict[str, float] = field(default_factory=dict)
    _sizes: deque[tuple[float, int]] = field(default_factory=deque)
    """Numbers of accepted nodes, and until when each was true: small changes add up."""
    _released: dict[Kind, frozenset[str]] = field(default_factory=dict)

    def release(self, kind: Kind, keys: frozenset[str]) -> None:
        """Record an operator's confirmation; it is valid until the change is made or void."""
        self._released[kind] = self._released.get(kind, frozenset()) | keys

    def judge(
        self, view: View, now: float, *, listed_at: float, deleted: frozenset[str]
    ) -> Judgement:
        """
        Return which part of a view may be stored now.

        ``listed_at`` is the time of the last complete LIST. ``deleted`` has the names of the nodes
        whose deletion was seen on the watch.
        """
        old = self.accepted
        if old is None:
            return self._judge_first_view(view)
        self._drop_releases(old, view)
        frozen = self._check_identity(old, view) or self._check_rollback(old, view)
        if frozen is not None:
            # A restored etcd soon counts beyond the versions seen before, without the newer nodes.
            if frozen.kind is Kind.ROLLBACK:
                self._record_rollback(view.members.keys() - old.members.keys())
            return Judgement(members=None, held=(frozen,))
        if self._released.get(Kind.ROLLBACK) or view.identity != old.identity:
            self.rollback_seen = self.rollback_before_restart = False
            self.returned = frozenset()
        if view.identity != old.identity:
            # Confirmed, or it would be held above.
            return Judgement(members=view.members)
        return self._judge_nodes(old, view, now, listed_at, deleted)

    def accepted_view(self, view: View, members: Mapping[str, Member], now: float) -> None:
        """Record that ``members``, judged from ``view``, were stored."""
        if self.accepted is None or self.accepted.identity != view.identity:
            self._sizes.clear()
        elif len(self.accepted.members) != len(members):
            # The old size was true until now, however long ago it was recorded.
            self._sizes.append((now, len(self.accepted.members)))
        self.accepted = replace(view, members=members)

    def observed_version(self, version: str) -> None:
        """Record the newest version seen, with or without a change."""
        if self.accepted is not None and is_older(self.accepted.version, version):
            self.accepted = replace(self.accepted, version=version)

    def _judge_first_view(self, view: View) -> Judgement:
        below_minimum = self._check_minimum(view.members, frozenset(["first view"]))
        return Judgement(members=None if below_minimum else view.members, held=below_minimum)

    def _check_identity(self, old: View, view: View) -> Held | None:
        if view.identity == old.identity or self._is_released(Kind.IDENTITY, view.identity):
            return None
        return Held(
            kind=Kind.IDENTITY,
            why=f"another cluster answers: kube-system has the uid {view.identity}, "
            f"it was {old.identity}",
            subjects={view.identity: fingerprints(view.members)},
        )

    def _check_rollback(self, old: View, view: View) -> Held | None:
        if view.identity != old.identity:
            return None
        if not view.regressed and not is_older(view.version, old.version):
            return None
        if any(
            not is_older(view.version, version) for version in self._released.get(Kind.ROLLBACK, ())
        ):
            return None
        regressed = "; some nodes have older versions than before" if view.regressed else ""
        return Held(
            kind=Kind.ROLLBACK,
            why=f"the API server answers with an older state: version {view.version}, "
            f"it was {old.version}{regressed}",
            subjects={view.version: fingerprints(view.members)},
        )

    def _judge_nodes(
        self, old: View, view: View, now: float, listed_at: float, deleted: frozenset[str]
    ) -> Judgement:
        leaving = old.members.keys() - view.members.keys()
        joining = view.members.keys() - old.members.keys()
        self._missing_since = {name: self._missing_since.get(name, now) for name in leaving}
        held: list[Held] = []
        unproven = self._check_shrink(old, view, frozenset(leaving), now, listed_at, deleted, held)
        kept = unproven | self._check_vanished(old, leaving - deleted, held)
        returned = self._check_returned(view, joining, held)
        barred = returned | self._check_growth(
            old, view, frozenset(joining - returned), len(leaving - kept), now, held
        )
        members = {
            **{name: old.members[name] for name in kept},
            **{name: member for name, member in view.members.items() if name not in barred},
        }
        below_minimum = self._check_minimum(members, frozenset(leaving))
        if below_minimum and leaving - kept:
            members.update((name, old.members[name]) for name in leaving)
            held.extend(below_minimum)
        # No unproven node was missing for that long at the last LIST.
        list_again_at = max(
            (self._missing_since[name] + self.rules.shrink_confirm_after for name in unproven),
            default=None,
        )
        return Judgement(members=members, held=tuple(held), list_again_at=list_again_at)

    def _record_rollback(self, joining: Set[str]) -> None:
        """Record an older state, and the unknown nodes in it."""
        self.rollback_seen, self.rollback_before_restart = True, False
        self.returned |= joining

    def _check_returned(self, view: View, joining: Set[str], held: list[Held]) -> frozenset[str]:
        """Return the nodes that stay out because they may exist only in an older state."""
        if self.rollback_before_restart:
            self._record_rollback(joining)
        self.returned &= joining
        unconfirmed = frozenset(
            name for name in self.returned if not self._is_released(Kind.RETURNED, name)
        )
        if unconfirmed:
            why = f"{len(unconfirmed)} nodes appeared with an older state of the API server"
            held.append(Held(kind=Kind.RETURNED, why=why, subjects=_prints(view, unconfirmed)))
        return unconfirmed

    def _check_vanished(self, old: View, missing: Set[str], held: list[Held]) -> frozenset[str]:
        """Return the nodes that are kept because an older state may be why they are missing."""
        if not self.rollback_seen:
            return frozenset()
        unconfirmed = frozenset(
            name for name in missing if not self._is_released(Kind.VANISHED, name)
        )
        self.rollback_seen = bool(unconfirmed)
        if unconfirmed:
            why = (
                f"{len(unconfirmed)} nodes are missing since the API server answered with an "
                "older state"
            )
            held.append(Held(kind=Kind.VANISHED, why=why, subjects=_prints(old, unconfirmed)))
        return unconfirmed

    def _check_shrink(
        self,
        old: View,
        view: View,
        leaving: frozenset[str],
        now: float,
        listed_at: float,
        deleted: frozenset[str],
        held: list[Held],
    ) -> frozenset[str]:
        """Return the nodes that are kept although the view lacks them."""
        proven = frozenset(
            name
            for name in leaving
            if listed_at >= self._missing_since[name] + self.rules.shrink_confirm_after
            or self._is_released(Kind.SHRINK, name)
        )
        unproven = leaving - proven
        largest = max([len(old.members), *self._recent(now - self.rules.shrink_confirm_after)])
        fewer = largest - len(view.members) - (len(leaving) - len(unproven))
        emptied = not view.members and not unproven <= deleted
        many = self._is_mass(len(unproven), len(old.members)) or self._is_mass(fewer, largest)
        if not unproven or not (many or emptied):
            return frozenset()
        held.append(
            Held(
                kind=Kind.SHRINK,
                why=f"{len(unproven)} of {len(old.members)} nodes left at once",
                subjects=_prints(old, unproven),
            )
        )
        return unproven

    def _check_growth(
        self,
        old: View,
        view: View,
        joining: frozenset[str],
        leaving: int,
        now: float,
        held: list[Held],
    ) -> frozenset[str]:
        """Return the nodes that stay out although the view has them."""
        unconfirmed = frozenset(
            name for name in joining if not self._is_released(Kind.GROWTH, name)
        )
        smallest = min([len(old.members), *self._recent(now - self.rules.growth_window)])
        more = len(old.members) + len(unconfirmed) - leaving - smallest
        limit = max(self.rules.growth_nodes, smallest * self.rules.growth_percent // 100)
        if not unconfirmed or max(more, len(unconfirmed)) <= limit:
            return frozenset()
        held.append(
            Held(
                kind=Kind.GROWTH,
                why=f"{len(unconfirmed)} nodes joined a cluster of {smallest} nodes "
                f"within {self.rules.growth_window:.0f} s",
                subjects=_prints(view, unconfirmed),
            )
        )
        return unconfirmed

    def _check_minimum(
        self, members: Mapping[str, Member], keys: frozenset[str]
    ) -> tuple[Held, ...]:
        if len(members) >= self.rules.min_nodes:
            return ()
        if keys and all(self._is_released(Kind.MINIMUM, key) for key in keys):
            return ()
        why = f"only {len(members)} nodes would remain; guards:min_nodes is {self.rules.min_nodes}"
        return (Held(kind=Kind.MINIMUM, why=why, subjects=dict.fromkeys(keys, "")),)

    def _is_mass(self, gone: int, of: int) -> bool:
        return gone >= self.rules.shrink_nodes and gone * 100 > of * self.rules.shrink_percent

    def _recent(self, since: float) -> list[int]:
        """Return the cluster sizes that were accepted at any time since then."""
        longest = max(self.rules.shrink_confirm_after, self.rules.growth_window)
        while self._sizes and self._sizes[0][0] < since - longest:
            self._sizes.popleft()
        return [size for until, size in self._sizes if until >= since]

    def _is_released(self, kind: Kind, key: str) -> bool:
        return key in self._released.get(kind, ())

    def _drop_releases(self, old: View, view: View) -> None:
        """Forget confirmations whose change was made or is void."""
        leaving = frozenset(old.members.keys() - view.members.keys())
        joining = frozenset(view.members.keys() - old.members.keys())
        pending: dict[Kind, frozenset[str]] = {
            Kind.SHRINK: leaving,
            Kind.MINIMUM: leaving,
            Kind.VANISHED: leaving,
            Kind.GROWTH: joining,
            Kind.RETURNED: joining,
        }
        if view.identity != old.identity:
            pending[Kind.IDENTITY] = frozenset([view.identity])
        elif view.regressed or is_older(view.version, old.version):
            pending[Kind.ROLLBACK] = self._released.get(Kind.ROLLBACK, frozenset())
        self._released = {
            kind: keys & pending.get(kind, frozenset()) for kind, keys in self._released.items()
        }


def _prints(view: View, names: Set[str]) -> dict[str, str]:
    return {name: fingerprint(view.members[name]) for name in names}
