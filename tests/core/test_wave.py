"""A rollout reaches canaries first, stops on failures, and reaches every minion in the end."""

from __future__ import annotations

import random
from dataclasses import FrozenInstanceError, fields

import pytest

from salt_ext.core.rollout.wave import (
    SLOW,
    Candidate,
    MinionOutcome,
    NextBatch,
    RolloutPolicy,
    RolloutState,
    next_batch,
)

NOW = 1000.0
POLICY = RolloutPolicy(canary=0, abort_percent=50, batch=50)
CANARY = RolloutPolicy(canary=1, abort_percent=50, batch=50)


def candidate(minion: str, *, due: bool = True, **more) -> Candidate:
    return Candidate(minion=minion, due=due, **more)


def proof(at: float = NOW) -> MinionOutcome:
    return MinionOutcome(dispatched_at=at, applied_at=at, failing_since=None, failed_at=None)


def failure(at: float = NOW, *, before: float | None = None, silent: bool = False) -> MinionOutcome:
    """A minion that failed after a publish at ``at``, failing since ``before`` if given."""
    since = at if before is None else before
    return MinionOutcome(
        dispatched_at=at, applied_at=None, failing_since=since, failed_at=at, silent=silent
    )


def run(state, candidates, outcomes=(), policy=POLICY, now=NOW):
    return next_batch(state, candidates, outcomes, policy, now, lambda stops: 10.0 * 2**stops)


@pytest.mark.parametrize(
    "value", [RolloutState(started_at=NOW), candidate("m1"), proof(), POLICY, NextBatch(state=None)]
)
def test_a_rollout_and_what_it_is_judged_by_cannot_be_altered(value):
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, None)


def test_nothing_is_assumed_of_a_minion_or_a_rollout_that_is_new():
    assert candidate("m1") == Candidate(
        minion="m1", due=True, in_flight_since=None, attempts=0, applied_at=0.0
    )
    assert RolloutState(started_at=NOW) == RolloutState(
        started_at=NOW, open=False, stopped="", retry_at=0.0, consecutive_stops=0
    )
    assert not proof().silent


class TestWithoutCanaries:
    def test_all_minions_are_published_to_at_once(self):
        batch = run(None, [candidate("m2"), candidate("m1")])
        assert batch.minions == ("m1", "m2")
        assert batch.state == RolloutState(started_at=NOW, open=True)
        assert batch.why == ""

    def test_a_full_batch_makes_none_wait(self):
        policy = RolloutPolicy(canary=0, abort_percent=50, batch=300)
        batch = run(None, [candidate(f"m{n}") for n in range(300)], policy=policy)
        assert (len(batch.minions), batch.why) == (300, "")

    def test_a_failure_does_not_stop_the_class(self):
        assert run(None, [candidate("m1")], [failure()]).minions == ("m1",)

    def test_but_no_more_than_one_batch(self):
        policy = RolloutPolicy(canary=0, abort_percent=50, batch=2)
        batch = run(None, [candidate(f"m{n}") for n in range(4)], policy=policy)
        assert (batch.minions, batch.why) == (("m0", "m1"), "waiting for the previous batch of 2")
        flying = [candidate("m0", due=False, in_flight_since=NOW), candidate("m1"), candidate("m2")]
        assert run(batch.state, flying, policy=policy).minions == ("m1",)

    def test_nothing_is_published_while_more_than_a_batch_is_in_flight(self):
        policy = RolloutPolicy(canary=0, abort_percent=50, batch=1)
        flying = [candidate(f"m{n}", due=False, in_flight_since=NOW) for n in range(2)]
        behind = [*flying, candidate("m2"), candidate("m3")]
        assert run(RolloutState(started_at=NOW, open=True), behind, policy=policy).minions == ()

    def test_a_slow_minion_delays_the_others_only_briefly(self):
        policy = RolloutPolicy(canary=0, abort_percent=50, batch=1)
        for age, published in ((29.5, ()), (30.0, ("m1",)), (40.0, ("m1",))):
            behind = [candidate("m0", due=False, in_flight_since=NOW - age), candidate("m1")]
            state = RolloutState(started_at=NOW - age, open=True)
            assert run(state, behind, policy=policy).minions == published

    def test_without_candidates_there_is_no_rollout(self):
        assert run(RolloutState(started_at=1.0, open=True), []).state is None

    def test_a_minion_that_is_not_due_is_left_out(self):
        assert run(None, [candidate("m1", due=False)]).minions == ()


