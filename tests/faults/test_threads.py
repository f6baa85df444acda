"""The engine's threads: crashes, hangs, clock jumps, memory over time, kills."""

from __future__ import annotations

import json
import logging
import os
import queue
import random
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from lab.kubernetes.endpoint import Endpoint
from salt_ext.core.cluster.node import Node
from salt_ext.core.cluster.reflector import Change, Reflector
from salt_ext.kube import api
from salt_ext.kube.line_stream import read_lines
from salt_ext.store import Store
from salt_ext.supervisor import Heartbeat, Supervisor
from salt_ext.watch.updates import Deleted, Replaced, Upserted, WatchPosition
from salt_ext.watch.watcher import ClusterWatcher
from tests.core.build import addresses_of
from tests.faults.watched import Watched

QUICK = {"timing": {"inactivity": 1, "debounce": 0, "max_delay": 0}}


class StubWorker:
    """A worker that works, crashes or hangs."""

    def __init__(self, stop: threading.Event, how: str, timeout: float = 60.0) -> None:
        self.heartbeat = Heartbeat(timeout)
        self.began = threading.Event()
        self._stop, self._how = stop, how

    def run(self) -> None:
        self.began.set()
        if self._how == "crashes":
            raise RuntimeError("a bug")
        if self._how == "works":
            self._stop.wait(30)
        else:
            self._wait_for_nothing()

    def _wait_for_nothing(self) -> None:
        threading.Event().wait(30)


def run_until(supervisor: Supervisor, made: list, count: int) -> None:
    end = time.monotonic() + 60
    while len(made) < count:
        supervisor.ensure_running()
        assert time.monotonic() < end, f"{len(made)} of {count}"
        time.sleep(0.01)


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr("salt_ext.supervisor._RESTART_DELAY", 0.05)


@pytest.mark.parametrize(
    ("how", "lines"),
    [
        ("crashes", ["cluster prod: broken: unexpected error (bug); restarting in", "a bug"]),
        ("hangs", ["cluster prod: broken has hung for", "_wait_for_nothing"]),
    ],
)
def test_a_worker_that_crashes_or_hangs_is_logged_and_restarted_with_its_group(
    at_once, caplog, how, lines
):
    made = []

    def make(stop):
        broken = StubWorker(stop, how if not made else "works", timeout=0.1)
        made.append((stop, broken))
        return {"broken": broken, "partner": StubWorker(stop, "works")}

    supervisor = Supervisor("cluster prod", make)
    with caplog.at_level(logging.ERROR):
        run_until(supervisor, made, 2)
    assert all(line in caplog.text for line in lines)
    assert made[0][0].is_set()
    assert not made[1][0].is_set()
    supervisor.stop()


def test_a_group_that_cannot_be_made_is_tried_again(at_once, caplog):
    made = []

    def make(stop):
        made.append(stop)
        if len(made) < 3:
            raise RuntimeError("not yet")
        return {"part": StubWorker(stop, "works")}

    supervisor = Supervisor("cluster prod", make)
    run_until(supervisor, made, 3)
    assert "cluster prod: cannot start; retrying in" in caplog.text
    supervisor.stop()


def test_a_thread_that_waits_for_its_partner_does_not_count_as_hung(emulator, tmp_path):
    class Counting(Heartbeat):
        beats = 0

        def beat(self) -> None:
            self.beats += 1

    watched = Watched(tmp_path / "state", emulator)
    stop, full = threading.Event(), queue.Queue(1)
    full.put(Deleted("n1", "1"))
    watcher = ClusterWatcher(watched.cluster, full, stop)
    watcher.heartbeat = Counting(60.0)
    thread = threading.Thread(target=watcher._enqueue, args=(Deleted("n2", "2"),), daemon=True)
    thread.start()
    watched.until(lambda: watcher.heartbeat.beats >= 3, "three beats")
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
def test_a_clock_that_jumps_changes_nothing(emulator, watch, monkeypatch, jump):
    watched = watch(emulator, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + jump)
    emulator.control.refuse()
    watched.waiting("refused")
    emulator.control.listen()
    watched.watching()
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.serves("10.0.0.1", "10.0.0.2")

    def heard() -> float:
        return time.time() - watched.health().heard_at

    watched.until(lambda: abs(heard()) < 60, "an age by the new clock")
    assert 0 <= watched.status()["heard_seconds_ago"] < 60


