"""The next of many alarms, and those that are due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from salt_ext.core.timing.alarms import Alarms


def test_due_alarms_come_in_order_and_once():
    alarms: Alarms[str] = Alarms()
    for key, at in (("b", 2.0), ("a", 1.0), ("c", 3.0)):
        alarms.set(key, at)
    assert alarms.next() == 1.0
    assert alarms.due(2.0) == ["a", "b"]
    assert (alarms.due(2.0), alarms.next()) == ([], 3.0)


def test_an_alarm_that_is_set_already_is_kept():
    alarms: Alarms[str] = Alarms()
    alarms.set_if_unset("a", 5.0)
    alarms.set_if_unset("a", 3.0)
    assert alarms.next() == 5.0


@given(st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 50)))))
def test_it_agrees_with_a_dictionary(changes):
    alarms: Alarms[int] = Alarms()
    plain: dict[int, float] = {}
    for key, at in changes:
        alarms.set(key, at)
        plain.pop(key, None)
        if at is not None:
            plain[key] = at
        assert alarms.next() == min(plain.values(), default=None)
    assert sorted(alarms.due(25)) == sorted(key for key, at in plain.items() if at <= 25)


def test_replaced_alarms_take_no_memory():
    alarms: Alarms[str] = Alarms()
    for number in range(10_000):
        alarms.set("a", 1_000_000.0 + number)
    assert len(alarms._heap) < 100
