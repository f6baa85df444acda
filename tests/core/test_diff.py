"""The difference of two views has every change and nothing else, one view after another."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from salt_ext.core.cluster.diff import Baseline, Difference
from salt_ext.core.cluster.member import Member
from tests.core.build import addresses_of, member, members


def between(old: Mapping[str, Member], new: Mapping[str, Member]) -> Difference:
    return Baseline(old).diff(new)


def texts(items: tuple[object, ...]) -> list[str]:
    return [str(item) for item in items]


def test_nothing_changed():
    view = members(member("n1", "192.0.2.1"))
    difference = between(view, dict(view))
    assert not difference
    assert (difference.added, difference.removed) == ((), ())


def test_a_join_a_leave_and_an_update():
    stays = member("stays", "192.0.2.9")
    old = members(stays, member("left", "192.0.2.1"), member("moved", "192.0.2.2"))
    new = members(stays, member("joined", "192.0.2.3"), member("moved", "192.0.2.4"))
    difference = between(old, new)
    assert difference
    assert [one.name for one in difference.joined] == ["joined"]
    assert difference.left == (old["left"],)
    assert difference.updated == (new["moved"],)
    assert texts(difference.added) == ["192.0.2.3", "192.0.2.4"]
    assert texts(difference.removed) == ["192.0.2.1", "192.0.2.2"]


def test_an_address_that_moves_between_nodes_is_neither_added_nor_removed():
    old = members(member("n1", "192.0.2.1"))
    new = members(member("n2", "192.0.2.1"))
    difference = between(old, new)
    assert difference
    assert (difference.added, difference.removed) == ((), ())


def test_an_address_of_two_nodes_is_removed_with_the_last():
    one, two = member("n1", "192.0.2.1"), member("n2", "192.0.2.1")
    assert between(members(one, two), members(two)).removed == ()
    assert texts(between(members(two), {}).removed) == ["192.0.2.1"]
    assert between(members(one), members(one, two)).added == ()


def test_a_new_uid_is_an_update_even_with_the_same_address():
    old = members(member("n1", "192.0.2.1", uid="a"))
    new = members(member("n1", "192.0.2.1", uid="b"))
    assert between(old, new).updated == (new["n1"],)


def test_labels_and_readiness_are_updates_without_addresses():
    old = members(member("n1", "192.0.2.1", labels={"pool": "a"}))
    for new in (
        members(member("n1", "192.0.2.1", labels={"pool": "b"})),
        members(member("n1", "192.0.2.1", labels={"pool": "a"}, ready=False)),
    ):
        difference = between(old, new)
        assert difference.updated == (new["n1"],)
        assert (difference.added, difference.removed) == ((), ())


def test_addresses_are_in_order():
    new = members(member("a", "192.0.2.10", "2001:db8::1"), member("b", "192.0.2.9"))
    assert texts(between({}, new).added) == ["192.0.2.9", "192.0.2.10", "2001:db8::1"]


VIEWS = st.dictionaries(
    st.sampled_from(["n1", "n2", "n3", "n4"]),
    st.tuples(st.sampled_from(["u1", "u2"]), st.sets(st.sampled_from("12345"), max_size=3)),
).map(
    lambda found: members(
        *(member(name, *(f"192.0.2.{n}" for n in ns), uid=uid) for name, (uid, ns) in found.items())
    )
)


def all_addresses(view: dict[str, Member]) -> frozenset[object]:
    return addresses_of(view.values())


@given(st.lists(VIEWS, min_size=2, max_size=6))
def test_each_difference_leads_from_one_view_to_the_next(views):
    old, *later = views
    baseline = Baseline(old)
    for new in later:
        difference = baseline.diff(new)
        baseline.advance(new, difference)
        assert bool(difference) == (old != new)
        left = {one.name for one in difference.left}
        came = {one.name: one for one in (*difference.joined, *difference.updated)}
        assert {**{name: one for name, one in old.items() if name not in left}, **came} == new
        added, removed = set(difference.added), set(difference.removed)
        assert added == all_addresses(new) - all_addresses(old)
        assert removed == all_addresses(old) - all_addresses(new)
        assert all(isinstance(item, ipaddress.IPv4Address) for item in added | removed)
        old = new
