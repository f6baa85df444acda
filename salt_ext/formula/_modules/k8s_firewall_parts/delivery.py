"""
Accept addresses that come with a published job, so that the master need not compile a pillar.

Each pillar grants what a delivery needs: the block as the user wrote it, with its references, and
a key. A delivery has the addresses of exactly these references, is newer than the applied state,
and is signed with this key. Any other delivery is rejected, and the minion asks for its pillar.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from . import addresses, errors, freshness
from .state_dir import StateDir

FILE = "grant"


class Rejected(errors.FirewallError):
    """The delivery cannot be used, and the pillar is needed; the message says why."""


def record_grant(state_dir: StateDir, pillar: Mapping[str, Any], key: str) -> None:
    """
    Record what an applied pillar grants to the next delivery, if anything.

    key
        The pillar key of the block: ``k8s_firewall``.
    """
    try:
        # As it is read back: JSON turns keys into texts.
        found = json.loads(json.dumps(grant(pillar, key)))
    except (TypeError, ValueError):
        found = {}
    if not found:
        state_dir.remove(f"{FILE}.json")
    elif found != state_dir.read(FILE):
        state_dir.write(FILE, found)


def accept(
    granted: Mapping[str, Any],
    applied: freshness.Revisions,
    delivery: Any,
    minion: str,
    key: str,
) -> dict[str, Any]:
    """
    Return the pillar that a delivery makes of the grant; raise Rejected where it does not.

    granted
        The recorded grant.
    applied
        The revisions of the applied state.
    """
    if not granted:
        raise Rejected("the applied pillar grants no deliveries")
    try:
        clusters, references = delivery["clusters"], delivery["references"]
        signature = sign(granted["key"], signed_text(minion, clusters, references))
        genuine = hmac.compare_digest(delivery["seals"][minion], signature)
    except (KeyError, TypeError, ValueError) as exc:
        raise Rejected("the delivery is not made for this minion") from exc
    if not genuine:
        raise Rejected("the delivery is not signed by this minion's master")
    # From here on the delivery is known to come from the master.
    if sorted(references) != granted["references"] or sorted(clusters) != granted["clusters"]:
        raise Rejected("the delivery has other references than the applied pillar")
    if reason := freshness.why_not_newer(clusters, applied):
        raise Rejected(reason)
    served = {address for found in references.values() for address in found}
    return {
        key: _filled(granted["block"], references),
        "k8s_nodes": {"clusters": clusters, "served": sorted(served)},
    }


def grant(pillar: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return what a pillar grants to the next delivery; empty where it grants nothing."""
    masters_part = pillar.get("k8s_nodes")
    granted = masters_part.get("delivery") if isinstance(masters_part, Mapping) else None
    if not isinstance(masters_part, Mapping) or not isinstance(granted, Mapping):
        return {}
    block = granted.get("block")
    # Pruning needs the whole pillar to know which addresses are written in it.
    if not isinstance(block, Mapping) or block.get("prune") not in (None, False):
        return {}
    served = frozenset(map(str, masters_part.get("served", ())))
    # Another ext_pillar may have changed the block after its references were replaced.
    if not is_filled(pillar.get(key), block, served):
        return {}
    return {
        "block": block,
        "references": sorted(map(str, granted.get("references", ()))),
        "clusters": sorted(freshness.revisions_of(pillar)),
        "key": str(granted.get("key", "")),
    }


def signed_text(minion: str, clusters: Any, references: Any) -> str:
    """Return the exact text that the master signs for a minion."""
    return json.dumps([minion, clusters, references], sort_keys=True, separators=(",", ":"))


def sign(key: str, text: str) -> str:
    """Return the signature of a text with a minion's key: HMAC-SHA256, in hex digits."""
    return hmac.new(bytes.fromhex(key), text.encode(), hashlib.sha256).hexdigest()


def is_filled(value: Any, written: Any, served: frozenset[str]) -> bool:
    """Whether a value is what was written, but for served addresses in place of references."""
    if isinstance(written, Mapping):
        return (
            isinstance(value, Mapping)
            and value.keys() == written.keys()
            and all(is_filled(value[name], item, served) for name, item in written.items())
        )
    if isinstance(written, (list, tuple)) and isinstance(value, (list, tuple)):
        plain = [item for item in written if not addresses.find_references(item)]
        if len(plain) == len(written):
            return list(value) == list(written)
        if any(isinstance(item, (Mapping, list, tuple)) for item in written):
            return len(value) == len(written) and all(
                is_filled(item, other, served) for item, other in zip(value, written, strict=True)
            )
        return all(item in value for item in plain) and all(
            item in plain or item in served for item in value
        )
    return bool(value == written)


def _filled(value: Any, references: Mapping[str, Sequence[str]]) -> Any:
    """Return a value with addresses in place of the references in its lists."""
    if isinstance(value, Mapping):
        return {name: _filled(item, references) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        found: list[Any] = []
        for item in value:
            if isinstance(item, str) and item in references:
                found.extend(references[item])
            else:
                found.append(_filled(item, references))
        return found
    return value
