"""Minions that restart, drift and come back: events about them are bounded, and only hints."""

from __future__ import annotations

import time

import pytest

from salt_ext.core.rollout.drift import LedgerEntry, OutOfSync
from salt_ext.core.rollout.hints import Hints
from salt_ext.core.rollout.wave import RolloutState
from salt_ext.rollout.minion_events import DRIFTED, RESTARTED, MinionEvents
from salt_ext.store import Store
from salt_ext.store.jobs import Job
from salt_ext.store.subscriptions import Answer, Seen
from tests.functional.returns import succeed


@pytest.fixture
def store(tmp_path):
    found = Store(str(tmp_path / "state"))
    for minion in ("m1", "m2"):
        seen = {"k8s://prod": Seen(cluster="prod", answer=Answer.SERVED, digest="d")}
        found.subscriptions.record(minion, "base", seen, 1.0)
        send(found, minion)
        succeed(found, "1", minion, time.time())
    return found


@pytest.fixture
def handle(store):
    events = MinionEvents(store)

    def handle(now: float, **hints) -> None:
        events.handle(Hints(**hints), store.applied.all(), now)

    return handle


def send(store: Store, minion: str, jid: str = "1") -> None:
    entry = LedgerEntry(minion=minion, cluster="prod")
    row = OutOfSync(minion=minion, cluster="prod", desired="d", entry=entry)
    job = Job(jid=jid, at=time.time(), class_="", function="state.apply")
    store.jobs.record_dispatch(job, [row])


def entry(store: Store, minion: str = "m1") -> LedgerEntry:
    return store.applied.all()[minion, "prod"]


def test_drift_voids_what_was_applied_on_that_minion_a_few_times(store, handle):
    handle(0.0, drifted={"m1", "unknown"})
    assert (entry(store).applied, entry(store).error) == (None, DRIFTED)
    assert entry(store, "m2").applied == "d"
    voided = 0
    for second in range(1, 60):
        succeed(store, "2", "m1", time.time())
        send(store, "m1", "2")
        succeed(store, "2", "m1", time.time())
        handle(float(second), drifted={"m1"})
        voided += entry(store).applied is None
    # Each five seconds apart, five in all.
    assert voided == 4


class TestStarts:
    def test_a_start_voids_what_was_applied_on_that_minion(self, store, handle):
        handle(0.0, started={"m1"})
        assert (entry(store).applied, entry(store).error) == (None, RESTARTED)
        assert entry(store).behind_since is not None
        assert entry(store, "m2").applied == "d"

    def test_the_job_on_its_way_is_given_up(self, store, handle):
        send(store, "m1", "2")
        handle(0.0, started={"m1"})
        assert store.applied.outstanding() == {}
        succeed(store, "2", "m1", time.time())
        assert (entry(store).jid, entry(store).applied) == (None, None)

    def test_a_forger_gets_a_few_runs_and_a_start_meanwhile_is_not_lost(self, store, handle):
        voided = []
        for second in range(80):
            handle(float(second), started={"m1"})
            if entry(store).applied is None:
                voided.append(second)
            send(store, "m1", "2")
            succeed(store, "2", "m1", time.time())
        assert voided == [0, 5, 10, 15, 20]
        handle(80.0)
        assert entry(store).applied is None

    def test_unknown_names_are_ignored(self, store, handle):
        handle(0.0, started={f"x{n}" for n in range(100)})
        assert set(store.applied.all()) == {("m1", "prod"), ("m2", "prod")}

    def test_a_class_that_was_stopped_is_tried(self, store, handle):
        until = time.time() + 500
        store.rollouts.save(
            "", RolloutState(started_at=1.0, stopped="x", retry_at=until, consecutive_stops=3)
        )
        handle(0.0, started={"m1"})
        assert store.rollouts.all()[""].retry_at <= time.time()


class TestReturns:
    def fail(self, store: Store, *, silent: bool) -> None:
        send(store, "m1", "2")
        later = time.time() + 500
        store.applied.record_failure(
            "2", "m1", "no", counted=True, next_at=later, now=time.time(), silent=silent
        )

    def test_a_minion_that_did_not_return_and_answers_again_is_tried_at_once(self, store, handle):
        self.fail(store, silent=True)
        handle(0.0, alive={"m2"})
        assert entry(store).next_at > time.time()
        handle(1.0, alive={"m1"})
        assert entry(store).next_at == 0

    def test_a_minion_that_returned_a_failure_keeps_its_backoff(self, store, handle):
        self.fail(store, silent=False)
        handle(0.0, alive={"m1"})
        assert not store.applied.retry_now("m1")
        assert entry(store).next_at > time.time()
