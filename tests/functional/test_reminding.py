"""What the engine sees of minions that nobody took up, and how soon it says so."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import salt.config

from salt_ext.commands.apply import Applying
from salt_ext.commands.status import status
from salt_ext.core import config
from salt_ext.service.converge import Convergence
from salt_ext.service.heed import Heeding
from salt_ext.service.listen import Board
from salt_ext.store import Store
from tests.core.build import member, snapshot
from tests.functional.test_apply import CLUSTER, Published, refer

ALL = frozenset(["prod"])


class Bus:
    def __init__(self) -> None:
        self.fired: list[str] = []

    def fire(self, tag: str, _data: dict[str, Any]) -> None:
        self.fired.append(tag)


@pytest.fixture
def settings(tmp_path):
    block = {"state_dir": str(tmp_path / "state"), "clusters": {"prod": CLUSTER}}
    return config.read({**block, "apply": {"states": ["firewall"], "pace": 0.2, "burst": 1}})


@pytest.fixture
def store(settings):
    found = Store(settings.state_dir)
    first = snapshot(member("n1", "192.0.2.1"))
    found.snapshots.save(first, first.members.values(), [])
    refer(found, "m1", "prod")
    return found


@pytest.fixture
def clock(monkeypatch):
    """What the engine and the runner take for the time; it stands still until it is set."""
    found = SimpleNamespace(now=time.time())
    clocks = SimpleNamespace(time=lambda: found.now, monotonic=lambda: found.now)
    monkeypatch.setattr("salt_ext.commands.apply.time", clocks)
    monkeypatch.setattr("salt_ext.service.converge.time", clocks)
    return found


def test_a_change_within_a_minions_pace_is_told_of_as_soon_as_that_ends(settings, store, clock):
    published, bus = Published(), Bus()
    applying = Applying(settings, store, published)
    applying.run(ALL)
    store.ledger.proven("1", "m1", clock.now, pace=settings.apply.pace)
    second = snapshot(member("n2", "192.0.2.2"), revision=2)
    store.snapshots.save(second, second.members.values(), ["n1"])
    assert applying.run(ALL)["jobs"] == {}
    opts = {**salt.config.DEFAULT_MASTER_OPTS, "__role": "master"}
    convergence = Convergence(settings, store, opts, Board(), threading.Event())
    # Not long ago it spoke of something else, and it looks only now that the pace is over.
    convergence._reminded["prod"] = clock.now
    clock.now += settings.apply.pace
    convergence._remind(bus, frozenset())
    convergence._remind(bus, frozenset())
    assert bus.fired == ["salt/k8s_nodes/prod/lagging"]


def test_a_try_that_was_put_off_is_asked_for_as_soon_as_it_is_time(settings, store, clock):
    Applying(settings, store, Published()).run(ALL)
    opts = {**salt.config.DEFAULT_MASTER_OPTS, "__role": "master"}
    convergence, bus = Convergence(settings, store, opts, Board(), threading.Event()), Bus()
    next_at = clock.now + 0.125
    store.ledger.failed("1", "m1", "busy", counted=False, next_at=next_at, now=clock.now)
    convergence._remind(bus, frozenset())
    assert bus.fired == []
    assert convergence._patience() <= 0.125
    convergence._reminded["prod"] = clock.now
    clock.now = next_at
    convergence._remind(bus, frozenset())
    convergence._remind(bus, frozenset())
    assert bus.fired == ["salt/k8s_nodes/prod/lagging"]


def test_that_nobody_acts_on_its_events_is_said_until_somebody_does(
    settings, store, monkeypatch, caplog
):
    monkeypatch.setattr("salt_ext.service.converge._PATIENCE", 0.0)
    monkeypatch.setattr("salt_ext.service.converge._REMIND", 0.0)
    monkeypatch.setattr("salt_ext.service.heed._PATIENCE", 0.2)
    opts = {**salt.config.DEFAULT_MASTER_OPTS, "__role": "master"}
    convergence, bus = Convergence(settings, store, opts, Board(), threading.Event()), Bus()

    def publishing() -> str:
        convergence._remind(bus, frozenset())
        return status(settings, store)["publishing"]

    assert publishing() == "on"
    until = time.monotonic() + 10
    while (said := publishing()) == "on":
        assert time.monotonic() < until
    assert said.startswith("nobody has acted on the engine's events since 2")
    assert "the reactor does not call k8s_nodes.apply" in caplog.text
    # An engine that was started since knows nothing of it, and finds somebody who acts.
    convergence = Convergence(settings, store, opts, Board(), threading.Event())
    assert publishing() == said
    Applying(settings, store, Published()).run(ALL)
    assert publishing() == "on"
    assert store.words.unheeded() is None


def test_a_minion_without_grains_is_asked_for_them_and_has_proved_nothing_by_that(
    settings, store, monkeypatch
):
    monkeypatch.setattr("salt_ext.service.converge._PATIENCE", 0.0)
    (db,) = config.read(
        {"apply": {"classes": {"db": {"target": "G@role:db", "states": ["db"]}}}}
    ).apply.classes
    settings = replace(settings, apply=replace(settings.apply, classes=(db,)))
    bus, opts = Bus(), {**salt.config.DEFAULT_MASTER_OPTS, "__role": "master"}
    convergence = Convergence(settings, store, opts, Board(), threading.Event())
    convergence._remind(bus, frozenset())
    assert bus.fired == ["salt/k8s_nodes/prod/lagging"]
    published = Published()
    Applying(settings, store, published).run(ALL)
    assert [str(what) for what in published.what] == ["saltutil.refresh_pillar"]
    told = {"return": True, "retcode": 0, "success": True}
    job, (entry,) = store.ledger.job("1"), store.ledger.all().values()
    assert entry.jid == "1"
    convergence._judge("1", job, "m1", told, [entry])
    (entry,) = store.ledger.all().values()
    assert (entry.jid, entry.applied, entry.next_at) == (None, None, 0.0)
    # Asked once; then its grains are waited for.
    bus.fired.clear()
    convergence._remind(bus, frozenset(["prod"]))
    assert bus.fired == []


def test_a_clock_that_is_set_back_makes_nobody_wait_for_it(settings, store):
    now = time.time()
    heeding, jobs = Heeding(store), Published()
    Applying(settings, store, jobs).run(ALL)
    (entry,) = store.ledger.all().values()
    opts = {**salt.config.DEFAULT_MASTER_OPTS, "__role": "master"}
    convergence = Convergence(settings, store, opts, Board(), threading.Event())
    assert not convergence._overdue([entry], now)
    assert convergence._overdue([entry], now - 3600)
    # Nor is what was published in the hour that comes again a sign that somebody acts.
    for at in (now - 1, now - 3600, now - 3570):
        heeding.reminded(at)
        heeding.look(at, due=True)
    assert store.words.unheeded().at == now - 3600


def test_a_minion_that_may_run_at_once_is_left_to_the_event_of_its_change(settings, store, clock):
    settings = replace(settings, apply=replace(settings.apply, burst=3))
    Applying(settings, store, Published()).run(ALL)
    store.ledger.proven("1", "m1", clock.now, pace=settings.apply.pace)
    second = snapshot(member("n2", "192.0.2.2"), revision=2)
    store.snapshots.save(second, second.members.values(), ["n1"])
    bus, opts = Bus(), {**salt.config.DEFAULT_MASTER_OPTS, "__role": "master"}
    Convergence(settings, store, opts, Board(), threading.Event())._remind(bus, frozenset())
    assert bus.fired == []


class TestItsPulse:
    @pytest.fixture
    def convergence(self, settings, store, tmp_path):
        opts = salt.config.master_config(None)
        opts.update({"cachedir": str(tmp_path / "cache"), "sock_dir": str(tmp_path / "sock")})
        self.stop = threading.Event()
        return Convergence(settings, store, opts, Board(), self.stop)

    def run(self, convergence) -> threading.Thread:
        thread = threading.Thread(target=convergence.run, daemon=True)
        thread.start()
        return thread

    def test_it_says_after_a_round_that_it_sees_to_the_minions(self, convergence, store):
        before = time.time()
        thread = self.run(convergence)
        until = time.monotonic() + 60
        while (at := store.words.seen_to_minions()) is None and time.monotonic() < until:
            time.sleep(0.02)
        self.stop.set()
        thread.join(60)
        assert before <= at <= time.time()

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_one_that_falls_in_each_round_says_nothing(self, convergence, store, monkeypatch):
        def fall(*_: object) -> None:
            raise RuntimeError("an error of our own")

        monkeypatch.setattr(convergence, "_remind", fall)
        self.run(convergence).join(60)
        assert store.words.seen_to_minions() is None
