"""Compare how new two views are, by the revisions of the clusters that they were made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FILE = "revisions"
"""The revisions of the applied pillar, under this name in the state folder."""

Revisions = Mapping[str, Mapping[str, Any]]


def revisions_of(pillar: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what the master's part of a pillar says of how new it is, for each cluster."""
    block = pillar.get("k8s_nodes")
    clusters = block.get("clusters") if isinstance(block, Mapping) else None
    if not isinstance(clusters, Mapping):
        return {}
    return {
        str(name): {
            "revision": view["revision"],
            "observed_at": view["observed_at"],
            "store": view.get("store", ""),
            "stale": view.get("stale") is True,
        }
        for name, view in clusters.items()
        if isinstance(view, Mapping) and {"revision", "observed_at"} <= view.keys()
    }


def stale_reasons(new: Revisions, applied: Revisions) -> list[str]:
    """
    Return why a pillar is older than the applied one, a reason for each cluster; empty if not.

    A store that was made anew counts from 1 again, with a later time; a clock that was set back
    has a higher revision. An old pillar is behind in both. Several masters have a store each, whose
    revisions cannot be compared: there, only a master that knows its own view to be stale may not
    undo a later view.
    """
    common = ((name, new[name], applied[name]) for name in sorted(new) if name in applied)
    return [reason for name, view, known in common if (reason := _stale(name, view, known))]


def _stale(name: str, view: Mapping[str, Any], applied: Mapping[str, Any]) -> str:
    if view["observed_at"] >= applied["observed_at"]:
        return ""
    if view["store"] != applied.get("store"):
        return (
            f"cluster {name}: served by another master with a stale view" if view["stale"] else ""
        )
    if view["revision"] < applied["revision"]:
        return f"cluster {name}: served revision {view['revision']}, applied {applied['revision']}"
    return ""


def why_not_newer(new: Revisions, applied: Revisions) -> str:
    """Return why a delivery is not newer than the applied state; empty when it is."""
    for name, view in sorted(new.items()):
        known = applied.get(name)
        if known is None:
            return f"cluster {name}: no applied pillar has it"
        if view["store"] != known.get("store"):
            return f"cluster {name}: applied from the store of another master"
        if view["revision"] < known["revision"]:
            return (
                f"cluster {name}: delivered revision {view['revision']}, "
                f"applied {known['revision']}"
            )
        if view["observed_at"] < known["observed_at"]:
            return f"cluster {name}: delivered view was observed before the applied one"
    if all(view["revision"] == applied[name]["revision"] for name, view in new.items()):
        return "already applied"
    return ""


def numbers(revisions: Revisions) -> dict[str, Any]:
    """Return the revision numbers alone."""
    return {name: view["revision"] for name, view in sorted(revisions.items())}
