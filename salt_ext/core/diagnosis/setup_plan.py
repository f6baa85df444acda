"""
What ``setup`` adds to which file of a master's configuration, merged with the present content.

A list is kept whole, in one layer: entries in an ineffective file move to the effective one. So do
entries in files of one folder that Salt would merge in a wrong order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import Any

from salt_ext.core.config.config import KEY
from salt_ext.core.diagnosis.config_files import ConfigFile, effective, files_with, merge, mergeable
from salt_ext.core.diagnosis.wiring import engine_is_listed, reactor_files

_EVENTS = ("changed", "lagging")


@dataclass(slots=True)
class Plan:
    """The changes to the files, by path."""

    put: dict[str, dict[str, object]] = field(default_factory=dict)
    """Keys with their whole new values."""
    take_out: dict[str, list[str]] = field(default_factory=dict)
    """Keys to remove, because another file replaces them."""
    right: list[str] = field(default_factory=list)
    """Keys that need no change, in any file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredOptions:
    """What this extension needs in a master's configuration."""

    sls: str
    """Path of the SLS that the reactor renders."""
    formula: str
    """Path of the folder with the minions' modules."""
    clusters: Mapping[str, object]
    """Clusters to add to the ``k8s_nodes`` block."""
    first: Mapping[str, object]
    """Other keys of the block, added only with its first cluster."""
    engine: bool = True
    """False on a master of masters."""


def plan(
    files: Sequence[ConfigFile],
    opts: Mapping[str, Any],
    new_file: str,
    required: RequiredOptions,
    reactor_lists: Mapping[str, list[Any]],
) -> Plan:
    """
    Return the changes to the files.

    ``opts`` are the master's, with Salt's defaults. ``new_file`` is the path for keys that no file
    has. ``reactor_lists`` has the content of files that ``reactor`` names in place of a list.
    """
    files = [_with_reactor_list(file, reactor_lists) for file in files]
    changes = Plan()
    complete: dict[str, Callable[[Any], Any]] = {KEY: partial(_block, required)}
    if required.engine:
        complete |= {
            "engines": _engines,
            "ext_pillar": _ext_pillar,
            "reactor": partial(_reactor, required),
        }
    complete |= {
        "file_roots": partial(_file_roots, required, opts.get("file_roots") or {}),
        "fileserver_backend": partial(_backend, opts.get("fileserver_backend") or []),
        "ext_pillar_first": _disable,
        "pillar_cache": _disable,
    }
    for key, function in complete.items():
        _plan_key(changes, files, key, function, new_file)
    return changes


def _plan_key(
    changes: Plan,
    files: Sequence[ConfigFile],
    key: str,
    complete: Callable[[object], object],
    new_file: str,
) -> None:
    """Add the changes for one key; ``complete`` returns its present value with what it lacks."""
    winners = effective(files, key)
    others = [file for file in files_with(files, key) if file not in winners and file.values[key]]
    combined = reduce(_combine, (file.values[key] for file in (*others, *winners)), None)
    desired = complete(combined)
    present = reduce(merge, (file.values[key] for file in winners), None)
    if desired is None or (desired == combined == present and not others):
        if winners:
            changes.right.append(key)
        return
    path = winners[-1].path if winners else new_file
    if len(winners) > 1:
        # Salt merges these files; the last one gets what is missing.
        earlier = [file.values[key] for file in winners[:-1]]
        rest = _without(desired, earlier)
        if mergeable(earlier[-1], desired) and reduce(merge, [*earlier, rest]) == desired:
            desired = rest
        else:
            others += winners[:-1]
    changes.put.setdefault(path, {})[key] = desired
    for file in others:
        changes.take_out.setdefault(file.path, []).append(key)


def _with_reactor_list(file: ConfigFile, reactor_lists: Mapping[str, list[object]]) -> ConfigFile:
    path = file.values.get("reactor")
    if not isinstance(path, str):
        return file
    return replace(file, values={**file.values, "reactor": reactor_lists[path]})


def _combine(first: object, second: object) -> object:
    """Return the items of both values, also where Salt would keep only one of them."""
    if first is None or second is None:
        return first if second is None else second
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return {**first, **{key: _combine(first.get(key), value) for key, value in second.items()}}
    if mergeable(first, second):
        return merge(first, second)
    return merge(_as_list(first), _as_list(second))


def _without(value: object, others: Sequence[object]) -> object:
    if isinstance(value, list):
        elsewhere = [item for other in others if isinstance(other, list) for item in other]
        return [item for item in value if item not in elsewhere]
    return value


def _as_list(value: object) -> list[object]:
    if isinstance(value, Mapping):
        return [{name: options} for name, options in value.items()]
    if isinstance(value, list):
        return list(value)
    return [value] if value else []


def _block(required: RequiredOptions, present: object) -> object:
    block = dict(present) if isinstance(present, Mapping) else {}
    clusters = {**required.clusters, **(block.get("clusters") or {})}
    # With a cluster configured, what to publish is the operator's decision already.
    first = {} if block.get("clusters") else required.first
    return {**first, **block, "clusters": clusters} if clusters else present


def _engines(present: object) -> object:
    if engine_is_listed({"engines": present}):
        return present
    return [*_as_list(present), {KEY: {}}]


def _ext_pillar(present: object) -> list[object]:
    others: list[object] = []
    own: list[object] = []
    for entry in _as_list(present):
        if isinstance(entry, Mapping) and KEY in entry:
            own.append({KEY: entry[KEY]})
            entry = {name: options for name, options in entry.items() if name != KEY}
        if entry:
            others.append(entry)
    # Last, so that references that the others add are replaced too.
    return [*others, *(own or [{KEY: {}}])]


def _reactor(required: RequiredOptions, present: object) -> list[object]:
    entries = _as_list(present)
    tags = [f"salt/{KEY}/*/{event}" for event in _EVENTS]
    missing = [
        {tag: [required.sls]}
        for tag in tags
        if required.sls not in reactor_files({"reactor": entries}, tag)
    ]
    return [*entries, *missing]


def _file_roots(
    required: RequiredOptions, default: Mapping[str, object], present: object
) -> dict[str, Any]:
    roots = dict(present if isinstance(present, Mapping) else default)
    base = list(roots.get("base") or [])
    if required.formula not in (path for paths in roots.values() for path in paths or ()):
        roots["base"] = [*base, required.formula]
    return roots


def _backend(default: Sequence[object], present: object) -> object:
    entries = _as_list(present) if present is not None else list(default)
    if "roots" in entries:
        return present
    return [*entries, "roots"]


def _disable(present: object) -> object:
    return False if present else present
