"""Group ``engine``: whether it is loaded, alive, reporting, and has the current configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from salt_ext.admin.engine_state import (
    MAX_SILENCE,
    EngineState,
    engine_state,
    minion_loop_silence,
)
from salt_ext.core.config.config import KEY, Config
from salt_ext.core.diagnosis.config_files import ConfigFile
from salt_ext.core.diagnosis.finding import Finding, error, warning
from salt_ext.core.diagnosis.wiring import engine_is_listed
from salt_ext.master import master_process
from salt_ext.master.config_files import last_changed
from salt_ext.store import Store

_READ_MARGIN = 5.0
"""Seconds by which a file may be newer than the master that read it."""


def findings(
    opts: Mapping[str, object],
    config: Config,
    store: Store,
    files: Sequence[ConfigFile],
    now: float,
) -> Iterator[Finding]:
    """Yield the findings of the engine; ``files`` are the master's configuration."""
    listed = engine_is_listed(opts)
    if not listed and not opts.get("order_masters"):
        yield error(
            "engines",
            f"has no {KEY}: Salt starts only the engines of this list, and logs nothing",
            "salt-run k8s_nodes.setup prints the list; restart the master",
        )
    engine = engine_state(config, store, now)
    if engine.pid is None:
        if listed:
            yield _absent(engine, master_runs=master_process.is_running(opts))
        return
    if engine.trouble:
        yield error(
            "engine",
            f"stuck: {engine.trouble}; Salt does not restart it",
            f"kill -9 {engine.pid}; Salt starts it again within ten seconds"
            if engine.pid
            else "restart the master",
        )
        return
    path, changed_at = last_changed(files)
    if engine.config_read_at is not None and changed_at > engine.config_read_at + _READ_MARGIN:
        yield warning(
            "engine",
            f"{path} was changed after the master started; the engine has the old options",
            "restart the master",
        )
    yield from _silent_clusters(config, store, engine, now)
    if silence := minion_loop_silence(store, engine, now):
        yield error(
            "engine",
            f"its minion thread has reported nothing for {silence:.0f} s: returns prove nothing, "
            "and minions that are out of date are not published to",
            "the engine restarts this thread by itself; if that does not help, the master's log "
            "says why: restart the master",
        )


def _absent(engine: EngineState, *, master_runs: bool) -> Finding:
    if not master_runs:
        return error("engine", "not running, because the master is not", "start salt-master")
    if engine.previous_pid is None:
        return error(
            "engine",
            "is listed but was never started, or failed before it opened its state_dir",
            "restart the master; its log says why an engine does not start",
        )
    return error(
        "engine",
        f"not running: process {engine.previous_pid} has ended",
        "Salt starts it again within ten seconds; if it ends again, the master's log says why",
    )


def _silent_clusters(
    config: Config, store: Store, engine: EngineState, now: float
) -> Iterator[Finding]:
    for name in config.clusters:
        health = store.health.of(name)
        reported_at = health.reported_at if health is not None else 0.0
        silence = now - max(reported_at, engine.started_at or 0.0)
        if silence > MAX_SILENCE:
            yield error(
                f"cluster {name}",
                f"the engine runs, but has reported nothing of this cluster for {silence:.0f} s",
                "restart the master if the cluster is new in its configuration; else its log says "
                "why",
            )
