"""The nodes of one cluster at one revision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from salt_ext.core.cluster.member import Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One complete view of a cluster as the store keeps it."""

    cluster: str
    revision: int
    """Number of this change of the cluster in this store, from 1."""
    identity: str
    """The uid of the cluster's ``kube-system`` namespace."""
    resource_version: str
    observed_at: float
    """When this revision was stored, in seconds since the epoch."""
    members: Mapping[str, Member]
    """By node name."""
