"""What a new view of a cluster may change by itself, and what waits for more proof or a person."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from enum import Enum

from salt_ext.core.cluster.member import Member
from salt_ext.core.cluster.resource_version import is_older


class Kind(str, Enum):
    """Why a change is held."""

    IDENTITY = "identity"
    """Another cluster answers: the uid of ``kube-system`` is a different one."""
    ROLLBACK = "rollback"
    """The versions went back: an old state, from a restored etcd or a lagging API server."""
    VANISHED = "vanished"
    """After an older state, nodes are missing whose deletion nobody saw."""
    RETURNED = "returned"
    """After an older state, nodes are there that came with it: they may have left since."""
    MINIMUM = "min_nodes"
    """Fewer nodes would be left than configured."""
    SHRINK = "shrink"
    """Too many nodes are gone at once: another LIST must agree."""
    GROWTH = "growth"
    """Too many nodes are new at once."""
    NODE = "node"
    """A node claims too many addresses; nobody can release it but its kubelet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """From where on a change is held; the windows and waits are in seconds."""

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
    """Some node is told as it was before what is known of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One change that is not made; ``keys`` are what a person releases when they confirm it."""

    kind: Kind
    why: str
    keys: frozenset[str]
    """Names of nodes; for ``identity`` the new uid, for ``rollback`` the version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What may be made of a view now."""

    members: Mapping[str, Member] | None
    """The nodes that may be stored; None while nothing may."""
    held: tuple[Held, ...] = ()
    list_again_at: float | None = None
    """When another LIST could prove what is held."""


