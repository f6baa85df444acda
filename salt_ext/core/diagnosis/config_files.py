"""
The files of a master's configuration: which of them has the effective value of a key.

Salt merges the files of master.d with each other, including lists, but not a list with a mapping.
A key of the main file, however, is replaced as a whole by the same key in any included file, and
Salt does not log it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from salt_ext.core.config import places
from salt_ext.core.config.config import KEY
from salt_ext.core.diagnosis.finding import Finding, error, warning
from salt_ext.core.display import without_password

LISTS = ("ext_pillar", "engines", "reactor", "file_roots", "fileserver_backend", KEY)
"""Keys that other software writes too, or that operators split over files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """One file of the master's configuration."""

    path: str
    layer: int
    """0 the main file, then ``default_include``, then ``include``: the last layer wins."""
    values: Mapping[str, object]
    broken: bool = False
    """Salt cannot parse it and ignores it."""


def files_with(files: Sequence[ConfigFile], key: str) -> list[ConfigFile]:
    """Return the files that have a key, in Salt's order: the effective ones last."""
    return [file for file in files if key in file.values]


def effective(files: Sequence[ConfigFile], key: str) -> list[ConfigFile]:
    """Return the files whose values of a key are effective; Salt merges them."""
    candidates = files_with(files, key)
    last_layer = max((file.layer for file in candidates), default=0)
    merged: list[ConfigFile] = []
    for file in (file for file in candidates if file.layer == last_layer):
        if merged and not mergeable(merged[-1].values[key], file.values[key]):
            merged = []
        merged.append(file)
    return merged


def mergeable(first: object, second: object) -> bool:
    """Whether Salt merges two values; else the second replaces the first."""
    return all(isinstance(first, kind) == isinstance(second, kind) for kind in (Mapping, list))


def merge(first: object, second: object) -> object:
    """Return Salt's merge of two values of a key in files of one folder."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return {**first, **{key: merge(first.get(key), value) for key, value in second.items()}}
    if isinstance(first, list) and isinstance(second, list):
        return [*first, *(item for item in second if item not in first)]
    return second


def findings(files: Sequence[ConfigFile]) -> Iterator[Finding]:
    """Yield unreadable files, and keys whose value another file replaces."""
    for file in files:
        if file.broken:
            yield error(file.path, "Salt cannot parse this file and ignores it", "correct its YAML")
        for key in file.values:
            if places.belongs_below_block(str(key)):
                yield warning(
                    file.path,
                    f"has {key} beside {KEY}, where nothing reads it",
                    f"move it below {KEY}{places.hint(str(key))}",
                )
    for key in LISTS:
        winners = effective(files, key)
        if not winners:
            continue
        kept = [item for file in winners for item in _item_names(file.values[key])]
        for file in files_with(files, key):
            if file in winners or not file.values[key]:
                continue
            lost = [item for item in _item_names(file.values[key]) if item not in kept]
            winner_paths = ", ".join(winner.path for winner in winners)
            yield (error if lost else warning)(
                key,
                f"is set in {file.path} and in {winner_paths}, which replaces it as a whole"
                + (f": {', '.join(lost)} is lost" if lost else ""),
                f"move all of it to {winners[-1].path} and remove it from {file.path}",
            )


def _item_names(value: object) -> list[str]:
    """Return the items of a value by name, without possible secrets."""
    if isinstance(value, Mapping):
        # An environment of file_roots has folders, other mappings have keys.
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
