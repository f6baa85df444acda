"""Requests are limited for each name, and the last one is always released."""

from __future__ import annotations

from salt_ext.core.timing.rate_limiter import RateLimiter


def test_a_burst_is_allowed_and_later_requests_after_doubling_delays():
    limiter = RateLimiter(burst=3, min_interval=5.0, first_delay=60.0, max_delay=200.0)
    allowed = [second for second in range(1000) if limiter.allow("m1", float(second))]
    assert allowed == [0, 5, 10, 70, 190, 390, 590, 790, 990]


def test_a_pending_request_is_released_after_the_delay():
    limiter = RateLimiter(burst=1, first_delay=60.0)
    limiter.allow("m1", 0.0)
    assert not limiter.allow("m1", 10.0)
    assert limiter.released(59.0) == []
    assert limiter.released(60.0) == ["m1"]
    assert limiter.released(1000.0) == []


def test_names_are_limited_separately():
    limiter = RateLimiter()
    assert limiter.allow("m1", 0.0)
    assert limiter.allow("m2", 0.0)


def test_after_an_hour_the_limit_is_reset_and_its_memory_freed():
    limiter = RateLimiter(burst=1, first_delay=60.0)
    for n in range(100):
        limiter.allow(f"m{n}", 0.0)
    limiter.allow("m1", 60.0)
    assert limiter.allow("m1", 3660.0)
    assert len(limiter._grants) == 1
    assert limiter.allow("m1", 3720.0)


def test_a_thousand_forged_starts_in_an_hour_cause_a_few_runs():
    limiter = RateLimiter()
    assert sum(limiter.allow("m1", n * 3.6) for n in range(1000)) <= 11
