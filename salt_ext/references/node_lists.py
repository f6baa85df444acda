"""Lists of nodes that the configuration gives to a minion, whatever its pillar refers to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from salt_ext.core.config.config import Config
from salt_ext.core.references import node_lists
from salt_ext.core.references.node_lists import ListedNode, NodeListRule
from salt_ext.core.references.resolution import SnapshotStamp, Unresolved
from salt_ext.master.targets import Matches


@dataclass(frozen=True, slots=True)
class NodeListRequest:
    """One list that a minion should get."""

    cluster: str
    rule: NodeListRule


@dataclass(frozen=True, slots=True)
class NodeList:
    """One list as a minion gets it."""

    cluster: str
    nodes: tuple[ListedNode, ...]
    stamp: SnapshotStamp


NodeLists = Mapping[str, NodeList | Unresolved]
"""By the text under which the list is recorded among the minion's references."""


def requested(config: Config, matches: Matches) -> dict[str, NodeListRequest]:
    """Return the lists of one minion, by text; ``matches`` says which targets mean it."""
    return {
        rule.text(name): NodeListRequest(name, rule)
        for name, cluster in config.with_node_lists.items()
        for rule in cluster.node_lists
        if matches(rule.to)
    }


def unreadable(config: Config) -> frozenset[str]:
    """Return the clusters of which the configuration cannot say who gets their lists."""
    return frozenset(name for name, cluster in config.broken.items() if cluster is None)


def retained(recorded: Iterable[str], clusters: frozenset[str]) -> dict[str, NodeListRequest]:
    """
    Return the recorded lists of these clusters, by text.

    A mistake in the configuration must not look like a list that was taken away.
    """
    requests = {
        text: NodeListRequest(*node_lists.parse(text))
        for text in recorded
        if text.startswith(node_lists.SCHEME)
    }
    return {text: request for text, request in requests.items() if request.cluster in clusters}


def nodes_by_cluster(lists: NodeLists) -> dict[str, dict[str, dict[str, object]]]:
    """Return the nodes as the pillar shows them: by cluster, then by name."""
    found: dict[str, list[tuple[ListedNode, ...]]] = {}
    for listed in lists.values():
        if not isinstance(listed, Unresolved):
            found.setdefault(listed.cluster, []).append(listed.nodes)
    return {name: node_lists.as_pillar(several) for name, several in found.items()}