class TestClockSetBack:
    """Times later than now are unusable."""

    def test_a_stopped_class_is_tried_at_once(self):
        state = RolloutState(
            started_at=NOW + 3600, stopped="stopped", retry_at=NOW + 3700, consecutive_stops=2
        )
        batch = run(state, [candidate("m1"), candidate("m2")])
        assert (batch.minions, batch.state) == (
            ("m1",),
            RolloutState(started_at=NOW, consecutive_stops=2),
        )

    def test_failures_count_again(self):
        state = RolloutState(started_at=NOW + 3600, open=True)
        batch = run(state, [candidate("m1")], [failure(), failure()])
        assert (batch.minions, batch.why) == ((), "stopped: 2 of 2 minions failed")


class TestCanaries:
    def test_the_minion_that_was_proven_last_is_the_canary(self):
        behind = [candidate("m1"), candidate("m2", applied_at=4.0), candidate("m3", applied_at=5.0)]
        batch = run(None, behind, policy=CANARY)
        assert batch.minions == ("m3",)
        assert batch.why == "waiting for canary m3"
        flying = [candidate("m1"), candidate("m2"), candidate("m3", due=False, in_flight_since=NOW)]
        assert run(batch.state, flying, policy=CANARY).minions == ()

    def test_its_proof_opens_the_rollout(self):
        state = RolloutState(started_at=NOW - 2)
        batch = run(state, [candidate("m1"), candidate("m3")], [proof(NOW - 1)], CANARY)
        assert batch.minions == ("m1", "m3")
        assert batch.state == RolloutState(started_at=NOW, open=True)

    @pytest.mark.parametrize(
        ("dispatched_at", "applied_at", "opens"),
        [
            (NOW - 2, NOW - 1, True),
            (NOW - 1, NOW - 1, True),
            # This proof is of a run before the publish.
            (NOW - 1, NOW - 1.5, False),
        ],
    )
    def test_a_proof_counts_from_the_publish_on(self, dispatched_at, applied_at, opens):
        outcome = MinionOutcome(
            dispatched_at=dispatched_at, applied_at=applied_at, failing_since=None, failed_at=None
        )
        batch = run(RolloutState(started_at=NOW - 2), [candidate("m1")], [outcome], CANARY)
        assert batch.state.open == opens

    def test_more_proofs_than_canaries_open_it_too(self):
        state = RolloutState(started_at=NOW - 2)
        assert run(state, [candidate("m1")], [proof(), proof()], CANARY).state.open

    def test_an_earlier_proof_does_not(self):
        state = RolloutState(started_at=NOW - 2)
        assert run(state, [candidate("m1", due=False)], [proof(NOW - 3)], CANARY).state == state

    @pytest.mark.parametrize("silent", [False, True])
    def test_its_failure_stops_the_class(self, silent):
        # A rule that cuts the minion off from its master looks like a minion that is off.
        state = RolloutState(started_at=NOW - 2)
        failed = failure(NOW - 1, silent=silent)
        batch = run(
            state, [candidate("m1"), candidate("m2", due=False, attempts=1)], [failed], CANARY
        )
        assert (batch.minions, batch.why) == ((), "stopped: 1 of 1 minions failed")
        assert batch.state == RolloutState(
            started_at=NOW - 2, stopped=batch.why, retry_at=NOW + 10.0, consecutive_stops=1
        )

    def test_a_slow_one_is_joined_by_another(self):
        state = RolloutState(started_at=NOW - SLOW - 1)
        behind = [
            candidate("m1", due=False, in_flight_since=NOW - SLOW - 1),
            candidate("m2"),
            candidate("m3"),
        ]
        assert run(state, behind, policy=CANARY).minions == ("m2",)

    def test_all_of_several_canaries_must_succeed(self):
        policy = RolloutPolicy(canary=2, abort_percent=50, batch=50)
        state = RolloutState(started_at=NOW - 2)
        behind = [candidate("m2", due=False, in_flight_since=NOW - 1), candidate("m3")]
        assert run(state, behind, [proof(NOW - 1)], policy).minions == ()

    def test_the_last_minion_is_a_canary_while_canaries_are_missing(self):
        policy = RolloutPolicy(canary=3, abort_percent=50, batch=50)
        batch = run(RolloutState(started_at=NOW - 2), [candidate("m2")], [proof(NOW - 1)], policy)
        assert (batch.minions, batch.state.open) == (("m2",), False)

    @pytest.mark.parametrize(("in_flight", "more"), [(0, 2), (1, 1), (2, 0), (3, 0)])
    def test_canaries_in_flight_count(self, in_flight, more):
        policy = RolloutPolicy(canary=2, abort_percent=50, batch=50)
        flying = [candidate(f"a{n}", due=False, in_flight_since=NOW) for n in range(in_flight)]
        behind = [*flying, *(candidate(f"m{n}") for n in range(4))]
        batch = run(RolloutState(started_at=NOW), behind, policy=policy)
        assert len(batch.minions) == more

    @pytest.mark.parametrize("age", [60, 61])
    def test_a_change_a_minute_later_has_its_own_canaries(self, age):
        state = RolloutState(started_at=NOW - age, open=True)
        batch = run(state, [candidate("m1"), candidate("m2")], [proof(NOW - 50)], CANARY)
        assert batch.minions == ("m1",)
        assert not batch.state.open

    @pytest.mark.parametrize("age", [0, 59.5])
    def test_a_change_within_a_minute_belongs_to_the_open_rollout(self, age):
        state = RolloutState(started_at=NOW - age, open=True)
        batch = run(state, [candidate("m1"), candidate("m2")], policy=CANARY)
        assert batch.minions == ("m1", "m2")

    def test_a_minion_that_failed_before_is_not_a_canary(self):
        batch = run(
            None, [candidate("m1", attempts=3, applied_at=9.0), candidate("m2")], policy=CANARY
        )
        assert batch.minions == ("m2",)


