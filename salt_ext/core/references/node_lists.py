"""Node lists: names, addresses and labels of nodes, in the pillars of configured minions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from salt_ext.core.cluster.address import Address, Network, sort_key
from salt_ext.core.cluster.member import Limits
from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.errors import BadReference
from salt_ext.core.references.reference import Reference
from salt_ext.core.references.resolve import Defaults, NodeGroup, select_members

SCHEME = "nodes://"

# As strict as the API server: users' templates print these values.
_NODE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeListRule:
    """One entry of a cluster's ``node_lists``."""

    to: str
    """Compound target of the minions that receive the list."""
    group: str | None = None
    labels: tuple[str, ...] = ()
    """Keys of the labels in the list."""

    def text(self, cluster: str) -> str:
        """Return the text under which the store records this list, like a reference."""
        path = f"{SCHEME}{cluster}/{self.group}" if self.group else f"{SCHEME}{cluster}"
        return f"{path}?labels={','.join(self.labels)}" if self.labels else path


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedNode:
    """One node of a node list."""

    name: str
    addresses: tuple[Address | Network, ...]
    labels: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        addresses = " ".join(map(str, self.addresses))
        return f"{self.name} {addresses} {self.labels}"


def parse(text: str) -> tuple[str, NodeListRule]:
    """Return the cluster and the rule of a recorded text; raises :class:`BadReference`."""
    if not text.startswith(SCHEME):
        raise BadReference(text, text, f"is not a node list; allowed: {SCHEME}<cluster>")
    path, _, labels = text[len(SCHEME) :].partition("?labels=")
    cluster, _, group = path.partition("/")
    keys = tuple(labels.split(",")) if labels else ()
    return cluster, NodeListRule(to="", group=group or None, labels=keys)


def node_list(
    snapshot: Snapshot,
    rule: NodeListRule,
    defaults: Defaults,
    limits: Limits | None,
    group: NodeGroup,
) -> tuple[ListedNode, ...]:
    """Return the nodes of a list, in order, each with the addresses that a reference means."""
    all_nodes = Reference(text="", cluster=snapshot.cluster)
    return tuple(
        ListedNode(
            name=member.name,
            addresses=tuple(sorted(set(items), key=sort_key)),
            labels=tuple(
                (key, member.labels[key])
                for key in sorted(rule.labels)
                if _LABEL_VALUE.fullmatch(member.labels.get(key, "-"))
            ),
        )
        for member, items in sorted(
            select_members(snapshot, all_nodes, defaults, limits, group),
            key=lambda pair: pair[0].name,
        )
        if items and _NODE_NAME.fullmatch(member.name)
    )


def addresses_in(line: str) -> list[str]:
    """Return the addresses in the text of one :class:`ListedNode`, as the store keeps it."""
    found = []
    for item in line.split()[1:]:
        if item.startswith("("):
            break
        found.append(item)
    return found


def as_pillar(lists: Iterable[Iterable[ListedNode]]) -> dict[str, dict[str, object]]:
    """Return the lists of one cluster as one new mapping by node name, in JSON types."""
    merged: dict[str, tuple[set[Address | Network], dict[str, str]]] = {}
    for nodes in lists:
        for node in nodes:
            addresses, labels = merged.setdefault(node.name, (set(), {}))
            addresses.update(node.addresses)
            labels.update(node.labels)
    return {
        name: {
            "addresses": [str(item) for item in sorted(addresses, key=sort_key)],
            "labels": labels,
        }
        for name, (addresses, labels) in sorted(merged.items())
    }


def addresses_of(nodes: Mapping[str, Mapping[str, object]]) -> set[str]:
    """Return every address in a mapping from :func:`as_pillar`."""
    all_addresses: set[str] = set()
    for node in nodes.values():
        addresses = node["addresses"]
        if isinstance(addresses, list):
            all_addresses.update(addresses)
    return all_addresses
