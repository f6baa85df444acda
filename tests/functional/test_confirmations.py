"""A confirmation that the engine took is known to the revision that follows from it, and ends."""

from __future__ import annotations

from salt_ext.core.cluster.diff import Baseline
from salt_ext.core.cluster.hold import Kind
from salt_ext.watch.confirmations import TakenConfirmations
from tests.core.build import member, members

N1, N2, N3 = (member(f"n{n}", f"192.0.2.{n}") for n in (1, 2, 3))


def test_the_nodes_that_it_names_are_let_in_by_it():
    taken = TakenConfirmations()
    taken.take("t1", Kind("growth"), ["n1", "n2"])
    difference = Baseline({}).diff(members(N1, N3))
    assert taken.let_in_by(difference) == {"n1": "t1"}
    assert taken.end(difference) == ["t1"]
    assert taken.end(difference) == []
    assert taken.let_in_by(difference) == {}


def test_one_of_an_identity_lets_in_every_node_of_the_next_view():
    taken = TakenConfirmations()
    taken.take("t1", Kind("identity"), ["a uid"])
    assert taken.let_in_by(Baseline({}).diff(members(N1, N3))) == {"n1": "t1", "n3": "t1"}


def test_one_of_nodes_that_leave_ends_with_their_change():
    taken = TakenConfirmations()
    taken.take("t1", Kind("shrink"), ["n1"])
    assert taken.end(Baseline(members(N1, N2)).diff(members(N1))) == []
    difference = Baseline(members(N1, N2)).diff(members(N2))
    assert taken.let_in_by(difference) == {}
    assert taken.end(difference) == ["t1"]


def test_those_that_lead_to_nothing_are_forgotten():
    taken = TakenConfirmations()
    for n in range(150):
        taken.take(f"t{n}", Kind("growth"), ["n1"])
    assert len(taken.end(Baseline({}).diff(members(N1)))) == 100