class TestStopping:
    STATE = RolloutState(started_at=NOW - 5, open=True)

    def test_too_many_failures_stop_the_class(self):
        outcomes = [proof(NOW - 1), failure(NOW - 1), failure(NOW - 1)]
        batch = run(self.STATE, [candidate("m4")], outcomes)
        assert (batch.minions, batch.state.stopped) == ((), "stopped: 2 of 3 minions failed")

    def test_all_that_finished_are_counted(self):
        batch = run(self.STATE, [candidate("m4")], [proof(), failure(), failure(), failure()])
        assert batch.why == "stopped: 3 of 4 minions failed"

    def test_one_more_than_half_of_many_stops_the_class(self):
        outcomes = [proof()] * 100 + [failure()] * 101
        assert run(self.STATE, [candidate("m4")], outcomes).state.stopped
        assert not run(self.STATE, [candidate("m4")], [proof(), *outcomes]).state.stopped

    def test_half_of_them_are_not_too_many(self):
        assert run(self.STATE, [candidate("m4")], [proof(), failure()]).minions == ("m4",)
        assert run(self.STATE, [candidate("m4")], [failure()]).minions == ("m4",)

    def test_a_minion_that_failed_before_does_not_count(self):
        outcomes = [failure(NOW - 1, before=1.0), failure(NOW - 1, before=1.0)]
        assert run(self.STATE, [candidate("m4")], outcomes).minions == ("m4",)

    def test_a_minion_that_is_off_does_not_count(self):
        outcomes = [failure(silent=True), failure(silent=True)]
        assert run(self.STATE, [candidate("m4")], outcomes).minions == ("m4",)

    def test_a_hundred_per_cent_never_stops(self):
        policy = RolloutPolicy(canary=0, abort_percent=100, batch=50)
        assert run(self.STATE, [candidate("m4")], [failure(), failure()], policy).minions == ("m4",)

    def test_a_stopped_class_gets_no_publish_and_no_retry(self):
        state = RolloutState(
            started_at=1.0, stopped="stopped: x", retry_at=NOW + 1, consecutive_stops=1
        )
        batch = run(state, [candidate("m1"), candidate("m2", attempts=1)])
        assert (batch.minions, batch.why, batch.state) == ((), "stopped: x", state)

    @pytest.mark.parametrize("late", [0, 1])
    def test_then_one_minion_is_tried_and_opens_the_rollout(self, late):
        state = RolloutState(
            started_at=1.0, stopped="stopped: x", retry_at=NOW - late, consecutive_stops=3
        )
        batch = run(
            state,
            [candidate("m1", attempts=1), candidate("m2", attempts=1), candidate("m3", attempts=2)],
        )
        assert batch.minions == ("m1",)
        assert batch.state == RolloutState(started_at=NOW, consecutive_stops=3)
        opened = run(batch.state, [candidate("m2", attempts=1)], [proof()], now=NOW + 1)
        assert opened.minions == ("m2",)

    @pytest.mark.parametrize(("stops", "seconds"), [(1, 20), (3, 80)])
    def test_or_the_class_is_stopped_for_longer(self, stops, seconds):
        state = RolloutState(started_at=NOW, consecutive_stops=stops)
        failed = failure(NOW, before=1.0, silent=True)
        batch = run(state, [candidate("m1", due=False, attempts=2)], [failed], now=NOW + 1)
        assert batch.state == RolloutState(
            started_at=NOW,
            stopped="stopped: 1 of 1 minions failed",
            retry_at=NOW + 1 + seconds,
            consecutive_stops=stops + 1,
        )


