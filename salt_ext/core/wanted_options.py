"""
What has to be written into which file of a master's configuration, beside what is there.

A list stays whole and in one layer: what another layer holds of it moves to where it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import partial
from typing import Any

from salt_ext.core.config import KEY
from salt_ext.core.layers import Written, in_force, places
from salt_ext.core.wiring import engine_is_listed, reactions

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
    """What else stands in it where there is none yet."""
    engine: bool = True
    """No on a master of masters."""


def plan(files: Sequence[Written], opts: Mapping[str, Any], new_file: str, ours: Ours) -> Plan:
    """Return what to write; ``opts`` has Salt's own defaults for what nobody wrote."""
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
    made: Plan, files: Sequence[Written], key: str, wish: Callable[[Any], Any], new_file: str
) -> None:
    counting = in_force(files, key)
    others = [file for file in places(files, key) if file not in counting]
    whole: Any = None
    for file in (*others, *counting):
        whole = _joined(whole, file.values[key])
    wanted = wish(whole)
    if wanted is None or (wanted == whole and not others):
        if counting:
            made.right.append(key)
        return
    home = counting[-1] if counting else None
    path = home.path if home else new_file
    if len(counting) > 1 and home is not None:
        # Salt adds these files to each other; the last one gets what is missing.
        wanted = _without(wanted, [file.values[key] for file in counting[:-1]])
    made.put.setdefault(path, {})[key] = wanted
    for file in others:
        made.take_out.setdefault(file.path, []).append(key)


def _joined(first: Any, second: Any) -> Any:
    """Return both, as Salt adds two files of one folder."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return {**first, **{key: _joined(first.get(key), value) for key, value in second.items()}}
    if isinstance(first, list) and isinstance(second, list):
        return [*first, *(item for item in second if item not in first)]
    return second if second is not None else first


def _without(whole: Any, others: Sequence[Any]) -> Any:
    if isinstance(whole, list):
        had = [item for other in others if isinstance(other, list) for item in other]
        return [item for item in whole if item not in had]
    return whole


def _list(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [{name: given} for name, given in value.items()]
    return list(value or [])


def _block(ours: Ours, there: Any) -> Any:
    block = dict(there) if isinstance(there, Mapping) else {}
    clusters = {**ours.clusters, **(block.get("clusters") or {})}
    return {**(block or ours.first), "clusters": clusters} if clusters else there


def _engines(there: Any) -> Any:
    if engine_is_listed({"engines": there}):
        return there
    return [*_list(there), {KEY: {}}]


def _ext_pillar(there: Any) -> Any:
    listed = _list(there)
    ours = [one for one in listed if isinstance(one, Mapping) and KEY in one] or [{KEY: {}}]
    # Last, so that references in what the others add are replaced too.
    return [*(one for one in listed if one not in ours), *ours]


def _reactor(ours: Ours, there: Any) -> Any:
    listed = _list(there)
    tags = {kind: f"salt/{KEY}/*/{kind}" for kind in _KINDS}
    missing = [
        {tag: [ours.sls]}
        for tag in tags.values()
        if not any(
            fnmatch(tag, str(pattern)) and ours.sls in reactions({"reactor": [entry]}, tag)
            for entry in listed
            if isinstance(entry, Mapping)
            for pattern in entry
        )
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
