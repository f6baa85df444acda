"""Delays grow with consecutive errors, within bounds, and are reset."""

from __future__ import annotations

import random

import pytest

from salt_ext.core.timing.backoff import Backoff


@pytest.fixture
def backoff():
    return Backoff(rng=random.Random(7))


def delays(backoff: Backoff, count: int) -> list[float]:
    """Fail again and again, each time as soon as it may be tried."""
    now, recorded = 1000.0, []
    for _ in range(count):
        backoff.failed(now)
        recorded.append(backoff.until - now)
        now = backoff.until
    return recorded


def test_there_is_no_delay_before_an_error(backoff):
    assert (backoff.until, backoff.failures) == (0.0, 0)


def test_delays_double_up_to_the_cap(backoff):
    ceilings = [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    for wait, ceiling in zip(delays(backoff, 8), ceilings, strict=True):
        assert ceiling / 2 <= wait <= ceiling
    assert backoff.failures == 8


def test_two_masters_do_not_return_in_step():
    assert delays(Backoff(rng=random.Random(1)), 5) != delays(Backoff(rng=random.Random(2)), 5)


def test_a_thousand_errors_overflow_nothing(backoff):
    assert max(delays(backoff, 1000)) <= 30.0


def test_the_delay_is_at_least_what_the_server_asks_for(backoff):
    backoff.failed(1000.0, at_least=17.0)
    assert backoff.until == 1017.0


def test_a_success_ends_the_delay_but_the_next_error_has_a_longer_one(backoff):
    delays(backoff, 5)
    now = backoff.until - 1.0
    backoff.succeeded(now)
    assert (backoff.until, backoff.failures) == (now, 0)
    backoff.failed(now)
    assert backoff.until - now >= 12.8


def test_old_errors_are_forgotten(backoff):
    delays(backoff, 5)
    backoff.failed(100_000.0)
    assert backoff.until - 100_000.0 <= 0.8


def test_two_minutes_without_an_error_reset_the_delay(backoff):
    backoff.failed(1000.0)
    backoff.failed(1119.9)
    assert backoff.until - 1119.9 >= 0.8
    backoff.failed(1239.9)
    assert backoff.until - 1239.9 <= 0.8
