"""An engine's threads for many clusters, one of which may lead nowhere."""

from __future__ import annotations

import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.workers.measuring import tell
from salt_ext.core.config import config
from salt_ext.store import Store
from salt_ext.watch.reconciler import ClusterReconciler
from salt_ext.watch.watcher import ClusterWatcher


class Bus:
    """Remembers when each cluster's change was fired."""

    def __init__(self) -> None:
        self._fired: queue.Queue[float] = queue.Queue()

    def fire(self, tag: str, _data: Mapping[str, Any]) -> None:
        """Take an event."""
        if tag.endswith("/changed"):
            self._fired.put(time.monotonic())

    def times(self, count: int) -> list[float]:
        """Wait for so many changes; when each was fired."""
        return [self._fired.get(timeout=60) for _ in range(count)]


def main() -> None:
    """Follow ``count`` clusters at ``url`` and one at ``nowhere``; tell when each told a change."""
    _, url, ca_file, token_file, count, nowhere = sys.argv[1:]
    living = int(count)
    servers = [url] * living + [nowhere]
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
    store, bus, stop = Store(state_dir), Bus(), threading.Event()
    for cluster in read.clusters.values():
        updates: queue.Queue[Any] = queue.Queue(10_000)
        follower = ClusterWatcher(cluster, updates, stop)
        keeper = ClusterReconciler(cluster, store, bus, updates, stop, follower)
        for run in (follower.run, keeper.run):
            threading.Thread(target=run, daemon=True).start()
    everybody = living + (nowhere == url)
    bus.times(everybody)
    tell(ready=True)
    while sys.stdin.readline():
        tell(fired=bus.times(everybody)[:living])
    os._exit(0)


if __name__ == "__main__":
    main()
