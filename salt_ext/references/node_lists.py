"""The lists of nodes that the configuration hands to one minion, whatever its pillar refers to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from salt_ext.core.config.config import Config
from salt_ext.core.references import node_lists
from salt_ext.core.references.expand import Unresolved
from salt_ext.core.references.node_lists import ListedNode
from salt_ext.core.references.resolve import digest
from salt_ext.master.targets import Matches
from salt_ext.store.subscriptions import Answer, Seen

NOT_SERVED = "the cluster serves only {!r} (serve_to)"

Lists = Mapping[str, tuple[ListedNode, ...] | Unresolved]
"""By the text that stands for each where references are recorded."""


def lists_for(
    config: Config,
    matches: Matches,
    nodes: Callable[[str], tuple[ListedNode, ...] | Unresolved],
    known: Callable[[], Iterable[str]],
    prepare: Callable[[str], None] | None,
) -> Lists:
    """
    Return the lists for the minion that ``matches`` speaks of, or why it does not get one.

    ``nodes`` resolves the text of a list. ``known`` returns what is recorded of this minion: asked
    only while it cannot be read who is to get a list, so that one which was handed out is not
    taken for withdrawn.
    """
    found: dict[str, tuple[ListedNode, ...] | Unresolved] = {}
    for name, cluster in config.with_node_lists.items():
        for entry in cluster.node_lists:
            if not matches(entry.to):
                continue
            text = entry.text(name)
            if cluster.serve_to is not None and not matches(cluster.serve_to):
                found[text] = Unresolved(NOT_SERVED.format(cluster.serve_to))
                continue
            if prepare is not None:
                prepare(name)
            found[text] = nodes(text)
    if unreadable := {name for name, cluster in config.broken.items() if cluster is None}:
        for text in known():
            if text.startswith(node_lists.SCHEME) and cluster_of(text) in unreadable:
                found[text] = nodes(text)
    return found


def cluster_of(text: str) -> str:
    """Return the cluster that a list is of."""
    return node_lists.parse(text)[0]


def nodes_by_cluster(lists: Lists) -> dict[str, dict[str, dict[str, object]]]:
    """Return the nodes as they stand in a pillar."""
    found: dict[str, list[tuple[ListedNode, ...]]] = {}
    for text, nodes in lists.items():
        if not isinstance(nodes, Unresolved):
            found.setdefault(cluster_of(text), []).append(nodes)
    return {name: node_lists.as_pillar(several) for name, several in found.items()}


def recorded(lists: Lists) -> dict[str, Seen]:
    """Return what is recorded of the lists."""
    return {
        text: Seen(cluster=cluster_of(text), answer=Answer.UNRESOLVED)
        if isinstance(found, Unresolved)
        else Seen(
            cluster=cluster_of(text),
            answer=Answer.SERVED,
            digest=digest({text: map(str, found)}),
        )
        for text, found in lists.items()
    }
