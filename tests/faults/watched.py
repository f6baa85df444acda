"""The engine's own two threads on one cluster, with a real store and a bus that remembers."""

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
from salt_ext.admin.confirm import confirm
from salt_ext.admin.status import status
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
    """Remembers what was fired, and when."""

    def __init__(self) -> None:
        self.fired: list[tuple[str, Mapping[str, Any]]] = []
        self.times: list[float] = []

    def fire(self, tag: str, data: Mapping[str, Any]) -> None:
        self.times.append(time.monotonic())
        self.fired.append((tag, data))

    def named(self, what: str) -> list[Mapping[str, Any]]:
        """Return the data of every event whose tag ends so."""
        return [data for tag, data in list(self.fired) if tag.endswith(f"/{what}")]


class Watched:
    """One cluster under watch; it can be stopped and started like an engine."""

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
        """``relist`` may be shorter than a configuration may have it."""
        self.name = name
        self.backend = backend
        self.nodes = Nodes(backend.endpoint)
        way = {} if "kubeconfig" in cluster else _way(backend, user)
        block = {"allowed_networks": ALLOWED, **way, **cluster}
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

    def make(self, stop: threading.Event) -> Mapping[str, Worker]:
        """Return the parts that a group of the engine would run."""
        updates: queue.Queue[Any] = queue.Queue(10_000)
        self.follower = ClusterWatcher(self.cluster, updates, stop)
        self.keeper = ClusterReconciler(
            self.cluster, self.store, self.bus, updates, stop, self.follower
        )
        self.wake = lambda: updates.put(WatchOpened())
        return {"follow": self.follower, "keep": self.keeper}

    def start(self) -> Watched:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=part.run, name=f"{self.name} {what}", daemon=True)
            for what, part in self.make(self._stop).items()
        ]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        self.follower.list_again()
        self.wake()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), f"{thread.name} does not stop"

    def list_again(self) -> None:
        self.follower.list_again()

    def confirm(self) -> dict[str, Any]:
        return confirm(self.config, self.store, self.name, "tester")

    def until(self, true: Callable[[], object], what: str = "", *, seconds: float = 60.0) -> None:
        """Wait for a condition; the threads change the store and the bus at their own pace."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"not within {seconds} s: {what}; {self.told()}"
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
            lambda: self.health().state == "watching" and self.follower._nodes._watching,
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
        """Return what a person is told of the cluster, as if an engine's process held its lock."""
        found: dict[str, Any] = status(self.config, self.store)["clusters"][self.name]
        return found

    def told(self) -> object:
        return self.addresses(), self.held(), self.health(), self.bus.fired[-5:]


def _way(backend: Backend, user: str) -> dict[str, Any]:
    endpoint = backend.endpoint
    return {
        "server": endpoint.url,
        "ca_file": str(endpoint.ca_file),
        "token_file": str(endpoint.tokens[user]),
    }
