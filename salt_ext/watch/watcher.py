"""Follows one cluster's API server: does what the reflector says, and passes on what came of it."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time

from salt_ext.core.cluster.reflector import Change, ListPage, Probe, Reflector, Wait, Watch
from salt_ext.core.config.clusters import Cluster
from salt_ext.kube.api import Changed, Event, Ignored, NodesApi, Opened
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
)

log = logging.getLogger(__name__)

_PATIENCE = 120.0
"""Seconds, beyond the silence that a watch may have, after which this thread counts as hung."""


class ClusterWatcher:
    """Runs in a thread of its own, the only one that waits for the network."""

    def __init__(
        self,
        cluster: Cluster,
        updates: queue.Queue[Update],
        stop: threading.Event,
        secret: SecretLookup = no_secrets,
    ) -> None:
        self._cluster = cluster
        self._updates = updates
        self._stop = stop
        self._reflector = Reflector(relist_every=cluster.timing.relist)
        self._session = Session(cluster.access, secret)
        self._nodes = NodesApi(self._session)
        self._identity = ""
        self._listed = False
        """Whether the last that came is a LIST, and with it the cluster's identity."""
        self._closes_at_once = False
        """Whether watches are accepted and ended, so that an open one proves nothing."""
        self._passed = 0
        """Updates that were passed on."""
        self.heard = WatchCounters()
        self.pulse = Heartbeat(cluster.timing.inactivity + _PATIENCE)

    def run(self) -> None:
        """Follow until told to stop."""
        for warning in self._cluster.access.warnings:
            log.warning("%s: %s", self._cluster.name, warning)
        try:
            while not self._stop.is_set():
                self._step()
        finally:
            self._session.close()

    def list_again(self) -> None:
        """Ask for a LIST now, from another thread."""
        self._reflector.request_list()
        self._nodes.cut()

    def forgive(self) -> None:
        """Take an older state for the truth, by a person's word, from another thread."""
        self._reflector.accept_older_state()

    def _step(self) -> None:
        """Do what the reflector says now."""
        self.pulse.beat()
        step = self._reflector.next(time.monotonic())
        try:
            if isinstance(step, Wait):
                self._stop.wait(max(0.0, step.until - time.monotonic()))
            elif isinstance(step, ListPage):
                self._list(step)
            elif isinstance(step, Probe):
                self._reflector.probed(self._nodes.version(), time.monotonic())
            else:
                self._watch(step)
        except Expired as exc:
            log.info("%s: %s; listing again", self._cluster.name, exc)
            self._reflector.expired(time.monotonic())
        except WatchIdle as exc:
            log.info("%s: %s; asking", self._cluster.name, exc)
            self._closes_at_once = False
            self._reflector.watch_idle()
        except RequestFailed as exc:
            self._reflector.failed(time.monotonic(), retry_after=exc.retry_after)
            self._tell_failure(str(exc))

    def _list(self, step: ListPage) -> None:
        api = self._nodes
        if not step.continue_token:
            self._identity = api.identity()
        page = api.page(self._cluster.page_size, step.continue_token)
        reflector = self._reflector
        now = time.monotonic()
        if reflector.listed(page.nodes, page.resource_version, page.continue_token, now):
            self._listed = True
            nodes = list((reflector.nodes or {}).values())
            version, regressed = page.resource_version, reflector.regressed
            self._pass_on(Replaced(nodes, version, self._identity, regressed))
            self._note(version)

    def _watch(self, step: Watch) -> None:
        reflector = self._reflector
        if not self._listed and self._nodes.identity() != self._identity:
            # Its versions may be beyond those that were seen: it would tell its own nodes from
            # there on, and neither that it is another cluster nor that ours are gone.
            log.warning("%s: another cluster answers; listing again", self._cluster.name)
            reflector.request_list()
            return
        self._listed = False
        events = self._nodes.watch(
            step.resource_version, step.server_timeout, self._cluster.timing.inactivity
        )
        try:
            for event in events:
                self.pulse.beat()
                self._take(event, time.monotonic())
                # Whoever asked before the watch was open could not cut it.
                if self._stop.is_set() or reflector.list_due(time.monotonic()):
                    return
        except RequestFailed:
            if not reflector.list_requested:
                raise
        else:
            # Once is a server that ends; twice in a row is one that only accepts.
            if reflector.ended(time.monotonic()) and reflector.failures > 1:
                self._closes_at_once = True
                self._tell_failure("WATCH nodes: accepted, and ended at once")
        finally:
            events.close()

    def _take(self, event: Event, now: float) -> None:
        heard = self.heard
        heard.at = time.time()
        if isinstance(event, Opened):
            if not self._closes_at_once:
                self._pass_on(WatchOpened())
            return
        if isinstance(event, Ignored):
            log.debug("%s: a watch line was ignored: %s", self._cluster.name, event.why)
            heard.ignored += 1
            return
        heard.events += 1
        if self._closes_at_once:
            self._closes_at_once = False
            self._pass_on(WatchOpened())
        if isinstance(event, Changed):
            self._take_change(event, now)
        else:
            self._reflector.bookmarked(event.resource_version, now)
        self._note(event.resource_version)

    def _take_change(self, event: Changed, now: float) -> None:
        version = event.resource_version
        if not self._reflector.changed(event.change, event.node, version, now):
            return
        regressed = self._reflector.regressed
        if event.change is Change.DELETED:
            self._pass_on(Deleted(event.node.name, version, regressed))
        else:
            self._pass_on(Upserted(event.node, version, regressed))

    def _note(self, version: str) -> None:
        """Note a version, after the update that belongs to it was passed on, if there is one."""
        self.heard.newest = self._passed, version, self._reflector.regressed

    def _pass_on(self, update: Update) -> None:
        """Hand over an update; wait while the keeper has too many, for as long as it is there."""
        while not self._stop.is_set():
            self.pulse.beat()
            with contextlib.suppress(queue.Full):
                self._updates.put(update, timeout=1.0)
                self._passed += 1
                return

    def _tell_failure(self, error: str) -> None:
        self._session.close()
        now = time.monotonic()
        step = self._reflector.next(now)
        retry_in = step.until - now if isinstance(step, Wait) else 0.0
        self._pass_on(Failed(error, self._reflector.failures, retry_in))
