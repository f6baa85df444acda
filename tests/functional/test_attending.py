"""Minions that start, come back and go: what is heard of them costs little and is checked."""

from __future__ import annotations

import time

import pytest

from salt_ext.core.convergence import Behind, Entry
from salt_ext.core.hints import Hints
from salt_ext.core.wave import Wave
from salt_ext.master.keys import NoKeys
from salt_ext.service.attend import Attending
from salt_ext.store import Store
from salt_ext.store.ledger import Job
from salt_ext.store.subscriptions import Answer, Seen


class Keys:
    def __init__(self, *minions: str) -> None:
        self.minions = set(minions)
        self.broken = False
        self.looks = 0

    def __call__(self) -> frozenset[str]:
        self.looks += 1
        if self.broken:
            raise NoKeys("no keys")
        return frozenset(self.minions)


@pytest.fixture
def store(tmp_path):
    found = Store(str(tmp_path / "state"))
    for minion in ("m1", "m2"):
        seen = {"k8s://prod": Seen(cluster="prod", answer=Answer.SERVED, digest="d")}
        found.subscriptions.record(minion, "base", seen, 1.0)
        send(found, minion)
        found.ledger.proven("1", minion, time.time())
    return found


@pytest.fixture
def keys():
    return Keys("m1", "m2")


@pytest.fixture
def attend(store, keys):
    attending = Attending(store, keys)

    def take(now: float, **hints) -> None:
        attending.attend(Hints(**hints), store.ledger.all(), now)

    return take


def send(store: Store, minion: str, jid: str = "1") -> None:
    entry = Entry(minion=minion, cluster="prod")
    row = Behind(minion=minion, cluster="prod", desired="d", entry=entry)
    job = Job(jid=jid, at=time.time(), class_="", function="state.apply")
    store.ledger.dispatched(job, [row])


def entry(store: Store, minion: str = "m1") -> Entry:
    return store.ledger.all()[minion, "prod"]


class TestStarts:
    def test_a_start_voids_what_was_applied_on_that_minion(self, store, attend):
        attend(0.0, started={"m1"})
        assert (entry(store).applied, entry(store).error) == (None, "it has started since")
        assert entry(store).behind_since is not None
        assert entry(store, "m2").applied == "d"

    def test_the_job_on_its_way_is_given_up(self, store, attend):
        send(store, "m1", "2")
        attend(0.0, started={"m1"})
        store.ledger.proven("2", "m1", time.time())
        assert (entry(store).jid, entry(store).applied) == (None, None)

    def test_a_forger_gets_a_few_runs_and_a_start_meanwhile_is_not_lost(self, store, attend):
        voided = []
        for second in range(80):
            attend(float(second), started={"m1"})
            if entry(store).applied is None:
                voided.append(second)
            send(store, "m1", "2")
            store.ledger.proven("2", "m1", time.time())
        assert voided == [0, 5, 10, 15, 20]
        attend(80.0)
        assert entry(store).applied is None

    def test_names_that_nobody_knows_are_nothing(self, store, attend):
        attend(0.0, started={f"x{n}" for n in range(100)})
        assert set(store.ledger.all()) == {("m1", "prod"), ("m2", "prod")}

    def test_a_class_that_was_stopped_is_tried(self, store, attend):
        until = time.time() + 500
        store.waves.keep("", Wave(started_at=1.0, stopped="x", retry_at=until, tries=3))
        attend(0.0, started={"m1"})
        assert store.waves.all()[""].retry_at <= time.time()


class TestLives:
    def fail(self, store: Store, *, silent: bool) -> None:
        send(store, "m1", "2")
        later = time.time() + 500
        store.ledger.failed(
            "2", "m1", "no", counted=True, next_at=later, now=time.time(), silent=silent
        )

    def test_who_did_not_return_and_is_there_again_is_tried_at_once(self, store, attend):
        self.fail(store, silent=True)
        attend(0.0, alive={"m2"})
        assert entry(store).next_at > time.time()
        attend(1.0, alive={"m1"})
        assert entry(store).next_at == 0

    def test_who_returned_a_failure_keeps_its_pace(self, store, attend):
        self.fail(store, silent=False)
        attend(0.0, alive={"m1"})
        assert entry(store).next_at > time.time()


class TestKeys:
    def test_a_minion_whose_key_is_gone_is_forgotten(self, store, keys, attend):
        attend(0.0)
        keys.minions.discard("m1")
        attend(1.0, keys=True)
        assert ("m1", "prod") in store.ledger.all()
        attend(6.0)
        attend(11.0)
        assert set(store.ledger.all()) == {("m2", "prod")}
        assert {row.minion for row in store.subscriptions.all()} == {"m2"}
        assert store.history.newest("", 1)[0].detail == {"minion": "m1"}

    def test_one_that_is_back_at_once_is_not(self, store, keys, attend):
        keys.minions.discard("m1")
        attend(0.0, keys=True)
        keys.minions.add("m1")
        for second in (5.0, 10.0, 70.0):
            attend(second)
        assert ("m1", "prod") in store.ledger.all()

    @pytest.mark.parametrize("how", ["broken", "empty"])
    def test_keys_that_cannot_be_read_are_no_keys_that_are_gone(self, store, keys, attend, how):
        keys.broken = how == "broken"
        keys.minions.clear()
        for second in range(0, 300, 5):
            attend(float(second), keys=True)
        assert len(store.ledger.all()) == 2

    def test_a_thousand_events_are_a_few_looks(self, keys, attend):
        for n in range(1000):
            attend(n / 100, keys=True)
        assert keys.looks <= 4

    def test_one_that_is_accepted_again_is_tried_at_once(self, store, keys, attend):
        keys.minions.discard("m1")
        keys.minions.add("m3")
        attend(0.0)
        TestLives().fail(store, silent=True)
        keys.minions.add("m1")
        attend(5.0)
        assert entry(store).next_at == 0
