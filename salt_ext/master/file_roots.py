"""The texts of SLS files in the master's own folders."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def sls_text(opts: Mapping[str, Any], name: str) -> str | None:
    """Return the text of an SLS of the ``base`` environment; None where no folder has it."""
    relative = name.strip().replace(".", "/")
    for root in (opts.get("file_roots") or {}).get("base") or ():
        for path in (Path(str(root), f"{relative}.sls"), Path(str(root), relative, "init.sls")):
            with contextlib.suppress(OSError):
                return path.read_text(errors="replace")
    return None
