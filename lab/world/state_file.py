"""What a world writes down, so that the next command finds it: a JSON file under a lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.errors import HalfMade, LabError, NoSuchWorld, WorldExists
from lab.network.namespace import with_namespaces

# Short, for the paths of Unix sockets; gone with a reboot, as the namespaces are.
HOME = Path("/run/k8s-lab")


class Memory:
    """The folder of a world and its file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = HOME / name

    @property
    def file(self) -> Path:
        return self.folder / "world.json"

    @property
    def exists(self) -> bool:
        return self.folder.exists()

    def create(self) -> None:
        """Claim the name; of two at once, one gets it."""
        HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
        if HOME.stat().st_uid != os.geteuid() or HOME.stat().st_mode & 0o077:
            raise LabError(f"{HOME} is not root's alone; remove it")
        try:
            self.folder.mkdir(mode=0o700)
        except FileExistsError as exc:
            raise WorldExists(self.name) from exc

    def read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.file.read_text())
        except FileNotFoundError as exc:
            if not self.exists:
                raise NoSuchWorld(self.name) from exc
            raise HalfMade(self.name) from exc
        return found

    @contextlib.contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        """What is remembered, to be changed in place; nobody else changes it meanwhile."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            remembered = json.loads(self.file.read_text()) if self.file.exists() else {}
            yield remembered
            fresh = self.file.with_suffix(".new")
            fresh.write_text(json.dumps(remembered, indent=2))
            fresh.rename(self.file)

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            HOME.rmdir()


def worlds() -> list[str]:
    """The names of all worlds of this machine, and of those of which only a part is left."""
    folders = {path.name for path in HOME.iterdir()} if HOME.is_dir() else set()
    return sorted(folders | with_namespaces())
