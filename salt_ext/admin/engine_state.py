"""Whether the engine lives and works, was ended, hangs, or never began."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from salt_ext.core.config.config import Config
from salt_ext.master import processes
from salt_ext.store import Store
from salt_ext.store.locks import ENGINE, last_lock_holder, lock_holder

SILENT = 30.0
"""Seconds after which an engine that holds its lock but tells nothing counts as stuck."""

_MINIONS_SILENT = 60.0
"""The same for its thread for the minions alone, whose rounds are longer the more there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """What is known of the engine of this master."""

    pid: int | None
    """The process that holds its lock; None when none does, 0 when it does not say which."""
    before: int | None = None
    """The process that held it last."""
    started_at: float | None = None
    read_at: float | None = None
    """When its master began: a new engine of an old master knows the old options."""
    silent: float = 0.0
    """Seconds for which it has told nothing; 0 while that is within reason."""
    stopped: bool = False
    """Somebody has stopped its process with a signal."""

    @property
    def running(self) -> bool:
        """Whether it lives and tells."""
        return self.pid is not None and not self.silent and not self.stopped

    def __str__(self) -> str:
        if self.pid is None:
            past = f" (process {self.before} has ended)" if self.before else ""
            return f"not running{past}: see the master's log for why, or add it to `engines`"
        if self.stopped:
            return "stuck: its process is stopped by a signal (SIGSTOP)"
        if self.silent:
            return f"stuck: it holds its lock but has told nothing for {self.silent:.0f} s"
        return "running"


def engine_state(config: Config, store: Store, now: float) -> EngineState:
    """Look at the engine's lock, its process, and what it told last."""
    path = Path(config.state_dir) / ENGINE
    pid = lock_holder(path)
    if pid is None:
        return EngineState(pid=None, before=last_lock_holder(path))
    started = processes.started_at(pid) if pid else None
    told = [health.reported_at for name in config.clusters if (health := store.health.of(name))]
    silence = _silence(now, *told, started or 0.0)
    expected = bool(config.clusters and (told or started))
    return EngineState(
        pid=pid,
        started_at=started,
        read_at=processes.started_at(processes.parent(pid) or pid) if pid else None,
        silent=silence if expected and silence > SILENT else 0.0,
        stopped=processes.is_stopped(pid) if pid else False,
    )


def minion_loop_silence(store: Store, engine: EngineState, now: float) -> float:
    """Return for how long a running engine has not seen to the minions; 0 within reason."""
    told = store.health.minion_loop_seen_at()
    if not engine.running or (told is None and engine.started_at is None):
        return 0.0
    silence = _silence(now, told or 0.0, engine.started_at or 0.0)
    return silence if silence > _MINIONS_SILENT else 0.0


def _silence(now: float, *told: float) -> float:
    # What was told in the future was told before the clock was set back.
    return min(abs(now - at) for at in told)
