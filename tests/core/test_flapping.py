"""A node that claims and drops the same addresses is damped, by its own claims alone."""

from __future__ import annotations

import pytest

from salt_ext.core.cluster.flapping import (
    ATTRIBUTE_BURST,
    ATTRIBUTE_INTERVAL,
    CHANGES,
    FIRST_HOLD,
    MAX_HOLD,
    WINDOW,
)
from salt_ext.core.cluster.hold import Kind
from salt_ext.core.cluster.membership import Membership
from salt_ext.core.cluster.refusal import HeldReason
from tests.core.build import limits, member, members, node

X, Y = "192.0.2.1", "192.0.2.2"


def new(grace: float = 0.0) -> Membership:
    return Membership(limits=limits(addresses_per_node=4), grace=grace)


@pytest.fixture
def membership():
    return new()


def opened(membership: Membership, now: float, name: str = "n1") -> set[str]:
    return {str(item) for item in membership.current(now)[name].all_addresses()}


def flap(membership: Membership, begin: float, *, times: int = 3, period: float = 10.0) -> float:
    """Claim, then drop and claim again; return the time of the last claim."""
    membership.put(node("n1", X), begin)
    for turn in range(times):
        membership.put(node("n1"), begin + (turn + 0.5) * period)
        membership.put(node("n1", X), begin + (turn + 1) * period)
    return begin + times * period


class TestAddresses:
    def test_the_third_return_is_damped_until_the_node_has_kept_it(self, membership):
        flap(membership, 0.0, times=2)
        assert opened(membership, 20.0) == {X}
        membership.put(node("n1"), 25.0)
        assert membership.put(node("n1", X), 30.0) is False
        assert opened(membership, 30.0) == set()
        assert membership.next_expiry() == 30.0 + FIRST_HOLD
        assert opened(membership, 29.9 + FIRST_HOLD) == set()
        assert membership.settle(30.0 + FIRST_HOLD) is True
        assert opened(membership, 30.0 + FIRST_HOLD) == {X}
        assert membership.held() == ()

    def test_returns_of_more_than_ten_minutes_do_not_count(self, membership):
        flap(membership, 0.0, times=12, period=WINDOW / 2)
        assert opened(membership, 6 * WINDOW) == {X}

    def test_a_drop_begins_the_time_again(self, membership):
        end = flap(membership, 0.0)
        membership.put(node("n1"), end + 20.0)
        membership.put(node("n1", X), end + 25.0)
        assert opened(membership, end + 25.0 + FIRST_HOLD - 0.1) == set()
        assert opened(membership, end + 25.0 + FIRST_HOLD) == {X}

    def test_the_time_doubles_up_to_an_hour(self, membership):
        end, holds = flap(membership, 0.0), []
        for _ in range(9):
            at = membership.next_expiry()
            holds.append(at - end)
            assert opened(membership, at) == {X}
            end = flap(membership, at + 1.0)
        assert holds == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]

    def test_after_a_quiet_hour_the_first_time_counts_again(self, membership):
        flap(membership, 0.0)
        end = flap(membership, 100.0)
        assert membership.next_expiry() == end + 2 * FIRST_HOLD
        membership.settle(end + 2 * FIRST_HOLD)
        end = flap(membership, end + 2 * FIRST_HOLD + MAX_HOLD)
        assert membership.next_expiry() == end + FIRST_HOLD

    def test_alternating_between_two_damps_both(self, membership):
        for turn in range(8):
            membership.put(node("n1", X if turn % 2 else Y), turn * 10.0)
        assert opened(membership, 80.0) == set()
        (held,) = membership.held()
        assert (held.kind, held.keys) == (Kind.FLAPPING, {"n1"})
        assert held.why == (
            f"claimed and dropped again and again; stays out: {X}, {Y} until n1 has kept it "
            "for 30 s"
        )
        assert membership.refused()[HeldReason.FLAPPING].count == 2
        # Reported together, and kept, both come in.
        membership.put(node("n1", X, Y), 90.0)
        assert opened(membership, 90.0 + FIRST_HOLD) == {X, Y}

    def test_alternating_between_two_types_is_damped(self, membership):
        for turn in range(8):
            one = {"external": (X,)} if turn % 2 else {"pod_cidrs": ("10.244.0.0/24",)}
            membership.put(node("n1", **one), turn * 10.0)
        assert opened(membership, 80.0) == set()

    def test_ever_new_addresses_are_damped_too(self, membership):
        for turn in range(40):
            membership.put(node("n1", *(f"10.0.{turn}.{n}" for n in range(4))), float(turn))
            assert len(opened(membership, float(turn))) == (4 if turn < CHANGES else 0)
        assert membership.held()[0].kind is Kind.FLAPPING
        assert opened(membership, 39.0 + FIRST_HOLD) == {f"10.0.39.{n}" for n in range(4)}

    def test_slowly_changing_addresses_are_not(self, membership):
        for turn in range(40):
            membership.put(node("n1", f"10.0.0.{turn}"), turn * 60.0)
            assert opened(membership, turn * 60.0) == {f"10.0.0.{turn}"}

    def test_what_is_known_of_one_node_is_bounded(self, membership):
        for turn in range(1000):
            membership.put(
                node("n1", *(f"10.{n}.{turn // 250}.{turn % 250}" for n in range(4))), 1.0
            )
        flapping = membership._nodes["n1"].flapping
        assert len(flapping._records) <= 2 * 4 * CHANGES
        assert len(flapping._added) <= 4 * CHANGES

    def test_an_address_that_stays_away_is_not_held_for_long(self, membership):
        end = flap(membership, 0.0)
        membership.put(node("n1"), end + 1.0)
        assert membership.settle(end + 0.9 + WINDOW) is False
        assert membership.held()[0].kind is Kind.FLAPPING
        assert membership.settle(end + 1.0 + WINDOW) is False
        assert membership.held() == ()

    def test_claims_of_another_node_damp_no_address_of_this_one(self, membership):
        membership.put(node("n1", X), 0.0)
        for turn in range(50):
            membership.put(node("liar", *([X] if turn % 2 else [])), turn * 5.0)
            assert opened(membership, turn * 5.0) == {X}
        assert membership.held()[0].keys == {"liar"}

    def test_within_its_grace_a_flapping_address_closes_late_and_only_if_it_goes_on(self):
        membership = new(grace=300.0)
        end = flap(membership, 0.0)
        assert membership.held()[0].kind is Kind.FLAPPING
        assert opened(membership, 30.0) == {X}
        for now in range(31, 320, 10):
            membership.put(node("n1"), float(now))
            membership.put(node("n1", X), now + 3.0)
        # Before it was damped, it was dropped last at 25 s.
        assert end == 30.0
        assert opened(membership, 324.9) == {X}
        assert opened(membership, 325.0) == set()

    def test_within_its_grace_an_address_that_stays_is_never_closed(self):
        membership = new(grace=300.0)
        end = flap(membership, 0.0)
        for now in (end, end + FIRST_HOLD, 10_000.0):
            assert opened(membership, now) == {X}
        assert membership.held() == ()


