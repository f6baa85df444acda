"""When the engine asks for another run of apply, and when it says that the reactor is silent."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import salt.config

from salt_ext.admin.status import status
from salt_ext.core.config import config
from salt_ext.rollout.apply import ApplyRun
from salt_ext.rollout.classes import TargetMatches
from salt_ext.rollout.controller import RolloutController
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.event_listener import HintMailbox
from salt_ext.rollout.reactor_watchdog import ReactorWatchdog
from salt_ext.rollout.reminder import Reminder
from salt_ext.rollout.selection import BatchSelector
from salt_ext.rollout.settlement import JobSettlement
from salt_ext.store import Store
from tests.core.build import member, snapshot
from tests.functional.returns import succeed
from tests.functional.test_apply import CLUSTER, Published, refer

ALL = frozenset(["prod"])


class Bus:
    def __init__(self) -> None:
        self.fired: list[str] = []

    def fire(self, tag: str, _data: dict[str, Any]) -> None:
        self.fired.append(tag)


def reminder_of(settings, store, match: TargetMatches = lambda _: frozenset()) -> Reminder:
    """Return the reminder of an engine that has just started."""
    desired_state = DesiredState(store)
    return Reminder(
        settings, store, desired_state, BatchSelector(settings, store, desired_state, match)
    )


@pytest.fixture
def settings(tmp_path):
    block = {"state_dir": str(tmp_path / "state"), "clusters": {"prod": CLUSTER}}
    return config.read(
        {**block, "apply": {"states": ["firewall"], "min_interval": 0.2, "burst": 1}}
    )


@pytest.fixture
def store(settings):
    found = Store(settings.state_dir)
    first = snapshot(member("n1", "192.0.2.1"))
    found.snapshots.save(first, first.members.values(), [])
    refer(found, "m1", "prod")
    return found


@pytest.fixture
def clock(monkeypatch):
    """The time for the engine and the runner; it stands still until it is set."""
    clock = SimpleNamespace(now=time.time())
    clocks = SimpleNamespace(time=lambda: clock.now, monotonic=lambda: clock.now)
    for module in ("apply", "controller", "desired_state", "reminder"):
        monkeypatch.setattr(f"salt_ext.rollout.{module}.time", clocks)
    return clock


def test_a_change_while_a_minion_is_rate_limited_is_reminded_of_as_soon_as_that_ends(
    settings, store, clock
):
    published, bus = Published(), Bus()
    apply_run = ApplyRun(settings, store, published)
    apply_run.run(ALL)
    succeed(store, "1", "m1", clock.now, min_interval=settings.apply.min_interval)
    second = snapshot(member("n2", "192.0.2.2"), revision=2)
    store.snapshots.save(second, second.members.values(), ["n1"])
    assert apply_run.run(ALL)["jobs"] == {}
    reminder = reminder_of(settings, store)
    # It reminded of something else a moment ago, and looks only when the rate limit is over.
    reminder._reminded["prod"] = clock.now
    clock.now += settings.apply.min_interval
    reminder.remind(bus, frozenset())
    reminder.remind(bus, frozenset())
    assert bus.fired == ["salt/k8s_nodes/prod/lagging"]


def test_a_try_that_was_put_off_is_asked_for_as_soon_as_it_is_time(settings, store, clock):
    ApplyRun(settings, store, Published()).run(ALL)
    opts = {**salt.config.DEFAULT_MASTER_OPTS, "__role": "master"}
    controller = RolloutController(settings, store, opts, HintMailbox(), threading.Event())
    reminder, bus = controller.reminder, Bus()
    next_at = clock.now + 0.125
    store.applied.record_failure("1", "m1", "busy", counted=False, next_at=next_at, now=clock.now)
    reminder.remind(bus, frozenset())
    assert bus.fired == []
    assert controller.patience() <= 0.125
    reminder._reminded["prod"] = clock.now
    clock.now = next_at
    reminder.remind(bus, frozenset())
    reminder.remind(bus, frozenset())
    assert bus.fired == ["salt/k8s_nodes/prod/lagging"]


def test_a_silent_reactor_is_reported_until_something_is_published(
    settings, store, monkeypatch, caplog
):
    monkeypatch.setattr("salt_ext.rollout.reminder._GRACE", 0.0)
    monkeypatch.setattr("salt_ext.rollout.reminder._INTERVAL", 0.0)
    monkeypatch.setattr("salt_ext.rollout.reactor_watchdog._GRACE", 0.2)
    reminder, bus = reminder_of(settings, store), Bus()

    def publishing() -> str:
        reminder.remind(bus, frozenset())
        return status(settings, store)["publishing"]

    assert publishing() == "on"
    until = time.monotonic() + 60
    while (said := publishing()) == "on":
        assert time.monotonic() < until
    assert said.startswith("reactor not working: minions are out of date and nothing was published")
    assert "reactor not working: minions are out of date" in caplog.text
    # An engine that was started since does not know it, and takes it back as well.
    reminder = reminder_of(settings, store)
    assert publishing() == said
    ApplyRun(settings, store, Published()).run(ALL)
    assert publishing() == "on"
    assert store.health.reactor_silent_since() is None


def test_a_minion_without_grains_is_asked_for_them_and_has_proved_nothing_by_that(
    settings, store, monkeypatch
):
    monkeypatch.setattr("salt_ext.rollout.reminder._GRACE", 0.0)
    (db,) = config.read(
        {"apply": {"classes": {"db": {"target": "G@role:db", "states": ["db"]}}}}
    ).apply.classes
    settings = replace(settings, apply=replace(settings.apply, classes=(db,)))
    bus, opts = Bus(), {**salt.config.DEFAULT_MASTER_OPTS, "__role": "master"}
    controller = RolloutController(settings, store, opts, HintMailbox(), threading.Event())
    controller.reminder.remind(bus, frozenset())
    assert bus.fired == ["salt/k8s_nodes/prod/lagging"]
    published = Published()
    ApplyRun(settings, store, published).run(ALL)
    assert [str(what) for what in published.what] == ["saltutil.refresh_pillar"]
    returned = {"return": True, "retcode": 0, "success": True}
    job, (entry,) = store.jobs.get("1"), store.applied.all().values()
    assert entry.jid == "1"
    controller.settlement.settle_return("1", job, "m1", returned, [entry])
    (entry,) = store.applied.all().values()
    assert (entry.jid, entry.applied, entry.next_at) == (None, None, 0.0)
    # Asked once; then its grains are waited for.
    bus.fired.clear()
    controller.reminder.remind(bus, frozenset(["prod"]))
    assert bus.fired == []


def test_a_clock_that_is_set_back_delays_nothing(settings, store):
    now = time.time()
    watchdog, jobs = ReactorWatchdog(store), Published()
    ApplyRun(settings, store, jobs).run(ALL)
    (entry,) = store.applied.all().values()
    settlement = JobSettlement(settings, store, {})
    assert not settlement.overdue([entry], now)
    assert settlement.overdue([entry], now - 3600)
    # A publish in the hour that comes again is no sign that the reactor works.
    for at in (now - 1, now - 3600, now - 3570):
        watchdog.event_fired(at)
        watchdog.check(at, due=True)
    assert store.health.reactor_silent_since() == now - 3600


def test_a_minion_that_may_run_at_once_is_left_to_the_event_of_its_change(settings, store, clock):
    settings = replace(settings, apply=replace(settings.apply, burst=3))
    ApplyRun(settings, store, Published()).run(ALL)
    succeed(store, "1", "m1", clock.now, min_interval=settings.apply.min_interval)
    second = snapshot(member("n2", "192.0.2.2"), revision=2)
    store.snapshots.save(second, second.members.values(), ["n1"])
    bus = Bus()
    reminder_of(settings, store).remind(bus, frozenset())
    assert bus.fired == []


class TestHeartbeat:
    @pytest.fixture
    def controller(self, settings, store, tmp_path):
        opts = salt.config.master_config(None)
        opts.update({"cachedir": str(tmp_path / "cache"), "sock_dir": str(tmp_path / "sock")})
        self.stop = threading.Event()
        return RolloutController(settings, store, opts, HintMailbox(), self.stop)

    def run(self, controller) -> threading.Thread:
        thread = threading.Thread(target=controller.run, daemon=True)
        thread.start()
        return thread

    def test_it_reports_after_a_round_that_it_works(self, controller, store):
        before = time.time()
        thread = self.run(controller)
        until = time.monotonic() + 20
        while (at := store.health.minion_loop_seen_at()) is None and time.monotonic() < until:
            time.sleep(0.02)
        self.stop.set()
        thread.join(20)
        assert before <= at <= time.time()

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_one_that_fails_in_each_round_reports_nothing(self, controller, store, monkeypatch):
        def fall(*_: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(controller.reminder, "remind", fall)
        self.run(controller).join(20)
        assert store.health.minion_loop_seen_at() is None
