"""The version of the execution module that minions get from the master's own files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salt_ext import formula
from salt_ext.core.publishing import MODULE


def version() -> str:
    """Return what a minion says that has been brought up to date; empty when nobody can be."""
    return _of(formula.path())


def in_file_roots(opts: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Return the copies of the module that this master serves, and what version each is."""
    roots = opts.get("file_roots") or {}
    found: dict[Path, str] = {}
    for folders in roots.values():
        for folder in folders or ():
            path = Path(str(folder), "_modules", f"{MODULE}.py")
            if path.is_file():
                found[path] = _of(Path(str(folder)))
    return list(found.items())


def _of(folder: Path) -> str:
    try:
        return formula.version(folder)
    except (OSError, ValueError):
        return ""
