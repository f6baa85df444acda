"""Which changes are stored at once, and which are held for more proof or a confirmation."""

from __future__ import annotations

import pytest

from salt_ext.core.cluster.guard import Guard, Judgement, Kind, Rules, View
from tests.core.build import member, members

RULES = Rules(
    shrink_percent=30,
    shrink_nodes=3,
    shrink_confirm_after=60,
    growth_percent=100,
    growth_nodes=5,
    growth_window=600,
)


def view(count: int, *, start: int = 0, identity: str = "a", version: str = "100") -> View:
    """Return a view of so many nodes, n0 and on."""
    names = range(start, start + count)
    return View(
        members=members(*(member(f"n{i}", f"10.0.{i // 250}.{i % 250 + 1}") for i in names)),
        identity=identity,
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


def test_the_first_view_is_accepted_at_any_size():
    assert judge(guard(), view(5000)).members == view(5000).members
    assert judge(guard(), view(0)).members == {}


def test_the_first_view_is_held_below_min_nodes_until_confirmed():
    one = guard(min_nodes=3)
    found = judge(one, view(2))
    assert found.members is None
    assert kinds(found) == [Kind.MINIMUM]
    one.release(Kind.MINIMUM, found.held[0].keys)
    assert judge(one, view(2)).members == view(2).members


def test_another_cluster_changes_nothing_until_confirmed():
    one = guard(view(10))
    other = view(0, identity="b", version="7")
    found = judge(one, other)
    assert found.members is None
    assert kinds(found) == [Kind.IDENTITY]
    assert "uid b" in found.held[0].why
    one.release(Kind.IDENTITY, found.held[0].keys)
    assert judge(one, other).members == {}
    one.accepted_view(other, {}, 0.0)
    assert one.accepted == other


def test_a_confirmed_identity_does_not_admit_a_third_cluster():
    one = guard(view(10))
    one.release(Kind.IDENTITY, frozenset(["b"]))
    assert judge(one, view(10, identity="c")).members is None


def test_an_older_state_changes_nothing_until_its_versions_catch_up():
    one = guard(view(10, version="100"))
    found = judge(one, view(4, version="99"))
    assert found.members is None
    assert kinds(found) == [Kind.ROLLBACK]
    assert judge(one, view(11, version="100")).members == view(11).members


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
        one.release(Kind.VANISHED, found.held[0].keys)
        assert judge(one, view(9, version="102")).members == view(9).members

    def test_a_new_node_is_admitted_meanwhile(self, one):
        seen = View(
            members={**view(9).members, **view(1, start=20).members}, identity="a", version="101"
        )
        assert judge(one, seen).members == {**view(10).members, **view(1, start=20).members}

    def test_a_node_from_the_older_state_waits_for_a_confirmation(self, one):
        ghosts = {**view(9).members, **view(1, start=20).members}
        assert judge(one, View(members=ghosts, identity="a", version="99")).members is None
        later = {**view(10).members, **view(2, start=20).members}
        found = judge(one, View(members=later, identity="a", version="101"))
        # n21 joined afterwards; n20 may be a node that left after the backup was made.
        assert found.members == {**view(10).members, **view(1, start=21).members}
        assert kinds(found) == [Kind.RETURNED]
        assert found.held[0].keys == {"n20"}
        one.release(Kind.RETURNED, found.held[0].keys)
        assert judge(one, View(members=later, identity="a", version="102")).members == later

    def test_a_node_from_the_older_state_that_is_gone_again_is_forgotten(self, one):
        ghosts = {**view(10).members, **view(1, start=20).members}
        assert judge(one, View(members=ghosts, identity="a", version="99")).members is None
        assert judge(one, view(10, version="100")).held == ()
        assert judge(one, View(members=ghosts, identity="a", version="101")).members == ghosts

    def test_after_a_restart_a_new_node_may_be_from_the_older_state(self):
        one = guard(view(10, version="100"))
        one.rollback_seen = one.rollback_before_restart = True
        later = {**view(10).members, **view(1, start=20).members}
        found = judge(one, View(members=later, identity="a", version="101"))
        assert (found.members, kinds(found)) == (view(10).members, [Kind.RETURNED])
        even_later = {**later, **view(1, start=30).members}
        found = judge(one, View(members=even_later, identity="a", version="102"))
        assert found.members == {**view(10).members, **view(1, start=30).members}

    def test_a_deletion_that_was_seen_is_proof(self, one):
        found = judge(one, view(9, version="100"), deleted=["n9"])
        assert (found.members, found.held) == (view(9).members, ())

    def test_it_is_over_when_no_node_is_missing(self, one):
        assert judge(one, view(10, version="100")).held == ()
        assert judge(one, view(9, version="101")).members == view(9).members

    def test_confirming_the_older_state_accepts_its_nodes(self, one):
        old = view(9, version="99")
        one.release(Kind.ROLLBACK, judge(one, old).held[0].keys)
        assert judge(one, old).members == old.members
        one.accepted_view(old, old.members, 0.0)
        assert judge(one, view(8, version="100")).members == view(8).members

    def test_a_confirmed_other_cluster_starts_without_doubts(self, one):
        other = view(1, identity="b", version="7")
        one.release(Kind.IDENTITY, frozenset("b"))
        assert judge(one, other).members == other.members
        one.accepted_view(other, other.members, 0.0)
        assert judge(one, view(0, identity="b", version="8"), deleted=["n0"]).held == ()
        assert not one.rollback_seen


def test_confirming_an_older_state_accepts_its_later_versions_too():
    one = guard(view(10, version="100"))
    old = view(10, version="50")
    one.release(Kind.ROLLBACK, judge(one, old).held[0].keys)
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


def test_many_leaving_nodes_are_held_and_others_still_join():
    one = guard(view(10))
    seen = View(
        members={**view(1).members, **view(1, start=50).members}, identity="a", version="1000"
    )
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
    assert judge(one, view(1), 61.0).members == view(1).members


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
    assert kinds(judge(guard(view(2)), view(0), deleted=["n0"])) == [Kind.SHRINK]


def test_deletions_one_by_one_add_up():
    one = guard(view(10))
    for left, now in ((9, 0.0), (8, 1.0), (7, 2.0)):
        seen = view(left)
        assert judge(one, seen, now, deleted=[f"n{left}"]).members == seen.members
        one.accepted_view(seen, seen.members, now)
    assert kinds(judge(one, view(6), 3.0, deleted=["n6"])) == [Kind.SHRINK]
    # A minute later the earlier ones do not count.
    assert judge(one, view(6), 100.0, deleted=["n6"]).members == view(6).members


def test_a_confirmation_releases_only_the_named_nodes():
    one = guard(view(10))
    one.release(Kind.SHRINK, judge(one, view(5)).held[0].keys)
    assert judge(one, view(5)).members == view(5).members
    found = judge(one, view(1))
    assert found.held[0].keys == {"n1", "n2", "n3", "n4"}
    assert found.members == view(5).members


def test_a_release_ends_when_its_change_is_void():
    one = guard(view(10))
    one.release(Kind.SHRINK, judge(one, view(5)).held[0].keys)
    judge(one, view(10))
    assert kinds(judge(one, view(5))) == [Kind.SHRINK]


def test_a_cluster_may_double_but_not_more_at_once():
    assert judge(guard(view(10)), view(20)).members == view(20).members
    found = judge(guard(view(10)), view(21))
    assert kinds(found) == [Kind.GROWTH]
    assert found.members == view(10).members


def test_a_small_cluster_may_grow_by_growth_nodes():
    assert judge(guard(view(1)), view(6)).members == view(6).members
    assert kinds(judge(guard(view(1)), view(7))) == [Kind.GROWTH]


def test_joins_one_by_one_add_up_within_the_window():
    one = guard(view(1))
    for count in range(2, 7):
        seen = view(count)
        assert judge(one, seen, float(count)).members == seen.members
        one.accepted_view(seen, seen.members, float(count))
    assert kinds(judge(one, view(7), 10.0)) == [Kind.GROWTH]
    assert judge(one, view(7), 700.0).members == view(7).members


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
    one.release(Kind.GROWTH, held.keys)
    assert judge(one, view(20), 10_000.0).members == view(20).members


def test_leaves_go_on_while_growth_is_held():
    one = guard(view(10))
    found = judge(
        one,
        View(
            members={**view(9).members, **view(30, start=50).members}, identity="a", version="1000"
        ),
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
    one.release(Kind.MINIMUM, frozenset(gone))
    assert judge(one, view(left), 1001.0, deleted=gone).members == view(left).members
