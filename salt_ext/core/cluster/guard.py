"""
Which changes of a cluster are stored at once, and which are held until confirmed.

Each kind of doubt is a :class:`~hold.Kind`. A held change is either proven by the cluster itself (a
later version, a second LIST, a deletion seen on the watch) or confirmed by an operator with
``salt-run k8s_nodes.confirm``. What one guard releases, all others judge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace

from salt_ext.core.cluster.diff import Baseline
from salt_ext.core.cluster.hold import Doubts, Effect, Held, Kind, fingerprint, fingerprints
from salt_ext.core.cluster.member import Member
from salt_ext.core.cluster.resource_version import is_older
from salt_ext.core.cluster.sizes import DAY, Size, SizeHistory

_FIRST_VIEW = "first view"
"""The subject of a first view that is held."""
_ADDRESSES_OF_A_NODE = 2
"""Addresses of a usual node: growth by ``growth_nodes`` of them is never held."""
_BUDGET_OF_A_DAY = 10
"""How many times the growth of one window may come within a day."""


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
    growth_addresses: int | None = None
    """Addresses; None for those of ``growth_nodes`` usual nodes."""
    growth_addresses_per_day: int | None = None
    """Addresses; None for ten times the growth of a window."""

    def is_mass_loss(self, gone: int, of: int) -> bool:
        """Whether so many are missing that a second look or a person must say so."""
        return gone >= self.shrink_nodes and gone * 100 > of * self.shrink_percent


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


@dataclass(frozen=True, slots=True)
class Moment:
    """When and how a view was seen; times are monotonic seconds."""

    now: float
    listed_at: float
    deleted: frozenset[str]


_Subjects = dict[Kind, dict[str, str]]
"""By kind and name, the fingerprint of what a person has decided on."""


@dataclass(slots=True)
class Guard:
    """Compares each view with the last accepted one; times are monotonic seconds."""

    rules: Rules
    accepted: View | None = None
    pinned: str = ""
    """The identity that was accepted before the store was lost; empty when there was none."""
    rollback_seen: bool = False
    """An older state was seen: nodes missing since then may be missing because of it."""
    returned: frozenset[str] = frozenset()
    """Nodes that appeared with an older state; their addresses may belong to others now."""
    rollback_before_restart: bool = False
    """An earlier process saw an older state: any new node may have appeared with it."""
    released: _Subjects = field(default_factory=dict)
    """What persons confirmed, until the change is made or void."""
    rejected: _Subjects = field(default_factory=dict)
    """What persons rejected, until it changes."""
    sizes: SizeHistory = field(init=False)
    _in_rollback: bool = False
    """The last view of the accepted cluster was an older state."""
    _missing_since: dict[str, float] = field(default_factory=dict)
    _confirmed_growth: Size = Size(0, 0)
    """Growth in the last judged view that a person has confirmed."""
    _counted: tuple[Mapping[str, Member], Size] = ({}, Size(0, 0))
    """The members that were counted last, and their size: to count 5,000 takes milliseconds."""

    def __post_init__(self) -> None:
        self.sizes = SizeHistory(max(self.rules.shrink_confirm_after, self.rules.growth_window))

    def release(self, kind: Kind, subjects: Mapping[str, str]) -> None:
        """Record an operator's confirmation; it is valid until the change is made or void."""
        self.released[kind] = {**self.released.get(kind, {}), **subjects}
        for name in subjects:
            self.rejected.get(kind, {}).pop(name, None)

    def reject(self, kind: Kind, subjects: Mapping[str, str]) -> None:
        """Record that an operator says no; it is valid until the node or the identity changes."""
        self.rejected[kind] = {**self.rejected.get(kind, {}), **subjects}
        for name in subjects:
            self.released.get(kind, {}).pop(name, None)

    @property
    def doubts(self) -> Doubts:
        """What another process has to know of an older state."""
        return Doubts(
            older=self._in_rollback or self.rollback_before_restart,
            missing=self.rollback_seen,
            returned=self.returned,
        )

    def load_doubts(self, doubts: Doubts) -> None:
        """Go on with what an earlier process knew; it may have missed nodes of an older state."""
        self.rollback_before_restart = doubts.older
        self.rollback_seen = doubts.missing or doubts.older
        self.returned = doubts.returned

    def judge(
        self, view: View, now: float, *, listed_at: float, deleted: frozenset[str]
    ) -> Judgement:
        """
        Return which part of a view may be stored now.

        ``listed_at`` is the time of the last complete LIST. ``deleted`` has the names of the nodes
        whose deletion was seen on the watch.
        """
        moment = Moment(now, listed_at, deleted)
        judgement = self.decide(view, moment)
        if not judgement.held:
            return judgement
        held = tuple(
            replace(change, effect=self._effect_of(change, view, moment, judgement))
            for change in judgement.held
        )
        return replace(judgement, held=held)

    def accepted_view(self, view: View, members: Mapping[str, Member], now: float) -> None:
        """Record that ``members``, judged from ``view``, were stored."""
        old = self.accepted
        if old is None or old.identity != view.identity:
            self.sizes.clear()
        else:
            size = self._size_of(old.members)
            if size != self._size_of(members):
                # The old size was true until now, however long ago it was recorded.
                self.sizes.record(size, now)
                if any(self._confirmed_growth):
                    self.sizes.raise_by(self._confirmed_growth)
        self._confirmed_growth = Size(0, 0)
        self.accepted = replace(view, members=members)
        self.pinned = view.identity

    def observed_version(self, version: str) -> None:
        """Record the newest version seen, with or without a change."""
        if self.accepted is not None and is_older(self.accepted.version, version):
            self.accepted = replace(self.accepted, version=version)

    def decide(self, view: View, moment: Moment) -> Judgement:
        """Like :meth:`judge`, without the effects of releases."""
        old = self.accepted
        if old is None:
            return self._judge_first_view(view)
        self._drop_decisions(old, view)
        frozen = self._check_identity(old.identity, view) or self._check_rollback(old, view)
        if frozen is not None:
            # Such a view says nothing of who is missing: the time for a second LIST begins anew.
            self._missing_since = {}
            # A restored etcd soon counts beyond the versions seen before, without the newer nodes.
            if frozen.kind is Kind.ROLLBACK:
                self._in_rollback = True
                self._record_rollback(view.members.keys() - old.members.keys())
            return Judgement(members=None, held=(frozen,))
        if view.identity != old.identity:
            return self._judge_other_cluster(old, view, moment)
        self._in_rollback = False
        if self.released.get(Kind.ROLLBACK):
            self._forget_rollback()
        return self._judge_nodes(old, view, moment)

    def _judge_first_view(self, view: View) -> Judgement:
        other = self._check_identity(self.pinned, view) if self.pinned else None
        if other is not None:
            return Judgement(members=None, held=(other,))
        # After a loss of the store, what persons rejected is still known.
        held: list[Held] = []
        members = self._without_rejected(view, held)
        below_minimum = self._check_minimum(members, {_FIRST_VIEW: fingerprints(view.members)})
        return Judgement(members=None if below_minimum else members, held=(*held, *below_minimum))

    def _judge_other_cluster(self, old: View, view: View, moment: Moment) -> Judgement:
        """
        Return the whole view of a cluster whose identity was confirmed, or hold the whole of it.

        The nodes of two clusters are never mixed. Its size is what the other guards judge.
        """
        leaving = frozenset(
            name
            for name, member in old.members.items()
            if name not in view.members or view.members[name].uid != member.uid
        )
        self._note_missing(leaving, moment.now)
        gone = _prints(old, leaving)
        held: list[Held] = []
        members = self._without_rejected(view, held)
        doubts = [*self._check_minimum(members, gone)]
        fewer = len(old.members) - len(members)
        many = self.rules.is_mass_loss(fewer, len(old.members)) or (old.members and not members)
        proven = self._proven_gone(gone, moment.listed_at)
        if many and not leaving <= proven:
            why = f"{len(members)} nodes in place of {len(old.members)}"
            doubts.append(Held(kind=Kind.SHRINK, why=why, subjects=gone))
        self._check_growth(old, view, members.keys(), leaving, moment.now, doubts)
        if doubts:
            again = self._list_again_at(leaving - proven if many else frozenset())
            return Judgement(members=None, held=(*held, *doubts), list_again_at=again)
        self._forget_rollback()
        return Judgement(members=members, held=tuple(held))

    def _judge_nodes(self, old: View, view: View, moment: Moment) -> Judgement:
        leaving = frozenset(old.members.keys() - view.members.keys())
        joining = view.members.keys() - old.members.keys()
        self._note_missing(leaving, moment.now)
        held: list[Held] = []
        unproven = self._check_shrink(old, view, leaving, moment, held)
        kept = unproven | self._check_vanished(old, leaving - moment.deleted, held)
        grown = _grown(old, view)
        rejected = self._check_rejected(view, joining | grown, held)
        barred = rejected | self._check_returned(view, joining, rejected, held)
        barred |= self._check_growth(
            old, view, (joining | grown) - barred, leaving - kept, moment.now, held
        )
        members = {
            **{name: old.members[name] for name in kept},
            **{name: member for name, member in view.members.items() if name not in barred},
            # What such a node had before stays its own; what it does not report any more goes.
            **{
                name: _without_new(old.members[name], view.members[name])
                for name in barred & old.members.keys()
            },
        }
        below_minimum = self._check_minimum(members, _prints(old, leaving))
        if below_minimum and leaving - kept:
            members.update((name, old.members[name]) for name in leaving)
            held.extend(below_minimum)
        return Judgement(
            members=members, held=tuple(held), list_again_at=self._list_again_at(unproven)
        )

    def _check_identity(self, expected: str, view: View) -> Held | None:
        if view.identity == expected or view.identity in self.released.get(Kind.IDENTITY, {}):
            return None
        rejected = view.identity in self.rejected.get(Kind.IDENTITY, {})
        return Held(
            kind=Kind.IDENTITY,
            why=f"another cluster answers: kube-system has the uid {view.identity}, "
            f"it was {expected}",
            subjects={view.identity: fingerprints(view.members)},
            rejected=rejected,
        )

    def _check_rollback(self, old: View, view: View) -> Held | None:
        if view.identity != old.identity:
            return None
        if not view.regressed and not is_older(view.version, old.version):
            return None
        if old.version in self.released.get(Kind.ROLLBACK, {}):
            return None
        regressed = "; some nodes have older versions than before" if view.regressed else ""
        return Held(
            kind=Kind.ROLLBACK,
            why=f"the API server answers with an older state: version {view.version}, "
            f"it was {old.version}{regressed}",
            # The older version moves with each heartbeat.
            subjects={old.version: fingerprints(view.members)},
        )

    def _record_rollback(self, joining: Set[str]) -> None:
        """Record an older state, and the unknown nodes in it."""
        self.rollback_seen, self.rollback_before_restart = True, False
        self.returned |= joining

    def _forget_rollback(self) -> None:
        self._in_rollback = False
        self.rollback_seen = self.rollback_before_restart = False
        self.returned = frozenset()

    def _check_returned(
        self, view: View, joining: Set[str], rejected: Set[str], held: list[Held]
    ) -> frozenset[str]:
        """Return the nodes that stay out because they may exist only in an older state."""
        if self.rollback_before_restart:
            self._record_rollback(joining)
        self.returned &= joining
        unconfirmed = self._unreleased(Kind.RETURNED, _prints(view, self.returned - rejected))
        if unconfirmed:
            why = f"{len(unconfirmed)} nodes appeared with an older state of the API server"
            held.append(Held(kind=Kind.RETURNED, why=why, subjects=unconfirmed))
        return frozenset(unconfirmed)

    def _check_rejected(self, view: View, names: Set[str], held: list[Held]) -> frozenset[str]:
        """Return the nodes that stay out because a person rejected exactly them."""
        barred: set[str] = set()
        for kind in (Kind.GROWTH, Kind.RETURNED):
            decided = self.rejected.get(kind, {})
            subjects = {
                name: decided[name]
                for name in decided.keys() & names
                if fingerprint(view.members[name]) == decided[name]
            }
            if subjects:
                why = f"{len(subjects)} nodes were rejected: they stay out until they change"
                held.append(Held(kind=kind, why=why, subjects=subjects, rejected=True))
                barred |= subjects.keys()
        return frozenset(barred)

    def _without_rejected(self, view: View, held: list[Held]) -> Mapping[str, Member]:
        """Return the nodes of a view that no person rejected."""
        barred = self._check_rejected(view, view.members.keys(), held)
        if not barred:
            return view.members
        return {name: one for name, one in view.members.items() if name not in barred}

    def _check_vanished(self, old: View, missing: Set[str], held: list[Held]) -> frozenset[str]:
        """Return the nodes that are kept because an older state may be why they are missing."""
        if not self.rollback_seen:
            return frozenset()
        unconfirmed = self._unreleased(Kind.VANISHED, _prints(old, missing))
        self.rollback_seen = bool(unconfirmed)
        if unconfirmed:
            why = (
                f"{len(unconfirmed)} nodes are missing since the API server answered with an "
                "older state"
            )
            held.append(Held(kind=Kind.VANISHED, why=why, subjects=unconfirmed))
        return frozenset(unconfirmed)

    def _check_shrink(
        self, old: View, view: View, leaving: frozenset[str], moment: Moment, held: list[Held]
    ) -> frozenset[str]:
        """Return the nodes that are kept although the view lacks them."""
        if not leaving:
            return frozenset()
        unproven = leaving - self._proven_gone(_prints(old, leaving), moment.listed_at)
        recent = self.sizes.since(moment.now - self.rules.shrink_confirm_after)
        largest = max([len(old.members), *(size.nodes for size in recent)])
        fewer = largest - len(view.members) - (len(leaving) - len(unproven))
        emptied = not view.members and not unproven <= moment.deleted
        many = self.rules.is_mass_loss(len(unproven), len(old.members)) or self.rules.is_mass_loss(
            fewer, largest
        )
        if not unproven or not (many or emptied):
            return frozenset()
        why = f"{len(unproven)} of {len(old.members)} nodes left at once"
        held.append(Held(kind=Kind.SHRINK, why=why, subjects=_prints(old, unproven)))
        return unproven

    def _check_growth(
        self,
        old: View,
        view: View,
        growing: Set[str],
        leaving: frozenset[str],
        now: float,
        held: list[Held],
    ) -> frozenset[str]:
        """
        Return the nodes whose new addresses stay out: they join, or report more than before.

        ``leaving`` are the nodes that make room for them.
        """
        same_cluster = old.identity == view.identity
        unconfirmed = self._unreleased(Kind.GROWTH, _prints(view, growing))
        self._confirmed_growth = _growth(
            old, view, growing - unconfirmed.keys(), same_cluster=same_cluster
        )
        if not unconfirmed:
            return frozenset()
        gained = _growth(old, view, unconfirmed.keys(), same_cluster=same_cluster)
        lost = Size(len(leaving), sum(_claims(old.members[name]) for name in leaving))
        why = self._too_much_growth(self._size_of(old.members), gained, lost, now)
        if not why:
            return frozenset()
        held.append(Held(kind=Kind.GROWTH, why=why, subjects=unconfirmed))
        return frozenset(unconfirmed)

    def _too_much_growth(self, size: Size, gained: Size, lost: Size, now: float) -> str:
        """Return why so much growth is held, an empty text when it is not."""
        rules = self.rules
        base = self.sizes.smallest(now, rules.growth_window, size)
        more = Size(
            size.nodes + gained.nodes - lost.nodes - base.nodes,
            size.addresses + gained.addresses - lost.addresses - base.addresses,
        )
        limit = max(rules.growth_nodes, base.nodes * rules.growth_percent // 100)
        if gained.nodes and max(more.nodes, gained.nodes) > limit:
            return (
                f"{max(more.nodes, gained.nodes)} nodes joined a cluster of {base.nodes} within "
                f"{rules.growth_window:.0f} s; the limit is {limit} (guards:growth_nodes, "
                "guards:growth_percent)"
            )
        limit = self._address_limit(base)
        if max(more.addresses, gained.addresses) > limit:
            return (
                f"{max(more.addresses, gained.addresses)} addresses are new in a cluster of "
                f"{base.addresses} within "
                f"{rules.growth_window:.0f} s; the limit is {limit} (guards:growth_addresses, "
                "guards:growth_percent)"
            )
        day = self.sizes.smallest(now, DAY, size)
        budget = rules.growth_addresses_per_day
        if budget is None:
            budget = _BUDGET_OF_A_DAY * self._address_limit(day)
        more_today = size.addresses + gained.addresses - lost.addresses - day.addresses
        if more_today > budget:
            return (
                f"{more_today} addresses more than {day.addresses} within a day; the limit is "
                f"{budget} (guards:growth_addresses_per_day)"
            )
        return ""

    def _address_limit(self, base: Size) -> int:
        """Return how many addresses may be added within one window to what there was."""
        floor = self.rules.growth_addresses
        if floor is None:
            usual = (
                math.ceil(base.addresses / base.nodes) if base.nodes else 2 * _ADDRESSES_OF_A_NODE
            )
            floor = self.rules.growth_nodes * max(_ADDRESSES_OF_A_NODE, usual)
        return max(floor, base.addresses * self.rules.growth_percent // 100)

    def _check_minimum(
        self, members: Mapping[str, Member], subjects: Mapping[str, str]
    ) -> tuple[Held, ...]:
        """Return the hold for too few nodes; ``subjects`` are those that would leave."""
        if len(members) >= self.rules.min_nodes:
            return ()
        if subjects and not self._unreleased(Kind.MINIMUM, subjects):
            return ()
        why = f"only {len(members)} nodes would remain; guards:min_nodes is {self.rules.min_nodes}"
        return (Held(kind=Kind.MINIMUM, why=why, subjects=subjects),)

    def _size_of(self, members: Mapping[str, Member]) -> Size:
        """Return the size of a view; only what differs from the last one is counted."""
        known, size = self._counted
        if members is not known:
            changed = [
                (known.get(name), one)
                for name, one in members.items()
                if known.get(name) is not one
            ]
            addresses = size.addresses + sum(
                _claims(one) - (_claims(before) if before is not None else 0)
                for before, one in changed
            )
            addresses -= sum(_claims(known[name]) for name in known.keys() - members.keys())
            self._counted = members, Size(len(members), addresses)
        return self._counted[1]

    def _note_missing(self, leaving: Set[str], now: float) -> None:
        self._missing_since = {name: self._missing_since.get(name, now) for name in leaving}

    def _proven_gone(self, gone: Mapping[str, str], listed_at: float) -> frozenset[str]:
        """Return the nodes that a later LIST lacks as well, or that a person released."""
        unreleased = self._unreleased(Kind.SHRINK, gone)
        return frozenset(
            name
            for name in gone
            if listed_at >= self._missing_since[name] + self.rules.shrink_confirm_after
            or name not in unreleased
        )

    def _list_again_at(self, unproven: Set[str]) -> float | None:
        # No unproven node was missing for that long at the last LIST.
        return max(
            (self._missing_since[name] + self.rules.shrink_confirm_after for name in unproven),
            default=None,
        )

    def _unreleased(self, kind: Kind, subjects: Mapping[str, str]) -> dict[str, str]:
        """Return the subjects that no person has confirmed with this very fingerprint."""
        released = self.released.get(kind, {})
        return {name: print_ for name, print_ in subjects.items() if released.get(name) != print_}

    def _drop_decisions(self, old: View, view: View) -> None:
        """Forget confirmations whose change was made or is void, and rejections of what changed."""
        for kind, subjects in self.released.items():
            for name in [name for name in subjects if not self._is_pending(kind, name, old, view)]:
                del subjects[name]
        for kind, subjects in self.rejected.items():
            if kind is Kind.IDENTITY:
                continue
            for name in [name for name in subjects if name in view.members]:
                if fingerprint(view.members[name]) != subjects[name]:
                    del subjects[name]

    def _is_pending(self, kind: Kind, name: str, old: View, view: View) -> bool:
        """Whether a released change may still be made."""
        if kind is Kind.IDENTITY:
            return name == view.identity != old.identity
        if kind is Kind.ROLLBACK:
            same = name == old.version and view.identity == old.identity
            return same and (view.regressed or is_older(view.version, old.version))
        before, now = old.members.get(name), view.members.get(name)
        if kind in (Kind.SHRINK, Kind.MINIMUM, Kind.VANISHED):
            return before is not None and (now is None or now.uid != before.uid)
        return now is not None and now != before

    def _effect_of(self, change: Held, view: View, moment: Moment, judgement: Judgement) -> Effect:
        """Return what a release of this change alone would do, judged by all other guards."""
        if not change.kind.confirmable:
            return Effect()
        twin = self._copy()
        if judgement.members is not None:
            # What is not held is stored before a person can act.
            twin.accepted_view(view, judgement.members, moment.now)
        before = twin.accepted.members if twin.accepted is not None else {}
        twin.release(change.kind, change.subjects)
        after = twin.decide(view, moment)
        difference = Baseline(before).diff(before if after.members is None else after.members)
        known = {(one.kind, one.token) for one in judgement.held}
        return Effect(
            leave=len(difference.left),
            join=len(difference.joined),
            close=len(difference.removed),
            open=len(difference.added),
            then_held=tuple(
                one.kind
                for one in after.held
                if not one.rejected
                and ((one.kind, one.token) not in known or one.keys & change.keys)
            ),
        )

    def _copy(self) -> Guard:
        twin = replace(
            self,
            released={kind: dict(subjects) for kind, subjects in self.released.items()},
            rejected={kind: dict(subjects) for kind, subjects in self.rejected.items()},
            _missing_since=dict(self._missing_since),
        )
        twin.sizes = self.sizes.copy()
        return twin


def _prints(view: View, names: Set[str]) -> dict[str, str]:
    return {name: fingerprint(view.members[name]) for name in names}


def _claims(member: Member) -> int:
    return sum(map(len, member.addresses.values()))


def _grown(old: View, view: View) -> frozenset[str]:
    """Return the known nodes that report an address which they did not have."""
    changed = [
        (name, before, member)
        for name, member in view.members.items()
        if (before := old.members.get(name)) is not member and before is not None
    ]
    return frozenset(
        name
        for name, before, member in changed
        if before.addresses != member.addresses and member.all_addresses() - before.all_addresses()
    )


def _growth(old: View, view: View, names: Set[str], *, same_cluster: bool) -> Size:
    """Return the nodes that join and the addresses that are new, of these nodes."""
    nodes = addresses = 0
    for name in names:
        before = old.members.get(name) if same_cluster else None
        nodes += before is None
        known = before.all_addresses() if before is not None else frozenset()
        addresses += len(view.members[name].all_addresses() - known)
    return Size(nodes, addresses)


def _without_new(before: Member, member: Member) -> Member:
    """Return a node with those of its addresses that it had before."""
    known = before.all_addresses()
    addresses = {
        kind: tuple(item for item in items if item in known)
        for kind, items in member.addresses.items()
    }
    return replace(member, addresses={kind: items for kind, items in addresses.items() if items})