def test_how_old_the_view_is_outlives_a_restart(emulator, watch):
    watched = watch(emulator, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    watched.watching()
    before = watched.health()
    emulator.control.refuse()
    lost = 0.0
    for _ in range(2):
        watched.stop()
        watched.start()
        watched.until(lambda: watched.health().errors and not watched.health().lists, "an error")
        health = watched.health()
        assert health.listed_at == before.listed_at
        assert before.heard_at <= health.heard_at <= health.lost_since
        assert lost in (0.0, health.lost_since)
        lost = health.lost_since
    emulator.control.listen()
    watched.watching()
    assert watched.health().lost_since == 0.0
    assert watched.bus.named("restored")


class Response:
    """A watch that never ends, as urllib3 gives it."""

    chunked = True

    def __init__(self, line: bytes, count: int) -> None:
        self._line, self._count = line, count

    def read_chunked(self, **_):
        for _ in range(self._count):
            yield self._line


def test_a_hundred_thousand_events_leave_no_memory_behind():
    reflector = Reflector(relist_every=3600)
    node = Node(name="n1", uid="u", internal=("10.0.0.1",))
    reflector.listed([node], "1", "", 0.0)
    line = json.dumps(
        {
            "type": "MODIFIED",
            "object": {
                "metadata": {"name": "n1", "uid": "u", "resourceVersion": "2"},
                "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
            },
        }
    ).encode()

    def feed(count: int) -> int:
        for got in read_lines(Response(line + b"\n", count)):
            event = api._decode_event(got, "WATCH")
            assert not reflector.changed(Change.MODIFIED, event.node, "2", 0.0)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = feed(1000)
        assert feed(100_000) - before < 50_000
    finally:
        tracemalloc.stop()


WORKER = """
import json, sys, threading
from pathlib import Path
from types import SimpleNamespace
from tests.faults.watched import Watched
endpoint = SimpleNamespace(url=sys.argv[2], ca_file=sys.argv[3], tokens={"reader": sys.argv[4]})
import tests.faults.watched as module
module.Nodes = lambda _: None
watched = Watched(Path(sys.argv[1]), SimpleNamespace(endpoint=endpoint),
                  timing={"inactivity": 1, "debounce": 0, "max_delay": 0},
                  guards={"shrink_percent": 100})
def fire(tag, data):
    if tag.endswith("/changed"):
        print(json.dumps([data["revision"], data["added"], data["removed"]]), flush=True)
watched.bus.fire = fire
watched.start()
threading.Event().wait()
"""


class Lives:
    """An engine in its own process, and its announcements before it was killed."""

    def __init__(self, folder: Path, endpoint: Endpoint) -> None:
        self._argv = [sys.executable, "-c", WORKER, str(folder), endpoint.url]
        self._argv += [str(endpoint.ca_file), str(endpoint.tokens["reader"])]
        self.store = Store(str(folder))

    def begin(self) -> None:
        self._before = self.stored()
        self.process = subprocess.Popen(
            self._argv, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}, text=True
        )
        self._announced = []

    def next_announcement(self) -> str:
        """Wait for one change to be announced."""
        deadline = threading.Timer(60, self.process.kill)
        deadline.start()
        line = self.process.stdout.readline()
        deadline.cancel()
        assert line, "it announces nothing"
        self._announced.append(line)
        return line

    def stored(self) -> tuple[int, set[str]]:
        snapshot = self.store.snapshots.load("prod")
        if snapshot is None:
            return 0, set()
        return snapshot.revision, {str(one) for one in addresses_of(snapshot.members.values())}

    def kill(self) -> None:
        """Kill it; its announcements must lead from the stored view before to the one now."""
        self.process.kill()
        self.process.wait()
        self._announced += self.process.stdout.readlines()
        self.process.stdout.close()
        revision, known = self._before
        for line in self._announced:
            announced, added, removed = json.loads(line)
            assert announced == revision + 1
            assert not known & set(added)
            assert known >= set(removed)
            revision, known = announced, known - set(removed) | set(added)
        stored, addresses = self.stored()
        if stored == revision:
            assert addresses == known
        else:
            # Stored, and killed before the announcement.
            assert stored == revision + 1


