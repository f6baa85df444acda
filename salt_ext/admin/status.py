"""``status`` and ``nodes``: how current each view is, and why minions are out of date."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from salt_ext.admin import engine_state, observed
from salt_ext.admin.held import picture
from salt_ext.core import answers
from salt_ext.core.config.config import Config
from salt_ext.core.display import names, utc
from salt_ext.core.errors import NeverSeen
from salt_ext.core.rollout.departures import Closing, Departure, summary
from salt_ext.core.rollout.drift import LedgerEntry, OutOfSync
from salt_ext.core.rollout.observed import any_observed
from salt_ext.rollout.classes import TargetMatches, no_minions
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.plan import when
from salt_ext.rollout.publishing import publishing_stopped, recovering
from salt_ext.rollout.selection import ApplyRequest, BatchSelector
from salt_ext.store import Health, Store

_MAX_NAMES = 20
"""Names that the summary shows."""

_MAX_MINIONS = 20
"""Minions that are shown at a terminal."""

_MAX_DEPARTURES = 20
"""Departed addresses that are shown of one minion and cluster."""

_ON_DEMAND_FRESH = 300.0
"""Seconds for which a LIST by the ext_pillar counts as current."""


def status(
    config: Config, store: Store, match: TargetMatches = no_minions, *, brief: bool = False
) -> answers.Status:
    """
    Return the state of the engine, of each cluster and of each minion.

    ``match`` finds the minions of a compound target. With ``brief`` there are only the first
    minions that are out of date or have departures, and a line for each healthy cluster.
    :class:`StoreError` when the store cannot be read.
    """
    now = time.time()
    engine = engine_state.engine_state(config, store, now)
    departures = store.departures.open()
    closings = store.departures.closings()
    minions = _minions(config, store, match, now, departures)
    behind = sorted(name for name, states in minions.items() if not _up_to_date(states.values()))
    shown = sorted({*behind, *(one.minion for one in departures)})
    still_open = summary(departures, why=lambda one: _closing_error(closings, one.minion))
    answer: answers.Status = {
        "engine": f"{engine}{_minion_thread(engine_state.minion_loop_silence(store, engine, now))}",
        "engine_pid": engine.pid,
        "publishing": publishing_stopped(config, store) or _reactor_silent(store) or "on",
        "summary": f"{len(minions) - len(behind)} of {len(minions)} minions are up to date"
        + (f", not: {names(behind, _MAX_NAMES)}" if behind else "")
        + (f"; {still_open}" if still_open else ""),
        "problems": [
            *map(str, config.problems),
            *_minion_problems(store, closings),
        ],
        "classes": _classes(config, store, now),
        "clusters": {
            name: _line(state) if brief and _healthy(state) else state
            for name in config.names
            for state in [_cluster(name, config, store, now, engine_runs=engine.running)]
        },
        "minions": {name: minions[name] for name in shown[:_MAX_MINIONS]} if brief else minions,
    }
    if (found := recovering(config, store)) is not None:
        answer["recovery"] = {
            "why": found.why,
            "since": _when(found.since),
            "set_aside": found.aside,
            "clusters": dict(found.clusters),
        }
    if any_observed(config):
        answer["observed"] = observed.line(store, now)
    return answer


def _minion_problems(store: Store, closings: Mapping[str, Closing]) -> list[str]:
    """Return the parts that fail on minions, and departures that were too many to keep."""
    failing = [
        f"minion {minion}: {problem}"
        for minion, problems in store.minion_facts.problems().items()
        for problem in problems
    ]
    dropped = [
        f"minion {name}: {one.dropped} departed addresses are not tracked: too many are open"
        for name, one in sorted(closings.items())
        if one.dropped
    ]
    return [*failing, *dropped]


def _closing_error(closings: Mapping[str, Closing], minion: str) -> str:
    return closings[minion].error if minion in closings else ""


def _minion_thread(silence: float) -> str:
    return f", but its minion thread has reported nothing for {silence:.0f} s" if silence else ""


def _reactor_silent(store: Store) -> str | None:
    silent = store.health.reactor_silent_since()
    if silent is None:
        return None
    return (
        "reactor not working: minions are out of date and nothing was published since "
        f"{utc(silent)}; run `salt-run k8s_nodes.check`"
    )


def nodes(config: Config, store: Store, cluster: str) -> dict[str, answers.Node]:
    """
    Return the nodes of a cluster as last seen, with their accepted addresses.

    :class:`UnknownCluster` when it is not configured, :class:`NeverSeen` before its first LIST.
    """
    snapshot = store.snapshots.load(config.known(cluster))
    if snapshot is None:
        raise NeverSeen(cluster)
    found: dict[str, answers.Node] = {}
    for name, member in sorted(snapshot.members.items()):
        node: answers.Node = {"ready": member.ready}
        for kind, addresses in member.addresses.items():
            node[kind.value] = [str(address) for address in addresses]
        found[name] = node
    return found


def _cluster(
    name: str, config: Config, store: Store, now: float, *, engine_runs: bool
) -> answers.Cluster:
    snapshot = store.snapshots.load(name)
    health = store.health.of(name)
    cluster = config.clusters.get(name)
    watched = engine_runs or _listed_on_demand(health, now)
    in_sync = watched and health is not None and health.state == "watching"
    shown: answers.Cluster = {
        "state": _state(name, config, health, now, engine_runs=engine_runs),
        "stale": not in_sync,
        "nodes": len(snapshot.members) if snapshot else None,
        "revision": snapshot.revision if snapshot else None,
        "changed_at": _when(snapshot.observed_at) if snapshot else None,
        "mode": config.mode(name).value,
        "warnings": list(cluster.warnings) if cluster else [],
        "held": picture(store, name),
    }
    if health is not None:
        _add_health(shown, health, now)
    return shown


def _healthy(state: answers.Cluster) -> bool:
    """Whether there is nothing about a cluster that an operator has to look at."""
    return not (
        state["stale"]
        or state["held"]
        or state["warnings"]
        or state.get("error")
        or state.get("refused_addresses")
    )


def _line(state: answers.Cluster) -> str:
    """Return a healthy cluster on one line: several of them fit on a screen."""
    heard = state.get("heard_seconds_ago")
    return (
        f"{state['state']}, {state['nodes']} nodes, revision {state['revision']} of "
        f"{state['changed_at']}, mode {state['mode']}"
        + (f", heard {heard} s ago" if heard is not None else "")
    )


def _add_health(shown: answers.Cluster, health: Health, now: float) -> None:
    shown["listed_at"] = _when(health.listed_at)
    shown["heard_seconds_ago"] = (
        round(max(0.0, now - health.heard_at), 1) if health.heard_at else None
    )
    shown["error"] = health.error or None
    shown["stale_since"] = _when(health.lost_since)
    shown["requests"] = {
        "lists": health.lists,
        "watch_events": health.events,
        "ignored_events": health.ignored,
        "failed": health.errors,
        "consecutive_failures": health.failures,
    }
    shown["next_try_seconds"] = round(max(0.0, health.retry_at - now), 1)
    shown["refused_addresses"] = {
        reason: _refused(reason, count, health) for reason, count in health.refused.items()
    }


def _refused(reason: str, count: int, health: Health) -> answers.Refused:
    shown: answers.Refused = {"count": count, "nodes": health.refused_nodes.get(reason, [])}
    if reason in health.refused_keys:
        shown["key"] = health.refused_keys[reason]
    return shown


def _state(
    name: str, config: Config, health: Health | None, now: float, *, engine_runs: bool
) -> str:
    if name in config.broken:
        return f"not watched: {config.why_stopped(name)}; the last known nodes stay in force"
    if not engine_runs and _listed_on_demand(health, now):
        return "listed by the ext_pillar"
    if not engine_runs:
        return "not watched: the engine is not running; the last known nodes stay in force"
    return health.state if health else "starting"


def _listed_on_demand(health: Health | None, now: float) -> bool:
    return (
        health is not None
        and health.by == "ext_pillar"
        and now - health.listed_at < _ON_DEMAND_FRESH
    )


def _up_to_date(states: Iterable[answers.Minion]) -> bool:
    return all(state["up_to_date"] for state in states)


def _classes(config: Config, store: Store, now: float) -> dict[str, answers.Class]:
    rollouts = store.rollouts.all()
    classes: dict[str, answers.Class] = {}
    for action in (*config.apply.classes, config.apply.default):
        shown: answers.Class = {"publishes": str(action), "mode": action.mode.value}
        if action.target is not None:
            shown["target"] = action.target
        rollout = rollouts.get(action.name)
        if rollout is not None and rollout.stopped:
            shown["stopped"] = rollout.stopped
            shown["next_try_seconds"] = round(max(0.0, rollout.retry_at - now), 1)
        classes[action.name or "(none)"] = shown
    return classes


def _minions(
    config: Config, store: Store, match: TargetMatches, now: float, departures: list[Departure]
) -> dict[str, dict[str, answers.Minion]]:
    desired_state = DesiredState(store)
    desired = desired_state.desired(config)
    ledger = store.applied.all()
    rows = desired_state.out_of_sync(config, ledger)
    selector = BatchSelector(config, store, desired_state, match)
    selection = selector.select(ApplyRequest(clusters=frozenset(config.names)), now, rows)
    behind = {(row.minion, row.cluster): row for row in rows if not row.proof_expired}
    modules = store.minion_facts.module_versions()
    minions: dict[str, dict[str, answers.Minion]] = {}
    for key, wanted in sorted(desired.items(), key=lambda item: item[0]):
        minion, cluster = key
        row = behind.get(key)
        shown = _minion(row, wanted.unresolved, ledger.get(key), config, now)
        if row is not None:
            shown["next"] = when(minion, selection.out_of_sync[minion], selection, config, now)
        if minion in modules:
            shown["module"] = modules[minion]
        if wanted.unresolved and cluster and cluster not in config.names:
            shown["why"] = (
                f"cluster {cluster} is not configured; its references stay in the pillar, and "
                "nothing opens or closes"
            )
        minions.setdefault(minion, {})[cluster or "unreadable"] = shown
    for (minion, cluster), opened in _by_place(departures).items():
        states = minions.setdefault(minion, {})
        # What was removed with all its references has nothing to apply any more.
        gone: answers.Minion = {"up_to_date": True, "applied_at": None, "revision": None}
        state = states.setdefault(cluster, gone)
        state["open_departures"] = len(opened)
        state["departures"] = [_departure(one) for one in opened[:_MAX_DEPARTURES]]
        state["departures_next"] = selection.closing.reasons.get(minion, "now")
    return dict(sorted(minions.items()))


def _by_place(departures: Iterable[Departure]) -> dict[tuple[str, str], list[Departure]]:
    places: dict[tuple[str, str], list[Departure]] = {}
    for one in departures:
        places.setdefault((one.minion, one.cluster), []).append(one)
    return places


def _departure(one: Departure) -> answers.OpenDeparture:
    return {
        "address": one.address,
        "cause": one.cause,
        "since": utc(one.since),
        "open_by": one.open_by or "not checked yet",
        "checked_at": _when(one.checked_at),
    }


def _minion(
    row: OutOfSync | None,
    unresolved: tuple[str, ...],
    entry: LedgerEntry | None,
    config: Config,
    now: float,
) -> answers.Minion:
    shown: answers.Minion = {
        "up_to_date": row is None and not unresolved,
        "applied_at": _when(entry.applied_at) if entry is not None else None,
        "revision": entry.revision if entry is not None else None,
    }
    if unresolved:
        shown["unresolved"] = list(unresolved)
    if row is not None:
        shown["why"] = row.why(now, config.apply.timeout)
        shown["behind_since"] = _when(row.entry.behind_since)
        shown["last_error"] = row.entry.error
        shown["next_try_at"] = _when(row.entry.next_at)
    elif entry is not None and entry.error:
        shown["why"] = entry.error
    if entry is not None and entry.attempts:
        shown["failed_attempts"] = entry.attempts
        shown["failing_since"] = _when(entry.failing_since)
    if entry is not None and entry.jid is not None:
        shown["published"] = {
            "jid": entry.jid,
            "at": _when(entry.dispatched_at),
            "revision": entry.dispatched_revision,
        }
    return shown


def _when(seconds: float | None) -> str | None:
    return utc(seconds) if seconds else None
