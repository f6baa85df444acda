"""The version of the execution module that minions get from the master's own files."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from salt_ext.core.publishing import MODULE

_WHERE = f"formula/_modules/{MODULE}.py"


def version() -> str:
    """Return ``VERSION`` of the module as it is shipped; it is not loaded, it is for minions."""
    with contextlib.suppress(OSError):
        return _declared(files("salt_ext").joinpath(_WHERE).read_text())
    return ""


def in_file_roots(opts: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Return the copies of the module that this master serves, and what version each is."""
    roots = opts.get("file_roots") or {}
    found: dict[Path, str] = {}
    for folders in roots.values():
        for folder in folders or ():
            path = Path(str(folder), "_modules", f"{MODULE}.py")
            with contextlib.suppress(OSError):
                found[path] = _declared(path.read_text())
    return list(found.items())


def _declared(text: str) -> str:
    with contextlib.suppress(SyntaxError, ValueError):
        for line in ast.parse(text).body:
            if isinstance(line, ast.Assign) and any(
                isinstance(name, ast.Name) and name.id == "VERSION" for name in line.targets
            ):
                return str(ast.literal_eval(line.value))
    return ""
