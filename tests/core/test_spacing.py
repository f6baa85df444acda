"""Wishes are kept apart, and the last one is always granted."""

from __future__ import annotations

from salt_ext.core.rollout.hints import Hints
from salt_ext.core.timing.rate_limiter import RateLimiter


def test_a_few_are_granted_at_once_and_others_after_waits_that_double():
    spacing = RateLimiter(few=3, least=5.0, first=60.0, cap=200.0)
    granted = [second for second in range(1000) if spacing.allow("m1", float(second))]
    assert granted == [0, 5, 10, 70, 190, 390, 590, 790, 990]


def test_one_that_waits_is_granted_without_another_word():
    spacing = RateLimiter(few=1, first=60.0)
    spacing.allow("m1", 0.0)
    assert not spacing.allow("m1", 10.0)
    assert spacing.released(59.0) == []
    assert spacing.released(60.0) == ["m1"]
    assert spacing.released(1000.0) == []


def test_names_do_not_hinder_each_other():
    spacing = RateLimiter()
    assert spacing.allow("m1", 0.0)
    assert spacing.allow("m2", 0.0)


def test_after_an_hour_it_is_as_at_first_and_nothing_is_remembered():
    spacing = RateLimiter(few=1, first=60.0)
    for n in range(100):
        spacing.allow(f"m{n}", 0.0)
    spacing.allow("m1", 60.0)
    assert spacing.allow("m1", 3660.0)
    assert len(spacing._turns) == 1
    assert spacing.allow("m1", 3720.0)


def test_a_thousand_forged_starts_in_an_hour_are_a_few_runs():
    spacing = RateLimiter()
    assert sum(spacing.allow("m1", n * 3.6) for n in range(1000)) <= 11


class TestHints:
    def test_tags_say_where_to_look(self):
        hints = Hints()
        said = [
            hints.take("salt/job/7/ret/m1"),
            hints.take("salt/minion/m2/start"),
            hints.take("salt/auth", "m3"),
            hints.take("salt/k8s_firewall/m4/drift"),
        ]
        assert all(said)
        assert (hints.returned, hints.started) == ({"7"}, {"m2"})
        assert (hints.alive, hints.drifted) == ({"m1", "m3"}, {"m4"})

    def test_others_say_nothing(self):
        hints = Hints()
        for tag in (
            "",
            "salt/auth",
            "salt/key",
            "salt/job/7/new",
            "salt/minion/m2/stop",
            "salt/beacon/a/b/",
            "salt/k8s_firewall/m4/repaired",
        ):
            assert not hints.take(tag)
        assert hints == Hints()

    def test_a_flood_is_bounded(self):
        hints = Hints()
        for n in range(20_000):
            hints.take(f"salt/job/{n}/ret/m{n}")
            hints.take(f"salt/minion/m{n}/start")
        assert len(hints.returned) + len(hints.alive) + len(hints.started) == 30_000
