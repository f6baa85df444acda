"""Lets a held change through, by a person's word."""

from __future__ import annotations

import time
from typing import Any

from salt_ext.core.cluster.guard import Kind
from salt_ext.core.config.config import Config
from salt_ext.store import Store
from salt_ext.store.history import HistoryEntry
from salt_ext.store.holds import HeldChange


def confirm(config: Config, store: Store, cluster: str, by: str) -> dict[str, Any]:
    """
    Release what is held for a cluster now, and say what that was.

    It holds for these changes only: nodes that are named now, this identity, this version.
    """
    name = config.known(cluster)
    held = store.holds.of(name)
    open_ = [change for change in held if change.kind != Kind.NODE.value]
    told = {
        "released": [_told(change) for change in open_],
        "still_held": [_told(change) for change in held if change not in open_],
    }
    if open_:
        now = time.time()
        # Before the engine can act on it, so that the history has cause and effect in order.
        store.history.record(
            HistoryEntry(
                at=now,
                cluster=name,
                what="confirmed",
                detail={"by": by, "changes": told["released"]},
            )
        )
        store.holds.release(name, open_, by, now)
    return told


def _told(change: HeldChange) -> dict[str, Any]:
    return {"what": change.kind, "why": change.why, "keys": change.keys}
