"""Which changes are stored at once, and which are held for more proof or a confirmation."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from salt_ext.core.cluster.guard import Guard, Judgement, Rules, View
from salt_ext.core.cluster.hold import Doubts, Effect, Held, Kind, fingerprint
from tests.core.build import member, members

RULES = Rules(
    shrink_percent=30,
    shrink_nodes=3,
    shrink_confirm_after=60,
    growth_percent=100,
    growth_nodes=5,
    growth_window=600,
)


def view(count: int, *, start: int = 0, identity: str = "uid-a", version: str = "100") -> View:
    """Return a view of so many nodes, n0 and on."""
    names = range(start, start + count)
    return View(
        members=members(*(member(f"n{i}", f"10.0.{i // 250}.{i % 250 + 1}") for i in names)),
        # Another object each time, as from two answers of the API.
        identity="".join(list(identity)),
        version=version,
    )


def guard(accepted: View | None = None, **rules: int) -> Guard:
    found = Guard(rules=Rules(**{name: getattr(RULES, name) for name in Rules.__slots__} | rules))
    found.accepted = accepted
    return found


def judge(
    one: Guard, seen: View, now: float = 0.0, *, listed_at: float | None = None, deleted=()
) -> Judgement:
    listed = now if listed_at is None else listed_at
    return one.judge(seen, now, listed_at=listed, deleted=frozenset(deleted))


def kinds(found: Judgement) -> list[Kind]:
    return [held.kind for held in found.held]


def joined(*views: View, version: str = "1000") -> View:
    """Return one view with the nodes of several."""
    nodes = {name: node for one in views for name, node in one.members.items()}
    return View(members=nodes, identity="uid-a", version=version)


def test_the_default_thresholds_are_those_of_the_documentation():
    assert Rules() == Rules(
        min_nodes=0,
        shrink_percent=30,
        shrink_nodes=3,
        shrink_confirm_after=60.0,
        growth_percent=100,
        growth_nodes=50,
        growth_window=600.0,
    )


@pytest.mark.parametrize(
    "value",
    [
        RULES,
        view(1),
        Held(kind=Kind.SHRINK, why="", subjects={}),
        Judgement(members=None),
    ],
)
def test_a_view_and_its_judgement_cannot_be_altered(value):
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, None)


def test_the_first_view_is_accepted_at_any_size():
    assert judge(guard(), view(5000)).members == view(5000).members
    assert judge(guard(), view(0)).members == {}


def test_the_first_view_is_held_below_min_nodes_until_confirmed():
    one = guard(min_nodes=3)
    found = judge(one, view(2))
    assert found.members is None
    assert kinds(found) == [Kind.MINIMUM]
    one.release(Kind.MINIMUM, found.held[0].subjects)
    assert judge(one, view(2)).members == view(2).members


@pytest.mark.parametrize("uid", ["uid-b", "uid-0"])
def test_another_cluster_changes_nothing_until_confirmed(uid):
    one = guard(view(10))
    other = view(0, identity=uid, version="7")
    found = judge(one, other)
    assert found.members is None
    assert kinds(found) == [Kind.IDENTITY]
    assert f"uid {uid}" in found.held[0].why
    one.release(Kind.IDENTITY, found.held[0].subjects)
    # An empty cluster is another mistake, of which the identity says nothing.
    assert kinds(judge(one, other)) == [Kind.SHRINK]
    assert judge(one, other, 60.0).members == {}
    one.accepted_view(other, {}, 60.0)
    assert one.accepted == other


@pytest.mark.parametrize("uid", ["uid-b", "uid-0"])
def test_the_size_of_the_previous_cluster_does_not_count(uid):
    one = guard(view(10))
    other = view(4, identity=uid, version="7")
    one.accepted_view(other, other.members, 0.0)
    assert judge(one, view(3, identity=uid, version="8")).held == ()


def test_when_the_known_cluster_answers_again_its_nodes_may_leave():
    one = guard(view(10))
    assert judge(one, view(9, identity="uid-b")).members is None
    assert judge(one, view(9)).members == view(9).members


def test_a_confirmed_identity_does_not_admit_a_third_cluster():
    one = guard(view(10))
    one.release(Kind.IDENTITY, {"uid-b": ""})
    assert judge(one, view(10, identity="uid-c")).members is None


def test_an_older_state_changes_nothing_until_its_versions_catch_up():
    one = guard(view(10, version="100"))
    found = judge(one, view(4, version="99"))
    assert found.members is None
    assert kinds(found) == [Kind.ROLLBACK]
    assert judge(one, view(11, version="100")).members == view(11).members


def test_the_reason_names_nodes_with_older_versions():
    phrase = "some nodes have older versions"
    found = judge(guard(view(10)), replace(view(10), regressed=True))
    assert kinds(found) == [Kind.ROLLBACK]
    assert phrase in found.held[0].why
    assert phrase not in judge(guard(view(10)), view(10, version="99")).held[0].why


class TestAfterAnOlderState:
    """Versions catch up within minutes, even those of a restored etcd without some nodes."""

    @pytest.fixture
    def one(self):
        one = guard(view(10, version="100"))
        assert judge(one, view(9, version="99")).members is None
        return one

    def test_a_missing_node_stays_until_confirmed(self, one):
        found = judge(one, view(9, version="100"))
        assert found.members == view(10).members
        assert kinds(found) == [Kind.VANISHED]
        assert found.held[0].keys == {"n9"}
        assert judge(one, view(9, version="101"), 1e6).members == view(10).members
        one.release(Kind.VANISHED, found.held[0].subjects)
        assert judge(one, view(9, version="102")).members == view(9).members

    def test_nodes_that_left_at_once_stay_for_both_reasons(self, one):
        found = judge(one, view(1, version="100"))
        assert found.members == view(10).members
        assert kinds(found) == [Kind.SHRINK, Kind.VANISHED]

    def test_nodes_from_the_older_state_do_not_count_as_growth(self, one):
        ghosts = view(10, start=20)
        assert judge(one, joined(view(9), ghosts, version="99")).members is None
        found = judge(one, joined(view(10), ghosts, view(5, start=40)))
        assert found.members == joined(view(10), view(5, start=40)).members
        assert kinds(found) == [Kind.RETURNED]

    def test_a_new_node_is_admitted_meanwhile(self, one):
        seen = joined(view(9), view(1, start=20), version="101")
        assert judge(one, seen).members == {**view(10).members, **view(1, start=20).members}

    def test_a_node_from_the_older_state_waits_for_a_confirmation(self, one):
        ghosts = {**view(9).members, **view(1, start=20).members}
        assert judge(one, View(members=ghosts, identity="uid-a", version="99")).members is None
        later = {**view(10).members, **view(2, start=20).members}
        found = judge(one, View(members=later, identity="uid-a", version="101"))
        # n21 joined afterwards; n20 may be a node that left after the backup was made.
        assert found.members == {**view(10).members, **view(1, start=21).members}
        assert kinds(found) == [Kind.RETURNED]
        assert found.held[0].keys == {"n20"}
        one.release(Kind.RETURNED, found.held[0].subjects)
        assert judge(one, View(members=later, identity="uid-a", version="102")).members == later

    def test_a_node_from_the_older_state_that_is_gone_again_is_forgotten(self, one):
        ghosts = {**view(10).members, **view(1, start=20).members}
        assert judge(one, View(members=ghosts, identity="uid-a", version="99")).members is None
        assert judge(one, view(10, version="100")).held == ()
        assert judge(one, View(members=ghosts, identity="uid-a", version="101")).members == ghosts

    def test_after_a_restart_a_new_node_may_be_from_the_older_state(self):
        one = guard(view(10, version="100"))
        one.rollback_seen = one.rollback_before_restart = True
        later = {**view(10).members, **view(1, start=20).members}
        found = judge(one, View(members=later, identity="uid-a", version="101"))
        assert (found.members, kinds(found)) == (view(10).members, [Kind.RETURNED])
        even_later = {**later, **view(1, start=30).members}
        found = judge(one, View(members=even_later, identity="uid-a", version="102"))
        assert found.members == {**view(10).members, **view(1, start=30).members}

    def test_a_deletion_that_was_seen_is_proof(self, one):
        # The deletion of a node that was never accepted says nothing about the others.
        found = judge(one, view(9, version="100"), deleted=["n9", "n55"])
        assert (found.members, found.held) == (view(9).members, ())

    def test_it_is_over_when_no_node_is_missing(self, one):
        assert judge(one, view(10, version="100")).held == ()
        assert judge(one, view(9, version="101")).members == view(9).members

    def test_confirming_the_older_state_accepts_its_nodes(self, one):
        old = view(9, version="99")
        one.release(Kind.ROLLBACK, judge(one, old).held[0].subjects)
        assert judge(one, old).members == old.members
        one.accepted_view(old, old.members, 0.0)
        assert judge(one, view(8, version="100")).members == view(8).members

    @pytest.mark.parametrize("uid", ["uid-b", "uid-0"])
    def test_a_confirmed_other_cluster_starts_without_doubts(self, one, uid):
        other = view(9, identity=uid, version="7")
        one.release(Kind.IDENTITY, {uid: ""})
        assert judge(one, other).members == other.members
        one.accepted_view(other, other.members, 0.0)
        assert judge(one, view(8, identity=uid, version="8")).held == ()
        assert not one.rollback_seen


def test_confirming_an_older_state_accepts_its_later_versions_too():
    one = guard(view(10, version="100"))
    old = view(10, version="50")
    one.release(Kind.ROLLBACK, judge(one, old).held[0].subjects)
    assert judge(one, view(10, version="51")).members == old.members
    one.accepted_view(old, old.members, 0.0)
    assert judge(one, view(10, version="52")).members == old.members
    assert judge(one, view(10, version="49")).members is None


def test_versions_that_are_not_numbers_are_not_compared():
    one = guard(view(10, version="abc"))
    assert judge(one, view(10, version="abb")).members is not None


def test_a_heartbeats_version_counts_when_comparing():
    one = guard(view(10, version="100"))
    one.observed_version("150")
    assert kinds(judge(one, view(10, version="149"))) == [Kind.ROLLBACK]
    one.observed_version("120")
    assert kinds(judge(one, view(10, version="149"))) == [Kind.ROLLBACK]


def test_a_few_leaving_nodes_are_removed():
    assert judge(guard(view(10)), view(8)).members == view(8).members
    assert judge(guard(view(4)), view(2)).members == view(2).members


@pytest.mark.parametrize(("nodes", "left"), [(4, 2), (10, 7), (1000, 700)])
def test_the_shrink_limits_are_tested_at_their_edge(nodes, left):
    assert judge(guard(view(nodes)), view(left)).held == ()
    assert kinds(judge(guard(view(nodes)), view(left - 1))) == [Kind.SHRINK]


def test_many_leaving_nodes_are_held_and_others_still_join():
    one = guard(view(10))
    seen = joined(view(1), view(1, start=50))
    found = judge(one, seen)
    assert kinds(found) == [Kind.SHRINK]
    assert found.held[0].keys == {f"n{i}" for i in range(1, 10)}
    assert found.members == {**view(10).members, **view(1, start=50).members}


def test_a_second_list_a_minute_later_proves_the_leave():
    one = guard(view(10))
    found = judge(one, view(1), 0.0)
    assert found.list_again_at == 60.0
    assert kinds(judge(one, view(1), 59.0)) == [Kind.SHRINK]
    # Time alone proves nothing: there was no LIST since.
    assert kinds(judge(one, view(1), 61.0, listed_at=59.0)) == [Kind.SHRINK]
    for listed_at in (60.0, 61.0):
        assert judge(one, view(1), 61.0, listed_at=listed_at).members == view(1).members


def test_leaves_that_are_proven_do_not_count_with_those_that_are_not():
    one = guard(view(10), shrink_percent=20)
    assert kinds(judge(one, view(5), 0.0)) == [Kind.SHRINK]
    assert judge(one, view(4), 60.0).members == view(4).members


def test_earlier_leaves_count_with_those_that_are_not_proven():
    one = guard(view(12), shrink_percent=20)
    one.accepted_view(view(10), view(10).members, 1.0)
    assert kinds(judge(one, view(5), 1.0)) == [Kind.SHRINK]
    found = judge(one, view(4), 61.0)
    assert found.members == view(5).members
    assert [held.keys for held in found.held] == [{"n4"}]


def test_nodes_that_come_back_in_between_must_be_gone_for_a_minute_again():
    one = guard(view(10))
    judge(one, view(1), 0.0)
    judge(one, view(10), 30.0)
    assert kinds(judge(one, view(1), 61.0)) == [Kind.SHRINK]


def test_an_empty_list_is_held_however_few_nodes_there_were():
    found = judge(guard(view(1)), view(0))
    assert kinds(found) == [Kind.SHRINK]
    assert found.members == view(1).members


def test_the_last_node_is_removed_when_its_deletion_was_seen():
    assert judge(guard(view(1)), view(0), deleted=["n0"]).members == {}
    assert judge(guard(view(1)), view(0), deleted=["n0", "n9"]).members == {}
    assert kinds(judge(guard(view(2)), view(0), deleted=["n0"])) == [Kind.SHRINK]


def test_deletions_one_by_one_add_up():
    one = guard(view(10))
    for left, now in ((9, 1000.0), (8, 1001.0), (7, 1002.0)):
        seen = view(left)
        assert judge(one, seen, now, deleted=[f"n{left}"]).members == seen.members
        one.accepted_view(seen, seen.members, now)
    assert kinds(judge(one, view(6), 1061.0, deleted=["n6"])) == [Kind.SHRINK]
    # After a minute the earlier ones do not count.
    assert judge(one, view(6), 1061.1, deleted=["n6"]).members == view(6).members


def test_a_confirmation_releases_only_the_named_nodes():
    one = guard(view(10))
    one.release(Kind.SHRINK, judge(one, view(5)).held[0].subjects)
    assert judge(one, view(5)).members == view(5).members
    found = judge(one, view(1))
    assert found.held[0].keys == {"n1", "n2", "n3", "n4"}
    assert found.members == view(5).members


def test_a_confirmation_may_be_repeated():
    one = guard(view(10))
    subjects = judge(one, view(5)).held[0].subjects
    one.release(Kind.SHRINK, subjects)
    one.release(Kind.SHRINK, subjects)
    assert judge(one, view(5)).members == view(5).members


def test_a_release_ends_when_its_change_was_made():
    one = guard(view(10))
    one.release(Kind.SHRINK, judge(one, view(5)).held[0].subjects)
    for seen in (view(5), view(10)):
        assert judge(one, seen).members == seen.members
        one.accepted_view(seen, seen.members, 0.0)
    assert kinds(judge(one, view(5))) == [Kind.SHRINK]


def test_a_release_of_joins_ends_when_they_were_made():
    one = guard(view(1))
    one.release(Kind.GROWTH, judge(one, view(20)).held[0].subjects)
    assert judge(one, view(20)).held == ()
    one.accepted_view(view(20), view(20).members, 0.0)
    assert kinds(judge(one, view(1))) == [Kind.SHRINK]
    one.accepted_view(view(1), view(1).members, 0.0)
    assert kinds(judge(one, view(20))) == [Kind.GROWTH]


def test_a_release_ends_when_its_change_is_void():
    one = guard(view(10))
    one.release(Kind.SHRINK, judge(one, view(5)).held[0].subjects)
    judge(one, view(10))
    assert kinds(judge(one, view(5))) == [Kind.SHRINK]


def test_a_cluster_may_double_but_not_more_at_once():
    assert judge(guard(view(10)), view(20)).members == view(20).members
    found = judge(guard(view(10)), view(21))
    assert kinds(found) == [Kind.GROWTH]
    assert found.members == view(10).members
    assert judge(guard(view(100)), view(200)).held == ()
    assert kinds(judge(guard(view(100)), view(201))) == [Kind.GROWTH]


def test_a_small_cluster_may_grow_by_growth_nodes():
    assert judge(guard(view(1)), view(6)).members == view(6).members
    assert kinds(judge(guard(view(1)), view(7))) == [Kind.GROWTH]


@pytest.mark.parametrize("confirm_after", [0, 60])
def test_joins_one_by_one_add_up_within_the_window(confirm_after):
    one = guard(view(1), shrink_confirm_after=confirm_after)
    for count in range(2, 7):
        seen = view(count)
        assert judge(one, seen, 1000.0 + count).members == seen.members
        one.accepted_view(seen, seen.members, 1000.0 + count)
    assert kinds(judge(one, view(7), 1602.0)) == [Kind.GROWTH]
    # The cluster of one node is longer ago than the window.
    assert judge(one, view(7), 1602.1).members == view(7).members


def test_leaves_make_room_for_joins_within_the_window():
    one = guard(view(10))
    one.accepted_view(view(18), view(18).members, 1.0)
    assert judge(one, joined(view(16), view(4, start=20)), 2.0).held == ()
    assert kinds(judge(one, joined(view(17), view(4, start=20)), 2.0)) == [Kind.GROWTH]


def test_leaves_that_are_held_make_no_room_for_joins():
    one = guard(view(10))
    one.accepted_view(view(18), view(18).members, 1.0)
    found = judge(one, joined(view(12), view(3, start=20)), 2.0)
    assert kinds(found) == [Kind.SHRINK, Kind.GROWTH]


def test_leaving_nodes_do_not_count_as_joining():
    seen = view(17, start=2)
    assert judge(guard(view(10)), seen).members == seen.members


def test_sizes_of_the_past_are_forgotten():
    one = guard(view(1))
    for turn in range(3000):
        now = 1000.0 + 60.5 * turn
        seen = view(1 + turn % 2)
        assert judge(one, seen, now).members == seen.members
        one.accepted_view(seen, seen.members, now)
    # One for each change of the last ten minutes, and one for ten minutes of the day before.
    assert 144 < len(one.sizes.samples(now)) < 160


def test_nodes_that_are_replaced_one_by_one_are_neither_growth_nor_shrinking():
    one = guard(view(6))
    for turn in range(1, 40):
        seen = view(6, start=turn)
        found = judge(one, seen, float(turn), deleted=[f"n{turn - 1}"])
        assert found.members == seen.members, found.held
        one.accepted_view(seen, seen.members, float(turn))


def test_a_small_cluster_may_come_and_go_often():
    one = guard(view(1))
    for turn in range(20):
        seen = view(turn % 2)
        found = judge(one, seen, float(turn), deleted=["n0"])
        assert found.members == seen.members, found.held
        one.accepted_view(seen, seen.members, float(turn))


def test_growth_is_released_by_confirmation_and_never_by_time_alone():
    one = guard(view(1))
    held = judge(one, view(20)).held[0]
    assert kinds(judge(one, view(20), 10_000.0)) == [Kind.GROWTH]
    one.release(Kind.GROWTH, held.subjects)
    assert judge(one, view(20), 10_000.0).members == view(20).members


def test_leaves_go_on_while_growth_is_held():
    one = guard(view(10))
    found = judge(
        one,
        joined(view(9), view(30, start=50)),
    )
    assert kinds(found) == [Kind.GROWTH]
    assert found.members == view(9).members


@pytest.mark.parametrize("left", [0, 1, 2])
def test_fewer_than_min_nodes_needs_a_confirmation(left):
    one = guard(view(4), min_nodes=3, shrink_percent=100)
    gone = [f"n{i}" for i in range(left, 4)]
    found = judge(one, view(left), 0.0, deleted=gone)
    assert Kind.MINIMUM in kinds(found)
    assert found.members == view(4).members
    later = judge(one, view(left), 1000.0, deleted=gone)
    assert later.members == view(4).members
    one.release(Kind.MINIMUM, found.held[0].subjects)
    assert judge(one, view(left), 1001.0, deleted=gone).members == view(left).members


def test_leaves_that_are_held_anyway_are_not_held_for_min_nodes_too():
    assert kinds(judge(guard(view(10), min_nodes=20), view(1))) == [Kind.SHRINK]


def other_cluster(count: int, *, start: int = 0) -> View:
    """Return the view of another cluster, whose nodes have uids of their own."""
    nodes = view(count, start=start).members
    return View(
        members={name: replace(node, uid=f"other-{name}") for name, node in nodes.items()},
        identity="uid-b",
        version="7",
    )


class TestAnotherIdentityIsJudgedByAllGuards:
    def confirmed(self, count: int, **rules: int) -> Guard:
        one = guard(view(count), **rules)
        one.release(Kind.IDENTITY, {"uid-b": ""})
        return one

    def test_fewer_than_min_nodes_are_held(self):
        one = self.confirmed(10, min_nodes=3, shrink_percent=100)
        found = judge(one, other_cluster(2))
        assert (found.members, kinds(found)) == (None, [Kind.MINIMUM])
        one.release(Kind.MINIMUM, found.held[0].subjects)
        assert judge(one, other_cluster(2)).members == other_cluster(2).members

    def test_many_fewer_are_held_until_a_second_list(self):
        one = self.confirmed(10)
        found = judge(one, other_cluster(5), 7.0)
        assert (found.members, kinds(found), found.list_again_at) == (None, [Kind.SHRINK], 67.0)
        assert judge(one, other_cluster(5), 66.9).members is None
        assert judge(one, other_cluster(5), 67.0).members == other_cluster(5).members

    def test_many_more_are_held(self):
        one = self.confirmed(10)
        found = judge(one, other_cluster(21))
        assert (found.members, kinds(found)) == (None, [Kind.GROWTH])
        one.release(Kind.GROWTH, found.held[0].subjects)
        assert judge(one, other_cluster(21)).members == other_cluster(21).members

    def test_a_confirmation_stays_while_another_guard_holds(self):
        one = self.confirmed(10, min_nodes=3, shrink_percent=100)
        assert kinds(judge(one, other_cluster(2))) == [Kind.MINIMUM]
        assert judge(one, other_cluster(4)).members == other_cluster(4).members

    def test_the_effect_tells_which_guard_holds_next(self):
        one = guard(view(10), min_nodes=3)
        (held,) = judge(one, other_cluster(0)).held
        assert held.effect == Effect(then_held=(Kind.MINIMUM, Kind.SHRINK))
        (held,) = judge(one, other_cluster(8)).held
        assert held.effect == Effect(leave=2, close=2)

    def test_the_first_view_of_a_cluster_whose_identity_is_pinned(self):
        one = guard()
        one.pinned = "uid-a"
        assert judge(one, view(3)).members == view(3).members
        found = judge(one, other_cluster(3))
        assert (found.members, kinds(found)) == (None, [Kind.IDENTITY])
        one.release(Kind.IDENTITY, found.held[0].subjects)
        assert judge(one, other_cluster(3)).members == other_cluster(3).members


class TestAConfirmationIsForWhatWasShown:
    def test_later_nodes_are_held(self):
        one = guard(view(1))
        one.release(Kind.GROWTH, judge(one, view(20)).held[0].subjects)
        found = judge(one, view(40))
        assert found.members == view(20).members
        assert found.held[0].keys == {f"n{i}" for i in range(20, 40)}

    @pytest.mark.parametrize(
        "changed",
        [
            {"uid": "another"},
            {"addresses": {}},
            {"addresses": member("n", "10.9.9.9", "10.9.9.8").addresses},
        ],
    )
    def test_the_same_name_with_another_uid_or_address_is_held(self, changed):
        one = guard(view(1))
        seen = view(20)
        one.release(Kind.GROWTH, judge(one, seen).held[0].subjects)
        other = replace(
            seen, members={**seen.members, "n7": replace(seen.members["n7"], **changed)}
        )
        found = judge(one, other, 1.0)
        assert "n7" not in (found.members or {}) or kinds(found) == []
        assert "n7" in one.released[Kind.GROWTH] or found.held == () or "n7" in found.held[0].keys

    def test_a_node_that_left_came_back_and_leaves_again_is_held(self):
        one = guard(view(10))
        one.release(Kind.SHRINK, judge(one, view(5)).held[0].subjects)
        assert judge(one, view(10)).held == ()
        assert kinds(judge(one, view(5), 5.0)) == [Kind.SHRINK]

    @pytest.mark.parametrize("changed", [{"labels": {"a": "b"}}, {"ready": False}])
    def test_labels_and_readiness_may_change(self, changed):
        one = guard(view(1))
        seen = view(20)
        one.release(Kind.GROWTH, judge(one, seen).held[0].subjects)
        other = replace(
            seen, members={**seen.members, "n7": replace(seen.members["n7"], **changed)}
        )
        assert judge(one, other).members == other.members

    def test_confirmed_growth_does_not_count_again(self):
        one = guard(view(1))
        seen = view(20)
        one.release(Kind.GROWTH, judge(one, seen).held[0].subjects)
        one.accepted_view(seen, judge(one, seen).members, 10.0)
        assert judge(one, view(25), 11.0).members == view(25).members
        assert kinds(judge(one, view(60), 11.0)) == [Kind.GROWTH]


class TestARejection:
    def rejected(self, kind: Kind = Kind.GROWTH) -> Guard:
        one = guard(view(1))
        one.reject(kind, judge(one, view(20)).held[0].subjects)
        return one

    def test_keeps_exactly_these_nodes_out(self):
        one = self.rejected()
        found = judge(one, joined(view(1), view(22, start=1)))
        assert found.members == joined(view(1), view(3, start=20)).members
        assert [(held.kind, held.rejected, len(held.keys)) for held in found.held] == [
            (Kind.GROWTH, True, 19)
        ]

    def test_ends_for_a_node_that_changes(self):
        one = self.rejected()
        again = replace(view(20).members["n7"], uid="another")
        found = judge(one, replace(view(20), members={**view(20).members, "n7": again}))
        assert found.members is not None
        assert found.members.keys() == {"n0", "n7"}

    def test_is_taken_back_by_a_confirmation(self):
        one = self.rejected()
        one.release(Kind.GROWTH, judge(one, view(20)).held[0].subjects)
        assert judge(one, view(20)).members == view(20).members

    def test_takes_a_confirmation_back(self):
        one = guard(view(1))
        (held,) = judge(one, view(20)).held
        one.release(Kind.GROWTH, held.subjects)
        one.reject(Kind.GROWTH, held.subjects)
        assert judge(one, view(20)).members == view(1).members

    def test_outlives_the_store(self):
        one = guard()
        one.pinned, one.rejected = "uid-a", self.rejected().rejected
        found = judge(one, view(22))
        assert found.members == joined(view(1), view(2, start=20)).members
        assert [held.rejected for held in found.held] == [True]

    def test_has_a_token_of_its_own(self):
        (held,) = judge(guard(view(1)), view(20)).held
        (rejected,) = judge(self.rejected(), view(20)).held
        assert held.token != rejected.token

    def test_of_another_identity_stays_until_a_third_answers(self):
        one = guard(view(3))
        one.reject(Kind.IDENTITY, judge(one, other_cluster(3)).held[0].subjects)
        assert [held.rejected for held in judge(one, other_cluster(3)).held] == [True]
        third = replace(other_cluster(3), identity="uid-c")
        assert [held.rejected for held in judge(one, third).held] == [False]
        assert judge(one, view(3)).members == view(3).members

    def test_of_nodes_from_an_older_state(self):
        one = guard(view(10, version="100"))
        ghosts = joined(view(10), view(1, start=20), version="99")
        assert judge(one, ghosts).members is None
        later = replace(ghosts, version="101")
        one.reject(Kind.RETURNED, judge(one, later).held[0].subjects)
        found = judge(one, later)
        assert found.members == view(10).members
        assert [(held.kind, held.rejected) for held in found.held] == [(Kind.RETURNED, True)]

    def test_of_nodes_from_an_older_state_outlives_the_end_of_that_doubt(self):
        one = guard(view(10, version="100"))
        ghosts = joined(view(10), view(1, start=20), version="99")
        assert judge(one, ghosts).members is None
        later = replace(ghosts, version="101")
        one.reject(Kind.RETURNED, judge(one, later).held[0].subjects)
        older = replace(ghosts, version="98")
        one.release(Kind.ROLLBACK, judge(one, older).held[0].subjects)
        assert judge(one, older).members == view(10).members

    def test_of_all_nodes_of_another_cluster_empties_nothing(self):
        one = guard(view(10), min_nodes=3, growth_nodes=5, growth_percent=0, shrink_percent=100)
        other = other_cluster(10, start=20)
        one.release(Kind.IDENTITY, {"uid-b": ""})
        (held,) = judge(one, other).held
        one.reject(held.kind, held.subjects)
        found = judge(one, other)
        assert found.members is None
        assert Kind.MINIMUM in kinds(found)


def test_a_second_list_counts_from_after_an_older_state():
    one = guard(view(10, version="100"))
    assert kinds(judge(one, view(4, version="101"), 0.0)) == [Kind.SHRINK]
    # The older state has them again.
    assert judge(one, view(10, version="99"), 30.0).members is None
    one.release(Kind.VANISHED, {name: fingerprint(node) for name, node in view(10).members.items()})
    found = judge(one, view(4, version="102"), 61.0)
    assert (found.members, kinds(found)) == (view(10).members, [Kind.SHRINK])
    assert found.list_again_at == 121.0


def test_doubts_go_on_in_another_process():
    one = guard(view(10, version="100"))
    assert judge(one, joined(view(9), view(1, start=20), version="99")).members is None
    assert judge(one, other_cluster(10)).members is None
    again = guard(view(10, version="100"))
    again.load_doubts(one.doubts)
    found = judge(again, joined(view(9), view(1, start=20), version="101"))
    assert (found.members, kinds(found)) == (view(10).members, [Kind.VANISHED, Kind.RETURNED])
    assert judge(again, view(10, version="102")).held == ()
    assert again.doubts == Doubts()


def wide(count: int, addresses: int) -> View:
    """Return nodes with so many addresses each."""
    listed = (
        member(f"n{i}", *(f"10.{1 + k}.0.{i}" for k in range(addresses))) for i in range(count)
    )
    return View(members=members(*listed), identity="uid-a", version="100")


class TestGrowthCountsAddresses:
    def test_known_nodes_that_report_many_more(self):
        one = guard(wide(10, 1), growth_nodes=50)
        assert judge(one, wide(10, 11)).members == wide(10, 11).members
        found = judge(one, wide(10, 12))
        assert kinds(found) == [Kind.GROWTH]
        assert "110 addresses are new" in found.held[0].why
        assert "guards:growth_addresses" in found.held[0].why
        assert found.members == wide(10, 1).members
        one.release(Kind.GROWTH, found.held[0].subjects)
        assert judge(one, wide(10, 12)).members == wide(10, 12).members

    def test_what_they_do_not_report_any_more_goes_although_the_new_is_held(self):
        one = guard(wide(10, 2), growth_addresses=3, growth_percent=0)
        seen = wide(10, 3)
        moved = member("n3", "10.1.0.3", "10.77.0.1", "10.77.0.2")
        found = judge(one, replace(seen, members={**seen.members, "n3": moved}))
        assert found.members is not None
        assert found.members["n3"] == member("n3", "10.1.0.3")
        assert found.members["n4"] == wide(10, 2).members["n4"]

    def test_the_addresses_of_usual_nodes_are_not_held(self):
        one = guard(wide(10, 4), growth_nodes=50)
        assert judge(one, wide(60, 4)).members == wide(60, 4).members

    def test_a_number_in_the_configuration_counts(self):
        one = guard(wide(10, 1), growth_addresses=5, growth_percent=0)
        assert judge(one, wide(5, 2)).members is not None
        assert kinds(judge(one, joined(wide(5, 2), view(0)))) == [Kind.SHRINK]
        six = {**wide(10, 1).members, **wide(6, 2).members}
        assert kinds(judge(one, replace(wide(10, 1), members=six))) == [Kind.GROWTH]

    @pytest.mark.parametrize(("budget", "hours"), [(None, 11), (30, 4)])
    def test_slow_growth_has_a_budget_for_a_day(self, budget, hours):
        one = guard(wide(10, 1), growth_nodes=1, growth_addresses_per_day=budget)
        held_at = None
        for hour in range(1, 30):
            extra = [f"10.99.{hour}.{i}" for i in range(10)]
            accepted = dict(one.accepted.members)
            grown = member("n0", *map(str, accepted["n0"].addresses["InternalIP"]), *extra)
            seen = View(members={**accepted, "n0": grown}, identity="uid-a", version="100")
            found = judge(one, seen, 3600.0 * hour)
            if found.held:
                held_at = hour
                assert "guards:growth_addresses_per_day" in found.held[0].why
                break
            one.accepted_view(seen, found.members, 3600.0 * hour)
        assert held_at == hours

    def test_the_budget_of_yesterday_is_over(self):
        one = guard(wide(10, 1), growth_addresses_per_day=30)
        for turn in range(6):
            now = 50_000.0 * turn
            seen = wide(10, 1 + turn)
            assert judge(one, seen, now).held == (), turn
            one.accepted_view(seen, seen.members, now)

    def test_it_goes_on_after_a_restart(self):
        one = guard(wide(10, 1), growth_addresses_per_day=30)
        one.accepted_view(wide(10, 3), wide(10, 3).members, 1000.0)
        again = guard(wide(10, 3), growth_addresses_per_day=30)
        again.sizes.load(one.sizes.samples(30_000.0), 5.0)
        assert judge(again, wide(10, 4), 6.0).held == ()
        assert kinds(judge(again, wide(10, 5), 6.0)) == [Kind.GROWTH]


def test_the_effect_of_a_release_is_in_numbers():
    (held,) = judge(guard(view(10)), view(4)).held
    assert held.effect == Effect(leave=6, close=6)
    (held,) = judge(guard(view(2)), view(20)).held
    assert held.effect == Effect(join=18, open=18)
    (held,) = judge(guard(view(10, version="50")), view(8, version="40")).held
    assert held.effect == Effect(leave=2, close=2)


def test_what_would_happen_is_found_out_without_a_change():
    one = guard(view(10))
    judge(one, view(4))
    assert (one.released, one.accepted) == ({}, view(10))