class TestNodes:
    def test_a_node_object_that_comes_and_goes_is_not(self, membership):
        for turn in range(14):
            version = str(10 + turn)
            membership.put(node("n1", X, uid=f"u{turn}", version=version), turn * 10.0)
            assert opened(membership, turn * 10.0) == {X}
            if turn % 2:
                membership.drop("n1", turn * 10.0 + 5.0)
                assert membership.current(turn * 10.0 + 5.0) == {}
        assert membership.held() == ()

    def test_what_was_damped_stays_so_in_another_node_object(self, membership):
        flap(membership, 0.0)
        membership.drop("n1", 40.0)
        membership.put(node("n1", X, uid="another"), 41.0)
        assert opened(membership, 41.0) == set()

    def test_a_node_that_was_away_for_long_is_let_in_at_once(self, membership):
        end = flap(membership, 0.0)
        membership.drop("n1", end)
        membership.put(node("n1", X, uid="new"), end + WINDOW)
        assert opened(membership, end + WINDOW) == {X}

    def test_names_of_deleted_nodes_are_forgotten(self, membership):
        for number in range(100):
            membership.put(node(f"n{number}", X), number * 60.0)
            membership.drop(f"n{number}", number * 60.0)
        assert len(membership._past) <= 11

    def test_after_a_restart_a_damped_address_stays_out_until_it_is_kept(self, membership):
        flap(membership, 0.0)
        flap(membership, 100.0)
        (held,) = membership.held()
        begun = new()
        begun.restore(members(member("n1")), held.subjects, 0.0)
        begun.put(node("n1", X), 5.0)
        assert opened(begun, 5.0) == set()
        assert begun.held() == (held,)
        assert opened(begun, 5.0 + 2 * FIRST_HOLD) == {X}

    def test_after_a_restart_a_node_without_a_stored_member_is_still_damped(self, membership):
        flap(membership, 0.0)
        begun = new()
        begun.restore({}, membership.held()[0].subjects, 0.0)
        begun.put(node("n1", X), 5.0)
        assert opened(begun, 5.0) == set()

    def test_after_a_restart_a_damped_address_in_its_grace_lingers(self):
        membership = new(grace=300.0)
        flap(membership, 0.0)
        begun = new(grace=300.0)
        begun.restore(membership.current(30.0), membership.held()[0].subjects, 0.0)
        for turn in range(40):
            begun.put(node("n1", *([X] if turn % 2 else [])), turn * 10.0)
            assert opened(begun, turn * 10.0) == ({X} if turn < 30 else set())

    @pytest.mark.parametrize("text", ["", "x", "1 InternalIP", "1 Other=1.2.3.4", "1 podCIDR=x"])
    def test_a_stored_text_that_cannot_be_read_damps_nothing(self, membership, text):
        membership.restore(members(member("n1")), {"n1": text}, 0.0)
        membership.put(node("n1", X), 1.0)
        assert opened(membership, 1.0) == {X}


