"""Reads kubeconfigs, certificates and tokens, and notices when one of the files is replaced."""

from __future__ import annotations

import os
from pathlib import Path

from salt_ext.kube.errors import BadCredentials

_MAX_BYTES = 4 * 1024 * 1024

_Stamp = tuple[int, int, int]
"""Inode, modification time in nanoseconds, size."""


class TrackedFiles:
    """Keeps a stamp of each file it read, so that a rotation is noticed without reading again."""

    def __init__(self) -> None:
        self._stamps: dict[str, _Stamp] = {}

    def read(self, path: str, role: str) -> bytes:
        """
        Return the content of a file; ``role`` names its purpose in errors.

        Raises :class:`BadCredentials` when it cannot be read or is empty.
        """
        try:
            with Path(path).open("rb") as file:
                # Stamp the open file: a rename after it was opened must count as a change.
                self._stamps[path] = _stamp(os.fstat(file.fileno()))
                content = file.read(_MAX_BYTES)
        except OSError as exc:
            raise BadCredentials(path, f"{exc.strerror or type(exc).__name__} ({role})") from exc
        if not content.strip():
            raise BadCredentials(path, f"file is empty ({role})")
        return content

    def changed(self) -> bool:
        """Whether any file was replaced or removed since it was read."""
        return any(_stamp_of(path) != stamp for path, stamp in self._stamps.items())


def _stamp_of(path: str) -> _Stamp | None:
    try:
        return _stamp(os.stat(path))  # noqa: PTH116 - follows links, as a projected volume has them
    except OSError:
        return None


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_ino, status.st_mtime_ns, status.st_size
