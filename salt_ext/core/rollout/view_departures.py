"""Which addresses one view of a cluster takes from whom, in comparison with the view before it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from salt_ext.core.cluster.diff import Difference
from salt_ext.core.cluster.member import Member
from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.config.clusters import Cluster
from salt_ext.core.errors import BadReference
from salt_ext.core.references import node_lists, reference
from salt_ext.core.references.resolve import NodeGroup, resolve
from salt_ext.core.rollout.departures import Served, canonical
from salt_ext.core.rollout.drift import Resolved


def departed(
    subscribers: Mapping[tuple[str, ...], Collection[str]],
    before: Snapshot,
    after: Snapshot,
    difference: Difference,
    cluster: Cluster,
) -> Iterator[tuple[Collection[str], dict[str, str]]]:
    """
    Yield groups of minions with the addresses that they are served no more, and why.

    ``subscribers`` has the minions with each set of references; each reference is resolved twice,
    however many minions have it.
    """
    texts = {text for one in subscribers for text in one}
    old = {text: _served(text, before, cluster) for text in texts}
    new = {text: _served(text, after, cluster) for text in texts}
    causes = _causes(before.members, difference)
    for group, minions in subscribers.items():
        served = _union(old, group)
        gone = Served.of(_union(new, group)).without(Served.of(served).addresses)
        if gone:
            yield (
                minions,
                {address: causes.get(address, f"left {cluster.name}") for address in sorted(gone)},
            )


def _union(resolved: Mapping[str, tuple[str, ...]], texts: Iterable[str]) -> Resolved:
    return {text: resolved[text] for text in texts}


def _served(text: str, snapshot: Snapshot, cluster: Cluster) -> tuple[str, ...]:
    """Return what a reference or node list means in a view; nothing where it cannot be read."""
    try:
        if text.startswith(node_lists.SCHEME):
            _, rule = node_lists.parse(text)
            group = _group(rule.group, cluster)
            listed = node_lists.node_list(snapshot, rule, cluster.defaults, cluster.limits, group)
            return tuple(map(str, listed))
        wanted = reference.parse(text)
        group = _group(wanted.group, cluster)
        return resolve(snapshot, wanted, cluster.defaults, cluster.limits, group)
    except (BadReference, KeyError):
        return ()


def _group(name: str | None, cluster: Cluster) -> NodeGroup:
    return NodeGroup() if name is None else cluster.groups[name]


def _causes(members: Mapping[str, Member], difference: Difference) -> dict[str, str]:
    """Return for each address of a node that changed what happened to that node."""
    causes: dict[str, str] = {}
    for member in difference.updated:
        kept = frozenset(member.all_addresses())
        old = members.get(member.name)
        for item in old.all_addresses() if old is not None else ():
            what = "no longer matches" if item in kept else "lost this address"
            causes[canonical(str(item))] = f"node {member.name} {what}"
    for member in difference.left:
        for item in member.all_addresses():
            causes[canonical(str(item))] = f"node {member.name} left"
    return causes
