"""Decodes the API server's JSON; fields that are not used are skipped."""

from __future__ import annotations

import msgspec

from salt_ext.core.cluster.node import MAX_CLAIM_LENGTH, MAX_CLAIMS, Node, bounded_labels


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
    """A page of nodes; ``items`` may be null, never absent."""

    kind: str
    metadata: ListMeta
    items: list[_Node] | None


class WatchEvent(msgspec.Struct):
    """One line of a watch; the kind of its object depends on the type."""

    type: str
    object: msgspec.Raw = msgspec.Raw(b"null")


class NodeEvent(msgspec.Struct):
    """A watch line about a node, as nearly all lines are: decoded in one pass."""

    type: str
    object: _Node


class Bookmark(msgspec.Struct):
    """The object of a BOOKMARK event."""

    class Meta(msgspec.Struct):
        """The metadata of a bookmark."""

        resourceVersion: str  # noqa: N815

    metadata: Meta


class Status(msgspec.Struct):
    """The API's error object."""

    kind: str = ""
    code: int = 0
    reason: str = ""
    message: str = ""


class Namespace(msgspec.Struct):
    """A namespace; its uid identifies the cluster."""

    kind: str
    metadata: _Meta


class Version(msgspec.Struct):
    """The server's version."""

    gitVersion: str  # noqa: N815


class _ReviewStatus(msgspec.Struct):
    allowed: bool


class AccessReview(msgspec.Struct):
    """A SelfSubjectAccessReview: whether the server grants a permission."""

    status: _ReviewStatus


node_list = msgspec.json.Decoder(NodeList)
node_event = msgspec.json.Decoder(NodeEvent)
watch_event = msgspec.json.Decoder(WatchEvent)
bookmark = msgspec.json.Decoder(Bookmark)
status = msgspec.json.Decoder(Status)
namespace = msgspec.json.Decoder(Namespace)
version = msgspec.json.Decoder(Version)
access_review = msgspec.json.Decoder(AccessReview)


def to_node(node: _Node) -> Node:
    """
    Return a decoded node as a core value; its claims are not checked yet.

    A kubelet writes labels and addresses: what is too much is counted, and not kept in memory.
    """
    addresses = node.status.addresses or ()
    cidrs = node.spec.podCIDRs or ([node.spec.podCIDR] if node.spec.podCIDR else [])
    internal = [item.address for item in addresses if item.type == "InternalIP"]
    external = [item.address for item in addresses if item.type == "ExternalIP"]
    labels, label_problem = bounded_labels(node.metadata.labels or {})
    return Node(
        name=node.metadata.name,
        uid=node.metadata.uid,
        internal=_kept(internal),
        external=_kept(external),
        pod_cidrs=_kept(cidrs),
        labels=labels,
        ready=any(
            item.type == "Ready" and item.status == "True" for item in node.status.conditions or ()
        ),
        version=node.metadata.resourceVersion,
        claims_not_kept=sum(
            max(0, len(texts) - MAX_CLAIMS) for texts in (internal, external, cidrs)
        ),
        label_problem=label_problem,
    )


def _kept(texts: list[str]) -> tuple[str, ...]:
    return tuple([text[:MAX_CLAIM_LENGTH] for text in texts[:MAX_CLAIMS]])
