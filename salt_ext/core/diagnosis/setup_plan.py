"""
What has to be written into which file of a master's configuration, beside what is there.

A list stays whole and in one layer: what another layer holds of it moves to where it counts. So
does what stands in files of one folder that Salt would add to each other in a wrong order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import Any

from salt_ext.core.config.config import KEY
from salt_ext.core.diagnosis.config_files import ConfigFile, added, alike, effective, files_with
from salt_ext.core.diagnosis.wiring import engine_is_listed, reactions

_KINDS = ("changed", "lagging")


@dataclass(slots=True)
class Plan:
    """What to do with the files; by path, then by key."""

    put: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Keys that have to be what is told, as a whole."""
    take_out: dict[str, list[str]] = field(default_factory=dict)
    """Keys that another file replaces, and that are in the plan there."""
    right: list[str] = field(default_factory=list)
    """Keys that stay as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """What belongs into a master's configuration for us."""

    sls: str
    """The file that our reactions render."""
    formula: str
    """The folder that holds the minions' modules."""
    clusters: Mapping[str, Any]
    """Those to add to our own block."""
    first: Mapping[str, Any]
    """What else stands in it where there is no cluster yet."""
    engine: bool = True
    """No on a master of masters."""


def plan(
    files: Sequence[ConfigFile],
    opts: Mapping[str, Any],
    new_file: str,
    ours: Ours,
    maps: Mapping[str, list[Any]],
) -> Plan:
    """
    Return what to write; ``opts`` has Salt's own defaults for what nobody wrote.

    ``maps`` has the lists in files that ``reactor`` names in place of a list.
    """
    files = [_with_list(file, maps) for file in files]
    made = Plan()
    wishes: dict[str, Callable[[Any], Any]] = {KEY: partial(_block, ours)}
    if ours.engine:
        wishes |= {
            "engines": _engines,
            "ext_pillar": _ext_pillar,
            "reactor": partial(_reactor, ours),
        }
    wishes |= {
        "file_roots": partial(_file_roots, ours, opts.get("file_roots") or {}),
        "fileserver_backend": partial(_backend, opts.get("fileserver_backend") or []),
        "ext_pillar_first": _no,
        "pillar_cache": _no,
    }
    for key, wish in wishes.items():
        _settle(made, files, key, wish, new_file)
    return made


def _settle(
    made: Plan, files: Sequence[ConfigFile], key: str, wish: Callable[[Any], Any], new_file: str
) -> None:
    counting = effective(files, key)
    others = [file for file in files_with(files, key) if file not in counting and file.values[key]]
    whole = reduce(_joined, (file.values[key] for file in (*others, *counting)), None)
    wanted = wish(whole)
    there = reduce(added, (file.values[key] for file in counting), None)
    if wanted is None or (wanted == whole == there and not others):
        if counting:
            made.right.append(key)
        return
    path = counting[-1].path if counting else new_file
    if len(counting) > 1:
        # Salt adds these files to each other; the last one gets what is missing.
        before = [file.values[key] for file in counting[:-1]]
        rest = _without(wanted, before)
        if alike(before[-1], wanted) and reduce(added, [*before, rest]) == wanted:
            wanted = rest
        else:
            others += counting[:-1]
    made.put.setdefault(path, {})[key] = wanted
    for file in others:
        made.take_out.setdefault(file.path, []).append(key)


def _with_list(file: ConfigFile, maps: Mapping[str, list[Any]]) -> ConfigFile:
    named = file.values.get("reactor")
    if not isinstance(named, str):
        return file
    return replace(file, values={**file.values, "reactor": maps[named]})


def _joined(first: Any, second: Any) -> Any:
    """Return both, so that nothing is lost."""
    if first is None or second is None:
        return first if second is None else second
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return {**first, **{key: _joined(first.get(key), value) for key, value in second.items()}}
    if alike(first, second):
        return added(first, second)
    return added(_list(first), _list(second))


def _without(whole: Any, others: Sequence[Any]) -> Any:
    if isinstance(whole, list):
        had = [item for other in others if isinstance(other, list) for item in other]
        return [item for item in whole if item not in had]
    return whole


def _list(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [{name: given} for name, given in value.items()]
    return list(value or []) if isinstance(value, list) or not value else [value]


def _block(ours: Ours, there: Any) -> Any:
    block = dict(there) if isinstance(there, Mapping) else {}
    clusters = {**ours.clusters, **(block.get("clusters") or {})}
    # Where there is a cluster, what is published is not ours to change.
    first = {} if block.get("clusters") else ours.first
    return {**first, **block, "clusters": clusters} if clusters else there


def _engines(there: Any) -> Any:
    if engine_is_listed({"engines": there}):
        return there
    return [*_list(there), {KEY: {}}]


def _ext_pillar(there: Any) -> Any:
    others: list[Any] = []
    ours: list[Any] = []
    for one in _list(there):
        if isinstance(one, Mapping) and KEY in one:
            ours.append({KEY: one[KEY]})
            one = {name: given for name, given in one.items() if name != KEY}
        if one:
            others.append(one)
    # Last, so that references in what the others add are replaced too.
    return [*others, *(ours or [{KEY: {}}])]


def _reactor(ours: Ours, there: Any) -> Any:
    listed = _list(there)
    tags = {kind: f"salt/{KEY}/*/{kind}" for kind in _KINDS}
    missing = [
        {tag: [ours.sls]}
        for tag in tags.values()
        if ours.sls not in reactions({"reactor": listed}, tag)
    ]
    return [*listed, *missing]


def _file_roots(ours: Ours, default: Mapping[str, Any], there: Any) -> Any:
    roots = dict(there if isinstance(there, Mapping) else default)
    base = list(roots.get("base") or [])
    if ours.formula not in (folder for folders in roots.values() for folder in folders or ()):
        roots["base"] = [*base, ours.formula]
    return roots


def _backend(default: Sequence[Any], there: Any) -> Any:
    listed = _list(there) if there is not None else list(default)
    if "roots" in listed:
        return there
    return [*listed, "roots"]


def _no(there: Any) -> Any:
    return False if there else there
