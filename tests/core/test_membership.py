"""Nodes join, change and leave."""

from __future__ import annotations

from collections import Counter

import pytest

from salt_ext.core.cluster.hold import Kind
from salt_ext.core.cluster.member import RejectReason
from salt_ext.core.cluster.membership import Membership
from tests.core.build import EXTERNAL, INTERNAL, limits, member, members, node

GRACE = 300.0


@pytest.fixture
def membership():
    return Membership(
        limits=limits("192.0.2.0/24", "198.51.100.0/24", addresses_per_node=4), grace=GRACE
    )


def reachable(membership: Membership, now: float = 0.0) -> dict[str, list[str]]:
    """Return every member's addresses."""
    return {
        name: sorted(str(item) for item in one.all_addresses())
        for name, one in membership.current(now).items()
    }


class TestNodes:
    def test_a_complete_view_replaces_all(self, membership):
        membership.replace_all([node("n1", "192.0.2.1"), node("n2", "192.0.2.2")], 0.0)
        membership.replace_all([node("n2", "192.0.2.2"), node("n3", "192.0.2.3")], 1.0)
        assert reachable(membership) == {"n2": ["192.0.2.2"], "n3": ["192.0.2.3"]}

    def test_an_empty_view_is_empty(self, membership):
        membership.replace_all([node("n1", "192.0.2.1")], 0.0)
        membership.replace_all([], 1.0)
        assert reachable(membership, 1.0) == {}

    def test_it_begins_with_the_stored_members(self):
        begun = Membership(
            limits=limits(), grace=GRACE, current_claims=members(member("n1", "192.0.2.1"))
        )
        begun.put(node("n2", "192.0.2.2"), 0.0)
        assert reachable(begun) == {"n1": ["192.0.2.1"], "n2": ["192.0.2.2"]}

    def test_a_dropped_node_leaves_nothing_behind(self, membership):
        membership.put(node("n1", "192.0.2.1", "junk"), 0.0)
        membership.put(node("n2", *["192.0.2.2"] * 5), 0.0)
        for name in ("n1", "n2", "n3"):
            membership.drop(name)
        assert reachable(membership) == {}
        assert (membership.rejected(), membership.held()) == (Counter(), ())

    def test_an_unchanged_member_stays_the_same_object(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        before = membership.current_claims["n1"]
        membership.replace_all([node("n1", "192.0.2.1")], 1.0)
        assert membership.current_claims["n1"] is before
        membership.put(node("n1", "192.0.2.1", labels={"pool": "b"}), 2.0)
        assert membership.current_claims["n1"].labels == {"pool": "b"}

    def test_put_returns_whether_the_node_has_or_had_addresses(self, membership):
        assert membership.put(node("n1"), 0.0) is False
        assert membership.put(node("n1", "192.0.2.1"), 0.0) is True
        assert membership.put(node("n1"), 0.0) is True
        assert membership.put(node("n2", "junk"), 0.0) is False

    def test_rejected_addresses_are_counted_for_present_nodes_only(self, membership):
        membership.put(node("n1", "junk", "10.0.0.1"), 0.0)
        membership.put(node("n2", "junk", "127.0.0.1"), 0.0)
        assert membership.rejected() == {
            RejectReason.UNREADABLE: 2,
            RejectReason.OUTSIDE: 1,
            RejectReason.DENIED: 1,
        }
        membership.put(node("n1", "192.0.2.1"), 0.0)
        membership.replace_all([node("n1", "192.0.2.1")], 0.0)
        assert membership.rejected() == Counter()


class TestGrace:
    def test_a_node_that_loses_its_addresses_keeps_them_for_a_while(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        membership.put(node("n1"), 10.0)
        assert membership.next_expiry() == 10.0 + GRACE
        assert reachable(membership, 10.0 + GRACE - 0.1) == {"n1": ["192.0.2.1"]}
        assert reachable(membership, 10.0 + GRACE) == {"n1": []}
        assert membership.next_expiry() is None

    def test_a_node_that_regains_its_addresses_has_no_grace(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        membership.put(node("n1"), 10.0)
        membership.put(node("n1", "192.0.2.1"), 20.0)
        assert membership.next_expiry() is None
        assert reachable(membership, 10_000.0) == {"n1": ["192.0.2.1"]}

    def test_further_changes_do_not_extend_the_grace(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        for now in (10.0, 100.0, 200.0):
            membership.put(node("n1", labels={"heartbeat": str(now)}), now)
        assert membership.next_expiry() == 10.0 + GRACE
        assert reachable(membership, 10.0 + GRACE) == {"n1": []}

    def test_a_replaced_address_goes_at_once(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        membership.put(node("n1", "192.0.2.2"), 1.0)
        assert reachable(membership, 1.0) == {"n1": ["192.0.2.2"]}

    def test_each_type_has_its_own_grace(self, membership):
        membership.put(node("n1", "192.0.2.1", external=("198.51.100.1",)), 0.0)
        membership.put(node("n1", "192.0.2.2"), 1.0)
        current = membership.current(1.0)["n1"].addresses
        assert [str(item) for item in current[INTERNAL]] == ["192.0.2.2"]
        assert [str(item) for item in current[EXTERNAL]] == ["198.51.100.1"]

    def test_a_node_with_a_new_uid_inherits_nothing(self, membership):
        membership.put(node("n1", "192.0.2.1", uid="old"), 0.0)
        membership.put(node("n1", uid="new"), 1.0)
        assert reachable(membership, 1.0) == {"n1": []}

    def test_an_address_claimed_by_another_node_loses_its_grace_for_good(self, membership):
        membership.put(node("n1", "192.0.2.1", "192.0.2.9"), 0.0)
        membership.put(node("n1"), 1.0)
        membership.put(node("n2", "192.0.2.1"), 2.0)
        assert reachable(membership, 2.0) == {"n1": ["192.0.2.9"], "n2": ["192.0.2.1"]}
        membership.drop("n2")
        assert reachable(membership, 3.0) == {"n1": ["192.0.2.9"]}

    def test_an_address_that_the_node_claims_with_another_type_keeps_its_grace(self, membership):
        membership.put(node("n1", "192.0.2.1", external=("192.0.2.1",)), 0.0)
        membership.put(node("n1", external=("192.0.2.1",)), 1.0)
        assert membership.current(1.0)["n1"].addresses.keys() == {INTERNAL, EXTERNAL}

    def test_a_node_whose_addresses_are_all_claimed_elsewhere_has_none(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        membership.put(node("n1"), 1.0)
        membership.put(node("n2", "192.0.2.1"), 2.0)
        # An empty type would be a difference where there is none.
        assert membership.current(2.0)["n1"].addresses == {}

    def test_a_node_that_leaves_keeps_nothing(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        membership.put(node("n1"), 1.0)
        membership.drop("n1")
        assert reachable(membership, 2.0) == {}
        assert membership.next_expiry() is None

    def test_a_list_without_the_addresses_starts_the_grace(self, membership):
        membership.replace_all([node("n1", "192.0.2.1")], 0.0)
        membership.replace_all([node("n1")], 1.0)
        assert reachable(membership, 1.0) == {"n1": ["192.0.2.1"]}

    def test_addresses_replaced_by_rejected_ones_get_grace(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        membership.put(node("n1", "127.0.0.1"), 1.0)
        assert reachable(membership, 1.0) == {"n1": ["192.0.2.1"]}


class TestTooMany:
    def test_a_node_that_claims_too_many_keeps_its_last_state(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        assert membership.put(node("n1", *(f"192.0.2.{n}" for n in range(40_000))), 1.0) is False
        membership.put(node("n2", "192.0.2.2"), 2.0)
        assert reachable(membership, 2.0) == {"n1": ["192.0.2.1"], "n2": ["192.0.2.2"]}
        (held,) = membership.held()
        assert (held.kind, held.keys) == (Kind.NODE, frozenset(["n1"]))
        assert "n1 claims 40000" in held.why

    def test_a_new_node_that_claims_too_many_is_not_admitted(self, membership):
        membership.replace_all([node("n1", *["192.0.2.1"] * 5)], 0.0)
        assert reachable(membership) == {}
        assert membership.held()[0].keys == {"n1"}

    def test_exactly_as_many_as_allowed_are_fine(self, membership):
        membership.put(node("n1", *(f"192.0.2.{n}" for n in range(4))), 0.0)
        assert len(reachable(membership)["n1"]) == 4
        assert membership.held() == ()

    def test_it_is_admitted_again_when_it_claims_fewer(self, membership):
        membership.put(node("n1", *["192.0.2.1"] * 5), 0.0)
        membership.put(node("n1", "192.0.2.1"), 1.0)
        assert membership.held() == ()
        assert reachable(membership) == {"n1": ["192.0.2.1"]}

    def test_with_a_new_uid_it_does_not_keep_the_old_state(self, membership):
        membership.put(node("n1", "192.0.2.1", uid="old"), 0.0)
        membership.put(node("n1", *["192.0.2.1"] * 5, uid="new"), 1.0)
        assert reachable(membership, 1.0) == {}

    def test_no_longer_listed_it_is_gone(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        membership.put(node("n1", *["192.0.2.1"] * 5), 0.0)
        membership.replace_all([], 1.0)
        assert (reachable(membership, 1.0), membership.held()) == ({}, ())
