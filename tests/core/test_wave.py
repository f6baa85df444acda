"""A change reaches a few first, stops when it breaks them, and always reaches everybody at last."""

from __future__ import annotations

import random

import pytest

from salt_ext.core.rollout.wave import (
    SLOW,
    Candidate,
    MinionOutcome,
    RolloutPolicy,
    RolloutState,
    next_batch,
)

NOW = 1000.0
CARE = RolloutPolicy(canary=0, abort_percent=50, batch=50)
CANARY = RolloutPolicy(canary=1, abort_percent=50, batch=50)


def one(minion: str, *, due: bool = True, **more) -> Candidate:
    return Candidate(minion=minion, due=due, **more)


def proof(at: float = NOW) -> MinionOutcome:
    return MinionOutcome(dispatched_at=at, applied_at=at, failing_since=None, failed_at=None)


def failure(at: float = NOW, *, before: float | None = None, silent: bool = False) -> MinionOutcome:
    """A minion that failed when it was told at ``at``, and perhaps ever since ``before``."""
    since = at if before is None else before
    return MinionOutcome(
        dispatched_at=at, applied_at=None, failing_since=since, failed_at=at, silent=silent
    )


def go(wave, behind, outcomes=(), care=CARE, now=NOW):
    return next_batch(wave, behind, outcomes, care, now, lambda tries: 10.0 * 2**tries)


class TestWithoutCanaries:
    def test_everybody_is_told_at_once(self):
        done = go(None, [one("m2"), one("m1")])
        assert done.minions == ("m1", "m2")
        assert done.wave == RolloutState(started_at=NOW, open=True)

    def test_but_not_more_than_are_waited_for_at_a_time(self):
        care = RolloutPolicy(canary=0, abort_percent=50, batch=2)
        done = go(None, [one(f"m{n}") for n in range(4)], care=care)
        assert (done.minions, done.why) == (("m0", "m1"), "waits for the 2 before it")
        flying = [one("m0", due=False, flying_since=NOW), one("m1"), one("m2")]
        assert go(done.wave, flying, care=care).minions == ("m1",)

    def test_one_that_does_not_return_is_not_waited_for_long(self):
        care = RolloutPolicy(canary=0, abort_percent=50, batch=1)
        behind = [one("m0", due=False, flying_since=NOW - SLOW), one("m1")]
        assert go(RolloutState(started_at=NOW - SLOW, open=True), behind, care=care).minions == (
            "m1",
        )

    def test_nobody_behind_is_no_wave(self):
        assert go(RolloutState(started_at=1.0, open=True), []).wave is None

    def test_who_is_not_due_is_not_told(self):
        assert go(None, [one("m1", due=False)]).minions == ()


class TestAClockThatWasSetBack:
    """What was begun later than now can be told nothing by."""

    def test_a_class_is_not_stopped_until_the_clock_is_there_again(self):
        wave = RolloutState(started_at=NOW + 3600, stopped="stopped", retry_at=NOW + 3700, tries=2)
        done = go(wave, [one("m1"), one("m2")])
        assert (done.minions, done.wave) == (("m1",), RolloutState(started_at=NOW, tries=2))

    def test_failures_count_again(self):
        wave = RolloutState(started_at=NOW + 3600, open=True)
        done = go(wave, [one("m1")], [failure(), failure()])
        assert (done.minions, done.why) == ((), "stopped: 2 of 2 minions failed")


class TestCanaries:
    def test_one_is_told_first_the_one_that_was_proven_last(self):
        behind = [one("m1"), one("m2", applied_at=5.0), one("m3", applied_at=4.0)]
        done = go(None, behind, care=CANARY)
        assert done.minions == ("m2",)
        assert done.why == "waits for m2"
        flying = [one("m1"), one("m2", due=False, flying_since=NOW), one("m3")]
        assert go(done.wave, flying, care=CANARY).minions == ()

    def test_its_proof_opens_the_way(self):
        wave = RolloutState(started_at=NOW - 2)
        done = go(wave, [one("m1"), one("m3")], [proof(NOW - 1)], CANARY)
        assert done.minions == ("m1", "m3")
        assert done.wave == RolloutState(started_at=NOW, open=True)

    def test_a_proof_from_before_does_not(self):
        wave = RolloutState(started_at=NOW - 2)
        assert go(wave, [one("m1", due=False)], [proof(NOW - 3)], CANARY).wave == wave

    @pytest.mark.parametrize("silent", [False, True])
    def test_its_failure_stops_the_class(self, silent):
        # A rule that cuts the minion off from its master looks like a minion that is off.
        wave = RolloutState(started_at=NOW - 2)
        failed = failure(NOW - 1, silent=silent)
        done = go(wave, [one("m1"), one("m2", due=False, attempts=1)], [failed], CANARY)
        assert (done.minions, done.why) == ((), "stopped: 1 of 1 minions failed")
        assert done.wave == RolloutState(
            started_at=NOW - 2, stopped=done.why, retry_at=NOW + 10.0, tries=1
        )

    def test_a_slow_one_is_joined_by_another(self):
        wave = RolloutState(started_at=NOW - SLOW - 1)
        behind = [one("m1", due=False, flying_since=NOW - SLOW - 1), one("m2"), one("m3")]
        assert go(wave, behind, care=CANARY).minions == ("m2",)

    def test_all_of_several_are_waited_for(self):
        care = RolloutPolicy(canary=2, abort_percent=50, batch=50)
        wave = RolloutState(started_at=NOW - 2)
        behind = [one("m2", due=False, flying_since=NOW - 1), one("m3")]
        assert go(wave, behind, [proof(NOW - 1)], care).minions == ()

    def test_what_comes_a_minute_later_has_canaries_of_its_own(self):
        wave = RolloutState(started_at=NOW - 60, open=True)
        done = go(wave, [one("m1"), one("m2")], [proof(NOW - 50)], CANARY)
        assert done.minions == ("m1",)
        assert not done.wave.open

    def test_a_minion_that_failed_before_is_no_canary(self):
        done = go(None, [one("m1", attempts=3, applied_at=9.0), one("m2")], care=CANARY)
        assert done.minions == ("m2",)


