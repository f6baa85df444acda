"""The state folder: what this module has recorded, one lock for all runs, files for the boot."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import errors, programs

_LOCK_SECONDS = 30
_LOCK_POLL_SECONDS = 0.02
_DIRTY = "dirty"
# Signatures of the content that the file had before.
_SIGNATURES = ("security.ima", "security.evm")


class StateDir:
    """The files of the folder; a run that changes them holds the lock."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self._cache: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {}
        self.decoded: tuple[object, Any] = (None, None)
        """A value that was read last, and the object that was made of it."""

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """
        Keep out every other run on this minion, in whatever process.

        A program that is started meanwhile holds the lock too: when this process is killed, the
        next run waits until the program has ended.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._protect()
        with (self.folder / "lock").open("w") as file:
            until = time.monotonic() + _LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as exc:
                    if time.monotonic() > until:
                        raise errors.Busy(
                            f"another run still holds {self.folder}/lock after {_LOCK_SECONDS} s"
                        ) from exc
                    time.sleep(_LOCK_POLL_SECONDS)
            with programs.inheriting(file.fileno()):
                yield

    def _protect(self) -> None:
        """Let no other user write the files, which are loaded at boot and trusted as the record."""
        found = self.folder.stat()
        if found.st_uid != os.geteuid():
            raise errors.Refused(f"{self.folder} belongs to another user (uid {found.st_uid})")
        if found.st_mode & 0o077:
            self.folder.chmod(0o700)

    def read(self, name: str) -> dict[str, Any]:
        """
        Return what was written under a name; empty where there is nothing, or nothing readable.

        Do not alter it: the same object is returned until the file changes.
        """
        with contextlib.suppress(OSError, ValueError):
            with (self.folder / f"{name}.json").open("rb") as file:
                status = os.fstat(file.fileno())
                identity = (status.st_ino, status.st_mtime_ns, status.st_size)
                if name in self._cache and self._cache[name][0] == identity:
                    return self._cache[name][1]
                found = json.loads(file.read())
            if isinstance(found, dict):
                self._cache[name] = (identity, found)
                return found
        return {}

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Write a value under a name; a crash leaves the old or the new one, never half."""
        self._cache.pop(name, None)
        self.write_text(f"{name}.json", json.dumps(value, separators=(",", ":")))

    def write_text(self, file: str, text: str) -> None:
        """Write a file of the folder as a whole; it is on the disk when this returns."""
        replace_file(self.folder / file, text)

    def copy(self, name: str, to: str) -> None:
        """Keep what is written under a name under another name too."""
        fresh = self.folder / f".{to}.new"
        fresh.unlink(missing_ok=True)
        fresh.hardlink_to(self.folder / f"{name}.json")
        fresh.replace(self.folder / f"{to}.json")

    def mark_dirty(self) -> None:
        """Note that the kernel is about to differ from the record; a boot may lose the note."""
        (self.folder / _DIRTY).touch(0o600)

    def mark_clean(self) -> None:
        """Note that the record matches the kernel again."""
        self.remove(_DIRTY)

    def is_dirty(self) -> bool:
        """Whether a run ended before it recorded what the kernel has."""
        return (self.folder / _DIRTY).exists()

    def remove(self, file: str) -> None:
        """Remove a file of the folder."""
        (self.folder / file).unlink(missing_ok=True)


def replace_file(path: Path, text: str, *, like: Path | None = None) -> None:
    """Replace a file in one step: for root alone, or with the owner and mode of another file."""
    fresh = path.with_name(f".{path.name}.new")
    # Left by a crash, or a link that points to another file.
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        if like is None:
            os.fchmod(handle, 0o600)
        else:
            _copy_attributes(like, handle)
        # Byte for byte as it was read, in whatever encoding.
        file.write(text.encode("utf-8", "surrogateescape"))
        file.flush()
        os.fsync(handle)
    fresh.replace(path)


def _copy_attributes(source: Path, handle: int) -> None:
    """Copy a file's owner, mode and extended attributes: ACLs, the SELinux label."""
    found = source.stat()
    os.fchown(handle, found.st_uid, found.st_gid)
    os.fchmod(handle, stat.S_IMODE(found.st_mode))
    # A file system or a container may refuse them, and the content matters more.
    with contextlib.suppress(OSError):
        for name in os.listxattr(source):
            if name not in _SIGNATURES:
                with contextlib.suppress(OSError):
                    os.setxattr(handle, name, os.getxattr(source, name))
