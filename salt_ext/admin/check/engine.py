"""Whether the engine was loaded, lives, works, and knows the configuration of today."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from salt_ext.admin import engine_state
from salt_ext.core.config.config import KEY, Config
from salt_ext.core.diagnosis.config_files import ConfigFile
from salt_ext.core.diagnosis.finding import Finding, error, warning
from salt_ext.core.diagnosis.wiring import engine_is_listed
from salt_ext.master import master_process
from salt_ext.master.config_files import last_changed
from salt_ext.store import Store

_SETTLED = 5.0
"""Seconds that a file of the configuration may be newer than the master that read it."""


def findings(
    opts: Mapping[str, Any],
    config: Config,
    store: Store,
    written: Sequence[ConfigFile],
    now: float,
) -> Iterator[Finding]:
    """Yield what is wrong with the engine."""
    listed = engine_is_listed(opts)
    if not listed and not opts.get("order_masters"):
        yield error(
            "engines",
            f"has no {KEY}: Salt starts only the engines that are listed, and logs nothing",
            "salt-run k8s_nodes.setup prints the list; restart the master",
        )
    engine = engine_state.engine_state(config, store, now)
    if engine.pid is None:
        if listed:
            yield _absent(engine, running=master_process.is_running(opts))
        return
    if engine.stopped or engine.silent:
        what = str(engine).removeprefix("stuck: ")
        yield error(
            "engine",
            f"hangs: {what}; Salt never notices that",
            f"kill -9 {engine.pid}: Salt starts it again within ten seconds"
            if engine.pid
            else "restart the master",
        )
        return
    path, at = last_changed(written)
    if engine.read_at is not None and at > engine.read_at + _SETTLED:
        yield warning(
            "engine",
            f"its master runs since before {path} was changed, and does not know what it says now",
            "restart the master",
        )
    yield from _clusters(config, store, engine, now)
    if silence := engine_state.minion_loop_silence(store, engine, now):
        yield error(
            "engine",
            f"runs, and its thread for the minions has told nothing for {silence:.0f} s: no run is "
            "proven, and who is behind is told nothing more",
            "it is started again of itself; where that does not help, the master's log says "
            "where it stands or why it ends: restart the master",
        )


def _absent(engine: engine_state.EngineState, *, running: bool) -> Finding:
    if not running:
        return error("engine", "the master does not run, and so no engine", "start salt-master")
    if engine.before is None:
        return error(
            "engine",
            "is listed and was never started, or never reached its state_dir",
            "restart the master; its log says why an engine does not start",
        )
    return error(
        "engine",
        f"is dead: process {engine.before} has ended",
        "Salt starts it again within ten seconds; if it does not stay, the master's log says why",
    )


def _clusters(
    config: Config, store: Store, engine: engine_state.EngineState, now: float
) -> Iterator[Finding]:
    for name in config.clusters:
        health = store.health.of(name)
        told = health.reported_at if health is not None else 0.0
        silence = now - max(told, engine.started_at or 0.0)
        if silence > engine_state.SILENT:
            yield error(
                f"cluster {name}",
                f"the engine runs, and has told nothing of this cluster for {silence:.0f} s",
                "restart the master if the cluster is new in its configuration; "
                "its log says what goes on",
            )
