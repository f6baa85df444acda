"""Where a Unix socket of a back end is, given the kernel's limit of 107 characters for its path."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path


def socket_path(folder: Path, name: str) -> Path:
    """A socket in the folder; if its path is too long, one in the temporary folder."""
    path = folder.absolute() / name
    if len(str(path)) < 100:
        return path
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"lab-{digest}-{name}"