def test_an_engine_that_is_killed_at_any_moment_loses_no_change(emulator, watch, tmp_path):
    other = watch(emulator, "unused", **QUICK)
    dice = random.Random(11)
    lives = Lives(tmp_path / "killed", emulator.endpoint)
    there: dict[str, str] = {}
    for turn in range(6):
        # While it is dead.
        for name in list(there)[:2]:
            other.nodes.delete(name)
            del there[name]
        lives.begin()
        try:
            for i in range(4):
                there[f"n{turn}-{i}"] = f"10.0.{turn}.{i + 1}"
                other.nodes.create(f"n{turn}-{i}", internal=[there[f"n{turn}-{i}"]], at_once=True)
            if turn % 2:
                # At a random moment after its first announcement, with more to announce.
                lives.next_announcement()
                other.nodes.delete(f"n{turn}-0")
                del there[f"n{turn}-0"]
                time.sleep(dice.uniform(0.0, 0.05))
            else:
                # At a random moment of its start, its LIST or its writes.
                time.sleep(dice.uniform(0.0, 1.2))
        finally:
            lives.kill()
    lives.begin()
    try:
        other.until(lambda: lives.stored()[1] == set(there.values()), "the truth")
        other.nodes.create("last", internal=["10.0.9.9"], at_once=True)
        while "10.0.9.9" not in lives.next_announcement():
            pass
    finally:
        lives.kill()
    with lives.store.database.reading() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_full_disk_loses_nothing(emulator, watch):
    watched = watch(emulator, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    save, full = watched.store.snapshots.save, threading.Event()
    full.set()

    def on_a_full_disk(*args, **kwargs):
        with watched.store.database.writing() as connection:
            if full.is_set():
                pages = connection.execute("PRAGMA page_count").fetchone()[0]
                connection.execute(f"PRAGMA max_page_count = {pages}")
                connection.execute("CREATE TABLE filler AS SELECT zeroblob(1000000) AS room")
            connection.execute("PRAGMA max_page_count = 1073741823")
        save(*args, **kwargs)

    watched.store.snapshots.save = on_a_full_disk
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.until(
        lambda: watched.reconciler._debounce.wake_at() is not None, "waiting to be stored"
    )
    assert watched.addresses() == {"10.0.0.1"}
    full.clear()
    watched.serves("10.0.0.1", "10.0.0.2")


def test_a_version_ahead_of_its_changes_does_not_make_an_old_view_new(emulator, tmp_path):
    watched = Watched(tmp_path / "state", emulator, timing={"debounce": 0, "max_delay": 0})
    workers = watched.make_workers(threading.Event())
    reconciler, watcher = workers["reconciler"], workers["watcher"]
    new, old = (Node(name=name, uid=name, internal=(f"10.0.0.{name}",)) for name in "12")
    reconciler._load()
    for update in (Replaced([new], "78", "here"), Replaced([old], "75", "here")):
        reconciler._apply_update(update)
        reconciler._reconcile()
    # The watcher has read further, and its updates are still in the queue.
    watcher.counters.position = WatchPosition(4, "78", regressed=False)
    reconciler._report_health(time.monotonic())
    reconciler._reconcile()
    assert (watched.held(), watched.addresses()) == (["rollback"], {"10.0.0.1"})
    reconciler._apply_update(Deleted("2", "76"))
    reconciler._reconcile()
    reconciler._apply_update(Upserted(new, "77"))
    reconciler._reconcile()
    assert (watched.held(), watched.addresses()) == (["rollback"], {"10.0.0.1"})
    reconciler._report_health(time.monotonic())
    reconciler._reconcile()
    assert (watched.held(), watched.addresses()) == ([], {"10.0.0.1"})
    assert watched.revision() == 1
