"""The engine: runs the threads that watch clusters and roll changes out, and writes metrics."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from salt_ext.core.config.clusters import Cluster
from salt_ext.core.config.config import Config
from salt_ext.core.diagnosis.pillar_options import findings
from salt_ext.core.errors import StoreError
from salt_ext.daemon import textfile
from salt_ext.daemon.metrics import MetricsCollector
from salt_ext.master import otel
from salt_ext.master.bus import Bus
from salt_ext.master.job_cache import JobCache
from salt_ext.master.pillar_compiler import PillarCompiler
from salt_ext.master.publisher import Publisher
from salt_ext.master.secrets import SecretResolver
from salt_ext.master.settings import engine_settings
from salt_ext.master.targets import TargetMatcher
from salt_ext.rollout.controller import RolloutController
from salt_ext.rollout.event_listener import EventListener, HintMailbox
from salt_ext.rollout.key_watcher import KeyWatcher
from salt_ext.rollout.recovery import StoreRecovery
from salt_ext.store import Store
from salt_ext.store.locks import ENGINE, engine_lock
from salt_ext.supervisor import Supervisor, Worker
from salt_ext.watch.reconciler import ClusterReconciler
from salt_ext.watch.updates import Update
from salt_ext.watch.watcher import ClusterWatcher

log = logging.getLogger(__name__)

_MAX_QUEUED_UPDATES = 10_000
_CHECK_INTERVAL = 1.0
"""Seconds between two checks of the threads."""
_METRICS_INTERVAL = 15.0
"""Seconds between two writes of the textfile; Prometheus usually scrapes as often."""


class Engine:
    """Everything that runs in the engine's process."""

    def __init__(self, opts: dict[str, object]) -> None:
        self._opts = opts
        self._config: Config = engine_settings(opts)
        self._store = Store(self._config.state_dir)
        self._metrics = MetricsCollector(
            self._config, self._store, TargetMatcher(opts, keep=_METRICS_INTERVAL)
        )
        self._next_metrics_at = 0.0
        self._watchers: dict[str, ClusterWatcher] = {}
        """The current watcher of each cluster: a restart replaces it."""

    def run(self) -> None:
        """Run until the process ends; waits while another engine holds the lock."""
        for problem in self._config.problems:
            log.error("config: %s [config-problem]", problem)
        if self._config.stopped_by:
            log.error(
                "config: no cluster is followed, and what is stored stays in force, until %s is "
                "corrected; salt-run k8s_nodes.check says how [config-stops-all]",
                self._config.stopped_by[0].key,
            )
        for finding in findings(self._opts):
            log.warning("config: %s [config-finding]", finding)
        stop = threading.Event()
        supervisors = [
            Supervisor(f"cluster {cluster.name}", partial(self._cluster_workers, cluster))
            for cluster in self._config.clusters.values()
        ]
        supervisors.append(Supervisor("engine", self._rollout_workers))
        with engine_lock(Path(self._config.state_dir) / ENGINE, stop):
            otel.export_metrics(self._opts, self._config.metrics.port, self._metrics.samples)
            try:
                while not stop.wait(_CHECK_INTERVAL if self._next_metrics_at else 0):
                    for supervisor in supervisors:
                        supervisor.ensure_running()
                    self._request_lists()
                    self._write_metrics()
            finally:
                for supervisor in supervisors:
                    supervisor.stop()

    def _cluster_workers(self, cluster: Cluster, stop: threading.Event) -> Mapping[str, Worker]:
        updates: queue.Queue[Update] = queue.Queue(_MAX_QUEUED_UPDATES)
        watcher = ClusterWatcher(cluster, updates, stop, SecretResolver(self._opts))
        self._watchers[cluster.name] = watcher
        reconciler = ClusterReconciler(
            cluster, self._store, Bus(self._opts), updates, stop, watcher
        )
        return {"watcher": watcher, "reconciler": reconciler}

    def _rollout_workers(self, stop: threading.Event) -> Mapping[str, Worker]:
        mailbox = HintMailbox()
        return {
            "event-listener": EventListener(mailbox, self._opts, stop),
            "rollout-controller": RolloutController(
                self._config, self._store, self._opts, mailbox, stop
            ),
            "key-watcher": KeyWatcher(
                self._store,
                self._opts,
                stop,
                keys_changed=mailbox.keys_changed,
                expect=mailbox.expect,
            ),
            "store-recovery": StoreRecovery(
                self._config,
                self._store,
                PillarCompiler(self._opts),
                Publisher(self._opts),
                partial(JobCache, self._opts),
                stop,
            ),
        }

    def _request_lists(self) -> None:
        """Pass refresh requests of the runner on to the watchers."""
        try:
            for name in self._store.control.take_refreshes():
                if name in self._watchers:
                    self._watchers[name].request_list()
        except StoreError as exc:
            log.error("store: %s; retrying in %.0f s [refresh-unread]", exc, _CHECK_INTERVAL)

    def _write_metrics(self) -> None:
        now = time.monotonic()
        if now < self._next_metrics_at:
            return
        self._next_metrics_at = now + _METRICS_INTERVAL
        path = self._config.metrics.textfile
        if path is None:
            return
        try:
            textfile.write(Path(path), self._metrics.samples())
        except (OSError, StoreError) as exc:
            log.error("engine: cannot write metrics to %s: %s [metrics-not-written]", path, exc)
