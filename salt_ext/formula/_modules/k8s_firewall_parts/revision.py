"""How new a pillar is, by the revisions of the clusters that it was served from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Revisions = Mapping[str, Mapping[str, Any]]


def of(pillar: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each cluster's revision and when it was observed, as the master's pillar tells."""
    told = pillar.get("k8s_nodes")
    clusters = told.get("clusters") if isinstance(told, Mapping) else None
    if not isinstance(clusters, Mapping):
        return {}
    return {
        str(name): {"revision": one["revision"], "observed_at": one["observed_at"]}
        for name, one in clusters.items()
        if isinstance(one, Mapping) and {"revision", "observed_at"} <= one.keys()
    }


def older(now: Revisions, before: Revisions) -> list[str]:
    """
    Return the clusters that are served from an older state than the one that is in force.

    A store that was made anew counts from 1 again, with a later time; a clock that was set back
    has a higher revision. An old pillar is behind in both.
    """
    return [
        f"{name} is served at revision {one['revision']}, "
        f"and {before[name]['revision']} is in force"
        for name, one in sorted(now.items())
        if name in before
        and one["revision"] < before[name]["revision"]
        and one["observed_at"] < before[name]["observed_at"]
    ]


def numbers(these: Revisions) -> dict[str, Any]:
    """Return the revisions alone."""
    return {name: one["revision"] for name, one in sorted(these.items())}
