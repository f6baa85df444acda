"""The engine's own two threads on one cluster, with a real store and a bus that remembers."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lab.kubernetes.backend import Backend
from lab.kubernetes.nodes import Nodes
from salt_ext.commands.confirm import confirm
from salt_ext.commands.resolving import Resolving
from salt_ext.core import config
from salt_ext.core.member import addresses_of
from salt_ext.service.follow import Follower
from salt_ext.service.keep import Keeper
from salt_ext.service.updates import Watching
from salt_ext.store import Health, Store

ALLOWED = ["10.0.0.0/8", "2001:db8::/32"]


class Bus:
    """Remembers what was fired."""

    def __init__(self) -> None:
        self.fired: list[tuple[str, Mapping[str, Any]]] = []

    def fire(self, tag: str, data: Mapping[str, Any]) -> None:
        self.fired.append((tag, data))

    def named(self, what: str) -> list[Mapping[str, Any]]:
        """Return the data of every event whose tag ends so."""
        return [data for tag, data in list(self.fired) if tag.endswith(f"/{what}")]


class Watched:
    """One cluster under watch; it can be stopped and started like an engine."""

    def __init__(self, folder: Path, backend: Backend, *, user: str = "reader", **cluster: Any):
        self.backend = backend
        self.nodes = Nodes(backend.endpoint)
        endpoint = backend.endpoint
        block = {
            "server": endpoint.url,
            "ca_file": str(endpoint.ca_file),
            "token_file": str(endpoint.tokens[user]),
            "allowed_networks": ALLOWED,
            **cluster,
        }
        self.config = config.read({"state_dir": str(folder), "clusters": {"prod": block}})
        assert not self.config.problems, [str(problem) for problem in self.config.problems]
        self.bus = Bus()
        self.store = Store(str(folder))
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()

    def start(self) -> Watched:
        self._stop = threading.Event()
        updates: queue.Queue[Any] = queue.Queue(10_000)
        cluster = self.config.clusters["prod"]
        self.follower = Follower(cluster, updates, self._stop)
        self.keeper = Keeper(cluster, self.store, self.bus, updates, self._stop, self.follower)
        self._wake = lambda: updates.put(Watching())
        self._threads = [
            threading.Thread(target=run, daemon=True)
            for run in (self.follower.run, self.keeper.run)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        self.follower.list_again()
        self._wake()
        for thread in self._threads:
            thread.join(10)

    def list_again(self) -> None:
        self.follower.list_again()

    def confirm(self) -> dict[str, Any]:
        return confirm(self.config, self.store, "prod", "tester")

    def until(self, true: Callable[[], object], what: str = "", *, seconds: float = 15.0) -> None:
        """Wait for a condition; the threads change the store and the bus at their own pace."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"not within {seconds} s: {what}; {self.told()}"
            time.sleep(0.01)

    def addresses(self) -> set[str]:
        snapshot = self.store.snapshots.load("prod")
        return (
            {str(item) for item in addresses_of(snapshot.members.values())} if snapshot else set()
        )

    def serves(self, *addresses: str) -> None:
        """Wait until exactly these are stored."""
        self.until(lambda: self.addresses() == set(addresses), f"addresses {addresses}")

    def resolve(self, text: str) -> object:
        return Resolving(self.store).addresses(text, self.config)

    def revision(self) -> int:
        return self.store.snapshots.revision("prod")

    def health(self) -> Health:
        return self.store.health.of("prod") or Health(state="", told_at=0)

    def watching(self) -> None:
        self.until(lambda: self.health().state == "watching", "watching")

    def waiting(self, error: str) -> None:
        """Wait until the state is that of an error."""
        self.until(
            lambda: self.health().state == "waiting" and error in self.health().error,
            f"an error with {error!r}",
        )

    def held(self) -> list[str]:
        return [change.kind for change in self.store.held.of("prod")]

    def holds(self, *kinds: str) -> None:
        self.until(lambda: self.held() == list(kinds), f"held {kinds}")

    def told(self) -> object:
        return self.addresses(), self.held(), self.health(), self.bus.fired[-5:]