class TestStopping:
    WAVE = RolloutState(started_at=NOW - 5, open=True)

    def test_too_many_failures_do(self):
        outcomes = [proof(NOW - 1), failure(NOW - 1), failure(NOW - 1)]
        done = go(self.WAVE, [one("m4")], outcomes)
        assert (done.minions, done.wave.stopped) == ((), "stopped: 2 of 3 minions failed")

    def test_half_of_them_are_not_too_many(self):
        assert go(self.WAVE, [one("m4")], [proof(), failure()]).minions == ("m4",)
        assert go(self.WAVE, [one("m4")], [failure()]).minions == ("m4",)

    def test_who_failed_before_does_not_count(self):
        outcomes = [failure(NOW - 1, before=1.0), failure(NOW - 1, before=1.0)]
        assert go(self.WAVE, [one("m4")], outcomes).minions == ("m4",)

    def test_who_is_off_does_not_count(self):
        outcomes = [failure(silent=True), failure(silent=True)]
        assert go(self.WAVE, [one("m4")], outcomes).minions == ("m4",)

    def test_a_hundred_per_cent_never_stops(self):
        care = RolloutPolicy(canary=0, abort_percent=100, batch=50)
        assert go(self.WAVE, [one("m4")], [failure(), failure()], care).minions == ("m4",)

    def test_nobody_is_told_while_stopped_not_even_again(self):
        wave = RolloutState(started_at=1.0, stopped="stopped: x", retry_at=NOW + 1, tries=1)
        done = go(wave, [one("m1"), one("m2", attempts=1)])
        assert (done.minions, done.why, done.wave) == ((), "stopped: x", wave)

    def test_then_one_is_tried_and_opens_the_way(self):
        wave = RolloutState(started_at=1.0, stopped="stopped: x", retry_at=NOW, tries=3)
        done = go(wave, [one("m1", attempts=1), one("m2", attempts=1), one("m3", attempts=2)])
        assert done.minions == ("m1",)
        assert done.wave == RolloutState(started_at=NOW, tries=3)
        opened = go(done.wave, [one("m2", attempts=1)], [proof()], now=NOW + 1)
        assert opened.minions == ("m2",)

    def test_or_is_stopped_for_longer(self):
        wave = RolloutState(started_at=NOW, tries=3)
        failed = failure(NOW, before=1.0, silent=True)
        done = go(wave, [one("m1", due=False, attempts=2)], [failed], now=NOW + 1)
        assert done.wave == RolloutState(
            started_at=NOW,
            stopped="stopped: 1 of 1 minions failed",
            retry_at=NOW + 81.0,
            tries=4,
        )


def test_retries_alone_begin_no_wave():
    done = go(None, [one("m1", attempts=1), one("m2", attempts=2, due=False)], care=CANARY)
    assert (done.wave, done.minions) == (None, ("m1",))


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("care", [CARE, CANARY, RolloutPolicy(canary=3, abort_percent=20, batch=4)])
def test_whatever_fails_for_a_while_everybody_gets_there(seed, care):
    """Minions that fail, are off, are slow or busy for some minutes, and then are not."""
    dice = random.Random(seed)
    names = [f"m{n}" for n in range(dice.randint(1, 12))]
    broken = dice.random()
    entries = {
        name: {"attempts": 0, "next": 0.0, "sent": 0.0, "flying": False, "applied": None,
               "since": None, "failed": None, "silent": False}
        for name in names
    }  # fmt: skip
    wave, now, left = None, 0.0, set(names)
    while left:
        now += 1.0
        assert now < 4000, f"{sorted(left)} never got there; {wave}"
        for name in names:
            entry = entries[name]
            if not entry["flying"]:
                continue
            off = now < 600 and dice.random() < broken
            if now - entry["sent"] >= 100 or (not off and now - entry["sent"] >= 1):
                entry["flying"] = False
                if off or (now < 600 and dice.random() < broken):
                    entry["attempts"] += 1
                    entry["next"] = now + min(900.0, 5.0 * 2 ** entry["attempts"])
                    entry["since"] = entry["since"] or now
                    entry["failed"], entry["silent"] = now, off
                else:
                    entry.update(applied=now, since=None, attempts=0)
                    left.discard(name)
        behind = [
            Candidate(
                minion=name,
                due=not entries[name]["flying"] and now >= entries[name]["next"],
                flying_since=entries[name]["sent"] if entries[name]["flying"] else None,
                attempts=entries[name]["attempts"],
            )
            for name in sorted(left)
        ]
        outcomes = [
            MinionOutcome(
                dispatched_at=entry["sent"],
                applied_at=entry["applied"],
                failing_since=entry["since"],
                failed_at=entry["failed"],
                silent=entry["silent"],
            )
            for entry in entries.values()
            if entry["sent"]
        ]
        done = next_batch(
            wave, behind, outcomes, care, now, lambda tries: min(900.0, 5.0 * 2**tries)
        )
        wave = done.wave
        for name in done.minions:
            assert not entries[name]["flying"]
            entries[name].update(flying=True, sent=now)