class TestLaggingServers:
    """An API server that answers with older states in between is no deed of a node."""

    def test_older_reports_in_between_do_not_count(self, membership):
        membership.put(node("n1", version="5"), 0.0)
        for turn in range(1, 20):
            now = float(turn)
            if turn % 2:
                membership.put(node("n1", X, version="10"), now)
                assert opened(membership, now) == {X}
            else:
                membership.put(node("n1", version="5"), now)
        assert membership.held() == ()

    def test_older_lists_that_lack_the_node_do_not_count(self, membership):
        for turn in range(20):
            membership.replace_all([node("n1", X, version="10")] if turn % 2 else [], float(turn))
        assert opened(membership, 20.0) == {X}
        assert membership.held() == ()

    def test_older_lists_with_its_last_object_do_not_count(self, membership):
        for turn in range(20):
            uid, version = ("new", "10") if turn % 2 else ("old", "5")
            membership.replace_all([node("n1", X, uid=uid, version=version)], float(turn))
            assert opened(membership, float(turn)) == {X}

    def test_in_between_a_damped_address_still_has_to_be_kept(self, membership):
        for turn in range(8):
            claimed = [X] if turn % 2 else []
            membership.put(node("n1", *claimed, version=str(10 + turn)), turn * 1.0)
        assert opened(membership, 7.0) == set()
        membership.put(node("n1", version="3"), 20.0)
        membership.put(node("n1", X, version="17"), 25.0)
        assert opened(membership, 24.9 + FIRST_HOLD) == set()
        assert opened(membership, 25.0 + FIRST_HOLD) == {X}


class TestAttributes:
    def test_the_first_changes_are_shown_at_once_and_then_the_newest_now_and_then(self):
        membership = new()
        membership.put(node("n1", X, ready=False), 0.0)
        shown = 0
        for second in range(1, 601):
            now = float(second)
            shown += membership.put(node("n1", X, labels={"turn": str(second)}), now)
            shown += membership.settle(now)
        assert shown == ATTRIBUTE_BURST - 1 + 600 / ATTRIBUTE_INTERVAL
        at = membership.next_expiry()
        assert at <= 600.0 + ATTRIBUTE_INTERVAL
        assert membership.current(at)["n1"].labels == {"turn": "600"}
        assert membership.next_expiry() is None

    def test_a_node_that_is_often_not_ready_shows_it_at_once(self, membership):
        membership.put(node("n1", X, ready=True), 0.0)
        for turn in range(100):
            now = 60.0 * turn
            ready = bool(turn % 2)
            assert membership.put(node("n1", X, ready=ready), now) is True
            assert membership.current(now)["n1"].ready is ready

    def test_a_change_that_is_taken_back_is_none(self, membership):
        membership.put(node("n1", X, ready=True), 0.0)
        for turn in range(ATTRIBUTE_BURST):
            membership.put(node("n1", X, ready=bool(turn % 2)), 0.0)
        assert membership.put(node("n1", X, ready=False), 0.0) is False
        assert membership.put(node("n1", X, ready=True), 0.0) is False
        assert membership.next_expiry() is None

    def test_a_recreated_node_shows_its_labels_at_once(self, membership):
        for turn in range(20):
            membership.put(node("n1", X, labels={"turn": str(turn)}), 0.0)
        membership.put(node("n1", X, uid="new", labels={"turn": "new"}), 1.0)
        assert membership.current(1.0)["n1"].labels == {"turn": "new"}

    def test_addresses_are_never_delayed_by_labels(self, membership):
        for turn in range(20):
            membership.put(node("n1", X, labels={"turn": str(turn)}), 0.0)
        membership.put(node("n1", X, Y, labels={"turn": "20"}), 1.0)
        assert opened(membership, 1.0) == {X, Y}
