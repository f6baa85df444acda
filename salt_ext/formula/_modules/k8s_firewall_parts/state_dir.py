"""What is in force by this module's own word, kept in a folder of its own."""

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
_LOCK_EVERY = 0.02
_DOUBT = "doubt"
# What signs the text that was there before.
_OF_THE_TEXT = ("security.ima", "security.evm")


class StateDir:
    """The files of the folder; whoever changes them holds the lock."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self._read: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {}
        self.known: tuple[object, Any] = (None, None)
        """What was made last of something that was read, which need not be made again."""

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """
        Keep out every other run on this minion, in whatever process.

        A program that is called meanwhile holds the lock too: when this process is killed, the
        next one waits until what was left at work has ended.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._own()
        with (self.folder / "lock").open("w") as file:
            until = time.monotonic() + _LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as exc:
                    if time.monotonic() > until:
                        raise errors.Busy(
                            f"another run has held {self.folder}/lock for {_LOCK_SECONDS} s"
                        ) from exc
                    time.sleep(_LOCK_EVERY)
            with programs.inheriting(file.fileno()):
                yield

    def _own(self) -> None:
        """See to it that nobody else can write what is loaded at boot and taken for in force."""
        found = self.folder.stat()
        if found.st_uid != os.geteuid():
            raise errors.Refused(f"{self.folder} belongs to another user (uid {found.st_uid})")
        if found.st_mode & 0o077:
            self.folder.chmod(0o700)

    def read(self, name: str) -> dict[str, Any]:
        """
        Return what was written under a name; empty when nothing or nothing that can be read.

        Nobody alters it: it is the same one as long as the file is.
        """
        with contextlib.suppress(OSError, ValueError):
            with (self.folder / f"{name}.json").open("rb") as file:
                stat = os.fstat(file.fileno())
                which = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
                if name in self._read and self._read[name][0] == which:
                    return self._read[name][1]
                found = json.loads(file.read())
            if isinstance(found, dict):
                self._read[name] = (which, found)
                return found
        return {}

    def write(self, name: str, what: dict[str, Any]) -> None:
        """Write it so that a crash leaves the old or the new, never half of one."""
        self._read.pop(name, None)
        self.save(f"{name}.json", json.dumps(what, separators=(",", ":")))

    def save(self, name: str, text: str) -> None:
        """Write a file of the folder as a whole; it is on the disk when this returns."""
        replace(self.folder / name, text)

    def keep(self, name: str, also: str) -> None:
        """Keep what is written under a name under another one too."""
        fresh = self.folder / f".{also}.new"
        fresh.unlink(missing_ok=True)
        fresh.hardlink_to(self.folder / f"{name}.json")
        fresh.replace(self.folder / f"{also}.json")

    def doubt(self) -> None:
        """Say that the kernel is about to differ from the record; it need not outlive a boot."""
        (self.folder / _DOUBT).touch(0o600)

    def settle(self) -> None:
        """Say that the record tells what the kernel has."""
        self.forget(_DOUBT)

    def doubtful(self) -> bool:
        """Whether a run ended before the record said what the kernel has."""
        return (self.folder / _DOUBT).exists()

    def forget(self, name: str) -> None:
        """Remove a file of the folder."""
        (self.folder / name).unlink(missing_ok=True)


def replace(path: Path, text: str, *, like: Path | None = None) -> None:
    """Put a file in the place of another, at once: root's alone, or like one that is there."""
    fresh = path.with_name(f".{path.name}.new")
    # What a crash has left, or somebody's link to another file.
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        if like is None:
            os.fchmod(handle, 0o600)
        else:
            _become(handle, like)
        # As it was read, whatever encoding it has.
        file.write(text.encode("utf-8", "surrogateescape"))
        file.flush()
        os.fsync(handle)
    fresh.replace(path)


def _become(handle: int, other: Path) -> None:
    """Take a file's owner, mode, and what else is written about it: ACLs, the SELinux label."""
    found = other.stat()
    os.fchown(handle, found.st_uid, found.st_gid)
    os.fchmod(handle, stat.S_IMODE(found.st_mode))
    # A file system or a container may not let us, and then what is written counts for more.
    with contextlib.suppress(OSError):
        for name in os.listxattr(other):
            if name not in _OF_THE_TEXT:
                with contextlib.suppress(OSError):
                    os.setxattr(handle, name, os.getxattr(other, name))
