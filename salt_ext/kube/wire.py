"""Node objects as bytes: only the fields that are used are decoded."""

from __future__ import annotations

from typing import Any

import msgspec

from salt_ext.core.cluster.node import Node


class _Meta(msgspec.Struct):
    name: str
    uid: str
    resourceVersion: str = ""  # noqa: N815
    labels: dict[str, str] | None = None


class _Spec(msgspec.Struct):
    podCIDR: str | None = None  # noqa: N815
    podCIDRs: list[str] | None = None  # noqa: N815


class _Address(msgspec.Struct):
    type: str
    address: str


class _Condition(msgspec.Struct):
    type: str
    status: str


class _Status(msgspec.Struct):
    addresses: list[_Address] | None = None
    conditions: list[_Condition] | None = None


class _Node(msgspec.Struct):
    metadata: _Meta
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


class ListMeta(msgspec.Struct):
    """The metadata of a list."""

    resourceVersion: str  # noqa: N815
    continue_: str = msgspec.field(default="", name="continue")


class NodeList(msgspec.Struct):
    """A page of nodes; ``items`` may be null for none, never absent."""

    kind: str
    metadata: ListMeta
    items: list[_Node] | None


class WatchEvent(msgspec.Struct):
    """One line of a watch; what its object is depends on the type."""

    type: str
    object: msgspec.Raw = msgspec.Raw(b"null")


class NodeEvent(msgspec.Struct):
    """A watch line about a node, which nearly all are: read in one go."""

    type: str
    object: _Node


class Bookmark(msgspec.Struct):
    """The object of a BOOKMARK event."""

    class Meta(msgspec.Struct):
        """Its only field in use."""

        resourceVersion: str  # noqa: N815

    metadata: Meta


class Status(msgspec.Struct):
    """An error as the API tells it."""

    kind: str = ""
    code: int = 0
    reason: str = ""
    message: str = ""


class Namespace(msgspec.Struct):
    """A namespace; its uid identifies the cluster."""

    kind: str
    metadata: _Meta


class Version(msgspec.Struct):
    """What the server says that it is."""

    gitVersion: str  # noqa: N815


class _Verdict(msgspec.Struct):
    allowed: bool


class Review(msgspec.Struct):
    """The answer to a question about one's own rights."""

    status: _Verdict


node_list = msgspec.json.Decoder(NodeList)
node_event = msgspec.json.Decoder(NodeEvent)
watch_event = msgspec.json.Decoder(WatchEvent)
bookmark = msgspec.json.Decoder(Bookmark)
status = msgspec.json.Decoder(Status)
namespace = msgspec.json.Decoder(Namespace)
version = msgspec.json.Decoder(Version)
review = msgspec.json.Decoder(Review)


def node(wire: Any) -> Node:
    """Return a decoded node as the core knows it."""
    listed = wire.status.addresses or ()
    cidrs = wire.spec.podCIDRs or ([wire.spec.podCIDR] if wire.spec.podCIDR else [])
    return Node(
        name=wire.metadata.name,
        uid=wire.metadata.uid,
        internal=tuple([item.address for item in listed if item.type == "InternalIP"]),
        external=tuple([item.address for item in listed if item.type == "ExternalIP"]),
        pod_cidrs=tuple(cidrs),
        labels=wire.metadata.labels or {},
        ready=any(
            item.type == "Ready" and item.status == "True" for item in wire.status.conditions or ()
        ),
        version=wire.metadata.resourceVersion,
    )
