"""The specification of a world: minions and masters, Kubernetes API, settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.errors import LabError
from lab.kubernetes import BACKENDS


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldSpec:
    """The parts of a world that is to be provisioned."""

    minions: int = 2
    masters: int = 1
    """Salt masters that every minion is connected to at once."""
    api: str = "emulator"
    """The Kubernetes API: emulator or real."""
    extension: bool = True
    """Whether the master loads the engine, ext_pillar and reactor; if not, give a pillar."""
    k8s_nodes: Mapping[str, Any] = field(default_factory=dict)
    """Merged over the block k8s_nodes of the master's configuration."""
    master: Mapping[str, Any] = field(default_factory=dict)
    """Merged over the master's own settings."""
    minion: Mapping[str, Any] = field(default_factory=dict)
    """Merged over every minion's settings."""
    pillar: Mapping[str, Any] | None = None
    """Replaces the lab's pillar."""
    traffic: bool = True
    """Whether office, stranger and every node that joins probe all minions throughout."""

    def __post_init__(self) -> None:
        if self.api not in BACKENDS:
            raise LabError(f"unknown Kubernetes API {self.api!r}: use {' or '.join(BACKENDS)}")
        if not 1 <= self.minions <= 254:
            raise LabError(f"a world has 1 to 254 minions, not {self.minions}")
        if not 1 <= self.masters <= 9:
            raise LabError(f"a world has 1 to 9 masters, not {self.masters}")
