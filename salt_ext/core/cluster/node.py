"""A node as the Kubernetes API reports it: untrusted text, written by the node's own kubelet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum


class AddressType(str, Enum):
    """The field of a Node object that an address comes from."""

    INTERNAL = "InternalIP"
    EXTERNAL = "ExternalIP"
    POD_CIDR = "podCIDR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """
    The fields of a Node object that can matter to a firewall, unchecked.

    Equal nodes differ in nothing that is used, so detecting a heartbeat is one comparison.
    """

    name: str
    uid: str
    internal: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    pod_cidrs: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    ready: bool = False
    version: str = field(default="", compare=False)
    """The object's resourceVersion; each heartbeat increases it."""

    def claims(self) -> Iterator[tuple[AddressType, tuple[str, ...]]]:
        """Yield the claimed addresses by the field that they come from; no empty ones."""
        for kind, texts in (
            (AddressType.INTERNAL, self.internal),
            (AddressType.EXTERNAL, self.external),
            (AddressType.POD_CIDR, self.pod_cidrs),
        ):
            if texts:
                yield kind, texts

    def claim_count(self) -> int:
        """Return the number of claimed addresses."""
        return len(self.internal) + len(self.external) + len(self.pod_cidrs)
