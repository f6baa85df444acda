"""The state of the engine: running, stuck, not running, or never started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from salt_ext.core.config.config import Config
from salt_ext.master import processes
from salt_ext.store import Store
from salt_ext.store.locks import ENGINE, last_lock_holder, lock_holder

MAX_SILENCE = 30.0
"""Seconds without a report after which an engine that holds its lock counts as stuck."""

_MAX_MINION_LOOP_SILENCE = 60.0
"""The same for its minion thread alone, whose rounds take longer with more minions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """The engine of this master; times are seconds since the epoch."""

    pid: int | None
    """The process that holds the engine's lock; None when it is free, 0 when it is not named."""
    previous_pid: int | None = None
    """The process that held the lock last."""
    started_at: float | None = None
    config_read_at: float | None = None
    """Start of its master: a restarted engine of an old master has the old options."""
    silent_for: float = 0.0
    """Seconds without a report; 0 up to :data:`MAX_SILENCE`."""
    stopped: bool = False
    """Its process is stopped by a signal (SIGSTOP)."""

    @property
    def running(self) -> bool:
        """Whether it is alive and reports."""
        return self.pid is not None and not self.silent_for and not self.stopped

    @property
    def trouble(self) -> str:
        """Return why it is stuck; empty when it is not."""
        if self.stopped:
            return "its process is stopped by a signal (SIGSTOP)"
        if self.silent_for:
            return f"it holds its lock but has reported nothing for {self.silent_for:.0f} s"
        return ""

    def __str__(self) -> str:
        if self.pid is None:
            ended = f" (process {self.previous_pid} has ended)" if self.previous_pid else ""
            return f"not running{ended}: run `salt-run k8s_nodes.check`"
        return f"stuck: {self.trouble}" if self.trouble else "running"


def engine_state(config: Config, store: Store, now: float) -> EngineState:
    """Return the state of the engine, from its lock, its process and its last report."""
    path = Path(config.state_dir) / ENGINE
    pid = lock_holder(path)
    if pid is None:
        return EngineState(pid=None, previous_pid=last_lock_holder(path))
    started_at = processes.started_at(pid) if pid else None
    reports = [health.reported_at for name in config.clusters if (health := store.health.of(name))]
    silence = _silence(now, *reports, started_at or 0.0)
    expected = bool(config.clusters and (reports or started_at))
    return EngineState(
        pid=pid,
        started_at=started_at,
        config_read_at=processes.started_at(processes.parent(pid) or pid) if pid else None,
        silent_for=silence if expected and silence > MAX_SILENCE else 0.0,
        stopped=processes.is_stopped(pid) if pid else False,
    )


def minion_loop_silence(store: Store, engine: EngineState, now: float) -> float:
    """Return the seconds since a running engine's minion thread reported; 0 within a minute."""
    reported_at = store.health.minion_loop_seen_at()
    if not engine.running or (reported_at is None and engine.started_at is None):
        return 0.0
    silence = _silence(now, reported_at or 0.0, engine.started_at or 0.0)
    return silence if silence > _MAX_MINION_LOOP_SILENCE else 0.0


def _silence(now: float, *times: float) -> float:
    # A time in the future was written before the clock was set back.
    return min(abs(now - at) for at in times)
