"""What a person wants to know first: is it true, is it current, who is behind and why."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from salt_ext.admin import engine_state
from salt_ext.core.cluster.guard import Kind
from salt_ext.core.config.config import Config
from salt_ext.core.display import names, utc
from salt_ext.core.errors import NeverSeen
from salt_ext.core.rollout.drift import LedgerEntry, OutOfSync
from salt_ext.rollout.classes import TargetMatches, no_minions
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.plan import publishing_stopped, when
from salt_ext.rollout.selection import ApplyRequest, BatchSelector
from salt_ext.store import Health, Store

_MOST_NAMES = 20
"""Names that one held change shows."""

_SHOWN = 20
"""Minions that a terminal is shown."""

_FETCHED = 300.0
"""Seconds for which a LIST by the ext_pillar counts as current."""


def status(
    config: Config, store: Store, meant: TargetMatches = no_minions, *, brief: bool = False
) -> dict[str, Any]:
    """Return everything, in plain JSON types; ``brief`` of minions only who is not up to date."""
    now = time.time()
    engine = engine_state.engine_state(config, store, now)
    minions = _minions(config, store, meant, now)
    late = sorted(name for name, rows in minions.items() if not _all_up_to_date(rows))
    return {
        "engine": f"{engine}{_of_minions(engine_state.minion_loop_silence(store, engine, now))}",
        "engine_pid": engine.pid,
        "publishing": publishing_stopped(config, store) or _reactor_silent(store) or "on",
        "summary": f"{len(minions) - len(late)} of {len(minions)} minions are up to date"
        + (f", not: {names(late, 20)}" if late else ""),
        "problems": [str(problem) for problem in config.problems],
        "classes": _classes(config, store, now),
        "clusters": {
            name: _cluster(name, config, store, now, alive=engine.running) for name in config.names
        },
        "minions": {name: minions[name] for name in late[:_SHOWN]} if brief else minions,
    }


def _of_minions(silence: float) -> str:
    if not silence:
        return ""
    return f", but its thread for the minions has told nothing for {silence:.0f} s"


def _reactor_silent(store: Store) -> str | None:
    silent_since = store.health.reactor_silent_since()
    if silent_since is None:
        return None
    since = f"nobody has acted on the engine's events since {_when(silent_since)}"
    return (
        f"{since}: the reactor does not call k8s_nodes.apply, or its runs fail; "
        "see salt-run k8s_nodes.check"
    )


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
        told["heard_seconds_ago"] = (
            round(max(0.0, now - health.heard_at), 1) if health.heard_at else None
        )
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
    told["mode"] = config.mode(name).value
    told["warnings"] = list(cluster.access.warnings) if cluster else []
    told["held"] = [
        {
            "what": change.kind,
            "why": change.why,
            "since": _when(change.since),
            "names": change.keys[:_MOST_NAMES],
            "release": None
            if change.kind == Kind.NODE.value
            else f"salt-run k8s_nodes.confirm {name}",
        }
        for change in store.holds.of(name)
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


def _all_up_to_date(clusters: Mapping[str, Mapping[str, Any]]) -> bool:
    return all(one["up_to_date"] for one in clusters.values())


def _classes(config: Config, store: Store, now: float) -> dict[str, Any]:
    waves = store.rollouts.all()
    told: dict[str, Any] = {}
    for what in (*config.apply.classes, config.apply.default):
        one: dict[str, Any] = {"publishes": str(what), "mode": what.mode.value}
        if what.target is not None:
            one["target"] = what.target
        wave = waves.get(what.name)
        if wave is not None and wave.stopped:
            one["stopped"] = wave.stopped
            one["next_try_seconds"] = round(max(0.0, wave.retry_at - now), 1)
        told[what.name or "(none)"] = one
    return told


def _minions(config: Config, store: Store, meant: TargetMatches, now: float) -> dict[str, Any]:
    desired_state = DesiredState(store)
    wanted = desired_state.desired(config)
    ledger = store.applied.all()
    late = desired_state.out_of_sync(config, ledger)
    selector = BatchSelector(config, store, desired_state, meant)
    selection = selector.select(ApplyRequest(clusters=frozenset(config.names)), now, late)
    behind = {(one.minion, one.cluster): one for one in late if not one.proof_expired}
    modules = store.minion_facts.module_versions()
    told: dict[str, dict[str, Any]] = {}
    for place, want in sorted(wanted.items(), key=lambda item: item[0]):
        minion, cluster = place
        one = behind.get(place)
        standing = _standing(one, want.unresolved, ledger.get(place), config, now)
        if one is not None:
            standing["next"] = when(minion, selection.out_of_sync[minion], selection, config, now)
        if minion in modules:
            standing["module"] = modules[minion]
        told.setdefault(minion, {})[cluster or "unreadable"] = standing
    return told


def _standing(
    late: OutOfSync | None,
    unresolved: tuple[str, ...],
    entry: LedgerEntry | None,
    config: Config,
    now: float,
) -> dict[str, Any]:
    told: dict[str, Any] = {"up_to_date": late is None and not unresolved}
    if unresolved:
        told["unresolved"] = list(unresolved)
    if late is not None:
        told["why"] = late.why(now, config.apply.timeout)
        told["behind_since"] = _when(late.entry.behind_since)
        told["last_error"] = late.entry.error
        told["next_try_at"] = _when(late.entry.next_at)
    elif entry is not None and entry.error:
        told["why"] = entry.error
    if entry is not None and entry.attempts:
        told["failed_attempts"] = entry.attempts
        told["failing_since"] = _when(entry.failing_since)
    if entry is not None and entry.jid is not None:
        told["published"] = {
            "jid": entry.jid,
            "at": _when(entry.dispatched_at),
            "revision": entry.dispatched_revision,
        }
    told["applied_at"] = _when(entry.applied_at) if entry is not None else None
    told["revision"] = entry.revision if entry is not None else None
    return told


def _when(seconds: float | None) -> str | None:
    return utc(seconds) if seconds else None
