"""
Addresses within a publish, so that minions need not wait for a pillar compile.

A minion accepts them only for references in its own pillar, only when they are newer than the
applied ones, and only with a valid signature. The signature is made for one minion, with a key
that only the pillar of this minion and this master have: the right to call functions on minions
is not enough to forge it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from salt_ext.core.references.resolution import SnapshotStamp

ARGUMENT = "delivered"
"""Name of the argument of ``k8s_firewall.sync``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPayload:
    """The addresses of a set of references; shared by all minions with the same references."""

    store: str
    """Id of the store that counts the revisions."""
    clusters: Mapping[str, SnapshotStamp]
    references: Mapping[str, tuple[str, ...]]

    @property
    def size(self) -> int:
        """Number of addresses."""
        return sum(map(len, self.references.values()))

    def signed(self, secret: bytes, minions: Iterable[str]) -> dict[str, object]:
        """Return the published mapping, in JSON types, with one signature for each minion."""
        content: dict[str, object] = {
            "clusters": {
                name: {"revision": revision, "observed_at": observed_at, "store": self.store}
                for name, (revision, observed_at) in self.clusters.items()
            },
            "references": {text: list(items) for text, items in self.references.items()},
        }
        seals = {minion: sign(key(secret, minion), minion, content) for minion in minions}
        return {**content, "seals": seals}


def key(secret: bytes, minion: str) -> str:
    """Return the key of one minion, 64 hex digits."""
    return hmac.new(secret, minion.encode(), hashlib.sha256).hexdigest()


def sign(key: str, minion: str, content: Mapping[str, object]) -> str:
    """Return the signature of ``clusters`` and ``references`` for one minion, 64 hex digits."""
    signed = [minion, content["clusters"], content["references"]]
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"))
    return hmac.new(bytes.fromhex(key), text.encode(), hashlib.sha256).hexdigest()
