"""A node as the Kubernetes API tells it: untrusted text, written by the node's own kubelet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum


class AddressType(str, Enum):
    """Where on a Node object an address stands."""

    INTERNAL = "InternalIP"
    EXTERNAL = "ExternalIP"
    POD_CIDR = "podCIDR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """
    The fields of a Node object that can matter to a firewall, unchecked.

    Two that compare equal differ in nothing we use, so a heartbeat is a comparison.
    """

    name: str
    uid: str
    internal: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    pod_cidrs: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    ready: bool = False
    deleting: bool = False
    version: str = field(default="", compare=False)
    """The object's resourceVersion, which each heartbeat moves forward."""

    def claims(self) -> Iterator[tuple[AddressType, tuple[str, ...]]]:
        """Yield the addresses that the node claims, by where they stand."""
        for kind, texts in (
            (AddressType.INTERNAL, self.internal),
            (AddressType.EXTERNAL, self.external),
            (AddressType.POD_CIDR, self.pod_cidrs),
        ):
            if texts:
                yield kind, texts

    def claimed(self) -> int:
        """Return how many addresses the node claims."""
        return len(self.internal) + len(self.external) + len(self.pod_cidrs)
