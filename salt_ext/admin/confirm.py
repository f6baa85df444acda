"""``confirm``: releases the changes that guards hold for a cluster."""

from __future__ import annotations

import time

from salt_ext.core import answers
from salt_ext.core.cluster.hold import Kind
from salt_ext.core.config.config import Config
from salt_ext.store import Store
from salt_ext.store.history import HistoryEntry
from salt_ext.store.holds import HeldChange


def confirm(config: Config, store: Store, cluster: str, by: str) -> answers.Confirmed:
    """
    Release the changes that are held for a cluster now, and return them.

    The release applies to these nodes, this identity and this version only; the engine takes it up
    within a second. :class:`UnknownCluster` when the cluster is not configured.
    """
    name = config.known(cluster)
    held = store.holds.of(name)
    releasable = [change for change in held if Kind(change.kind).confirmable]
    confirmed: answers.Confirmed = {
        "released": [_shown(change) for change in releasable],
        "still_held": [_shown(change) for change in held if change not in releasable],
    }
    if releasable:
        now = time.time()
        # Before the engine can act on it, so that the history has cause and effect in order.
        store.history.record(
            HistoryEntry(
                at=now,
                cluster=name,
                what="confirmed",
                detail={"by": by, "changes": confirmed["released"]},
            )
        )
        store.holds.release(name, releasable, by, now)
    return confirmed


def _shown(change: HeldChange) -> answers.Release:
    return {"what": change.kind, "why": change.why, "keys": change.keys}
