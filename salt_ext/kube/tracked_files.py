"""Files that open the way to a cluster, and whether one was replaced since it was read."""

from __future__ import annotations

import os
from pathlib import Path

from salt_ext.kube.errors import BadCredentials

_LARGEST = 4 * 1024 * 1024

_Stamp = tuple[int, int, int]


class TrackedFiles:
    """Remembers what it read, so that a rotated file is noticed without reading it."""

    def __init__(self) -> None:
        self._read: dict[str, _Stamp] = {}

    def read(self, path: str, role: str) -> bytes:
        """Return the content of a file; ``role`` tells a person what it is for."""
        try:
            with Path(path).open("rb") as file:
                # Of the open file: a rename in between must count as a replacement.
                self._read[path] = _stamp(os.fstat(file.fileno()))
                content = file.read(_LARGEST)
        except OSError as exc:
            raise BadCredentials(path, f"{exc.strerror or type(exc).__name__} ({role})") from exc
        if not content.strip():
            raise BadCredentials(path, f"is empty ({role})")
        return content

    def replaced(self) -> bool:
        """Whether any file is another one than the one that was read, or gone."""
        return any(_stamp_of(path) != stamp for path, stamp in self._read.items())


def _stamp_of(path: str) -> _Stamp | None:
    try:
        return _stamp(os.stat(path))  # noqa: PTH116 - follows links, as a projected volume has them
    except OSError:
        return None


def _stamp(found: os.stat_result) -> _Stamp:
    return found.st_ino, found.st_mtime_ns, found.st_size
