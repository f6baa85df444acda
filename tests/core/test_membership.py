"""Nodes join, change and leave."""

from __future__ import annotations

import pytest

from salt_ext.core.cluster.contest import CONTEST
from salt_ext.core.cluster.hold import Kind
from salt_ext.core.cluster.member import RejectReason
from salt_ext.core.cluster.membership import Membership
from salt_ext.core.cluster.refusal import HeldReason
from tests.core.build import EXTERNAL, INTERNAL, limits, member, members, node

GRACE = 300.0


@pytest.fixture
def membership():
    return Membership(
        limits=limits("192.0.2.0/24", "198.51.100.0/24", addresses_per_node=4), grace=GRACE
    )


@pytest.fixture
def wide():
    """A membership that allows every network."""
    return Membership(limits=limits(), grace=GRACE)


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
        begun = Membership(limits=limits(), grace=GRACE)
        begun.restore(members(member("n1", "192.0.2.1")), {}, 0.0)
        begun.put(node("n2", "192.0.2.2"), 0.0)
        assert reachable(begun) == {"n1": ["192.0.2.1"], "n2": ["192.0.2.2"]}

    def test_a_dropped_node_leaves_nothing_behind(self, membership):
        membership.put(node("n1", "192.0.2.1", "junk"), 0.0)
        membership.put(node("n2", *["192.0.2.2"] * 5), 0.0)
        for name in ("n1", "n2", "n3"):
            membership.drop(name, 0.0)
        assert reachable(membership) == {}
        assert (membership.refused(), membership.held()) == ({}, ())
        assert membership.next_expiry() is None

    def test_an_unchanged_member_stays_the_same_object(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        before = membership.current(0.0)["n1"]
        membership.replace_all([node("n1", "192.0.2.1")], 1.0)
        assert membership.current(1.0)["n1"] is before
        membership.put(node("n1", "192.0.2.1", labels={"pool": "b"}), 2.0)
        assert membership.current(2.0)["n1"].labels == {"pool": "b"}

    def test_put_returns_whether_there_is_a_change_to_store(self, membership):
        assert membership.put(node("n1"), 0.0) is False
        assert membership.put(node("n1", labels={"a": "b"}), 0.0) is False
        assert membership.put(node("n1", "192.0.2.1"), 0.0) is True
        assert membership.put(node("n1", "192.0.2.1"), 0.0) is False
        # It keeps the address for its grace.
        assert membership.put(node("n1"), 0.0) is False
        assert membership.put(node("n2", "junk"), 0.0) is False
        assert membership.put(node("n1", uid="new"), 0.0) is True

    def test_a_recreated_node_that_claims_too_much_is_a_change(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        assert membership.put(node("n1", *["192.0.2.1"] * 5, uid="new"), 0.0) is True

    def test_refused_addresses_are_counted_for_present_nodes_only(self, membership):
        membership.put(node("n2", "junk", "127.0.0.1"), 0.0)
        membership.put(node("n1", "junk", "10.0.0.1"), 0.0)
        refused = membership.refused()
        assert {reason: one.count for reason, one in refused.items()} == {
            RejectReason.UNREADABLE: 2,
            RejectReason.OUTSIDE: 1,
            RejectReason.DENIED: 1,
        }
        assert refused[RejectReason.UNREADABLE].nodes == ("n1", "n2")
        assert refused[RejectReason.DENIED].nodes == ("n2",)
        membership.put(node("n1", "192.0.2.1"), 0.0)
        membership.replace_all([node("n1", "192.0.2.1")], 0.0)
        assert membership.refused() == {}


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

    def test_a_vip_that_replaces_the_address_and_goes_away_closes_neither_at_once(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        membership.put(node("n1", "192.0.2.9"), 10.0)
        assert reachable(membership, 10.0) == {"n1": ["192.0.2.1", "192.0.2.9"]}
        membership.put(node("n1", "192.0.2.1"), 100.0)
        assert reachable(membership, 100.0) == {"n1": ["192.0.2.1", "192.0.2.9"]}
        assert reachable(membership, 100.0 + GRACE) == {"n1": ["192.0.2.1"]}

    def test_a_dual_stack_node_keeps_the_family_that_it_loses(self, wide):
        wide.put(node("n1", "192.0.2.1", "2001:db8::1"), 0.0)
        wide.put(node("n1", "2001:db8::1"), 1.0)
        assert reachable(wide, GRACE) == {"n1": ["192.0.2.1", "2001:db8::1"]}
        assert reachable(wide, 1.0 + GRACE) == {"n1": ["2001:db8::1"]}

    def test_a_podcidr_has_a_grace_too(self, wide):
        wide.put(node("n1", "192.0.2.1", pod_cidrs=("10.244.1.0/24",)), 0.0)
        wide.put(node("n1", "192.0.2.1"), 1.0)
        assert reachable(wide, GRACE) == {"n1": ["10.244.1.0/24", "192.0.2.1"]}

    def test_each_address_has_its_own_end(self, membership):
        membership.put(node("n1", "192.0.2.1", "192.0.2.2", "192.0.2.3"), 0.0)
        membership.put(node("n1", "192.0.2.2", "192.0.2.3"), 10.0)
        membership.put(node("n1", "192.0.2.3"), 20.0)
        assert membership.next_expiry() == 10.0 + GRACE
        assert reachable(membership, 10.0 + GRACE) == {"n1": ["192.0.2.2", "192.0.2.3"]}
        assert membership.next_expiry() == 20.0 + GRACE
        assert reachable(membership, 20.0 + GRACE) == {"n1": ["192.0.2.3"]}

    def test_a_grace_of_zero_is_none(self):
        membership = Membership(limits=limits(), grace=0.0)
        membership.put(node("n1", "192.0.2.1"), 0.0)
        assert membership.put(node("n1"), 1.0) is True
        assert reachable(membership, 1.0) == {"n1": []}

    def test_reported_and_lingering_addresses_are_never_more_than_the_limit(self, membership):
        for turn in range(6):
            membership.put(node("n1", f"192.0.2.{turn}", f"198.51.100.{turn}"), float(turn))
        # Of four, two are reported; the newest two linger.
        assert reachable(membership, 6.0) == {
            "n1": ["192.0.2.4", "192.0.2.5", "198.51.100.4", "198.51.100.5"]
        }

    def test_of_addresses_that_would_end_together_internal_ones_stay(self, membership):
        membership.put(node("n1", "192.0.2.1", "192.0.2.2", external=("198.51.100.1",)), 0.0)
        membership.put(node("n1", "192.0.2.7", "192.0.2.8"), 1.0)
        assert reachable(membership, 1.0)["n1"] == [
            "192.0.2.1",
            "192.0.2.2",
            "192.0.2.7",
            "192.0.2.8",
        ]

    def test_a_stored_address_that_is_no_longer_allowed_has_no_grace(self, membership):
        membership.restore(members(member("n1", "192.0.2.1", "203.0.113.1")), {}, 0.0)
        membership.put(node("n1", "192.0.2.1", "203.0.113.1"), 1.0)
        assert reachable(membership, 1.0) == {"n1": ["192.0.2.1"]}

    def test_after_a_restart_a_stored_address_gets_one_new_grace(self, membership):
        membership.restore(members(member("n1", "192.0.2.1", "192.0.2.2")), {}, 0.0)
        membership.replace_all([node("n1", "192.0.2.1")], 5.0)
        assert reachable(membership, 5.0) == {"n1": ["192.0.2.1", "192.0.2.2"]}
        membership.replace_all([node("n1", "192.0.2.1")], 200.0)
        assert reachable(membership, 5.0 + GRACE) == {"n1": ["192.0.2.1"]}

    def test_a_node_with_a_new_uid_inherits_nothing(self, membership):
        membership.put(node("n1", "192.0.2.1", uid="old"), 0.0)
        membership.put(node("n1", uid="new"), 1.0)
        assert reachable(membership, 1.0) == {"n1": []}

    def test_an_address_that_another_node_keeps_claiming_loses_its_grace_for_good(self, membership):
        membership.put(node("n1", "192.0.2.1", "192.0.2.9"), 0.0)
        membership.put(node("n1"), 1.0)
        membership.put(node("n2", "192.0.2.1"), 2.0)
        both = {"n1": ["192.0.2.1", "192.0.2.9"], "n2": ["192.0.2.1"]}
        assert reachable(membership, 1.9 + CONTEST) == both
        assert membership.next_expiry() == 2.0 + CONTEST
        assert membership.settle(2.0 + CONTEST) is True
        assert reachable(membership, 2.0 + CONTEST) == {"n1": ["192.0.2.9"], "n2": ["192.0.2.1"]}
        membership.drop("n2", 40.0)
        assert reachable(membership, 40.0) == {"n1": ["192.0.2.9"]}

    def test_the_moment_of_a_liar_does_not_end_the_grace_of_an_honest_node(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        membership.put(node("n1"), 1.0)
        for second in range(2, 250, 29):
            membership.put(node("liar", "192.0.2.1"), float(second))
            membership.put(node("liar"), second + 28.0)
        membership.drop("liar", 290.0)
        assert reachable(membership, 299.0) == {"n1": ["192.0.2.1"]}
        assert reachable(membership, 1.0 + GRACE) == {"n1": []}

    def test_two_liars_that_take_turns_end_it_only_without_a_gap(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        membership.put(node("n1"), 0.0)
        membership.put(node("liar1", "192.0.2.1"), 1.0)
        membership.drop("liar1", 20.0)
        membership.put(node("liar2", "192.0.2.1"), 21.0)
        assert reachable(membership, 1.0 + CONTEST)["n1"] == ["192.0.2.1"]
        assert reachable(membership, 21.0 + CONTEST)["n1"] == []

    def test_two_nodes_that_claim_it_without_a_gap_end_it(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        membership.put(node("n1"), 0.0)
        membership.put(node("n2", "192.0.2.1"), 1.0)
        membership.put(node("n3", "192.0.2.1"), 20.0)
        membership.drop("n2", 21.0)
        assert reachable(membership, 0.9 + CONTEST)["n1"] == ["192.0.2.1"]
        assert reachable(membership, 1.0 + CONTEST)["n1"] == []

    def test_each_node_on_which_it_lingers_has_its_own_moment(self, membership):
        for name in ("n1", "n2", "n3"):
            membership.put(node(name, "192.0.2.1"), 0.0)
        membership.put(node("n1"), 100.0)
        membership.put(node("n2"), 120.0)
        found = reachable(membership, 100.0 + CONTEST)
        assert (found["n1"], found["n2"]) == ([], ["192.0.2.1"])
        assert reachable(membership, 120.0 + CONTEST)["n2"] == []

    def test_an_address_that_two_nodes_share_goes_from_the_one_a_moment_after_it(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        membership.put(node("n2", "192.0.2.1"), 0.0)
        membership.put(node("n1"), 100.0)
        assert reachable(membership, 99.9 + CONTEST)["n1"] == ["192.0.2.1"]
        assert reachable(membership, 100.0 + CONTEST)["n1"] == []

    def test_many_nodes_on_which_it_lingers_lose_it(self, membership):
        for number in range(5):
            membership.put(node(f"n{number}", "192.0.2.1"), 0.0)
        membership.put(node("vip", "192.0.2.1"), 0.0)
        for number in range(5):
            membership.put(node(f"n{number}"), float(number))
        assert membership.settle(CONTEST) is True
        found = reachable(membership, 10.0 + CONTEST)
        assert [name for name, listed in found.items() if listed] == ["vip"]

    def test_a_type_that_another_node_claims_stays_while_the_node_claims_the_other(
        self, membership
    ):
        membership.put(node("n1", "192.0.2.1", external=("192.0.2.1",)), 0.0)
        membership.put(node("n1", external=("192.0.2.1",)), 1.0)
        membership.put(node("n2", "192.0.2.1"), 2.0)
        assert membership.current(100.0)["n1"].addresses.keys() == {INTERNAL, EXTERNAL}
        membership.put(node("n1"), 101.0)
        assert reachable(membership, 100.9 + CONTEST)["n1"] == ["192.0.2.1"]
        assert reachable(membership, 101.0 + CONTEST)["n1"] == []

    def test_an_address_that_the_node_claims_with_another_type_keeps_its_grace(self, membership):
        membership.put(node("n1", "192.0.2.1", external=("192.0.2.1",)), 0.0)
        membership.put(node("n1", external=("192.0.2.1",)), 1.0)
        assert membership.current(1.0)["n1"].addresses.keys() == {INTERNAL, EXTERNAL}

    def test_a_node_whose_addresses_are_all_claimed_elsewhere_has_none(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        membership.put(node("n1"), 1.0)
        membership.put(node("n2", "192.0.2.1"), 2.0)
        # An empty type would be a difference where there is none.
        assert membership.current(2.0 + CONTEST)["n1"].addresses == {}

    def test_a_node_that_leaves_keeps_nothing(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        membership.put(node("n1"), 1.0)
        membership.drop("n1", 2.0)
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
        assert held.why == (
            "1 nodes claim more than 4 addresses each (guards:addresses_per_node): n1; "
            "n1 claims 40000"
        )
        assert membership.refused()[HeldReason.TOO_MANY].count == 40_000

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

    @pytest.mark.parametrize(
        ("labels", "why"),
        [
            ({f"l{n}": "" for n in range(600)}, "600 labels; at most 512 are kept"),
            ({f"l{n}": "x" * 60 for n in range(512)}, ""),
            ({f"l{n:0200}": "" for n in range(400)}, "labels of 80400 characters"),
            ({"pool": "x" * 64}, "1 labels that Kubernetes does not allow"),
            ({"po ol": ""}, "1 labels that Kubernetes does not allow"),
            ({"pool": "a\n"}, "1 labels that Kubernetes does not allow"),
            ({"": "x", "a/b/c": "x", "A/b": "x"}, "3 labels that Kubernetes does not allow"),
            ({"pool": "", "example.com/a_b.c": "A-1", "a/b": "c"}, ""),
        ],
    )
    def test_a_node_with_unusual_labels_keeps_its_last_state(self, membership, labels, why):
        membership.put(node("n1", "192.0.2.1", labels={"pool": "a"}), 0.0)
        membership.put(node("n1", "192.0.2.2", labels=labels), 1.0)
        membership.put(node("n2", "192.0.2.3", labels=labels), 1.0)
        if not why:
            assert membership.held() == ()
            assert membership.current(1.0)["n2"].labels == labels
            return
        assert reachable(membership, 1.0) == {"n1": ["192.0.2.1"]}
        assert membership.current(1.0)["n1"].labels == {"pool": "a"}
        (held,) = membership.held()
        assert held.why.startswith("2 nodes have labels that are not kept: n1, n2; n1 has " + why)
        assert membership.refused()[HeldReason.LABELS].nodes == ("n1", "n2")
        membership.put(node("n1", "192.0.2.2"), 2.0)
        membership.drop("n2", 2.0)
        assert membership.held() == ()

    def test_labels_that_were_not_kept_hold_the_node(self, membership):
        membership.put(node("n1", "192.0.2.1", label_problem="1000 labels"), 0.0)
        assert membership.held()[0].why.endswith("n1 has 1000 labels")

    def test_its_news_are_taken_once(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        assert membership.has_news is False
        membership.put(node("n1", *["192.0.2.1"] * 5), 0.0)
        membership.put(node("n2", "10.0.0.1", "junk"), 0.0)
        news = membership.take_news()
        assert [(one.reason, one.count) for one in news["n1"]] == [(HeldReason.TOO_MANY, 5)]
        assert [(one.reason, one.examples) for one in news["n2"]] == [
            (RejectReason.OUTSIDE, ("10.0.0.1",)),
            (RejectReason.UNREADABLE, ("junk",)),
        ]
        membership.put(node("n2", "10.0.0.1", "junk"), 1.0)
        assert membership.has_news is False
        membership.put(node("n1", "192.0.2.1"), 1.0)
        membership.drop("n2", 1.0)
        assert membership.take_news() == {"n1": [], "n2": []}

    def test_no_longer_listed_it_is_gone(self, membership):
        membership.put(node("n1", "192.0.2.1"), 0.0)
        membership.put(node("n1", *["192.0.2.1"] * 5), 0.0)
        membership.replace_all([], 1.0)
        assert (reachable(membership, 1.0), membership.held()) == ({}, ())
