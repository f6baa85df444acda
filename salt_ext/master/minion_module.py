"""The version of the ``k8s_firewall`` module that minions get from the master's own files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salt_ext import formula
from salt_ext.core.config.apply import MODULE


def shipped_version() -> str:
    """Return the version that a synced minion reports; empty when it cannot be read."""
    return _version(formula.HERE)


def copies_in_file_roots(opts: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Return the folders with a copy of the module, each with its version, empty if unreadable."""
    roots = opts.get("file_roots") or {}
    folders = (Path(str(folder)) for listed in roots.values() for folder in listed or ())
    copies = {
        folder: _version(folder)
        for folder in folders
        if (folder / "_modules" / f"{MODULE}.py").is_file()
    }
    return list(copies.items())


def _version(folder: Path) -> str:
    try:
        return formula.version(folder)
    except (OSError, ValueError):
        return ""
