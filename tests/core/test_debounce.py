"""The first change after quiet is announced at once, a burst together, and nothing starves."""

from __future__ import annotations

from itertools import pairwise

import pytest

from salt_ext.core.timing.debounce import Debounce


def announcements(changes: list[float], *, until: float) -> list[float]:
    """Run a loop over changes at these times; return the times of the announcements."""
    debounce = Debounce(interval=0.1, max_delay=2.0)
    found = []
    for now in (tick / 1000 for tick in range(int(until * 1000))):
        while changes and changes[0] <= now:
            debounce.changed(changes.pop(0))
        if debounce.due(now):
            found.append(now)
            debounce.announced(now)
    return found


def test_nothing_is_announced_without_a_change():
    debounce = Debounce(interval=0.1, max_delay=2.0)
    assert debounce.wake_at() is None
    assert not debounce.due(1e9)


def test_a_lone_change_is_announced_at_once():
    debounce = Debounce(interval=0.1, max_delay=2.0)
    debounce.changed(50.0)
    assert debounce.wake_at() == 50.0
    assert debounce.due(50.0)
    debounce.announced(50.0)
    assert not debounce.due(1e9)


def test_changes_after_the_first_wait_for_a_quiet_time():
    assert announcements([1.0, 1.02, 1.05], until=2) == pytest.approx([1.0, 1.15], abs=0.002)


def test_a_change_right_after_an_announcement_waits_for_a_quiet_time():
    found = announcements([1.0, 1.05, 1.2], until=2)
    assert found == pytest.approx([1.0, 1.15, 1.3], abs=0.002)


def test_two_changes_with_a_quiet_time_between_them_are_two():
    assert announcements([1.0, 1.2], until=2) == pytest.approx([1.0, 1.2], abs=0.002)


def test_endless_changes_are_announced_all_the_same():
    changes = [1 + n / 20 for n in range(200)]
    found = announcements(changes, until=12)
    assert found[0] == 1.0
    gaps = [later - sooner for sooner, later in pairwise(found)]
    assert max(gaps) <= 2.051
    assert len(found) <= 7


def test_two_hundred_joins_cause_few_runs():
    assert len(announcements([n * 0.05 for n in range(200)], until=15)) <= 8


def test_a_change_never_waits_longer_than_max_delay():
    debounce = Debounce(interval=5.0, max_delay=2.0)
    debounce.changed(10.0)
    debounce.announced(10.0)
    debounce.changed(10.5)
    assert debounce.wake_at() == 12.5
    debounce.changed(12.0)
    assert debounce.wake_at() == 12.5
    assert not debounce.due(12.4)
    assert debounce.due(12.5)
