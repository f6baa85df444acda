"""Lists and watches the nodes of one cluster: performs the reflector's steps, queues updates."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time

from salt_ext.core.cluster.reflector import Change, ListPage, Probe, Reflector, Wait, Watch
from salt_ext.core.config.clusters import Cluster
from salt_ext.kube.api import Event, LineIgnored, NodeChanged, NodesApi, StreamOpened
from salt_ext.kube.credential import SecretLookup, no_secrets
from salt_ext.kube.errors import Expired, RequestFailed, WatchIdle
from salt_ext.kube.session import Session
from salt_ext.supervisor import Heartbeat
from salt_ext.watch.updates import (
    Deleted,
    Failed,
    Replaced,
    Update,
    Upserted,
    WatchCounters,
    WatchOpened,
    WatchPosition,
)

log = logging.getLogger(__name__)

_HANG_TIMEOUT = 120.0
"""Seconds, beyond the allowed silence of a watch, after which this thread counts as hung."""


class ClusterWatcher:
    """Runs in its own thread, the only one of a cluster that waits for the network."""

    def __init__(
        self,
        cluster: Cluster,
        updates: queue.Queue[Update],
        stop: threading.Event,
        secret_lookup: SecretLookup = no_secrets,
    ) -> None:
        self._cluster = cluster
        self._updates = updates
        self._stop = stop
        self._reflector = Reflector(relist_every=cluster.timing.relist)
        self._session = Session(cluster.access, secret_lookup)
        self._api = NodesApi(self._session)
        self._identity = ""
        self._identity_is_fresh = False
        """Whether the last response was a LIST, which is preceded by an identity request."""
        self._watch_ends_at_once = False
        """Whether the server accepts and ends watches, so that an open one proves nothing."""
        self._updates_queued = 0
        self.counters = WatchCounters()
        self.heartbeat = Heartbeat(cluster.timing.inactivity + _HANG_TIMEOUT)

    def run(self) -> None:
        """List and watch until ``stop`` is set."""
        for warning in self._cluster.access.warnings:
            log.warning("cluster %s: %s [insecure-access]", self._cluster.name, warning)
        for key, sentence, fix in self._cluster.risks:
            log.warning(
                "cluster %s: %s: %s; %s [config-risk]", self._cluster.name, key, sentence, fix
            )
        try:
            while not self._stop.is_set():
                self._step()
        finally:
            self._session.close()

    def request_list(self) -> None:
        """List again now; safe from another thread."""
        self._reflector.request_list()
        self._api.abort_watch()

    def accept_older_state(self) -> None:
        """Accept the older state of the nodes as the newest; safe from another thread."""
        self._reflector.accept_older_state()

    def _step(self) -> None:
        """Perform the reflector's next step."""
        self.heartbeat.beat()
        step = self._reflector.next(time.monotonic())
        try:
            if isinstance(step, Wait):
                self._stop.wait(max(0.0, step.until - time.monotonic()))
            elif isinstance(step, ListPage):
                self._list(step)
            elif isinstance(step, Probe):
                self._reflector.probed(self._api.newest_version(), time.monotonic())
            else:
                self._watch(step)
        except Expired as exc:
            log.info("cluster %s: %s; listing again [version-expired]", self._cluster.name, exc)
            self._reflector.expired(time.monotonic())
        except WatchIdle as exc:
            log.info("cluster %s: %s; probing the server [watch-idle]", self._cluster.name, exc)
            self._watch_ends_at_once = False
            self._reflector.watch_idle()
        except RequestFailed as exc:
            self._reflector.failed(time.monotonic(), retry_after=exc.retry_after)
            self._report_failure(str(exc))

    def _list(self, step: ListPage) -> None:
        if not step.continue_token:
            self._identity = self._api.identity()
        page = self._api.list_page(self._cluster.page_size, step.continue_token)
        reflector = self._reflector
        now = time.monotonic()
        if reflector.listed(page.nodes, page.resource_version, page.continue_token, now):
            self._identity_is_fresh = True
            nodes = list((reflector.nodes or {}).values())
            version, regressed = page.resource_version, reflector.regressed
            self._enqueue(Replaced(nodes, version, self._identity, regressed))
            self._record_position(version)

    def _watch(self, step: Watch) -> None:
        reflector = self._reflector
        if not self._identity_is_fresh and self._api.identity() != self._identity:
            # Another cluster's versions may be higher than ours. Its watch would then report its
            # own nodes, but neither the new identity nor that the nodes known here are gone.
            log.warning(
                "cluster %s: another cluster answers; listing again [identity-changed]",
                self._cluster.name,
            )
            reflector.request_list()
            return
        self._identity_is_fresh = False
        events = self._api.watch(
            step.resource_version, step.server_timeout, self._cluster.timing.inactivity
        )
        try:
            for event in events:
                self.heartbeat.beat()
                self._handle_event(event, time.monotonic())
                # A LIST that was requested before the watch opened could not abort it.
                if self._stop.is_set() or reflector.list_due(time.monotonic()):
                    return
        except RequestFailed:
            if not reflector.list_requested:
                raise
        else:
            # Once may be a server that shuts down; twice in a row it only accepts watches.
            if reflector.ended(time.monotonic()) and reflector.failures > 1:
                self._watch_ends_at_once = True
                self._report_failure("WATCH nodes: the server accepts each watch and ends it")
        finally:
            events.close()

    def _handle_event(self, event: Event, now: float) -> None:
        counters = self.counters
        counters.last_event_at = time.time()
        if isinstance(event, StreamOpened):
            if not self._watch_ends_at_once:
                self._enqueue(WatchOpened())
            return
        if isinstance(event, LineIgnored):
            log.debug(
                "cluster %s: watch line ignored: %s [watch-line-ignored]",
                self._cluster.name,
                event.reason,
            )
            counters.ignored += 1
            return
        counters.events += 1
        if self._watch_ends_at_once:
            self._watch_ends_at_once = False
            self._enqueue(WatchOpened())
        if isinstance(event, NodeChanged):
            self._handle_change(event, now)
        else:
            self._reflector.bookmarked(event.resource_version, now)
        self._record_position(event.resource_version)

    def _handle_change(self, event: NodeChanged, now: float) -> None:
        version = event.resource_version
        if not self._reflector.changed(event.change, event.node, version, now):
            return
        regressed = self._reflector.regressed
        if event.change is Change.DELETED:
            self._enqueue(Deleted(event.node.name, version, regressed))
        else:
            self._enqueue(Upserted(event.node, version, regressed))

    def _record_position(self, version: str) -> None:
        """Record a version, after its update was queued if it caused one."""
        self.counters.position = WatchPosition(
            self._updates_queued, version, self._reflector.regressed
        )

    def _enqueue(self, update: Update) -> None:
        """Queue an update; wait while the queue is full, unless the reconciler has stopped."""
        while not self._stop.is_set():
            self.heartbeat.beat()
            with contextlib.suppress(queue.Full):
                self._updates.put(update, timeout=1.0)
                self._updates_queued += 1
                return

    def _report_failure(self, error: str) -> None:
        self._session.close()
        now = time.monotonic()
        step = self._reflector.next(now)
        retry_in = step.until - now if isinstance(step, Wait) else 0.0
        self._enqueue(Failed(error, self._reflector.failures, retry_in))
