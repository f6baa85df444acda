"""What of a node is not let in, why, and which key or deed changes that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from salt_ext.core.cluster.member import Rejected, RejectReason

MAX_EXAMPLES = 5
"""Claims that one refusal names, and nodes that ``status`` names for one reason."""


class HeldReason(str, Enum):
    """Why a whole node, or an address that it may have, is held."""

    TOO_MANY = "more than addresses_per_node"
    LABELS = "labels too large"
    FLAPPING = "claimed and dropped again and again"


Reason = RejectReason | HeldReason

KEYS: dict[Reason, str] = {
    RejectReason.OUTSIDE: "allowed_networks",
    RejectReason.DENIED: "denied_networks",
    RejectReason.TOO_WIDE: "guards:min_prefix_ipv4",
    RejectReason.TOO_WIDE_IPV6: "guards:min_prefix_ipv6",
    HeldReason.TOO_MANY: "guards:addresses_per_node",
}
"""The key under ``clusters:<name>:`` that decides; the others have none."""

_CURES: dict[Reason, str] = {
    RejectReason.UNREADABLE: "fix what writes it: the kubelet or the cloud controller",
    RejectReason.OUTSIDE: "if they are right, add their network to {key}",
    RejectReason.DENIED: "if they are right, take them out of {key}; the master's own addresses "
    "and reserved ranges stay out",
    RejectReason.TOO_WIDE: "if they are right, lower {key}",
    RejectReason.TOO_WIDE_IPV6: "if they are right, lower {key}",
    HeldReason.TOO_MANY: "the node stays what it was, or out, until its kubelet reports fewer; "
    "if they are right, raise {key}",
    HeldReason.LABELS: "the node stays what it was, or out, until labels are removed from it",
    HeldReason.FLAPPING: "each is let in once its node keeps it; find out why its kubelet changes "
    "them",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What of one node is not let in for one reason."""

    node: str
    reason: Reason
    count: int
    """Addresses; of labels, 1."""
    examples: tuple[str, ...] = ()
    """The first of them, as the kubelet wrote them."""

    @property
    def is_held(self) -> bool:
        """Whether a guard holds it; else each claim is dropped by itself."""
        return isinstance(self.reason, HeldReason)


@dataclass(frozen=True, slots=True)
class RefusedCount:
    """What of all nodes is not let in for one reason."""

    count: int
    nodes: tuple[str, ...]
    """The first nodes."""


def cure(reason: Reason, cluster: str) -> str:
    """Return what an operator can do about it."""
    return _CURES[reason].format(key=f"clusters:{cluster}:{KEYS.get(reason, '')}")


def of_rejected(node: str, rejected: Sequence[Rejected]) -> list[Refusal]:
    """Return one refusal for each reason."""
    texts: dict[RejectReason, list[str]] = {}
    for reason, text in rejected:
        texts.setdefault(reason, []).append(text)
    return [
        Refusal(node=node, reason=reason, count=len(claims), examples=shown(claims))
        for reason, claims in texts.items()
    ]


def shown(claims: Sequence[str]) -> tuple[str, ...]:
    """Return the first claims, cut."""
    return tuple(text[:64] for text in claims[:MAX_EXAMPLES])
