"""Lists a cluster's nodes from inside a pillar compile, where no engine does it beforehand."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


class _NoEngine:
    """The bus and the other thread where there is none: nobody waits for what a fetch tells."""

    def __init__(self) -> None:
        self.heard = WatchCounters()

    def list_again(self) -> None:
        """Leave it to the next compile."""

    def forgive(self) -> None:
        """Do nothing: a fetch remembers no versions of nodes."""

    def fire(self, tag: str, data: Mapping[str, Any]) -> None:
        """Drop an event."""


class OnDemandLister:
    """
    Kept for the life of a process that compiles pillars.

    One LIST at a time per master, whatever the number of its workers, and none while an engine
    lives; a compile waits at most ``timeout`` seconds for it, and is then served what is known.
    """

    def __init__(self, config: Config, store: Store, secret: SecretLookup = no_secrets) -> None:
        self._config = config
        self._secret = secret
        self._store = store
        self._keepers: dict[str, ClusterReconciler] = {}
        self._running: dict[str, threading.Thread] = {}

    def ensure(self, name: str, *, ttl: float, timeout: float) -> None:
        """See to it that what is stored of a cluster is not older than ``ttl`` seconds."""
        cluster = self._config.clusters.get(name)
        if cluster is None or not self._due(name, ttl):
            return
        if lock_holder(Path(self._config.state_dir) / ENGINE) is not None:
            return
        thread = self._running.get(name)
        if thread is None or not thread.is_alive():
            thread = threading.Thread(target=self._fetch, args=(cluster, ttl), daemon=True)
            self._running[name] = thread
            thread.start()
        thread.join(timeout)

    def _due(self, name: str, ttl: float) -> bool:
        try:
            health = self._store.health.of(name)
        except StoreError:
            return False
        if health is None:
            return True
        now = time.time()
        # A clock that was set back must not keep an old answer for ever.
        fresh = 0.0 <= now - health.listed_at < ttl
        resting = 0.0 <= health.retry_at - now < ttl
        return not fresh and not resting

    def _fetch(self, cluster: Cluster, ttl: float) -> None:
        lock = Path(self._config.state_dir) / f"fetch-{cluster.name}.lock"
        try:
            with exclusive(lock, wait=True):
                # Whoever had the lock before may just have listed.
                if self._due(cluster.name, ttl):
                    self._list(cluster, ttl)
        except (StoreError, OSError) as exc:
            log.error("%s: %s; what is known stays in force", cluster.name, exc)

    def _list(self, cluster: Cluster, ttl: float) -> None:
        keeper = self._keepers.get(cluster.name)
        if keeper is None:
            keeper = self._keepers[cluster.name] = ClusterReconciler(
                cluster, self._store, _NoEngine(), queue.Queue(), threading.Event(), _NoEngine()
            )
        try:
            keeper.take_at_once(_listed(cluster, self._secret))
        except RequestFailed as exc:
            keeper.take_at_once(Failed(str(exc), 1, min(ttl, 15.0)))


def _listed(cluster: Cluster, secret: SecretLookup) -> Replaced:
    session = Session(cluster.access, secret)
    try:
        api = NodesApi(session)
        identity = api.identity()
        nodes: dict[str, Node] = {}
        token = ""
        while True:
            page = api.page(cluster.page_size, token)
            nodes.update((node.name, node) for node in page.nodes)
            token = page.continue_token
            if not token:
                return Replaced(list(nodes.values()), page.resource_version, identity)
    finally:
        session.close()


_kept: dict[str, tuple[Config, OnDemandLister]] = {}


def on_demand_lister(config: Config, secret: SecretLookup) -> OnDemandLister:
    """Return what this process keeps for a configuration, made at the first call."""
    known = _kept.get(config.state_dir)
    if known is None or known[0] is not config:
        _kept[config.state_dir] = config, OnDemandLister(config, Store(config.state_dir), secret)
    return _kept[config.state_dir][1]
