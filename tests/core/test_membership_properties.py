"""Whatever nodes claim, drop and do in time: what is open, and what stays open."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salt_ext.core.cluster.flapping import FIRST_HOLD, MAX_HOLD
from salt_ext.core.cluster.membership import Membership
from salt_ext.core.cluster.node import Node
from tests.core.build import limits, node

NAMES = ("n1", "n2", "n3")
ADDRESSES = tuple(f"192.0.2.{n}" for n in range(1, 6))
LIMIT = 4

texts = st.lists(st.sampled_from(ADDRESSES), max_size=LIMIT + 1, unique=True).map(tuple)
claims = st.builds(
    lambda name, internal, external, uid: node(name, *internal, external=external, uid=uid),
    st.sampled_from(NAMES),
    texts,
    st.one_of(st.just(()), texts),
    st.sampled_from(["a", "a", "a", "b"]),
)
lists = st.lists(claims, max_size=3, unique_by=lambda one: one.name)
waits = st.sampled_from([0.0, 0.1, 1.0, 5.0, 29.9, 30.0, 31.0, 60.0, 100.0, 299.9, 300.0, 700.0])
steps = st.lists(st.tuples(waits, claims | st.sampled_from(NAMES) | lists), max_size=60)
graces = st.sampled_from([0.0, 10.0, 300.0])


def apply(membership: Membership, step: Node | str | list[Node], now: float) -> None:
    if isinstance(step, Node):
        membership.put(step, now)
    elif isinstance(step, str):
        membership.drop(step, now)
    else:
        membership.replace_all(step, now)


def opened(membership: Membership, now: float) -> dict[str, set[str]]:
    return {
        name: {str(item) for item in one.all_addresses()}
        for name, one in membership.current(now).items()
    }


class Truth:
    """When each node object last claimed each address, as a simple model knows it."""

    def __init__(self) -> None:
        self.claims: dict[str, Node] = {}
        self.until: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        """By name and uid, the addresses and until when each was claimed."""

    def apply(self, step: Node | str | list[Node], now: float) -> None:
        for one in self.claims.values():
            for text in (*one.internal, *one.external):
                self.until[one.name, one.uid][text] = now
        if isinstance(step, Node):
            self._put(step)
        elif isinstance(step, str):
            self._drop(step)
        else:
            for name in self.claims.keys() - {one.name for one in step}:
                self._drop(name)
            for one in step:
                self._put(one)

    def _put(self, one: Node) -> None:
        known = self.claims.get(one.name)
        if known is not None and known.uid != one.uid:
            self._drop(one.name)
        if one.claim_count() <= LIMIT:
            self.claims[one.name] = one

    def _drop(self, name: str) -> None:
        known = self.claims.pop(name, None)
        if known is not None:
            del self.until[name, known.uid]

    def allowed(self, name: str, now: float, grace: float) -> set[str]:
        """Return what may be open of a node: claimed now, or within the grace."""
        one = self.claims.get(name)
        if one is None:
            return set()
        old = {text for text, at in self.until[name, one.uid].items() if now < at + grace}
        return {*one.internal, *one.external, *old}


@given(graces, steps)
def test_nothing_is_open_that_its_node_has_not_claimed_within_the_grace(grace, steps):
    membership = Membership(limits=limits(addresses_per_node=LIMIT), grace=grace)
    truth, now = Truth(), 0.0
    for wait, step in steps:
        now += wait
        apply(membership, step, now)
        truth.apply(step, now)
        found = opened(membership, now)
        assert found.keys() <= truth.claims.keys()
        for name, addresses in found.items():
            assert addresses <= truth.allowed(name, now, grace)
            assert len(addresses) <= LIMIT
    # Without a further change, everything comes to an end: no alarm stays in the past.
    for _ in range(100):
        at = membership.next_expiry()
        if at is None:
            break
        assert at > now
        now = at
        membership.settle(now)
    assert opened(membership, now) == {
        name: {*one.internal, *one.external} for name, one in truth.claims.items()
    }


@given(graces, steps)
def test_the_address_of_an_honest_node_is_open_whatever_others_do(grace, steps):
    membership = Membership(limits=limits(addresses_per_node=LIMIT), grace=grace)
    honest, now = node("honest", *ADDRESSES[:2]), 0.0
    membership.put(honest, now)
    for wait, step in steps:
        now += wait
        apply(membership, [*step, honest] if isinstance(step, list) else step, now)
        assert opened(membership, now)["honest"] == set(ADDRESSES[:2])


@given(steps)
def test_moments_of_liars_end_no_grace(steps):
    """Others claim what an honest node has just lost, but never for as long as a moment."""
    membership = Membership(limits=limits(addresses_per_node=LIMIT), grace=300.0)
    membership.put(node("honest", *ADDRESSES[:LIMIT]), 0.0)
    membership.put(node("honest"), 0.0)
    now = 0.0
    for wait, step in steps:
        if isinstance(step, list):
            continue
        now += min(wait, 29.0)
        for name in NAMES:
            membership.drop(name, now)
        now += 0.5
        apply(membership, step, now)
        if now < 300.0:
            assert opened(membership, now)["honest"] == set(ADDRESSES[:LIMIT])


@given(steps)
def test_a_kept_address_comes_in_within_an_hour_whatever_the_node_did_before(steps):
    membership = Membership(limits=limits(addresses_per_node=LIMIT), grace=0.0)
    now = 0.0
    for wait, step in steps:
        now += min(wait, 10.0)
        apply(membership, step, now)
    kept = node("n1", *ADDRESSES[:2], uid="a")
    membership.put(kept, now)
    assert opened(membership, now + MAX_HOLD)["n1"] == set(ADDRESSES[:2])


@settings(max_examples=25)
@given(st.lists(st.integers(1, 40), min_size=20, max_size=200))
def test_a_flapping_node_makes_few_changes(periods):
    """However it times its claims, the changes of one node become rare."""
    membership = Membership(limits=limits(addresses_per_node=LIMIT), grace=0.0)
    now, changes, last = 0.0, 0, None
    for turn, period in enumerate(periods):
        now += period
        membership.put(node("n1", *([ADDRESSES[0]] if turn % 2 else [])), now)
        found = membership.current(now)["n1"]
        changes += found is not last
        last = found
    # Two free returns, and two changes for each level: no period is longer than the second hold.
    assert changes <= 2 * 3 + 2 * 2
    assert FIRST_HOLD < 40


@pytest.mark.parametrize("grace", [0.0, 300.0])
def test_every_node_at_once_can_lose_and_regain_everything(grace):
    membership = Membership(limits=limits(addresses_per_node=LIMIT), grace=grace)
    listed = [node(f"n{n}", f"10.0.{n // 250}.{n % 250}") for n in range(2000)]
    membership.replace_all(listed, 0.0)
    membership.replace_all([node(one.name) for one in listed], 1.0)
    membership.replace_all(listed, 2.0)
    assert sum(map(len, opened(membership, 2.0).values())) == 2000
    assert membership.next_expiry() is None
