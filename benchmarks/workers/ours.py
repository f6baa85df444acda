"""The engine's two threads on one cluster, without a Salt master unless a bus is asked for."""

from __future__ import annotations

import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.workers.measuring import Meter, tell
from salt_ext.core.config import config
from salt_ext.kube import api
from salt_ext.store import Store
from salt_ext.watch.reconciler import ClusterReconciler
from salt_ext.watch.watcher import ClusterWatcher


class Bus:
    """Wakes whoever waits for a change, and passes it on where there is a real bus."""

    def __init__(self, further: Any = None) -> None:
        self.changed = threading.Event()
        self._further = further

    def fire(self, tag: str, data: Mapping[str, Any]) -> None:
        """Take an event."""
        if self._further is not None:
            self._further.fire(tag, data)
        if tag.endswith("/changed"):
            self.changed.set()


class Engine:
    """One cluster's threads."""

    def __init__(self, url: str, ca_file: str, token_file: str, bus: Bus) -> None:
        cluster = {"server": url, "ca_file": ca_file, "token_file": token_file}
        cluster["allowed_networks"] = ["10.0.0.0/8"]
        state_dir = tempfile.mkdtemp(prefix="bench-")
        read = config.read({"state_dir": state_dir, "clusters": {"prod": cluster}})
        self.store = Store(state_dir)
        self._stop = threading.Event()
        updates: queue.Queue[Any] = queue.Queue(10_000)
        follower = ClusterWatcher(read.clusters["prod"], updates, self._stop)
        self.keeper = ClusterReconciler(
            read.clusters["prod"],
            self.store,
            bus,
            updates,
            self._stop,
            follower,
        )
        self.counters = follower.counters
        self._runs = (follower.run, self.keeper.run)

    def start(self) -> None:
        """Start following."""
        for run in self._runs:
            threading.Thread(target=run, daemon=True).start()

    def events(self) -> int:
        """Return how many watch events came."""
        return self.counters.events


def sync(engine: Engine, bus: Bus) -> None:
    """Measure until the first view is stored."""
    meter = Meter()
    engine.start()
    bus.changed.wait(120)
    tell(**meter.read())


def follow(engine: Engine, bus: Bus, events: int) -> None:
    """Measure from the first view on, until so many events have come."""
    engine.start()
    bus.changed.wait(120)
    tell(ready=True)
    sys.stdin.readline()
    meter, first = Meter(), engine.events()
    tell(started=True)
    while engine.events() < first + events:
        time.sleep(0.02)
    tell(**meter.read(), events=engine.events() - first)


def soak(engine: Engine, bus: Bus, seconds: float) -> None:
    """Measure a while."""
    engine.start()
    bus.changed.wait(300)
    tell(ready=True)
    sys.stdin.readline()
    meter = Meter()
    tell(started=True)
    time.sleep(seconds)
    tell(**meter.read())


def latency(engine: Engine, bus: Bus, changes: int) -> None:
    """Time each change from the arrival of its line to the store and to Salt's bus."""
    arrived, stored, fired = [], [], []
    cut, save = api.read_lines, engine.store.snapshots.save

    def lines(response: Any) -> Any:
        for line in cut(response):
            arrived.append(time.monotonic())
            yield line

    def saved(*args: Any, **kwargs: Any) -> None:
        save(*args, **kwargs)
        stored.append(time.monotonic())

    api.read_lines = lines
    engine.store.snapshots.save = saved  # type: ignore[method-assign]
    engine.start()
    bus.changed.wait(120)
    arrived.clear()
    stored.clear()
    tell(ready=True)
    sys.stdin.readline()
    tell(started=True)
    while len(fired) < changes:
        bus.changed.clear()
        bus.changed.wait(30)
        fired.append(time.monotonic())
    times = [
        (one - came, other - came) for came, one, other in zip(arrived, stored, fired, strict=False)
    ]
    tell(stored=[one for one, _ in times], fired=[other for _, other in times])


def main() -> None:
    """Run one measurement: what, URL, CA file, token file, and a number where it takes one."""
    what, url, ca_file, token_file, *rest = sys.argv[1:]
    further = None
    if what == "latency":
        # Only here: Salt's modules would count as memory of the other measurements.
        from benchmarks.workers.bus import real_bus

        further = real_bus(rest[1])
    bus = Bus(further)
    engine = Engine(url, ca_file, token_file, bus)
    if what == "sync":
        sync(engine, bus)
    elif what == "follow":
        follow(engine, bus, int(rest[0]))
    elif what == "soak":
        soak(engine, bus, float(rest[0]))
    else:
        latency(engine, bus, int(rest[0]))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
