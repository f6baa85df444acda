"""
What a publish carries along, so that no pillar need be compiled: the addresses behind references.

A minion takes it only for references that its own pillar has, only when it is newer than what is
in force, and only with a seal: one for each minion, made with a key that only this minion's
pillar and this master know. Whoever may call a function on minions can make none.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from salt_ext.core.references.resolution import SnapshotStamp

ARGUMENT = "delivered"
"""Of ``k8s_firewall.sync``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPayload:
    """The same for every minion whose pillars have the same references."""

    store: str
    """Where the revisions count."""
    clusters: Mapping[str, SnapshotStamp]
    references: Mapping[str, tuple[str, ...]]

    @property
    def size(self) -> int:
        """How many addresses it has."""
        return sum(map(len, self.references.values()))

    def sealed(self, secret: bytes, minions: Iterable[str]) -> dict[str, Any]:
        """Return it as it is published to minions."""
        told = {
            "clusters": {
                name: {"revision": revision, "observed_at": observed_at, "store": self.store}
                for name, (revision, observed_at) in self.clusters.items()
            },
            "references": {text: list(found) for text, found in self.references.items()},
        }
        seals = {name: sign(key(secret, name), name, told) for name in minions}
        return {**told, "seals": seals}


def key(secret: bytes, minion: str) -> str:
    """Return the key of one minion."""
    return hmac.new(secret, minion.encode(), hashlib.sha256).hexdigest()


def sign(key: str, minion: str, told: Mapping[str, Any]) -> str:
    """Return what proves to a minion that its master has made this for it."""
    said = [minion, told["clusters"], told["references"]]
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hmac.new(bytes.fromhex(key), text.encode(), hashlib.sha256).hexdigest()
