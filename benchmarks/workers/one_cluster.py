"""The engine's two threads on one cluster; a Salt master takes part in ``latency`` alone."""

from __future__ import annotations

import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.workers.meter import Meter, emit
from salt_ext.core.config import config
from salt_ext.kube import api
from salt_ext.store import Store
from salt_ext.watch.reconciler import ClusterReconciler
from salt_ext.watch.watcher import ClusterWatcher


class RecordingBus:
    """Records that a change was fired, and passes it on to a real bus where it has one."""

    def __init__(self, real: Any = None) -> None:
        self.changed = threading.Event()
        self._real = real

    def fire(self, tag: str, data: Mapping[str, Any]) -> None:
        """Take an event."""
        if self._real is not None:
            self._real.fire(tag, data)
        if tag.endswith("/changed"):
            self.changed.set()


class ClusterThreads:
    """The threads of one cluster."""

    def __init__(self, url: str, ca_file: str, token_file: str, bus: RecordingBus) -> None:
        cluster = {"server": url, "ca_file": ca_file, "token_file": token_file}
        cluster["allowed_networks"] = ["10.0.0.0/8"]
        state_dir = tempfile.mkdtemp(prefix="bench-")
        read = config.read({"state_dir": state_dir, "clusters": {"prod": cluster}})
        self.store = Store(state_dir)
        self._stop = threading.Event()
        updates: queue.Queue[Any] = queue.Queue(10_000)
        watcher = ClusterWatcher(read.clusters["prod"], updates, self._stop)
        reconciler = ClusterReconciler(
            read.clusters["prod"],
            self.store,
            bus,
            updates,
            self._stop,
            watcher,
        )
        self.counters = watcher.counters
        self._runs = (watcher.run, reconciler.run)

    def start(self) -> None:
        """Start watching."""
        for run in self._runs:
            threading.Thread(target=run, daemon=True).start()

    def events(self) -> int:
        """Return how many watch events came."""
        return self.counters.events


def sync(threads: ClusterThreads, bus: RecordingBus) -> None:
    """Measure until the first view is stored."""
    meter = Meter()
    threads.start()
    bus.changed.wait(120)
    emit(**meter.read())


def follow(threads: ClusterThreads, bus: RecordingBus, events: int) -> None:
    """Measure from the first view on, until so many events have come."""
    threads.start()
    bus.changed.wait(120)
    emit(ready=True)
    sys.stdin.readline()
    meter, first = Meter(), threads.events()
    emit(started=True)
    while threads.events() < first + events:
        time.sleep(0.02)
    emit(**meter.read(), events=threads.events() - first)


def soak(threads: ClusterThreads, bus: RecordingBus, seconds: float) -> None:
    """Measure for so many seconds."""
    threads.start()
    bus.changed.wait(300)
    emit(ready=True)
    sys.stdin.readline()
    meter = Meter()
    emit(started=True)
    time.sleep(seconds)
    emit(**meter.read())


def latency(threads: ClusterThreads, bus: RecordingBus, changes: int) -> None:
    """Time each change from the arrival of its line to the store and to Salt's bus."""
    arrived, stored, fired = [], [], []
    read_lines, save = api.read_lines, threads.store.snapshots.save

    def lines(response: Any) -> Any:
        for line in read_lines(response):
            arrived.append(time.monotonic())
            yield line

    def saved(*args: Any, **kwargs: Any) -> None:
        save(*args, **kwargs)
        stored.append(time.monotonic())

    api.read_lines = lines
    threads.store.snapshots.save = saved  # type: ignore[method-assign]
    threads.start()
    bus.changed.wait(120)
    arrived.clear()
    stored.clear()
    emit(ready=True)
    sys.stdin.readline()
    emit(started=True)
    while len(fired) < changes:
        bus.changed.clear()
        bus.changed.wait(30)
        fired.append(time.monotonic())
    times = [
        (at_store - came, at_bus - came)
        for came, at_store, at_bus in zip(arrived, stored, fired, strict=False)
    ]
    emit(stored=[at_store for at_store, _ in times], fired=[at_bus for _, at_bus in times])


def main() -> None:
    """Run one measurement: what, URL, CA file, token file, and a number where it takes one."""
    what, url, ca_file, token_file, *rest = sys.argv[1:]
    real = None
    if what == "latency":
        # Only here: Salt's modules would count as memory of the other measurements.
        from benchmarks.workers.event_bus import real_bus

        real = real_bus(rest[1])
    bus = RecordingBus(real)
    threads = ClusterThreads(url, ca_file, token_file, bus)
    if what == "sync":
        sync(threads, bus)
    elif what == "follow":
        follow(threads, bus, int(rest[0]))
    elif what == "soak":
        soak(threads, bus, float(rest[0]))
    else:
        latency(threads, bus, int(rest[0]))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
