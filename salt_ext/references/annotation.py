"""The pillar key ``k8s_nodes``: it tells the minion's states which addresses it was served."""

from __future__ import annotations

import contextlib
import time

from salt_ext.core.errors import StoreError
from salt_ext.core.references import node_lists
from salt_ext.references.node_lists import nodes_by_cluster
from salt_ext.references.rendering import Rendering
from salt_ext.store import Store

_HEALTH_LASTS = 120.0
"""Seconds after which a cluster whose health was not reported again counts as stale."""


class Annotator:
    """Reads the health of clusters and the identity of the store from one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def annotate(self, rendering: Rendering) -> dict[str, object]:
        """
        Return ``clusters``, ``served`` and ``unresolved`` for one minion.

        Each cluster has its ``revision``, ``observed_at`` (seconds since the epoch), ``stale``,
        the ``store`` that counts its revisions, and ``nodes`` where the minion gets a list.
        """
        stamps = rendering.stamps()
        identity = self._identity() if stamps else ""
        clusters: dict[str, dict[str, object]] = {
            name: {
                "revision": stamp.revision,
                "observed_at": stamp.observed_at,
                "stale": self._stale(name),
                "store": identity,
            }
            for name, stamp in sorted(stamps.items())
        }
        served = {
            address for addresses in rendering.expansion.served.values() for address in addresses
        }
        for name, nodes in nodes_by_cluster(rendering.lists).items():
            clusters[name]["nodes"] = nodes
            served |= node_lists.addresses_of(nodes)
        return {
            "clusters": clusters,
            "served": sorted(served),
            "unresolved": dict(sorted(rendering.unresolved.items())),
        }

    def _identity(self) -> str:
        # Read each time: a store that was lost is followed by one of another identity.
        with contextlib.suppress(StoreError):
            return self._store.snapshots.store_id()
        return ""

    def _stale(self, cluster: str) -> bool:
        try:
            health = self._store.health.of(cluster)
        except StoreError:
            return True
        return (
            health is None
            or health.state != "watching"
            or not 0 <= time.time() - health.reported_at < _HEALTH_LASTS
        )
