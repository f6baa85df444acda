"""What a mistake may be about: one cluster, or, at a wrong level, any of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from salt_ext.core.cluster.address import Network
from salt_ext.core.config import places
from salt_ext.core.config.networks import readable
from salt_ext.core.config.options import NotAMapping, UnknownKey
from salt_ext.core.errors import ConfigError

_MAPPINGS = ("apply", "classes", "clusters", "groups", "guards", "metrics", "timing")
_OF_NODE_LISTS = ("to", "group", "labels")


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """What the mistakes of a whole block leave uncertain."""

    every_cluster: tuple[ConfigError, ...] = ()
    """Mistakes that may be about any cluster: none is followed."""
    meaning: bool = False
    """Whether a reference of any cluster may mean something else, or be for other minions."""
    publishing: tuple[ConfigError, ...] = ()
    """Mistakes that leave it uncertain what to publish, and to which minions."""


def judge(problems: Iterable[ConfigError], block: str, own: Collection[str]) -> Doubt:
    """
    Return what the mistakes may be about.

    ``block`` is the path of the block, ``own`` are the paths of the clusters that could be read,
    each with a colon at its end. A mistake within one of them is that cluster's own, unless a key
    is at a wrong level.
    """
    every_cluster, publishing = [], []
    meaning = False
    for problem in problems:
        top = problem.key.removeprefix(f"{block}:").split(":")[0]
        about = _about(problem)
        is_own = any(f"{problem.key}:".startswith(at) for at in own)
        stops_all = _is_at_wrong_level(problem) if is_own else _is_about_all(problem, top)
        if stops_all:
            every_cluster.append(problem)
            meaning = meaning or top == "state_dir" or places.MEANING in about
        if top == "apply" or (stops_all and places.PUBLISHING in about):
            publishing.append(problem)
    return Doubt(every_cluster=tuple(every_cluster), meaning=meaning, publishing=tuple(publishing))


def _about(problem: ConfigError) -> frozenset[str]:
    """Return what the keys are about that a mistake has at a wrong level, or misspelt."""
    if isinstance(problem, UnknownKey):
        return places.subjects([problem.name, *places.names_within(problem.written)])
    name = problem.key.rpartition(":")[2]
    names = [key for key in places.names_within(problem.value) if key not in _OF_NODE_LISTS]
    if isinstance(problem, NotAMapping) and name not in _MAPPINGS:
        # In place of a group, say: `groups: {ready: only}`.
        names.append(name)
    return places.subjects(names)


def _is_at_wrong_level(problem: ConfigError) -> bool:
    """
    Whether a mistake within one cluster has a key of another mapping.

    Another cluster may have lost it. A misspelt key of this mapping is this cluster's own, but for
    `denied_networks`: too much depends on it.
    """
    if problem.key.endswith(":never"):
        return True
    if isinstance(problem, UnknownKey) and (known := places.resembles(problem.name)):
        return known == "denied_networks" or known not in problem.here
    return bool(_about(problem))


def _is_about_all(problem: ConfigError, top: str) -> bool:
    """Whether a mistake outside of the clusters may be about all of them."""
    if isinstance(problem, UnknownKey):
        return True
    if isinstance(problem, NotAMapping):
        # An empty `apply:` has lost nothing.
        return problem.value is not None or top not in ("apply", "metrics")
    return top in ("denied_networks", "never", "state_dir", "clusters") or bool(_about(problem))


def denied_elsewhere(raw: object, clusters: Collection[str]) -> dict[str, tuple[Network, ...]]:
    """
    Return the networks under misspelt or misplaced keys for ``denied_networks``.

    By the name of the cluster that alone they are for, or under "" for every cluster.
    """
    found: dict[str, tuple[Network, ...]] = {}
    for path, value in places.denying(raw):
        own = len(path) == 3 and path[0] == "clusters" and path[1] in clusters
        if path[-1] == "denied_networks" and (own or len(path) == 1):
            continue
        if not _is_argument(path):
            name = path[1] if own else ""
            found[name] = (*found.get(name, ()), *readable(value))
    return found


def _is_argument(path: tuple[str, ...]) -> bool:
    """Whether a key is in the arguments of a function, which may have any name."""
    if path[0] != "apply":
        return False
    within = [index for index, name in enumerate(path) if name in ("arg", "kwarg")]
    return bool(within) and (within[0] < len(path) - 2 or path[-1] not in places.DISTINCTIVE)
