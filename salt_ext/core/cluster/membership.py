"""The members of a cluster while its nodes join, change and leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from salt_ext.core.cluster.claims import Item, NodeClaims
from salt_ext.core.cluster.contest import Contests
from salt_ext.core.cluster.flapping import CHANGES, WINDOW, Flapping
from salt_ext.core.cluster.hold import Held
from salt_ext.core.cluster.member import Limits, Member, Rejected, admit
from salt_ext.core.cluster.node import Node
from salt_ext.core.cluster.node_holds import (
    Damped,
    HeldNode,
    flapping,
    held_addresses,
    held_nodes,
    hold,
    read_damped,
)
from salt_ext.core.cluster.refusal import (
    MAX_EXAMPLES,
    Reason,
    Refusal,
    RefusedCount,
    of_rejected,
)
from salt_ext.core.timing.alarms import Alarms

_MAX_PAST = 10_000
"""Names of deleted nodes whose flapping is remembered."""


@dataclass(slots=True)
class Membership:
    """
    The members by name; each is admitted again only when its node changes.

    A node that still exists keeps each address that it no longer reports for ``grace`` seconds,
    unless another node claims that address for longer than a moment. A node that claims too much
    keeps its last accepted state. Times are monotonic seconds. The work for one change grows with
    that node's addresses, not with the cluster.
    """

    limits: Limits
    grace: float
    _nodes: dict[str, NodeClaims] = field(default_factory=dict)
    _open: dict[str, Member] = field(default_factory=dict)
    """By name, what counts now of each node in ``_nodes``."""
    _held: dict[str, HeldNode] = field(default_factory=dict)
    _rejected: dict[str, list[Rejected]] = field(default_factory=dict)
    _damped: dict[str, Damped] = field(default_factory=dict)
    _past: dict[str, tuple[float, Flapping]] = field(default_factory=dict)
    """Of deleted nodes by name, when they left and what they did lately."""
    _contests: Contests = field(default_factory=Contests)
    _alarms: Alarms[str | Item] = field(default_factory=Alarms)
    """Of nodes by name; of contested addresses."""
    _news: dict[str, None] = field(default_factory=dict)
    """The names of the nodes whose refusals changed since :meth:`take_news`."""
    _changed: bool = False

    def restore(self, members: Mapping[str, Member], damped: Mapping[str, str], now: float) -> None:
        """
        Begin with the stored members, and with the subjects of a stored hold for flapping.

        A stored address that its node no longer reports gets a new grace; so often as the engine
        restarts, which no node can cause. What was damped must be kept from now on.
        """
        for name, text in damped.items():
            record = self._new_flapping()
            record.restore(*read_damped(text), now)
            self._past[name] = now, record
        for name, member in members.items():
            _, past = self._past.pop(name, (now, self._new_flapping()))
            self._begin(NodeClaims.restore(member, self.limits, self.grace, past, now), now)

    def replace_all(self, nodes: Iterable[Node], now: float) -> None:
        """Replace all nodes with a complete LIST."""
        listed = {node.name: node for node in nodes}
        for name in (self._nodes.keys() | self._held.keys()) - listed.keys():
            self.drop(name, now)
        for node in listed.values():
            self.put(node, now)

    def put(self, node: Node, now: float) -> bool:
        """Insert or update one node; return True when that changes an address or a member."""
        self._settle(now)
        name = node.name
        before = self._open.get(name)
        record = self._flapping_of(name)
        counts = record.is_newer(node.version)
        if before is not None and before.uid != node.uid:
            self._remove(name, now)
        held = hold(node, self.limits)
        if held != self._held.get(name):
            self._news[name] = None
            self._held.pop(name, None)
            if held is not None:
                self._held[name] = held
        if held is None:
            self._admit(node, record, now, counts=counts)
        after = self._open.get(name)
        if before is after:
            return False
        return bool((before and before.addresses) or (after and after.addresses))

    def drop(self, name: str, now: float) -> None:
        """
        Remove a deleted node, and everything open of it.

        It has not flapped: a kubelet has no right to delete its Node, and autoscalers have.
        """
        self._settle(now)
        self._remove(name, now)
        if self._held.pop(name, None) is not None:
            self._news[name] = None

    def settle(self, now: float) -> bool:
        """End what has come to its end; return whether a member has changed by time since then."""
        self._settle(now)
        changed, self._changed = self._changed, False
        return changed

    def current(self, now: float) -> dict[str, Member]:
        """Return the members by name, including addresses within their grace period."""
        self._settle(now)
        return dict(self._open)

    def next_expiry(self) -> float | None:
        """Return when a member may change by time, None while none can."""
        return self._alarms.next()

    @property
    def node_count(self) -> int:
        """The number of nodes that are members."""
        return len(self._nodes)

    def held(self) -> tuple[Held, ...]:
        """Return the nodes that claim too much, and those with damped addresses."""
        return (*held_nodes(self._held, self.limits), *held_addresses(self._damped))

    def refused(self) -> dict[Reason, RefusedCount]:
        """Return the refused addresses of the present nodes, by reason."""
        counts: Counter[Reason] = Counter()
        listed: dict[Reason, list[str]] = {}
        for name in sorted({*self._rejected, *self._held, *self._damped}):
            for refusal in self._refusals(name):
                counts[refusal.reason] += refusal.count
                listed.setdefault(refusal.reason, []).append(name)
        return {
            reason: RefusedCount(count, tuple(listed[reason][:MAX_EXAMPLES]))
            for reason, count in counts.items()
        }

    @property
    def has_news(self) -> bool:
        """Whether the refusals of a node have changed since :meth:`take_news`."""
        return bool(self._news)

    def take_news(self) -> dict[str, list[Refusal]]:
        """Return the refusals of each node of which they have changed; of some, none are left."""
        news, self._news = self._news, {}
        return {name: self._refusals(name) for name in news}

    def _admit(self, node: Node, record: Flapping, now: float, *, counts: bool) -> None:
        member, rejected = admit(node, self.limits)
        name = node.name
        if rejected != self._rejected.get(name, []):
            self._news[name] = None
            self._rejected.pop(name, None)
            if rejected:
                self._rejected[name] = rejected
        state = self._nodes.get(name)
        if state is None:
            self._past.pop(name, None)
            begun = NodeClaims.begin(member, self.limits, self.grace, record, now, counts=counts)
            self._begin(begun, now)
        elif state.reported != member:
            self._update(name, now, lambda known: known.report(member, now, counts=counts))

    def _begin(self, state: NodeClaims, now: float) -> None:
        name = state.reported.name
        self._nodes[name] = state
        self._contests.claim(state.items(), now)
        self._contests.linger(state.lingering(), name)
        self._contest({*state.items(), *state.lingering()}, now)
        self._refresh(name, state)

    def _remove(self, name: str, now: float) -> None:
        state = self._nodes.get(name)
        if self._rejected.pop(name, None) or name in self._damped:
            self._news[name] = None
        if state is None:
            return
        self._contests.unclaim(state.items())
        self._contests.stop_lingering(state.lingering(), name)
        del self._nodes[name], self._open[name]
        self._damped.pop(name, None)
        self._alarms.set(name, None)
        self._remember(name, state, now)

    def _remember(self, name: str, state: NodeClaims, now: float) -> None:
        """Keep what a deleted node did lately, since it may come back under its name."""
        state.flapping.left(state.reported.claims(), now)
        if state.flapping.is_idle(now):
            return
        self._past[name] = now, state.flapping
        oldest = next(iter(self._past))
        while self._past[oldest][0] <= now - WINDOW or len(self._past) > _MAX_PAST:
            del self._past[oldest]
            oldest = next(iter(self._past))

    def _flapping_of(self, name: str) -> Flapping:
        state = self._nodes.get(name)
        if state is not None:
            return state.flapping
        return self._past[name][1] if name in self._past else self._new_flapping()

    def _new_flapping(self) -> Flapping:
        return Flapping(max_changes=CHANGES * self.limits.addresses_per_node)

    def _settle(self, now: float) -> None:
        while due := self._alarms.due(now):
            for key in due:
                if not isinstance(key, str):
                    self._end_contested(key, now)
                elif key in self._nodes:
                    self._changed |= self._update(key, now, lambda state: state.settle(now))

    def _update(self, name: str, now: float, change: Callable[[NodeClaims], None]) -> bool:
        """Change one node, and what is known of its addresses; return whether it has changed."""
        state = self._nodes[name]
        claimed, lingering = state.items(), state.lingering()
        change(state)
        claims, lingers = state.items(), state.lingering()
        self._contests.unclaim(claimed - claims)
        self._contests.claim(claims - claimed, now)
        self._contests.stop_lingering(lingering - lingers, name)
        self._contests.linger(lingers - lingering, name)
        self._contest(lingers | (claims - claimed), now)
        return self._refresh(name, state)

    def _refresh(self, name: str, state: NodeClaims) -> bool:
        """Take over what counts of a node now, and when that changes by time."""
        self._alarms.set(name, state.next_change())
        holds = state.flapping.damped()
        known = self._damped.get(name)
        if holds != (known.holds if known is not None else {}):
            self._news[name] = None
            self._damped.pop(name, None)
            if holds:
                self._damped[name] = Damped(holds, state.flapping.level)
        if self._open.get(name) is state.open:
            return False
        self._open[name] = state.open
        return True

    def _contest(self, items: Iterable[Item], now: float) -> None:
        """Set alarms for addresses that linger on some nodes while others may claim them."""
        for item in items:
            if self._contests.is_contested(item):
                # One that is set earlier looks at all of these nodes.
                self._alarms.set_if_unset(item, now + self._contests.after)

    def _end_contested(self, item: Item, now: float) -> None:
        """End the grace of an address on the nodes that have not claimed it for long enough."""
        if not self._contests.is_contested(item):
            return
        later = []
        for name in self._contests.lingering_on(item):
            unclaimed = self._nodes[name].unclaimed_since(item)
            if unclaimed is None:
                continue
            end = self._contests.ends_at(item, unclaimed)
            if end <= now:
                self._changed |= self._update(name, now, lambda state: state.end_grace(item, now))
            else:
                later.append(end)
        if later:
            # Not for each of many nodes that dropped it one after another.
            self._alarms.set(item, max(min(later), now + 1.0))

    def _refusals(self, name: str) -> list[Refusal]:
        refusals = of_rejected(name, self._rejected.get(name, ()))
        if name in self._held:
            refusals.append(self._held[name].refusal)
        if name in self._damped:
            refusals.append(flapping(name, self._damped[name]))
        return refusals
