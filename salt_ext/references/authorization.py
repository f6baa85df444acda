"""Which clusters serve a minion: the option ``serve_to``, checked before anything is looked up."""

from __future__ import annotations

from collections.abc import Iterable

from salt_ext.core.config.config import Config
from salt_ext.core.references.resolution import Unresolved
from salt_ext.master.targets import Matches


def refusals(clusters: Iterable[str], config: Config, matches: Matches) -> dict[str, Unresolved]:
    """Return the clusters that do not serve a minion, each with the reason."""
    return {
        name: Unresolved(f"the cluster serves only {target!r} (serve_to)", refused=True)
        for name in dict.fromkeys(clusters)
        if (target := _serve_to(name, config)) is not None and not matches(target)
    }


def _serve_to(name: str, config: Config) -> str | None:
    # A mistake elsewhere in the cluster's configuration does not open it to every minion.
    cluster = config.clusters.get(name) or config.broken.get(name)
    return cluster.serve_to if cluster else None
