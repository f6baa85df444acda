"""When departed addresses are closed, and which of them one job names."""

from __future__ import annotations

from salt_ext.core.rollout.closing import RECHECK_INTERVAL, chosen, due, groups, recheck_due
from salt_ext.core.rollout.departures import MAX_IN_JOB, Closing, Departure

NOW, TIMEOUT = 1_000_000.0, 300.0


def departure(address: str, **more) -> Departure:
    usual = {"minion": "m1", "cluster": "prod", "cause": "node n1 left", "since": 7.0}
    return Departure(address=address, **{**usual, **more})


def test_one_is_due_unless_it_waits_or_has_a_job_in_flight():
    assert due(Closing(minion="m1"), NOW, TIMEOUT)
    assert not due(Closing(minion="m1", next_at=NOW + 5), NOW, TIMEOUT)
    assert not due(Closing(minion="m1", jid="7", sent_at=NOW - 5), NOW, TIMEOUT)
    assert due(Closing(minion="m1", jid="7", sent_at=NOW - TIMEOUT), NOW, TIMEOUT)
    assert due(Closing(minion="m1", jid="7"), NOW, TIMEOUT)


def test_a_clock_that_was_set_back_delays_nothing():
    assert due(Closing(minion="m1", next_at=NOW + 3600), NOW, TIMEOUT)
    assert due(Closing(minion="m1", jid="7", sent_at=NOW + 3600), NOW, TIMEOUT)


def test_closed_ones_are_looked_for_again_once_a_day_and_not_all_at_once():
    def first(minion: str) -> int:
        closing = Closing(minion=minion, checked_at=NOW)
        return next(hour for hour in range(100) if recheck_due(closing, NOW + hour * 3600, TIMEOUT))

    hours = {first(f"m{n}") for n in range(50)}
    assert min(hours) * 3600 >= 0.8 * RECHECK_INTERVAL
    assert max(hours) * 3600 <= RECHECK_INTERVAL + 3600
    assert len(hours) > 3
    assert recheck_due(Closing(minion="m1"), NOW, TIMEOUT)
    assert not recheck_due(Closing(minion="m1", next_at=NOW + 5), NOW, TIMEOUT)


def test_a_job_names_those_first_that_were_not_checked_for_longest():
    rows = [departure(f"a{n:04}", checked_at=float(n)) for n in range(MAX_IN_JOB + 5)]
    named = dict(chosen([*rows[::-1], departure("b")]))
    assert len(named) == MAX_IN_JOB
    assert "b" in named
    assert named.keys() - {"b"} == {one.address for one in rows[: MAX_IN_JOB - 1]}


def test_minions_with_the_same_addresses_and_times_get_the_same_job():
    same = [departure("a"), departure("b")]
    found = groups(
        [("m1", same), ("m2", same[::-1]), ("m3", [departure("a", since=8.0)]), ("m4", [])]
    )
    assert found == {(("a", 7.0), ("b", 7.0)): ["m1", "m2"], (("a", 8.0),): ["m3"]}
