"""How new a pillar is, by the revisions of the clusters that it was served from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAME = "served_by"
"""The revisions that are in force, under this name in the record."""

Revisions = Mapping[str, Mapping[str, Any]]


def of(pillar: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what the master's pillar tells of how new it is, for each cluster."""
    told = pillar.get("k8s_nodes")
    clusters = told.get("clusters") if isinstance(told, Mapping) else None
    if not isinstance(clusters, Mapping):
        return {}
    return {
        str(name): {
            "revision": one["revision"],
            "observed_at": one["observed_at"],
            "store": one.get("store", ""),
            "stale": one.get("stale") is True,
        }
        for name, one in clusters.items()
        if isinstance(one, Mapping) and {"revision", "observed_at"} <= one.keys()
    }


def older(now: Revisions, before: Revisions) -> list[str]:
    """
    Return the clusters that are served from an older state than the one that is in force.

    A store that was made anew counts from 1 again, with a later time; a clock that was set back
    has a higher revision. An old pillar is behind in both. Several masters have a store each, whose
    revisions say nothing of each other: there, only who knows that its own view is stale does not
    undo what a later one has brought.
    """
    told = ((name, one, before[name]) for name, one in sorted(now.items()) if name in before)
    return [why for name, one, known in told if (why := _older(name, one, known))]


def _older(name: str, one: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    if one["observed_at"] >= known["observed_at"]:
        return ""
    if one["store"] != known.get("store"):
        return f"{name} is served by another master, whose view is stale" if one["stale"] else ""
    if one["revision"] < known["revision"]:
        return (
            f"{name} is served at revision {one['revision']}, and {known['revision']} is in force"
        )
    return ""


def not_newer(now: Revisions, before: Revisions) -> str:
    """Say why what is delivered is not newer than what is in force; empty when it is."""
    for name, one in sorted(now.items()):
        known = before.get(name)
        if known is None:
            return f"{name} is not in force by any pillar"
        if one["store"] != known.get("store"):
            return f"{name} is in force by another store of a master"
        if one["revision"] < known["revision"] or one["observed_at"] < known["observed_at"]:
            return (
                f"{name} is delivered at revision {one['revision']}, "
                f"and {known['revision']} is in force"
            )
    if all(one["revision"] == before[name]["revision"] for name, one in now.items()):
        return "it is what is in force"
    return ""


def numbers(these: Revisions) -> dict[str, Any]:
    """Return the revisions alone."""
    return {name: one["revision"] for name, one in sorted(these.items())}
