"""A node as the Kubernetes API tells it: untrusted text, written by the node's own kubelet."""

from __future__ import annotations

from collections.abc import Mapping
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

    def claims(self) -> tuple[tuple[AddressType, str], ...]:
        """Return every address that the node claims, with where it stands."""
        return (
            *((AddressType.INTERNAL, text) for text in self.internal),
            *((AddressType.EXTERNAL, text) for text in self.external),
            *((AddressType.POD_CIDR, text) for text in self.pod_cidrs),
        )
