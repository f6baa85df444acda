"""Watcher and reconciler of one cluster, with a real store and a bus that records events."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.kubernetes.backend import Backend
from lab.kubernetes.nodes import Nodes
from salt_ext.admin.confirm import confirm, reject
from salt_ext.admin.controls import By
from salt_ext.admin.status import status
from salt_ext.core.cluster.hold import Kind
from salt_ext.core.config import config
from salt_ext.references.resolver import Resolver
from salt_ext.store import Health, Store
from salt_ext.supervisor import Worker
from salt_ext.watch.reconciler import ClusterReconciler
from salt_ext.watch.updates import WatchOpened
from salt_ext.watch.watcher import ClusterWatcher
from tests.core.build import addresses_of

ALLOWED = ["10.0.0.0/8", "2001:db8::/32"]


class Bus:
    """Records the fired events and their times."""

    def __init__(self) -> None:
        self.fired: list[tuple[str, Mapping[str, Any]]] = []
        self.times: list[float] = []

    def fire(self, tag: str, data: Mapping[str, Any]) -> None:
        self.times.append(time.monotonic())
        self.fired.append((tag, data))

    def named(self, what: str) -> list[Mapping[str, Any]]:
        """Return the data of every event whose tag ends with ``/<what>``."""
        return [data for tag, data in list(self.fired) if tag.endswith(f"/{what}")]


class Watched:
    """One watched cluster; it can be stopped and started like an engine."""

    def __init__(
        self,
        folder: Path,
        backend: Backend,
        *,
        name: str = "prod",
        user: str = "reader",
        relist: float | None = None,
        **cluster: Any,
    ) -> None:
        """``relist`` may be shorter than a configuration allows."""
        self.name = name
        self.backend = backend
        self.nodes = Nodes(backend.endpoint)
        access = {} if "kubeconfig" in cluster else _access(backend, user)
        block = {"allowed_networks": ALLOWED, **access, **cluster}
        self.config = config.read({"state_dir": str(folder), "clusters": {name: block}})
        assert not self.config.problems, [str(problem) for problem in self.config.problems]
        self.cluster = self.config.clusters[name]
        if relist is not None:
            timing = replace(self.cluster.timing, relist=relist)
            self.cluster = replace(self.cluster, timing=timing)
        self.bus = Bus()
        self.store = Store(str(folder))
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()

    def make_workers(self, stop: threading.Event) -> Mapping[str, Worker]:
        """Return the workers that the engine runs for a cluster."""
        updates: queue.Queue[Any] = queue.Queue(10_000)
        self.watcher = ClusterWatcher(self.cluster, updates, stop)
        self.reconciler = ClusterReconciler(
            self.cluster, self.store, self.bus, updates, stop, self.watcher
        )
        self.wake = lambda: updates.put(WatchOpened())
        return {"watcher": self.watcher, "reconciler": self.reconciler}

    def start(self) -> Watched:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=worker.run, name=f"{self.name} {worker_name}", daemon=True)
            for worker_name, worker in self.make_workers(self._stop).items()
        ]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        self.watcher.request_list()
        self.wake()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), f"{thread.name} does not stop"

    def request_list(self) -> None:
        self.watcher.request_list()

    def confirm(self) -> Mapping[str, Any]:
        """Confirm everything that is held and can be."""
        held = self.store.holds.of(self.name)
        tokens = [change.token for change in held if Kind(change.kind).confirmable]
        return confirm(self.config, self.store, self.name, By(name="tester"), tokens)

    def reject(self) -> Mapping[str, Any]:
        """Reject everything that is held and can be."""
        held = self.store.holds.of(self.name)
        tokens = [change.token for change in held if Kind(change.kind).rejectable]
        return reject(self.config, self.store, self.name, By(name="tester"), tokens)

    def until(self, true: Callable[[], object], what: str = "", *, seconds: float = 60.0) -> None:
        """Wait for a condition; the threads change the store and the bus at their own pace."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"not within {seconds} s: {what}; {self.summary()}"
            time.sleep(0.01)

    def addresses(self) -> set[str]:
        snapshot = self.store.snapshots.load(self.name)
        return (
            {str(item) for item in addresses_of(snapshot.members.values())} if snapshot else set()
        )

    def serves(self, *addresses: str) -> None:
        """Wait until exactly these are stored."""
        self.until(lambda: self.addresses() == set(addresses), f"addresses {addresses}")

    def resolve(self, text: str) -> object:
        return Resolver(self.store).addresses(text, self.config)

    def revision(self) -> int:
        return self.store.snapshots.revision(self.name)

    def health(self) -> Health:
        return self.store.health.of(self.name) or Health(state="", reported_at=0)

    def watching(self) -> None:
        """Wait until the state is good and a watch is open."""
        self.until(
            lambda: self.health().state == "watching" and self.watcher._api._open_watch,
            "watching",
        )

    def waiting(self, error: str) -> None:
        """Wait until the state is that of an error."""
        self.until(
            lambda: self.health().state == "waiting" and error in self.health().error,
            f"an error with {error!r}",
        )

    def held(self) -> list[str]:
        return [change.kind for change in self.store.holds.of(self.name)]

    def holds(self, *kinds: str) -> None:
        self.until(lambda: self.held() == list(kinds), f"held {kinds}")

    def status(self) -> dict[str, Any]:
        """Return the cluster's part of ``status``."""
        answer: dict[str, Any] = status(self.config, self.store)["clusters"][self.name]
        return answer

    def summary(self) -> object:
        return self.addresses(), self.held(), self.health(), self.bus.fired[-5:]


def _access(backend: Backend, user: str) -> dict[str, Any]:
    endpoint = backend.endpoint
    return {
        "server": endpoint.url,
        "ca_file": str(endpoint.ca_file),
        "token_file": str(endpoint.tokens[user]),
    }
