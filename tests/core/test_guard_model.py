"""
The promises of the guard, over random histories of clusters, clocks, restarts and persons.

The machine knows nothing of how the guard decides. It keeps what was seen, stored and decided, and
after each look compares what was stored with the promises. ``make guard-model`` runs 100,000 steps,
the tests 2,000; ``GUARD_MODEL_STEPS`` sets the number.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from salt_ext.core.cluster.diff import Baseline
from salt_ext.core.cluster.guard import Guard, Judgement, Rules, View
from salt_ext.core.cluster.hold import Held, Kind, fingerprint
from salt_ext.core.cluster.member import Member
from tests.core.build import member

STEPS = int(os.environ.get("GUARD_MODEL_STEPS", "2000"))
STEPS_OF_A_HISTORY = 50

RULES = Rules(
    min_nodes=1,
    shrink_percent=30,
    shrink_nodes=2,
    shrink_confirm_after=60.0,
    growth_percent=0,
    growth_nodes=4,
    growth_window=600.0,
    growth_addresses=10,
    growth_addresses_per_day=25,
)
NAMES = [f"n{i}" for i in range(12)]
SLACK = 600.0
"""Sizes that are older than the window count in slots of ten minutes."""


@dataclass
class Api:
    """One API server's cluster: its nodes, and a version that grows with each change."""

    identity: str
    version: int
    nodes: dict[str, Member] = field(default_factory=dict)

    def copy(self) -> Api:
        return Api(self.identity, self.version, dict(self.nodes))


