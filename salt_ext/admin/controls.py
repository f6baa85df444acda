"""What a person may say to the whole: stop publishing, go on, look again, apply now."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salt_ext.core.config.config import Config
from salt_ext.core.display import utc
from salt_ext.store import Store
from salt_ext.store.control import ControlFlag
from salt_ext.store.history import HistoryEntry
from salt_ext.store.locks import ENGINE, lock_holder


def pause(store: Store, by: str) -> dict[str, Any]:
    """Publish nothing from now on, whoever asks; what is on its way is followed to its end."""
    now = time.time()
    if store.control.pause(ControlFlag(by, now)):
        _record(store, "paused", by, now)
    word = store.control.paused() or ControlFlag(by, now)
    return {"paused": True, "by": word.by, "since": utc(word.at)}


def resume(store: Store, by: str) -> dict[str, Any]:
    """Take a pause back, and begin anew with classes that were stopped."""
    paused = store.control.resume()
    stopped = [name or "(none)" for name, wave in store.rollouts.all().items() if wave.stopped]
    store.rollouts.reset()
    if paused or stopped:
        _record(store, "resumed", by, time.time())
    return {"paused": False, "was_paused": paused, "classes_that_were_stopped": stopped}


def refresh(
    config: Config, store: Store, clusters: frozenset[str], by: str, wait: float
) -> dict[str, Any]:
    """Have the engine list clusters now, and wait for it."""
    asked = time.time()
    if lock_holder(Path(config.state_dir) / ENGINE) is None:
        return dict.fromkeys(sorted(clusters), "not listed: the engine is not running")
    told: dict[str, Any] = {}
    for name in sorted(clusters):
        if name in config.broken:
            told[name] = "not listed: its configuration has a mistake"
        else:
            store.control.request_refresh(name, ControlFlag(by, asked))
    until = time.monotonic() + wait
    while len(told) < len(clusters) and time.monotonic() < until:
        time.sleep(0.1)
        for name in clusters - told.keys():
            health = store.health.of(name)
            if health is not None and health.listed_at > asked:
                told[name] = {
                    "listed_at": utc(health.listed_at),
                    "nodes": health.nodes,
                    "revision": store.snapshots.revision(name),
                    "held": len(store.holds.of(name)),
                }
    for name in clusters - told.keys():
        health = store.health.of(name)
        why = f": {health.error}" if health is not None and health.error else ""
        told[name] = f"not listed within {wait:.0f} s{why}"
    return dict(sorted(told.items()))


def record_apply(
    store: Store, by: str, *, force: bool, minions: str | None, jobs: Mapping[str, Any]
) -> None:
    """Record that a person had something published that was not due, or to some minions alone."""
    _record(store, "applied", by, time.time(), force=force, minions=minions, jobs=sorted(jobs))


def _record(store: Store, what: str, by: str, now: float, **more: object) -> None:
    store.history.record(HistoryEntry(at=now, cluster="", what=what, detail={"by": by, **more}))
