"""The version of the execution module that minions get from the master's own files."""

from __future__ import annotations

import ast
import contextlib
from importlib.resources import files

from salt_ext.core.publishing import MODULE

_WHERE = f"formula/_modules/{MODULE}.py"


def version() -> str:
    """Return ``VERSION`` of the module as it is shipped; it is not loaded, it is for minions."""
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        for line in ast.parse(files("salt_ext").joinpath(_WHERE).read_text()).body:
            if isinstance(line, ast.Assign) and any(
                isinstance(name, ast.Name) and name.id == "VERSION" for name in line.targets
            ):
                return str(ast.literal_eval(line.value))
    return ""
