"""What a new view of a cluster may change by itself, and what waits for more proof or a person."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from salt_ext.core.member import Member
from salt_ext.core.version import older


class Kind(str, Enum):
    """Why a change is held."""

    IDENTITY = "identity"
    """Another cluster answers: the uid of ``kube-system`` is a different one."""
    ROLLBACK = "rollback"
    """The versions went back: an old state, from a restored etcd or a lagging API server."""
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
    shrink_wait: float = 60.0
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
    _missing_since: dict[str, float] = field(default_factory=dict)
    _left: deque[tuple[float, int]] = field(default_factory=deque)
    _joined: deque[tuple[float, int]] = field(default_factory=deque)
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
            return Judgement(members=None, held=(frozen,))
        if self._is_released(Kind.IDENTITY, view.identity) and view.identity != old.identity:
            return Judgement(members=view.members)
        return self._nodes(old, view, now, listed_at, deleted)

    def took(self, view: View, members: Mapping[str, Member], now: float) -> None:
        """Take that ``members``, judged from ``view``, were stored."""
        old = self.accepted.members if self.accepted else None
        if old is not None and self.accepted and self.accepted.identity == view.identity:
            self._left.append((now, len(old.keys() - members.keys())))
            self._joined.append((now, len(members.keys() - old.keys())))
        self.accepted = replace(view, members=members)

    def saw(self, version: str) -> None:
        """Take the newest version that was heard of, with or without a change."""
        if self.accepted is not None and older(self.accepted.version, version):
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
        if not view.regressed and not older(view.version, old.version):
            return None
        if any(
            not older(view.version, version) for version in self._released.get(Kind.ROLLBACK, ())
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
        kept = self._shrinking(old, view, frozenset(leaving), now, listed_at, deleted, held)
        barred = self._growing(old, frozenset(joining), now, held)
        members = {
            **{name: old.members[name] for name in kept},
            **{name: one for name, one in view.members.items() if name not in barred},
        }
        short = self._too_few(members, frozenset(leaving))
        if short and leaving - kept:
            members.update((name, old.members[name]) for name in leaving)
            held.extend(short)
        again = [
            self._missing_since[name] + self.rules.shrink_wait
            for name in kept
            if listed_at < self._missing_since[name] + self.rules.shrink_wait
        ]
        return Judgement(
            members=members, held=tuple(held), list_again_at=max(again) if again else None
        )

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
        _forget(self._left, now - self.rules.shrink_wait)
        proven = frozenset(
            name
            for name in leaving
            if listed_at >= self._missing_since[name] + self.rules.shrink_wait
            or self._is_released(Kind.SHRINK, name)
        )
        open_ = leaving - proven
        recent = sum(count for _, count in self._left)
        total = recent + len(open_)
        share = total * 100 > (len(old.members) + recent) * self.rules.shrink_percent
        emptied = not view.members and not open_ <= deleted
        if not open_ or not ((share and total >= self.rules.shrink_nodes) or emptied):
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
        self, old: View, joining: frozenset[str], now: float, held: list[Held]
    ) -> frozenset[str]:
        """Return the nodes that are not let in although the view has them."""
        _forget(self._joined, now - self.rules.growth_window)
        open_ = frozenset(name for name in joining if not self._is_released(Kind.GROWTH, name))
        recent = sum(count for _, count in self._joined)
        total = recent + len(open_)
        base = max(0, len(old.members) - recent)
        most = max(self.rules.growth_nodes, base * self.rules.growth_percent // 100)
        if not open_ or total <= most:
            return frozenset()
        held.append(
            Held(
                kind=Kind.GROWTH,
                why=f"{total} nodes joined a cluster of {base} "
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

    def _is_released(self, kind: Kind, key: str) -> bool:
        return key in self._released.get(kind, ())

    def _drop_releases(self, old: View, view: View) -> None:
        """A release holds for the change that was confirmed: it ends when that is made or void."""
        open_: dict[Kind, frozenset[str]] = {
            Kind.SHRINK: frozenset(old.members.keys() - view.members.keys()),
            Kind.MINIMUM: frozenset(old.members.keys() - view.members.keys()),
            Kind.GROWTH: frozenset(view.members.keys() - old.members.keys()),
        }
        if view.identity != old.identity:
            open_[Kind.IDENTITY] = frozenset([view.identity])
        elif view.regressed or older(view.version, old.version):
            open_[Kind.ROLLBACK] = self._released.get(Kind.ROLLBACK, frozenset())
        self._released = {
            kind: keys & open_.get(kind, frozenset()) for kind, keys in self._released.items()
        }


def _forget(counts: deque[tuple[float, int]], before: float) -> None:
    while counts and counts[0][0] < before:
        counts.popleft()