@dataclass(slots=True)
class Guard:
    """Compares each view with what was accepted before; times are monotonic seconds."""

    rules: Rules
    accepted: View | None = None
    suspicious: bool = False
    """An older state was told: whoever is missing since then may be missing because of it."""
    returned: frozenset[str] = frozenset()
    """Nodes that came with an older state, and whose addresses may be others' by now."""
    doubtful: bool = False
    """An older state was told to a process before this one: whoever is new may come with it."""
    _missing_since: dict[str, float] = field(default_factory=dict)
    _sizes: deque[tuple[float, int]] = field(default_factory=deque)
    """When how many nodes had been accepted: what comes and goes one by one adds up."""
    _released: dict[Kind, frozenset[str]] = field(default_factory=dict)

    def release(self, kind: Kind, keys: frozenset[str]) -> None:
        """Take a person's word for one held change; it holds until that change is made."""
        self._released[kind] = self._released.get(kind, frozenset()) | keys

    def judge(
        self, view: View, now: float, *, listed_at: float, deleted: frozenset[str]
    ) -> Judgement:
        """
        Say what may be made of a view.

        ``listed_at`` is when the newest complete LIST came, ``deleted`` names the nodes whose
        deletion was seen on the watch.
        """
        old = self.accepted
        if old is None:
            return self._first(view)
        self._drop_releases(old, view)
        frozen = self._other_cluster(old, view) or self._went_back(old, view)
        if frozen is not None:
            # Its versions will catch up, also those of a restored etcd, which never had our nodes.
            if frozen.kind is Kind.ROLLBACK:
                self._suspect(view.members.keys() - old.members.keys())
            return Judgement(members=None, held=(frozen,))
        if self._released.get(Kind.ROLLBACK) or view.identity != old.identity:
            self.suspicious = self.doubtful = False
            self.returned = frozenset()
        if self._is_released(Kind.IDENTITY, view.identity) and view.identity != old.identity:
            return Judgement(members=view.members)
        return self._nodes(old, view, now, listed_at, deleted)

    def accepted_view(self, view: View, members: Mapping[str, Member], now: float) -> None:
        """Take that ``members``, judged from ``view``, were stored."""
        if self.accepted is None or self.accepted.identity != view.identity:
            self._sizes.clear()
        elif len(self.accepted.members) != len(members):
            # Until now it was what it was, however long ago it came to be that.
            self._sizes.append((now, len(self.accepted.members)))
        self.accepted = replace(view, members=members)

    def observed_version(self, version: str) -> None:
        """Take the newest version that was heard of, with or without a change."""
        if self.accepted is not None and is_older(self.accepted.version, version):
            self.accepted = replace(self.accepted, version=version)

    def _first(self, view: View) -> Judgement:
        short = self._too_few(view.members, frozenset(["first view"]))
        return Judgement(members=None if short else view.members, held=short)

    def _other_cluster(self, old: View, view: View) -> Held | None:
        if view.identity == old.identity or self._is_released(Kind.IDENTITY, view.identity):
            return None
        return Held(
            kind=Kind.IDENTITY,
            why=f"another cluster answers: kube-system has the uid {view.identity}, "
            f"it was {old.identity}",
            keys=frozenset([view.identity]),
        )

    def _went_back(self, old: View, view: View) -> Held | None:
        if view.identity != old.identity:
            return None
        if not view.regressed and not is_older(view.version, old.version):
            return None
        if any(
            not is_older(view.version, version) for version in self._released.get(Kind.ROLLBACK, ())
        ):
            return None
        return Held(
            kind=Kind.ROLLBACK,
            why=f"the API server answers an older state: version {view.version}, "
            f"it was {old.version}" + (", and nodes as they were before" if view.regressed else ""),
            keys=frozenset([view.version]),
        )

    def _nodes(
        self, old: View, view: View, now: float, listed_at: float, deleted: frozenset[str]
    ) -> Judgement:
        leaving = old.members.keys() - view.members.keys()
        joining = view.members.keys() - old.members.keys()
        self._missing_since = {name: self._missing_since.get(name, now) for name in leaving}
        held: list[Held] = []
        unproven = self._shrinking(old, view, frozenset(leaving), now, listed_at, deleted, held)
        kept = unproven | self._vanished(leaving - deleted, held)
        ghosts = self._returned(joining, held)
        barred = ghosts | self._growing(
            old, frozenset(joining - ghosts), len(leaving - kept), now, held
        )
        members = {
            **{name: old.members[name] for name in kept},
            **{name: one for name, one in view.members.items() if name not in barred},
        }
        short = self._too_few(members, frozenset(leaving))
        if short and leaving - kept:
            members.update((name, old.members[name]) for name in leaving)
            held.extend(short)
        again = [
            self._missing_since[name] + self.rules.shrink_confirm_after
            for name in unproven
            if listed_at < self._missing_since[name] + self.rules.shrink_confirm_after
        ]
        return Judgement(
            members=members, held=tuple(held), list_again_at=max(again) if again else None
        )

    def _suspect(self, joining: Set[str]) -> None:
        """Take that an older state was told, and who is in it that was not known."""
        self.suspicious, self.doubtful = True, False
        self.returned |= joining

    def _returned(self, joining: Set[str], held: list[Held]) -> frozenset[str]:
        """Return the nodes that are not let in because an older state may be why they are there."""
        if self.doubtful:
            self._suspect(joining)
        self.returned &= joining
        open_ = frozenset(
            name for name in self.returned if not self._is_released(Kind.RETURNED, name)
        )
        if open_:
            why = f"{len(open_)} nodes came with an older state that the API server told"
            held.append(Held(kind=Kind.RETURNED, why=why, keys=open_))
        return open_

    def _vanished(self, missing: Set[str], held: list[Held]) -> frozenset[str]:
        """Return the nodes that are kept because an older state may be why they are missing."""
        if not self.suspicious:
            return frozenset()
        open_ = frozenset(name for name in missing if not self._is_released(Kind.VANISHED, name))
        self.suspicious = bool(open_)
        if open_:
            why = f"{len(open_)} nodes are missing since the API server told an older state"
            held.append(Held(kind=Kind.VANISHED, why=why, keys=open_))
        return open_

    def _shrinking(
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
        open_ = leaving - proven
        most = max([len(old.members), *self._recent(now - self.rules.shrink_confirm_after)])
        fewer = most - len(view.members) - (len(leaving) - len(open_))
        emptied = not view.members and not open_ <= deleted
        many = self._is_mass(len(open_), len(old.members)) or self._is_mass(fewer, most)
        if not open_ or not (many or emptied):
            return frozenset()
        held.append(
            Held(
                kind=Kind.SHRINK,
                why=f"{len(open_)} of {len(old.members)} nodes are gone at once",
                keys=open_,
            )
        )
        return open_

    def _growing(
        self, old: View, joining: frozenset[str], leaving: int, now: float, held: list[Held]
    ) -> frozenset[str]:
        """Return the nodes that are not let in although the view has them."""
        open_ = frozenset(name for name in joining if not self._is_released(Kind.GROWTH, name))
        base = min([len(old.members), *self._recent(now - self.rules.growth_window)])
        more = len(old.members) + len(open_) - leaving - base
        most = max(self.rules.growth_nodes, base * self.rules.growth_percent // 100)
        if not open_ or max(more, len(open_)) <= most:
            return frozenset()
        held.append(
            Held(
                kind=Kind.GROWTH,
                why=f"{len(open_)} nodes joined a cluster that had {base} "
                f"within {self.rules.growth_window:.0f} s",
                keys=open_,
            )
        )
        return open_

    def _too_few(self, members: Mapping[str, Member], keys: frozenset[str]) -> tuple[Held, ...]:
        if len(members) >= self.rules.min_nodes:
            return ()
        if keys and all(self._is_released(Kind.MINIMUM, key) for key in keys):
            return ()
        why = f"{len(members)} nodes would be left, min_nodes is {self.rules.min_nodes}"
        return (Held(kind=Kind.MINIMUM, why=why, keys=keys),)

    def _is_mass(self, gone: int, of: int) -> bool:
        return gone >= self.rules.shrink_nodes and gone * 100 > of * self.rules.shrink_percent

    def _recent(self, since: float) -> list[int]:
        """Return the sizes that were in force at any time since then."""
        oldest = max(self.rules.shrink_confirm_after, self.rules.growth_window)
        while self._sizes and self._sizes[0][0] < since - oldest:
            self._sizes.popleft()
        return [size for until, size in self._sizes if until >= since]

    def _is_released(self, kind: Kind, key: str) -> bool:
        return key in self._released.get(kind, ())

    def _drop_releases(self, old: View, view: View) -> None:
        """A release holds for the change that was confirmed: it ends when that is made or void."""
        open_: dict[Kind, frozenset[str]] = {
            Kind.SHRINK: frozenset(old.members.keys() - view.members.keys()),
            Kind.MINIMUM: frozenset(old.members.keys() - view.members.keys()),
            Kind.VANISHED: frozenset(old.members.keys() - view.members.keys()),
            Kind.GROWTH: frozenset(view.members.keys() - old.members.keys()),
            Kind.RETURNED: frozenset(view.members.keys() - old.members.keys()),
        }
        if view.identity != old.identity:
            open_[Kind.IDENTITY] = frozenset([view.identity])
        elif view.regressed or is_older(view.version, old.version):
            open_[Kind.ROLLBACK] = self._released.get(Kind.ROLLBACK, frozenset())
        self._released = {
            kind: keys & open_.get(kind, frozenset()) for kind, keys in self._released.items()
        }
