"""What a person wants to know first: is it true, is it current, who is behind and why."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salt_ext.commands.places import Places
from salt_ext.core.config import Config
from salt_ext.core.errors import NeverSeen
from salt_ext.store import Health, Store
from salt_ext.store.locks import ENGINE, holder

_SILENT = 30.0
"""Seconds after which an engine that holds its lock but tells nothing counts as stuck."""

_MOST_NAMES = 20
"""Names that one held change shows."""

_FETCHED = 300.0
"""Seconds for which a LIST by the ext_pillar counts as current."""


def status(config: Config, store: Store) -> dict[str, Any]:
    """Return everything at a glance; plain JSON types."""
    now = time.time()
    engine = _engine(config, store, now)
    minions = _minions(config, store, now)
    return {
        "engine": engine,
        "engine_pid": holder(Path(config.state_dir) / ENGINE),
        "problems": [str(problem) for problem in config.problems],
        "clusters": {
            name: _cluster(name, config, store, now, alive=engine == "running")
            for name in config.names
        },
        "minions": minions,
    }


def nodes(config: Config, store: Store, cluster: str) -> dict[str, Any]:
    """Return the nodes of a cluster as last seen, with the addresses that were let through."""
    snapshot = store.snapshots.load(config.known(cluster))
    if snapshot is None:
        raise NeverSeen(cluster)
    return {
        name: {
            **{kind.value: [str(i) for i in items] for kind, items in member.addresses.items()},
            "ready": member.ready,
        }
        for name, member in sorted(snapshot.members.items())
    }


def _engine(config: Config, store: Store, now: float) -> str:
    if holder(Path(config.state_dir) / ENGINE) is None:
        return "not running: see the master's log for why, or add it to `engines`"
    told = [health.told_at for name in config.clusters if (health := store.health.of(name))]
    if config.clusters and told and now - max(told) > _SILENT:
        return f"stuck: it holds its lock but has told nothing for {now - max(told):.0f} s"
    return "running"


def _cluster(name: str, config: Config, store: Store, now: float, *, alive: bool) -> dict[str, Any]:
    snapshot = store.snapshots.load(name)
    health = store.health.of(name)
    followed = alive or _fetched(health, now)
    synced = followed and health is not None and health.state == "watching"
    told: dict[str, Any] = {
        "state": _state(name, config, health, now, alive=alive),
        "stale": not synced,
        "nodes": len(snapshot.members) if snapshot else None,
        "revision": snapshot.revision if snapshot else None,
        "changed_at": _when(snapshot.observed_at) if snapshot else None,
    }
    if health is not None:
        told["listed_at"] = _when(health.listed_at)
        told["heard_seconds_ago"] = round(now - health.heard_at, 1) if health.heard_at else None
        told["error"] = health.error or None
        told["stale_since"] = _when(health.lost_since)
        told["requests"] = {
            "lists": health.lists,
            "watch_events": health.events,
            "ignored_events": health.ignored,
            "failed": health.errors,
            "failed_in_a_row": health.failures,
        }
        told["next_try_seconds"] = round(max(0.0, health.retry_at - now), 1)
        told["refused_addresses"] = dict(health.refused)
    cluster = config.clusters.get(name)
    told["warnings"] = list(cluster.access.warnings) if cluster else []
    told["held"] = [
        {
            "what": change.kind,
            "why": change.why,
            "since": _when(change.since),
            "names": change.keys[:_MOST_NAMES],
        }
        for change in store.held.of(name)
    ]
    return told


def _state(name: str, config: Config, health: Health | None, now: float, *, alive: bool) -> str:
    if name in config.broken:
        return "not followed: its configuration has a mistake, what is known stays in force"
    if not alive and _fetched(health, now):
        return "listed by the ext_pillar"
    if not alive:
        return "not followed: the engine is not running, what is known stays in force"
    return health.state if health else "starting"


def _fetched(health: Health | None, now: float) -> bool:
    return health is not None and health.by == "ext_pillar" and now - health.listed_at < _FETCHED


def _minions(config: Config, store: Store, now: float) -> dict[str, Any]:
    places = Places(store)
    wanted = places.desired(config)
    late = {(one.minion, one.cluster): one for one in places.behind(config)}
    ledger = store.ledger.all()
    told: dict[str, dict[str, Any]] = {}
    for place, want in sorted(wanted.items(), key=lambda item: item[0]):
        minion, cluster = place
        entry = ledger.get(place)
        told.setdefault(minion, {})[cluster or "unreadable"] = _standing(
            late[place].why(now, config.apply.timeout) if place in late else None,
            want.unresolved,
            entry.attempts if entry else 0,
            entry.applied_at if entry else None,
        )
    return told


def _standing(
    why: str | None, unresolved: tuple[str, ...], attempts: int, applied_at: float | None
) -> Mapping[str, Any]:
    told: dict[str, Any] = {"up_to_date": why is None and not unresolved}
    if unresolved:
        told["unresolved"] = list(unresolved)
    if why is not None:
        told["why"] = why
    if attempts:
        told["failed_attempts"] = attempts
    told["applied_at"] = _when(applied_at)
    return told


def _when(seconds: float | None) -> str | None:
    if not seconds:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
