"""The record of the applied state: for the next run, for a rollback, and for the next boot."""

from __future__ import annotations

import time
from typing import Any

from . import plan
from .desired import Desired
from .plan import Plan
from .state_dir import StateDir

FILE = "applied"
PREVIOUS_FILE = "previous"


def record(desired: Desired, made: Plan, state_dir: StateDir, version: str) -> None:
    """Record what was applied, and write the files that the next boot loads."""
    applied = state_dir.read(FILE)
    digest = desired.digest()
    if made.empty and applied.get("digest") == digest and _has_boot_files(state_dir, desired):
        state_dir.mark_clean()
        return
    for backend, _ in made.parts:
        files = backend.boot_files(desired)
        for name in backend.boot_file_names:
            if name in files:
                state_dir.write_text(name, files[name])
            else:
                state_dir.remove(name)
    if applied and applied.get("digest") != digest:
        state_dir.copy(FILE, PREVIOUS_FILE)
    value: dict[str, Any] = {"digest": digest, "desired": desired.as_dict}
    for backend, change in made.parts:
        value.update(backend.recorded(desired, change))
    state_dir.write(FILE, {**value, "applied_at": time.time(), "version": version})
    state_dir.mark_clean()


def missing_boot_files(state_dir: StateDir, desired: Desired) -> list[str]:
    """Return the paths of the files that the next boot would need and not find."""
    return [
        str(state_dir.folder / name)
        for name, needed in _boot_files(desired).items()
        if needed and not (state_dir.folder / name).exists()
    ]


def last(state_dir: StateDir) -> Desired | None:
    """Return the state that was applied last; None where there is none."""
    data = state_dir.read(FILE).get("desired")
    if state_dir.decoded[0] is not data:
        state_dir.decoded = (data, parse(data))
    return state_dir.decoded[1] if data else None


def previous(state_dir: StateDir) -> Desired | None:
    """Return the state that was applied before the last change; None where there is none."""
    return parse(state_dir.read(PREVIOUS_FILE).get("desired"))


def parse(data: Any) -> Desired | None:
    """Read a recorded state; None where there is none, or one in the form of another version."""
    try:
        return Desired.from_dict(data) if data else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _boot_files(desired: Desired) -> dict[str, bool]:
    """Return whether each file is needed, by name."""
    return {name: one.needed(desired) for one in plan.backends({}) for name in one.boot_file_names}


def _has_boot_files(state_dir: StateDir, desired: Desired) -> bool:
    return all(
        (state_dir.folder / name).exists() == needed
        for name, needed in _boot_files(desired).items()
    )