class GuardModel(RuleBasedStateMachine):
    """A cluster, an engine with this guard, and a person."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.uids = 0
        self.api = Api("uid-a", 100)
        self.backup = self.api.copy()
        self.deleted: set[str] = set()
        self.guard = Guard(rules=RULES)
        self.judgement: Judgement | None = None
        self.shown: dict[str, Held] = {}
        """Every held change that a person ever saw, by token."""
        self.pending: list[Held] = []
        """Confirmed, and not taken by the engine yet."""
        self.confirmed: dict[Kind, set[tuple[str, str]]] = {kind: set() for kind in Kind}
        self.rejected: dict[Kind, set[tuple[str, str]]] = {kind: set() for kind in Kind}
        self.sizes: list[tuple[float, int, int]] = []
        """Until when a size was stored, with its nodes and addresses; confirmed growth raised."""
        self.absent_since: dict[str, float] = {}
        self.doubt = False
        """An older state was seen, and nodes have been missing since."""
        self.ghosts: set[str] = set()
        """Nodes that appeared with an older state."""

    @initialize(count=st.integers(0, 8))
    def first_view(self, count: int) -> None:
        self.join(set(NAMES[:count]))
        self.look(listed=True)

    # what happens to the cluster

    @rule(names=st.sets(st.sampled_from(NAMES), min_size=1, max_size=8))
    def join(self, names: set[str]) -> None:
        for name in sorted(names - self.api.nodes.keys()):
            self._put(name, [f"10.0.0.{NAMES.index(name) + 1}"])

    @rule(name=st.sampled_from(NAMES), count=st.integers(0, 40))
    def report_addresses(self, name: str, count: int) -> None:
        if name in self.api.nodes:
            number = NAMES.index(name) + 1
            addresses = [f"10.{k}.0.{number}" for k in range(min(count, 200))]
            self._put(name, addresses, uid=self.api.nodes[name].uid)

    @rule(name=st.sampled_from(NAMES))
    def recreate(self, name: str) -> None:
        if name in self.api.nodes:
            self._put(name, [f"10.0.0.{NAMES.index(name) + 1}"])

    @rule(names=st.sets(st.sampled_from(NAMES), min_size=1), seen=st.booleans())
    def leave(self, names: set[str], seen: bool) -> None:
        for name in names & self.api.nodes.keys():
            self.api.version += 1
            del self.api.nodes[name]
            if seen:
                self.deleted.add(name)

    @rule()
    def back_up(self) -> None:
        self.backup = self.api.copy()

    @rule()
    def restore(self) -> None:
        self.api = self.backup.copy()

    @rule(
        joined=st.sets(st.sampled_from(NAMES), max_size=3),
        left=st.sets(st.sampled_from(NAMES), max_size=3),
        caught_up=st.booleans(),
    )
    def an_older_state_answers(self, joined: set[str], left: set[str], caught_up: bool) -> None:
        """Some nodes join and some leave after a backup, which is restored."""
        self.look(listed=False)
        self.backup = self.api.copy()
        self.leave(left, seen=True)
        self.join(joined)
        self.look(listed=False)
        self.api = self.backup.copy()
        self.look(listed=False)
        if caught_up:
            self.api.version += 100
            self.look(listed=False)

    @rule(names=st.sets(st.sampled_from(NAMES), min_size=5), listed=st.booleans())
    def forge(self, names: set[str], listed: bool) -> None:
        """Many nodes join, or come again under other uids, and the engine sees them at once."""
        for name in sorted(names):
            self._put(name, [f"10.0.0.{NAMES.index(name) + 1}"])
        self.look(listed=listed)

    @rule(hours=st.integers(1, 6))
    def a_node_grows_slowly(self, hours: int) -> None:
        for _ in range(hours):
            name = min(self.api.nodes, default="n0")
            known = self.api.nodes.get(name)
            count = len(known.all_addresses()) if known else 0
            self.report_addresses(name, count + 5)
            self.now += 3600.0
            self.look(listed=True)

    @rule(count=st.integers(0, 12))
    def another_cluster_answers(self, count: int) -> None:
        self.uids += 1
        self.api = Api(f"uid-{self.uids}", 1)
        for name in NAMES[:count]:
            self._put(name, [f"10.9.0.{NAMES.index(name) + 1}"])

    @rule(seconds=st.sampled_from([1.0, 30.0, 61.0, 300.0, 601.0, 7200.0, 90_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    # what the engine does

    @rule(listed=st.booleans())
    def look(self, listed: bool) -> None:
        self._take_decisions()
        view = View(
            members=dict(self.api.nodes), identity=self.api.identity, version=str(self.api.version)
        )
        old = self.guard.accepted

        def gone(name: str, node: Member) -> bool:
            # A node that was recreated is an update, but not in another cluster.
            other = old is not None and view.identity != old.identity
            found = view.members.get(name)
            return found is None or (other and found.uid != node.uid)

        absent = {name for name, node in (old.members if old else {}).items() if gone(name, node)}
        self.absent_since = {name: self.absent_since.get(name, self.now) for name in absent}
        for prints in self.rejected.values():
            for name, print_ in list(prints):
                # What has changed is another node.
                if name in view.members and fingerprint(view.members[name]) != print_:
                    prints.discard((name, print_))
        if listed:
            self.listed_at = self.now
        self._judge(view, old)

    def _judge(self, view: View, old: View | None) -> None:
        before = set(self.confirmed_now())
        judgement = self.guard.judge(
            view,
            self.now,
            listed_at=getattr(self, "listed_at", 0.0),
            deleted=frozenset(self.deleted),
        )
        self.judgement = judgement
        for change in judgement.held:
            known = self.shown.get(change.token)
            assert known is None or (known.kind, known.subjects) == (change.kind, change.subjects)
            self.shown[change.token] = change
        self.check_promises(old, view, judgement, before)
        if judgement.members is not None:
            self.guard.accepted_view(view, judgement.members, self.now)
            self.deleted &= judgement.members.keys()

    @rule()
    def restart(self) -> None:
        """The engine starts again, with what the store and the file of decisions have."""
        old = self.guard
        self.guard = Guard(rules=RULES)
        self.guard.accepted = old.accepted
        self.guard.pinned = old.pinned
        self.guard.released = {kind: dict(prints) for kind, prints in old.released.items()}
        self.guard.rejected = {kind: dict(prints) for kind, prints in old.rejected.items()}
        self.guard.sizes.load(old.sizes.samples(self.now), self.now)
        self.guard.load_doubts(old.doubts)
        self.deleted.clear()
        self.absent_since.clear()
        self.listed_at = 0.0

    @rule()
    def lose_the_store(self) -> None:
        """What is left is the file of decisions."""
        old = self.guard
        self.guard = Guard(rules=RULES)
        self.guard.pinned = old.pinned
        self.guard.released, self.guard.rejected = old.released, old.rejected
        self.judgement = None
        self.pending.clear()
        self.sizes.clear()
        self.deleted.clear()
        self.absent_since.clear()
        self.doubt, self.ghosts, self.listed_at = False, set(), 0.0

    # what a person does

    @precondition(lambda self: self.shown)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        """Confirm a token, perhaps of long ago: the desk refuses what is not held now."""
        token = data.draw(st.sampled_from(sorted(self.shown)))
        held = self.judgement.held if self.judgement else ()
        current = {change.token: change for change in held}
        if token in current and current[token].kind.confirmable:
            self.pending.append(current[token])

    @precondition(lambda self: self.judgement and self.judgement.held)
    @rule(data=st.data())
    def confirm_what_is_held(self, data: st.DataObject) -> None:
        change = data.draw(st.sampled_from(self.judgement.held))
        if change.kind.confirmable:
            self.pending.append(change)

    @rule(names=st.sets(st.sampled_from(NAMES), min_size=6), left=st.integers(1, 4))
    def reject_what_is_forged(self, names: set[str], left: int) -> None:
        """Most of the rejected nodes go, and the others are few."""
        self.forge(names, listed=True)
        for change in self.judgement.held:
            self._reject(change)
        out = sorted({name for prints in self.rejected.values() for name, _ in prints})
        self.leave(set(out[left:]), seen=True)
        self.look(listed=True)

    @precondition(lambda self: self.judgement and self.judgement.held)
    @rule(data=st.data())
    def reject(self, data: st.DataObject) -> None:
        self._reject(data.draw(st.sampled_from(self.judgement.held)))

    def _reject(self, change: Held) -> None:
        if change.kind.rejectable and not change.rejected:
            self.guard.reject(change.kind, change.subjects)
            self.rejected[change.kind] |= set(change.subjects.items())
            self.confirmed[change.kind] -= set(change.subjects.items())
            self.pending = [one for one in self.pending if one.token != change.token]

    @precondition(lambda self: self.judgement and self.judgement.held)
    @rule(data=st.data())
    def confirm_and_look_at_once(self, data: st.DataObject) -> None:
        """What was said in numbers is what happens."""
        self.look(listed=False)
        held = [one for one in self.judgement.held if one.kind.confirmable]
        if not held:
            return
        change = data.draw(st.sampled_from(held))
        self.pending = [change]
        before = self.guard.accepted.members if self.guard.accepted else {}
        self.look(listed=False)
        after = self.guard.accepted.members if self.guard.accepted else {}
        done = Baseline(before).diff(after)
        effect = change.effect
        assert (effect.leave, effect.join) == (len(done.left), len(done.joined))
        assert (effect.close, effect.open) == (len(done.removed), len(done.added))

    def _take_decisions(self) -> None:
        current = {change.token for change in self.judgement.held} if self.judgement else set()
        for change in self.pending:
            if change.kind in (Kind.IDENTITY, Kind.ROLLBACK) and change.token not in current:
                continue
            self.guard.release(change.kind, change.subjects)
            self.confirmed[change.kind] |= set(change.subjects.items())
            self.rejected[change.kind] -= set(change.subjects.items())
        self.pending = []

    def confirmed_now(self) -> set[tuple[Kind, str, str]]:
        return {(kind, *one) for kind, prints in self.confirmed.items() for one in prints}

    # the promises

    def check_promises(
        self,
        old: View | None,
        view: View,
        judgement: Judgement,
        confirmed: set[tuple[Kind, str, str]],
    ) -> None:
        stored = judgement.members
        before = dict(old.members) if old else {}
        self._check_doubts(old, view, stored, confirmed)
        if not judgement.held:
            assert stored == dict(view.members), "nothing is held, and something is missing"
        if stored is None:
            return
        self._check_never_wider(before, view, stored)
        if old is not None and view.identity != old.identity:
            assert view.identity in {name for kind, name, _ in confirmed if kind is Kind.IDENTITY}
            self.sizes.clear()
            self.doubt, self.ghosts = False, set()
        self._check_minimum(old, stored, confirmed)
        self._check_rejected(before, stored)
        if old is not None:
            self._check_shrink(old, view, stored, confirmed)
        if old is not None and view.identity == old.identity:
            self._check_growth(before, stored, confirmed)

    def _check_never_wider(
        self, before: Mapping[str, Member], view: View, stored: Mapping[str, Member]
    ) -> None:
        for name, node in stored.items():
            known = before[name].all_addresses() if name in before else frozenset()
            seen = view.members[name].all_addresses() if name in view.members else frozenset()
            assert node.all_addresses() <= known | seen
            if name in view.members:
                assert node.all_addresses() <= seen, "a node keeps what it does not report"
            else:
                assert node == before[name], "a kept node stays what it was"

    def _check_minimum(
        self,
        old: View | None,
        stored: Mapping[str, Member],
        confirmed: set[tuple[Kind, str, str]],
    ) -> None:
        count = len(old.members) if old else RULES.min_nodes
        if len(stored) >= RULES.min_nodes or len(stored) >= count:
            return
        said = {name for kind, name, _ in confirmed if kind is Kind.MINIMUM}
        left = set(old.members) - set(stored) if old else {"first view"}
        assert left <= said, "fewer than min_nodes, and no person said so"

    def _check_shrink(
        self,
        old: View,
        view: View,
        stored: Mapping[str, Member],
        confirmed: set[tuple[Kind, str, str]],
    ) -> None:
        listed_at = getattr(self, "listed_at", 0.0)
        unproven = [
            name
            for name, node in old.members.items()
            if name not in stored
            and (Kind.SHRINK, name, fingerprint(node)) not in confirmed
            and listed_at < self.absent_since.get(name, self.now) + RULES.shrink_confirm_after
        ]
        gone = len(unproven)
        if view.identity != old.identity:
            gone = min(gone, len(old.members) - len(stored))
        mass = gone >= RULES.shrink_nodes and gone * 100 > len(old.members) * RULES.shrink_percent
        assert not mass, "many left, and neither a second LIST nor a person said so"

    def _check_rejected(self, before: Mapping[str, Member], stored: Mapping[str, Member]) -> None:
        for kind in (Kind.GROWTH, Kind.RETURNED):
            for name, print_ in self.rejected[kind]:
                node = stored.get(name)
                if node is None or fingerprint(node) != print_ or node == before.get(name):
                    continue
                known = before[name].all_addresses() if name in before else frozenset()
                assert node.all_addresses() <= known, "a rejected node came in"

    def _check_growth(
        self,
        before: Mapping[str, Member],
        stored: Mapping[str, Member],
        confirmed: set[tuple[Kind, str, str]],
    ) -> None:
        said = {
            name
            for name, node in self.api.nodes.items()
            if (Kind.GROWTH, name, fingerprint(node)) in confirmed
        }
        nodes, addresses = len(stored), _claims(stored)
        old_nodes, old_addresses = len(before), _claims(before)
        if (nodes, addresses) != (old_nodes, old_addresses):
            self.sizes.append((self.now, old_nodes, old_addresses))
            more_nodes = len([name for name in said & stored.keys() if name not in before])
            more_addresses = sum(
                len(
                    stored[name].all_addresses()
                    - (before[name].all_addresses() if name in before else frozenset())
                )
                for name in said & stored.keys()
            )
            self.sizes = [
                (until, count + more_nodes, total + more_addresses)
                for until, count, total in self.sizes
            ]
        grew = [
            name
            for name, node in stored.items()
            if name not in said
            and node.all_addresses()
            - (before[name].all_addresses() if name in before else frozenset())
        ]
        if not grew:
            return
        window = [one for one in self.sizes if one[0] >= self.now - RULES.growth_window]
        day = [one for one in self.sizes if one[0] >= self.now - 86_400.0]
        for _, count, _ in window:
            assert nodes - count <= RULES.growth_nodes, "too many nodes within the window"
        for _, _, total in window:
            assert addresses - total <= RULES.growth_addresses, "too many addresses in the window"
        for _, _, total in day:
            assert addresses - total <= RULES.growth_addresses_per_day, "too many within a day"

    def _check_doubts(
        self,
        old: View | None,
        view: View,
        stored: Mapping[str, Member] | None,
        confirmed: set[tuple[Kind, str, str]],
    ) -> None:
        """After an older state, what is missing stays and what came with it stays out."""
        if old is None or view.identity != old.identity:
            return
        if int(view.version) < int(old.version):
            if stored is None:
                self.doubt = True
                self.ghosts |= view.members.keys() - old.members.keys()
            else:
                said = {name for kind, name, _ in confirmed if kind is Kind.ROLLBACK}
                assert old.version in said, "an older state was taken without a person"
                self.doubt, self.ghosts = False, set()
            return
        if stored is None:
            return
        self.ghosts &= view.members.keys() - old.members.keys()
        for name in self.ghosts & stored.keys():
            print_ = fingerprint(view.members[name])
            assert (Kind.RETURNED, name, print_) in confirmed, "a node of an older state came in"
        self.ghosts -= stored.keys()
        if self.doubt:
            missing = old.members.keys() - view.members.keys() - self.deleted
            for name in missing - stored.keys():
                print_ = fingerprint(old.members[name])
                assert (Kind.VANISHED, name, print_) in confirmed, "a missing node was dropped"
            # Another guard may keep what a person gave up.
            self.doubt = any(
                (Kind.VANISHED, name, fingerprint(old.members[name])) not in confirmed
                for name in missing & stored.keys()
            )

    def _put(self, name: str, addresses: list[str], uid: str = "") -> None:
        self.uids += 1
        self.api.version += 1
        self.deleted.discard(name)
        node = member(name, *addresses, uid=uid or f"node-{self.uids}")
        self.api.nodes[name] = replace(node, ready=bool(self.uids % 2))


def _claims(nodes: Mapping[str, Member]) -> int:
    return sum(len(items) for node in nodes.values() for items in node.addresses.values())


def test_the_guard_keeps_its_promises_over_random_histories():
    run_state_machine_as_test(
        GuardModel,
        settings=settings(
            max_examples=max(1, STEPS // STEPS_OF_A_HISTORY),
            stateful_step_count=STEPS_OF_A_HISTORY,
            deadline=None,
            derandomize=STEPS <= 2000,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        ("_check_minimum", ()),
        ("_check_rollback", None),
        ("_check_identity", None),
        ("_check_vanished", frozenset()),
        ("_check_shrink", frozenset()),
        ("_check_growth", frozenset()),
        ("_check_rejected", frozenset()),
        ("_check_returned", frozenset()),
    ],
)
def test_the_model_notices_a_guard_that_holds_nothing(monkeypatch, broken, what):
    monkeypatch.setattr(Guard, broken, lambda *_, **__: what)
    with pytest.raises(Exception, match=r"."):
        run_state_machine_as_test(
            GuardModel,
            settings=settings(
                max_examples=300,
                stateful_step_count=STEPS_OF_A_HISTORY,
                deadline=None,
                derandomize=True,
                database=None,
                print_blob=False,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate],
            ),
        )
