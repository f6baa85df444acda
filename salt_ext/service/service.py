"""The engine: two threads for each cluster, one for the minions, and a watch over all of them."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from salt_ext.core.config import Cluster, Config
from salt_ext.master.bus import Bus
from salt_ext.master.settings import engine_settings
from salt_ext.service.converge import Convergence
from salt_ext.service.follow import Follower
from salt_ext.service.keep import Keeper
from salt_ext.service.updates import Update
from salt_ext.store import Store

log = logging.getLogger(__name__)

LOCK = "engine.lock"
_WAITING_UPDATES = 10_000
_RESTART = 5.0
"""Seconds before a thread that died is started again."""


class Service:
    """Everything that runs in the engine's process."""

    def __init__(self, opts: dict[str, Any]) -> None:
        self._opts = opts
        self._config: Config = engine_settings(opts)
        self._stop = threading.Event()

    def run(self) -> None:
        """Run until the process is told to end."""
        for problem in self._config.problems:
            log.error("configuration: %s", problem)
        state_dir = Path(self._config.state_dir)
        try:
            with _only_engine(state_dir, self._stop):
                self._start()
                self._stop.wait()
        finally:
            self._stop.set()

    def _start(self) -> None:
        store = Store(self._config.state_dir)
        for cluster in self._config.clusters.values():
            self._lasting(cluster.name, partial(self._one_cluster, cluster, store))
        convergence = Convergence(self._config, store, self._opts, self._stop)
        self._lasting("converge", convergence.run)

    def _one_cluster(self, cluster: Cluster, store: Store) -> None:
        """Run the two threads of a cluster, which only make sense together, until one ends."""
        ended = threading.Event()
        updates: queue.Queue[Update] = queue.Queue(_WAITING_UPDATES)
        follower = Follower(cluster, updates, ended)
        keeper = Keeper(
            cluster, store, Bus(self._opts), updates, ended, list_again=follower.list_again
        )
        for what, run in (("keep", keeper.run), ("follow", follower.run)):
            self._thread(f"{what} {cluster.name}", partial(_until_ended, run, ended))
        ended.wait()

    def _lasting(self, name: str, run: Callable[[], None]) -> None:
        def lasting() -> None:
            while not self._stop.is_set():
                try:
                    run()
                except Exception:
                    log.exception("%s: an error of our own", name)
                log.error("%s: stopped; starting again in %.0f s", name, _RESTART)
                self._stop.wait(_RESTART)

        self._thread(name, lasting)

    def _thread(self, name: str, run: Callable[[], None]) -> None:
        threading.Thread(target=run, name=f"k8s_nodes {name}", daemon=True).start()


def _until_ended(run: Callable[[], None], ended: threading.Event) -> None:
    try:
        run()
    except Exception:
        log.exception("%s: an error of our own", threading.current_thread().name)
    finally:
        ended.set()


@contextlib.contextmanager
def _only_engine(state_dir: Path, stop: threading.Event) -> Iterator[None]:
    """Hold the lock that says that an engine is alive; wait while another one ends."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(state_dir / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    told = False
    try:
        while not stop.is_set():
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    log.warning("another engine works in %s; waiting for it to end", state_dir)
                told = True
                stop.wait(0.2)
        yield
    finally:
        os.close(descriptor)
