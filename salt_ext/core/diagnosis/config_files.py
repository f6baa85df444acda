"""
The files that a master's configuration comes from.

Salt merges the files of master.d with each other, lists too, though not a list and a mapping. But
a key of the main file is replaced as a whole by that key of any of them, a list as well as a
mapping, without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from salt_ext.core.config.config import KEY
from salt_ext.core.diagnosis.finding import Finding, error, warning
from salt_ext.core.errors import without_password

LISTS = ("ext_pillar", "engines", "reactor", "file_roots", "fileserver_backend", KEY)
"""Keys that others write too, or that people split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """One file."""

    path: str
    layer: int
    """The main file, what ``default_include`` names, what ``include`` names: the last wins."""
    values: Mapping[str, Any]
    broken: bool = False
    """Salt cannot read it, and goes on without it."""


def files_with(files: Sequence[ConfigFile], key: str) -> list[ConfigFile]:
    """Return the files that have a key, those that count last."""
    return [file for file in files if key in file.values]


def effective(files: Sequence[ConfigFile], key: str) -> list[ConfigFile]:
    """Return the files whose values of a key count; Salt adds them to each other."""
    found = files_with(files, key)
    last = max((file.layer for file in found), default=0)
    counting: list[ConfigFile] = []
    for file in (file for file in found if file.layer == last):
        if counting and not alike(counting[-1].values[key], file.values[key]):
            counting = []
        counting.append(file)
    return counting


def alike(first: object, second: object) -> bool:
    """Whether Salt adds two values to each other; else the second replaces the first."""
    return all(isinstance(first, kind) == isinstance(second, kind) for kind in (Mapping, list))


def added(first: Any, second: Any) -> Any:
    """Return what Salt makes of two values of a key in files of one folder."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return {**first, **{key: added(first.get(key), value) for key, value in second.items()}}
    if isinstance(first, list) and isinstance(second, list):
        return [*first, *(item for item in second if item not in first)]
    return second


def findings(files: Sequence[ConfigFile]) -> Iterator[Finding]:
    """Yield files that cannot be read, and keys that stand where another file replaces them."""
    for file in files:
        if file.broken:
            yield error(
                file.path, "Salt cannot read this file, and goes on without it", "correct its YAML"
            )
    for key in LISTS:
        counting = effective(files, key)
        if not counting:
            continue
        kept = [item for file in counting for item in _items(file.values[key])]
        for file in files_with(files, key):
            if file in counting or not file.values[key]:
                continue
            lost = [item for item in _items(file.values[key]) if item not in kept]
            winner = ", ".join(one.path for one in counting)
            yield (error if lost else warning)(
                key,
                f"stands in {file.path} and in {winner}, which replaces it as a whole"
                + (f": {', '.join(lost)} is lost" if lost else ""),
                f"put all of it into {counting[-1].path}, and take it out of {file.path}",
            )


def _items(value: object) -> list[str]:
    """Return the parts of a value by their names, which hold no secret."""
    if isinstance(value, Mapping):
        # An environment of file_roots has folders, a block has keys.
        return [
            f"{name}: {without_password(item)}" if isinstance(item, str) else str(name)
            for name, below in value.items()
            for item in (below if isinstance(below, list) else [None])
        ]
    if not isinstance(value, list):
        return [without_password(str(value))]
    return [
        without_password(name)
        for item in value
        for name in (map(str, item) if isinstance(item, Mapping) else [str(item)])
    ]
