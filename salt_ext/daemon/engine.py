"""The engine: two threads for each cluster, one for the minions, and a watch over all of them."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from salt_ext.core.config.config import Cluster, Config
from salt_ext.core.diagnosis.pillar_options import findings
from salt_ext.core.errors import StoreError
from salt_ext.daemon import textfile
from salt_ext.daemon.metrics import MetricsCollector
from salt_ext.master import otel
from salt_ext.master.bus import Bus
from salt_ext.master.secrets import Secrets
from salt_ext.master.settings import engine_settings
from salt_ext.rollout.controller import RolloutController
from salt_ext.rollout.event_listener import EventListener, HintMailbox
from salt_ext.rollout.key_watcher import KeyWatcher
from salt_ext.store import Store
from salt_ext.store.locks import ENGINE, engine_lock
from salt_ext.supervisor import Supervisor, Worker
from salt_ext.watch.reconciler import ClusterReconciler
from salt_ext.watch.updates import Update
from salt_ext.watch.watcher import ClusterWatcher

log = logging.getLogger(__name__)

_WAITING_UPDATES = 10_000
_CHECK = 1.0
"""Seconds between two looks at the threads."""
_FIGURES = 15.0
"""Seconds between two files of figures; Prometheus usually asks as often."""


class Engine:
    """Everything that runs in the engine's process."""

    def __init__(self, opts: dict[str, Any]) -> None:
        self._opts = opts
        self._config: Config = engine_settings(opts)
        self._store = Store(self._config.state_dir)
        self._figures = MetricsCollector(self._config, self._store)
        self._figures_at = 0.0
        self._followers: dict[str, ClusterWatcher] = {}
        """The newest of each cluster: its group may be started again."""

    def run(self) -> None:
        """Run until the process is told to end."""
        for problem in self._config.problems:
            log.error("configuration: %s", problem)
        for finding in findings(self._opts):
            log.warning("%s", finding)
        stop = threading.Event()
        groups = [
            Supervisor(cluster.name, partial(self._cluster, cluster))
            for cluster in self._config.clusters.values()
        ]
        groups.append(Supervisor("minions", self._minions))
        with engine_lock(Path(self._config.state_dir) / ENGINE, stop):
            otel.export_metrics(self._opts, self._config.metrics.port, self._figures.samples)
            try:
                while not stop.wait(_CHECK if self._figures_at else 0):
                    for group in groups:
                        group.check()
                    self._list_again()
                    self._write_figures()
            finally:
                for group in groups:
                    group.stop()

    def _cluster(self, cluster: Cluster, stop: threading.Event) -> Mapping[str, Worker]:
        updates: queue.Queue[Update] = queue.Queue(_WAITING_UPDATES)
        follower = ClusterWatcher(cluster, updates, stop, Secrets(self._opts))
        self._followers[cluster.name] = follower
        keeper = ClusterReconciler(cluster, self._store, Bus(self._opts), updates, stop, follower)
        return {"follow": follower, "keep": keeper}

    def _minions(self, stop: threading.Event) -> Mapping[str, Worker]:
        mailbox = HintMailbox()
        return {
            "listen": EventListener(mailbox, self._opts, stop),
            "converge": RolloutController(self._config, self._store, self._opts, mailbox, stop),
            "forget": KeyWatcher(
                self._store,
                self._opts,
                stop,
                keys_changed=mailbox.keys_changed,
                expect=mailbox.expect,
            ),
        }

    def _list_again(self) -> None:
        """List the clusters that a person asks to be listed."""
        try:
            for name in self._store.control.take_refreshes():
                if name in self._followers:
                    self._followers[name].list_again()
        except StoreError as exc:
            log.error("%s; trying again", exc)

    def _write_figures(self) -> None:
        now = time.monotonic()
        if now < self._figures_at:
            return
        self._figures_at = now + _FIGURES
        path = self._config.metrics.textfile
        if path is None:
            return
        try:
            textfile.write(Path(path), self._figures.samples())
        except (OSError, StoreError) as exc:
            log.error("the figures could not be written to %s: %s", path, exc)
