"""Lists a cluster's nodes from inside a pillar compile, where no engine runs."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from salt_ext.core.cluster.node import Node
from salt_ext.core.config.clusters import Cluster
from salt_ext.core.config.config import Config
from salt_ext.core.errors import StoreError
from salt_ext.kube.api import NodesApi
from salt_ext.kube.credential import SecretLookup, no_secrets
from salt_ext.kube.errors import RequestFailed
from salt_ext.kube.session import Session
from salt_ext.store import Store
from salt_ext.store.locks import ENGINE, exclusive, lock_holder
from salt_ext.watch.reconciler import ClusterReconciler
from salt_ext.watch.updates import Failed, Replaced, WatchCounters

log = logging.getLogger(__name__)

_MAX_RETRY_DELAY = 15.0
"""Seconds after a failed LIST before the next compile may try again."""


class _NoEventBus:
    """An event sink that drops events: without an engine there is no reactor to receive them."""

    def fire(self, tag: str, data: Mapping[str, object]) -> None:
        """Drop an event."""


class _NoWatcher:
    """A watcher's controls where no watcher runs."""

    def __init__(self) -> None:
        self.counters = WatchCounters()

    def request_list(self) -> None:
        """Do nothing: the next compile lists again."""

    def accept_older_state(self) -> None:
        """Do nothing: each LIST is compared with the stored view alone."""


class OnDemandLister:
    """
    Lists clusters on request; lives as long as a process that compiles pillars.

    One LIST at a time for each cluster of a master, whatever the number of its workers, and none
    while an engine runs.
    """

    def __init__(
        self, config: Config, store: Store, secret_lookup: SecretLookup = no_secrets
    ) -> None:
        self._config = config
        self._secret_lookup = secret_lookup
        self._store = store
        self._reconcilers: dict[str, ClusterReconciler] = {}
        self._threads: dict[str, threading.Thread] = {}

    def ensure_fresh(self, name: str, *, ttl: float, timeout: float) -> None:
        """
        List a cluster if its stored view is older than ``ttl`` seconds.

        Waits at most ``timeout`` seconds. Raises nothing: the last known nodes stay in force.
        """
        cluster = self._config.clusters.get(name)
        if cluster is None or not self._is_stale(name, ttl):
            return
        if lock_holder(Path(self._config.state_dir) / ENGINE) is not None:
            return
        thread = self._threads.get(name)
        if thread is None or not thread.is_alive():
            thread = threading.Thread(target=self._refresh, args=(cluster, ttl), daemon=True)
            self._threads[name] = thread
            thread.start()
        thread.join(timeout)

    def _is_stale(self, name: str, ttl: float) -> bool:
        try:
            health = self._store.health.of(name)
        except StoreError:
            return False
        if health is None:
            return True
        now = time.time()
        # The lower limit is for a clock that was set back: it must not keep an old view forever.
        fresh = 0.0 <= now - health.listed_at < ttl
        backing_off = 0.0 <= health.retry_at - now < ttl
        return not fresh and not backing_off

    def _refresh(self, cluster: Cluster, ttl: float) -> None:
        lock = Path(self._config.state_dir) / f"fetch-{cluster.name}.lock"
        try:
            with exclusive(lock, wait=True):
                # The previous owner of the lock may just have listed.
                if self._is_stale(cluster.name, ttl):
                    self._list(cluster, ttl)
        except (StoreError, OSError) as exc:
            log.error(
                "cluster %s: cannot list on demand (%s); last known nodes stay in force "
                "[on-demand-list-failed]",
                cluster.name,
                exc,
            )

    def _list(self, cluster: Cluster, ttl: float) -> None:
        reconciler = self._reconcilers.get(cluster.name)
        if reconciler is None:
            reconciler = self._reconcilers[cluster.name] = ClusterReconciler(
                cluster, self._store, _NoEventBus(), queue.Queue(), threading.Event(), _NoWatcher()
            )
        try:
            reconciler.apply_now(_list_all_pages(cluster, self._secret_lookup))
        except RequestFailed as exc:
            reconciler.apply_now(Failed(str(exc), 1, min(ttl, _MAX_RETRY_DELAY)))


def _list_all_pages(cluster: Cluster, secret_lookup: SecretLookup) -> Replaced:
    session = Session(cluster.access, secret_lookup)
    try:
        api = NodesApi(session)
        identity = api.identity()
        nodes: dict[str, Node] = {}
        continue_token = ""
        while True:
            page = api.list_page(cluster.page_size, continue_token)
            nodes.update((node.name, node) for node in page.nodes)
            continue_token = page.continue_token
            if not continue_token:
                return Replaced(list(nodes.values()), page.resource_version, identity)
    finally:
        session.close()


_listers: dict[str, tuple[Config, OnDemandLister]] = {}
"""By state directory: pillar compiles of one process share a lister."""


def on_demand_lister(config: Config, secret_lookup: SecretLookup) -> OnDemandLister:
    """Return this process's lister for a configuration; a new configuration gets a new one."""
    cached = _listers.get(config.state_dir)
    if cached is not None and cached[0] is config:
        return cached[1]
    lister = OnDemandLister(config, Store(config.state_dir), secret_lookup)
    _listers[config.state_dir] = config, lister
    return lister
