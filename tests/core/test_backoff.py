"""Errors in a row wait longer and longer, within bounds, and are forgotten."""

from __future__ import annotations

import random

import pytest

from salt_ext.core.timing.backoff import Backoff


@pytest.fixture
def backoff():
    return Backoff(dice=random.Random(7))


def waits(backoff: Backoff, count: int) -> list[float]:
    """Fail again and again, each time as soon as it may be tried."""
    now, found = 1000.0, []
    for _ in range(count):
        backoff.failed(now)
        found.append(backoff.until - now)
        now = backoff.until
    return found


def test_nothing_waits_before_an_error(backoff):
    assert (backoff.until, backoff.failures) == (0.0, 0)


def test_waits_double_up_to_the_cap(backoff):
    ceilings = [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    for wait, ceiling in zip(waits(backoff, 8), ceilings, strict=True):
        assert ceiling / 2 <= wait <= ceiling
    assert backoff.failures == 8


def test_two_masters_do_not_return_in_step():
    assert waits(Backoff(dice=random.Random(1)), 5) != waits(Backoff(dice=random.Random(2)), 5)


def test_a_thousand_errors_overflow_nothing(backoff):
    assert max(waits(backoff, 1000)) <= 30.0


def test_what_the_server_asks_for_is_the_least(backoff):
    backoff.failed(1000.0, at_least=17.0)
    assert backoff.until == 1017.0


def test_a_success_ends_the_wait_but_the_next_error_waits_longer(backoff):
    waits(backoff, 5)
    now = backoff.until - 1.0
    backoff.worked(now)
    assert (backoff.until, backoff.failures) == (now, 0)
    backoff.failed(now)
    assert backoff.until - now >= 12.8


def test_errors_long_ago_are_forgotten(backoff):
    waits(backoff, 5)
    backoff.failed(100_000.0)
    assert backoff.until - 100_000.0 <= 0.8


def test_two_minutes_without_an_error_is_long_ago(backoff):
    backoff.failed(1000.0)
    backoff.failed(1119.9)
    assert backoff.until - 1119.9 >= 0.8
    backoff.failed(1239.9)
    assert backoff.until - 1239.9 <= 0.8
