"""The state file of a world, through which the next command finds it: JSON under a lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.errors import IncompleteWorld, LabError, NoSuchWorld, WorldExists
from lab.network.namespace import with_namespaces

# Short, for the paths of Unix sockets; gone with a reboot, as the namespaces are.
HOME = Path("/run/k8s-lab")


class StateFile:
    """The folder of a world and its file world.json."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = HOME / name

    @property
    def path(self) -> Path:
        return self.folder / "world.json"

    @property
    def exists(self) -> bool:
        return self.folder.exists()

    def create(self) -> None:
        """Claim the name; if two processes try at once, one gets it."""
        HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
        if HOME.stat().st_uid != os.geteuid() or HOME.stat().st_mode & 0o077:
            raise LabError(f"{HOME} is open to users other than root: remove it")
        try:
            self.folder.mkdir(mode=0o700)
        except FileExistsError as exc:
            raise WorldExists(self.name) from exc

    def read(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self.path.read_text())
        except FileNotFoundError as exc:
            if not self.exists:
                raise NoSuchWorld(self.name) from exc
            raise IncompleteWorld(self.name) from exc
        return state

    @contextlib.contextmanager
    def update(self) -> Iterator[dict[str, Any]]:
        """The state, to be changed in place; other processes wait meanwhile."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = json.loads(self.path.read_text()) if self.path.exists() else {}
            yield state
            fresh = self.path.with_suffix(".new")
            fresh.write_text(json.dumps(state, indent=2))
            fresh.rename(self.path)

    def complete(self, *, api: str, traffic: bool) -> None:
        """Mark the world as provisioned; until then it counts as incomplete."""
        with self.update() as state:
            state |= {"api": api, "traffic": traffic}

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            HOME.rmdir()


def worlds() -> list[str]:
    """The names of all worlds of this machine, including incomplete ones."""
    folders = {path.name for path in HOME.iterdir()} if HOME.is_dir() else set()
    return sorted(folders | with_namespaces())
