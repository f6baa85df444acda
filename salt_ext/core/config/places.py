"""Every key of the block with the place that it belongs to, also under its old name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice

DENIED = "denied"
"""Keys that keep addresses out."""
MEANING = "meaning"
"""Keys that say which addresses a reference means, for which minions; or which store has them."""
PUBLISHING = "publishing"
"""Keys that say what is published, and to which minions."""
OTHER = "other"

_PLACES: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("denied_networks", "never"), (DENIED, "directly below k8s_nodes or below a cluster")
    ),
    "state_dir": (MEANING, "directly below k8s_nodes"),
    **dict.fromkeys(("metrics", "clusters"), (OTHER, "directly below k8s_nodes")),
    "apply": (PUBLISHING, "directly below k8s_nodes"),
    **dict.fromkeys(("textfile", "port"), (OTHER, "below metrics")),
    **dict.fromkeys(
        (
            *("classes", "batch", "timeout", "canary", "abort_percent", "max_per_minute", "burst"),
            *("min_interval", "max_inline_addresses", "reapply_after"),
            *("per_minute", "pace", "deliver", "renew"),
        ),
        (PUBLISHING, "below apply"),
    ),
    **dict.fromkeys(
        ("states", "highstate", "function", "arg", "kwarg", "sync", "target"),
        (PUBLISHING, "below apply or one of its classes"),
    ),
    "mode": (MEANING, "below a cluster, below apply or below one of its classes"),
    **dict.fromkeys(
        (
            *("kubeconfig", "context", "server", "ca_file", "token_file", "token", "in_cluster"),
            *("insecure_skip_tls_verify", "exec_timeout", "page_size"),
            *("allowed_networks", "guards", "timing"),
        ),
        (OTHER, "below a cluster"),
    ),
    **dict.fromkeys(
        ("serve_to", "node_lists", "serve", "groups"),
        (MEANING, "below a cluster"),
    ),
    **dict.fromkeys(("addresses", "ready"), (MEANING, "below a cluster or one of its groups")),
    **dict.fromkeys(("labelSelector", "family"), (MEANING, "below one of a cluster's groups")),
    **dict.fromkeys(("to", "group", "labels"), (MEANING, "in an item of a cluster's node_lists")),
    **dict.fromkeys(
        ("debounce", "max_delay", "inactivity", "relist", "quiet", "longest"),
        (OTHER, "below a cluster's timing"),
    ),
    **dict.fromkeys(
        (
            *(
                "min_nodes",
                "shrink_percent",
                "shrink_nodes",
                "shrink_confirm_after",
                "growth_percent",
            ),
            *(
                "growth_nodes",
                "growth_window",
                "growth_addresses",
                "growth_addresses_per_day",
                "grace",
                "addresses_per_node",
                "min_prefix_ipv4",
            ),
            *("min_prefix_ipv6", "shrink_wait", "widest_ipv4", "widest_ipv6"),
        ),
        (OTHER, "below a cluster's guards"),
    ),
}


DISTINCTIVE = frozenset(
    name for name, (about, _) in _PLACES.items() if "_" in name and about != PUBLISHING
)
"""Names that an argument of a function would hardly have."""

_DENYING = ("denied_networks", "denied_network", "denied", "deny", "deny_networks", "never")
_SPELLINGS = {**{name: name for name in _PLACES}, **dict.fromkeys(_DENYING, "denied_networks")}
_MAX_NAME = 60
_MAX_NAMES = 1000
_MAX_DEPTH = 12
_MAX_VISITED = 20_000

_CHOSEN_NAMES = ("clusters", "groups", "classes")
"""Mappings whose keys are names that people choose."""


@lru_cache(maxsize=1024)
def resembles(name: str) -> str:
    """Return the key that a name is, or is a misspelling of; empty when it resembles none."""
    plain = name[:_MAX_NAME].strip().lower().replace("-", "_").replace(" ", "_")
    by_plain = {spelling.lower(): known for spelling, known in _SPELLINGS.items()}
    close = difflib.get_close_matches(plain, by_plain, n=1, cutoff=0.75)
    return by_plain[close[0]] if close else ""


def belongs_below_block(name: str) -> bool:
    """Whether a key of the master's configuration itself was meant for the block."""
    return name in DISTINCTIVE or resembles(name) == "denied_networks"


def hint(name: str) -> str:
    """Return where a key belongs that is at a wrong level, as an addition to a message."""
    known = resembles(name)
    return f" ({known} belongs {_PLACES[known][1]})" if known else ""


def subjects(names: Iterable[str]) -> frozenset[str]:
    """Return what keys may be about, by their names."""
    known = {key for key in map(resembles, names) if key}
    # An `observe` that is lost would publish, of a cluster or to a class.
    of_mode = {PUBLISHING} if "mode" in known else set()
    return frozenset({_PLACES[key][0] for key in known} | of_mode)


def names_within(value: object) -> Iterator[str]:
    """Yield the keys of all mappings in a value, also in lists; the first thousand of them."""
    stack, left = [value], _MAX_NAMES
    visited: set[int] = set()
    while stack:
        item = stack.pop()
        if not isinstance(item, (Mapping, list, tuple)) or id(item) in visited:
            continue
        visited.add(id(item))
        if isinstance(item, Mapping):
            for key in item:
                left -= 1
                if left < 0:
                    return
                yield str(key)
            stack.extend(item.values())
        else:
            stack.extend(item)


def denying(value: object) -> Iterator[tuple[tuple[str, ...], object]]:
    """
    Yield the values of keys that deny networks, with their paths, however they are misspelt.

    In mappings and lists, as deep and as many as a configuration can sensibly have.
    """
    # No recursion, and a limit: YAML can nest aliases without end.
    stack: list[tuple[tuple[str, ...], object]] = [((), value)]
    left = _MAX_VISITED
    while stack and left > 0:
        path, item = stack.pop()
        left -= 1
        if len(path) > _MAX_DEPTH:
            continue
        if isinstance(item, (list, tuple)):
            stack.extend(((*path, "-"), below) for below in item[:left])
        elif isinstance(item, Mapping):
            for key, below in islice(item.items(), left):
                name = str(key)
                # A cluster may be named `never`.
                is_chosen = path[-1:] and path[-1] in _CHOSEN_NAMES and isinstance(below, Mapping)
                if resembles(name) == "denied_networks" and not is_chosen:
                    yield (*path, name), below
                elif isinstance(below, (Mapping, list, tuple)):
                    stack.append(((*path, name), below))
