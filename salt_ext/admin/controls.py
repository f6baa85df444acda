"""The controls for the whole: pause and resume publishing, list clusters anew, record an apply."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salt_ext.core import answers
from salt_ext.core.config.config import Config
from salt_ext.core.display import utc
from salt_ext.core.errors import StoreError
from salt_ext.store import Store
from salt_ext.store.control import ControlFlag
from salt_ext.store.decisions import UnusableDecisions
from salt_ext.store.locks import ENGINE, lock_holder


@dataclass(frozen=True, slots=True)
class By:
    """Who gives a command, and why."""

    name: str
    reason: str = ""
    automatic: bool = False
    """Whether a machine called it: the reactor, or a minion through ``peer_run``."""


def pause(store: Store, by: By) -> answers.Paused:
    """Stop all publishing, also by hand; jobs in flight are followed to their end."""
    now = time.time()
    if store.decisions.pause(ControlFlag(by.name, now, by.reason)):
        with contextlib.suppress(StoreError):
            store.continuity.bind_first()
        _record(store, "paused", by, now, out_of_date=store.applied.out_of_sync_minions())
    flag = store.decisions.paused() or ControlFlag(by.name, now, by.reason)
    answer: answers.Paused = {"paused": True, "by": flag.by, "since": utc(flag.at)}
    if flag.reason:
        answer["reason"] = flag.reason
    return answer


def resume(store: Store, by: By) -> answers.Resumed:
    """
    End a pause, and restart the rollout of every class that was stopped.

    A file of decisions that cannot be used is set aside: it stopped publishing as a pause does.
    After a loss of the store, the person vouches for the nodes that are listed now.
    """
    waiting = store.applied.out_of_sync_minions()
    aside = store.decisions.set_aside_unusable()
    was_paused = store.decisions.resume() or bool(aside)
    lost = "" if aside else _lost(store)
    store.continuity.bind()
    stopped = [name or "(none)" for name, state in store.rollouts.all().items() if state.stopped]
    store.rollouts.reset()
    if was_paused or stopped or lost:
        more = {name: text for name, text in (("set_aside", aside), ("recovered", lost)) if text}
        _record(
            store,
            "resumed",
            by,
            time.time(),
            out_of_date=waiting,
            restarted_classes=stopped,
            **more,
        )
    answer: answers.Resumed = {
        "paused": False,
        "was_paused": was_paused,
        "restarted_classes": stopped,
    }
    if aside:
        answer["set_aside"] = aside
    if lost:
        answer["recovered"] = lost
    return answer


def _lost(store: Store) -> str:
    """Return what was lost since persons decided; empty where nothing was."""
    try:
        loss = store.continuity.loss()
    except UnusableDecisions as exc:
        return f"{exc.path.name}: {exc.why}"
    return loss.why if loss is not None else ""


def refresh(
    config: Config, store: Store, clusters: frozenset[str], by: By, wait: float
) -> answers.Refreshed:
    """
    Ask the engine to list clusters now, and wait up to ``wait`` seconds for it.

    Return each cluster by its name, or why it was not listed.
    """
    asked_at = time.time()
    if lock_holder(Path(config.state_dir) / ENGINE) is None:
        return dict.fromkeys(sorted(clusters), "not listed: the engine is not running")
    answer: answers.Refreshed = {}
    for name in sorted(clusters):
        if name in config.broken:
            answer[name] = f"not listed: {config.why_stopped(name)}"
        else:
            store.control.request_refresh(name, ControlFlag(by.name, asked_at))
    _record(store, "refreshed", by, asked_at, clusters=sorted(clusters - answer.keys()))
    until = time.monotonic() + wait
    while len(answer) < len(clusters) and time.monotonic() < until:
        time.sleep(0.1)
        for name in clusters - answer.keys():
            listed = _listed(store, name, asked_at)
            if listed is not None:
                answer[name] = listed
    for name in clusters - answer.keys():
        health = store.health.of(name)
        why = f": {health.error}" if health is not None and health.error else ""
        answer[name] = f"not listed within {wait:.0f} s{why}"
    return dict(sorted(answer.items()))


def _listed(store: Store, name: str, since: float) -> answers.Listed | None:
    """Return a cluster that was listed after a time, else None."""
    health = store.health.of(name)
    if health is None or health.listed_at <= since:
        return None
    return {
        "listed_at": utc(health.listed_at),
        "nodes": health.nodes,
        "revision": store.snapshots.revision(name),
        "held": len(store.holds.of(name)),
    }


def record_apply(
    store: Store, by: By, *, force: bool, minions: str | None, jobs: Mapping[str, list[str]]
) -> None:
    """Record an apply by hand: with ``force``, a reason, or for some minions only."""
    _record(store, "applied", by, time.time(), force=force, minions=minions, jobs=sorted(jobs))


def record_discovery(store: Store, by: By, answer: answers.Discovered) -> None:
    """Record that pillars were compiled by hand to find references."""
    found = {"compiled": answer["compiled"], "failed": len(answer["failed"])}
    _record(store, "discovered", by, time.time(), **found)


def _record(store: Store, what: str, by: By, now: float, **more: Any) -> None:
    store.history.record_action(
        what, by.name, now, reason=by.reason, automatic=by.automatic, **more
    )
