"""What came of looking a reference up: addresses and where they come from, or a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class SnapshotStamp(NamedTuple):
    """Which snapshot of a cluster it was; a new store file counts revisions from 1 again."""

    revision: int
    observed_at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The addresses of a reference: canonical, sorted, without duplicates."""

    addresses: tuple[str, ...]
    stamp: SnapshotStamp


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Why a reference stays in the pillar as it is."""

    why: str
    refused: bool = False
    """The cluster does not serve this minion (``serve_to``)."""


Resolutions = Mapping[str, Resolution | Unresolved]
"""By the text of the reference."""
