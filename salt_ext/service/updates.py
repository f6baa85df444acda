"""What the thread that follows an API server tells the thread that keeps the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from salt_ext.core.node import Node


@dataclass(frozen=True, slots=True)
class Replaced:
    """A complete new view."""

    nodes: Sequence[Node]
    resource_version: str
    identity: str


@dataclass(frozen=True, slots=True)
class Put:
    """One node is new or changed."""

    node: Node
    resource_version: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """One node is gone."""

    name: str
    resource_version: str


@dataclass(frozen=True, slots=True)
class Watching:
    """The watch is open, or something was heard on it that changes no node."""

    resource_version: str = ""
    """The newest version, where it was told."""
    ignored: bool = False
    """Nothing could be made of what was heard."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A request failed; the next follows at ``retry_in`` seconds from now."""

    error: str
    failures: int
    retry_in: float


Update = Replaced | Put | Dropped | Watching | Failed