def test_retries_alone_begin_no_rollout():
    batch = run(
        None, [candidate("m1", attempts=1), candidate("m2", attempts=2, due=False)], policy=CANARY
    )
    assert (batch.state, batch.minions) == (None, ("m1",))


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize(
    "policy", [POLICY, CANARY, RolloutPolicy(canary=3, abort_percent=20, batch=4)]
)
def test_after_temporary_failures_every_minion_succeeds(seed, policy):
    """Minions that fail, are off, are slow or busy for some minutes, and then are not."""
    rng = random.Random(seed)
    names = [f"m{n}" for n in range(rng.randint(1, 12))]
    broken = rng.random()
    entries = {
        name: {"attempts": 0, "next": 0.0, "sent": 0.0, "flying": False, "applied": None,
               "since": None, "failed": None, "silent": False}
        for name in names
    }  # fmt: skip
    state, now, left = None, 0.0, set(names)
    while left:
        now += 1.0
        assert now < 4000, f"{sorted(left)} never got there; {state}"
        for name in names:
            entry = entries[name]
            if not entry["flying"]:
                continue
            off = now < 600 and rng.random() < broken
            if now - entry["sent"] >= 100 or (not off and now - entry["sent"] >= 1):
                entry["flying"] = False
                if off or (now < 600 and rng.random() < broken):
                    entry["attempts"] += 1
                    entry["next"] = now + min(900.0, 5.0 * 2 ** entry["attempts"])
                    entry["since"] = entry["since"] or now
                    entry["failed"], entry["silent"] = now, off
                else:
                    entry.update(applied=now, since=None, attempts=0)
                    left.discard(name)
        candidates = [
            Candidate(
                minion=name,
                due=not entries[name]["flying"] and now >= entries[name]["next"],
                in_flight_since=entries[name]["sent"] if entries[name]["flying"] else None,
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
        batch = next_batch(
            state, candidates, outcomes, policy, now, lambda stops: min(900.0, 5.0 * 2**stops)
        )
        state = batch.state
        for name in batch.minions:
            assert not entries[name]["flying"]
            entries[name].update(flying=True, sent=now)
