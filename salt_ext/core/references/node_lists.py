"""Lists of nodes that the configuration hands to chosen minions, for more than addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from salt_ext.core.cluster.address import Address, Network, order
from salt_ext.core.cluster.member import Limits
from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.errors import BadReference
from salt_ext.core.references.reference import Reference
from salt_ext.core.references.resolve import Defaults, NodeGroup, select_members

SCHEME = "nodes://"

# What the API server lets through: the values get into templates of others.
_NODE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeListRule:
    """One ``serve`` entry of a cluster."""

    to: str
    """Compound target of the minions that get the list."""
    group: str | None = None
    labels: tuple[str, ...] = ()
    """Keys of the labels that are shown."""

    def text(self, cluster: str) -> str:
        """Return what stands for this list where references are recorded."""
        path = f"{SCHEME}{cluster}/{self.group}" if self.group else f"{SCHEME}{cluster}"
        return f"{path}?labels={','.join(self.labels)}" if self.labels else path


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedNode:
    """One node of such a list."""

    name: str
    addresses: tuple[Address | Network, ...]
    labels: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        shown = " ".join(map(str, self.addresses))
        return f"{self.name} {shown} {self.labels}"


def parse(text: str) -> tuple[str, NodeListRule]:
    """Return the cluster and the list that a recorded text stands for."""
    if not text.startswith(SCHEME):
        raise BadReference(text, text, f"is no list of nodes; allowed: {SCHEME}<cluster>")
    path, _, labels = text[len(SCHEME) :].partition("?labels=")
    cluster, _, group = path.partition("/")
    keys = tuple(labels.split(",")) if labels else ()
    return cluster, NodeListRule(to="", group=group or None, labels=keys)


def node_list(
    snapshot: Snapshot,
    wanted: NodeListRule,
    defaults: Defaults,
    limits: Limits | None,
    group: NodeGroup,
) -> tuple[ListedNode, ...]:
    """Return the nodes of a list, in order, each with the addresses that a reference would mean."""
    everything = Reference(text="", cluster=snapshot.cluster)
    return tuple(
        ListedNode(
            name=member.name,
            addresses=tuple(sorted(set(items), key=order)),
            labels=tuple(
                (key, member.labels[key])
                for key in sorted(wanted.labels)
                if _LABEL_VALUE.fullmatch(member.labels.get(key, "-"))
            ),
        )
        for member, items in sorted(
            select_members(snapshot, everything, defaults, limits, group),
            key=lambda found: found[0].name,
        )
        if items and _NODE_NAME.fullmatch(member.name)
    )


def as_pillar(lists: Iterable[Iterable[ListedNode]]) -> dict[str, dict[str, object]]:
    """Return the lists of one cluster as one mapping by name, made anew for each pillar."""
    merged: dict[str, tuple[set[Address | Network], dict[str, str]]] = {}
    for nodes in lists:
        for node in nodes:
            addresses, labels = merged.setdefault(node.name, (set(), {}))
            addresses.update(node.addresses)
            labels.update(node.labels)
    return {
        name: {"addresses": [str(item) for item in sorted(addresses, key=order)], "labels": labels}
        for name, (addresses, labels) in sorted(merged.items())
    }


def addresses_of(nodes: Mapping[str, Mapping[str, object]]) -> set[str]:
    """Return every address of such a mapping."""
    found: set[str] = set()
    for node in nodes.values():
        addresses = node["addresses"]
        if isinstance(addresses, list):
            found.update(addresses)
    return found
