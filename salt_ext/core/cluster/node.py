"""A node as the Kubernetes API reports it: untrusted text, written by the node's own kubelet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

MAX_CLAIMS = 1000
"""Claims of one field that are kept; the others are only counted, and hold the node."""
MAX_CLAIM_LENGTH = 64
"""Characters of a claim that are kept: no address or network is that long."""
MAX_LABELS = 512
"""Labels of one node; large clusters with feature discovery have about 200."""
MAX_LABEL_SIZE = 65_536
"""Characters of all labels of one node."""

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_LABEL = re.compile(
    rf"(?P<key>(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_NAME})=(?P<value>(?:{_NAME})?)"
)
_MAX_KEY_LENGTH = 253 + 1 + 63
_MAX_VALUE_LENGTH = 63


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
    claims_not_kept: int = 0
    """Claims beyond :data:`MAX_CLAIMS`."""
    label_problem: str = ""
    """Why its labels are not kept."""

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
        kept = len(self.internal) + len(self.external) + len(self.pod_cidrs)
        return kept + self.claims_not_kept

    def examples(self, limit: int) -> tuple[str, ...]:
        """Return the first claims."""
        return tuple(text for _, texts in self.claims() for text in texts)[:limit]


def bounded_labels(labels: Mapping[str, str]) -> tuple[Mapping[str, str], str]:
    """
    Return the labels to keep in memory, and why they are none.

    Called for each heartbeat, so that it only counts; :func:`label_problem` checks them.
    """
    problem = _size_problem(labels)
    return ({}, problem) if problem else (labels, "")


def label_problem(node: Node) -> str:
    """Return why a node's labels cannot be stored, empty when they can."""
    if node.label_problem or not node.labels:
        return node.label_problem
    invalid = sum(not _is_label(key, value) for key, value in node.labels.items())
    invalid_text = f"{invalid} labels that Kubernetes does not allow" if invalid else ""
    return _size_problem(node.labels) or invalid_text


def _size_problem(labels: Mapping[str, str]) -> str:
    if len(labels) > MAX_LABELS:
        return f"{len(labels)} labels; at most {MAX_LABELS} are kept"
    size = sum(map(len, labels)) + sum(map(len, labels.values()))
    if size > MAX_LABEL_SIZE:
        return f"labels of {size} characters; at most {MAX_LABEL_SIZE} are kept"
    return ""


def _is_label(key: str, value: str) -> bool:
    # The lengths first, so that the cache stays small.
    if len(key) > _MAX_KEY_LENGTH or len(value) > _MAX_VALUE_LENGTH:
        return False
    return _matches(key, value)


@lru_cache(4096)
def _matches(key: str, value: str) -> bool:
    return _LABEL.fullmatch(f"{key}={value}") is not None
