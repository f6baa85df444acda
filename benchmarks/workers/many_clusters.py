"""An engine's threads for many clusters, one of which may be black-holed."""

from __future__ import annotations

import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.workers.meter import emit
from salt_ext.core.config import config
from salt_ext.store import Store
from salt_ext.watch.reconciler import ClusterReconciler
from salt_ext.watch.watcher import ClusterWatcher


class TimingBus:
    """Records when each cluster's change was fired."""

    def __init__(self) -> None:
        self._fired: queue.Queue[float] = queue.Queue()

    def fire(self, tag: str, _data: Mapping[str, Any]) -> None:
        """Take an event."""
        if tag.endswith("/changed"):
            self._fired.put(time.monotonic())

    def times(self, count: int) -> list[float]:
        """Wait for so many changes, and return when each was fired."""
        return [self._fired.get(timeout=60) for _ in range(count)]


def main() -> None:
    """Watch ``count`` clusters at ``url`` and one at ``last``; report when each fired a change."""
    _what, url, ca_file, token_file, count, last = sys.argv[1:]
    reachable = int(count)
    servers = [url] * reachable + [last]
    clusters = {
        f"c{number:03d}": {
            "server": server,
            "ca_file": ca_file,
            "token_file": token_file,
            "allowed_networks": ["10.0.0.0/8"],
        }
        for number, server in enumerate(servers)
    }
    state_dir = tempfile.mkdtemp(prefix="bench-")
    read = config.read({"state_dir": state_dir, "clusters": clusters})
    store, bus, stop = Store(state_dir), TimingBus(), threading.Event()
    for cluster in read.clusters.values():
        updates: queue.Queue[Any] = queue.Queue(10_000)
        watcher = ClusterWatcher(cluster, updates, stop)
        reconciler = ClusterReconciler(cluster, store, bus, updates, stop, watcher)
        for run in (watcher.run, reconciler.run):
            threading.Thread(target=run, daemon=True).start()
    answering = reachable + (last == url)
    bus.times(answering)
    emit(ready=True)
    while sys.stdin.readline():
        emit(fired=bus.times(answering)[:reachable])
    os._exit(0)


if __name__ == "__main__":
    main()
