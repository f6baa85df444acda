"""The version of the execution module that minions get from the master's own files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salt_ext import formula
from salt_ext.core.config.apply import MODULE


def version() -> str:
    """Return what a minion says that has been brought up to date; empty when nobody can be."""
    try:
        return formula.version()
    except (OSError, ValueError):
        return ""


def in_file_roots(opts: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Return the folders that have the module, and what a minion says that has it from there."""
    roots = opts.get("file_roots") or {}
    found: dict[Path, str] = {}
    for folder in (Path(str(one)) for folders in roots.values() for one in folders or ()):
        if (folder / "_modules" / f"{MODULE}.py").is_file():
            try:
                found[folder] = formula.version(folder)
            except (OSError, ValueError):
                found[folder] = ""
    return list(found.items())
