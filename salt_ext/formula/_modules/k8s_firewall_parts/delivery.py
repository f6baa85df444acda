"""
Addresses that a publish carries along, so that the master need not compile this minion's pillar.

With each pillar comes what is needed to take one: the block as it was written, with its
references, and a key. A delivery has the addresses of exactly these references, is newer than
what is in force, and has a seal that this key makes. Anything else is not taken, and the pillar
is asked for instead.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from . import addresses, errors, freshness
from .state_dir import StateDir

NAME = "basis"


class NotTaken(errors.FirewallError):
    """The pillar is to be asked for instead; the sentence says why."""


def remember(record: StateDir, pillar: Mapping[str, Any], key: str) -> None:
    """Keep what a pillar that is in force has told for the next delivery, if anything."""
    try:
        # As it is read again: keys are texts then.
        found = json.loads(json.dumps(_basis(pillar, key)))
    except (TypeError, ValueError):
        found = {}
    if not found:
        record.forget(f"{NAME}.json")
    elif found != record.read(NAME):
        record.write(NAME, found)


def pillar(record: StateDir, told: Any, minion: str, key: str) -> dict[str, Any]:
    """Return the pillar that a delivery makes of what is known, or refuse it."""
    basis = record.read(NAME)
    if not basis:
        raise NotTaken("no pillar has told what a delivery needs")
    try:
        clusters, references, seal = told["clusters"], told["references"], told["seals"][minion]
        genuine = hmac.compare_digest(seal, _seal(basis["key"], minion, clusters, references))
    except (KeyError, TypeError, ValueError) as exc:
        raise NotTaken("it is none for this minion") from exc
    if not genuine:
        raise NotTaken("its seal is not that of this minion's master")
    # From here on it is what the master has made.
    if sorted(references) != basis["references"] or sorted(clusters) != basis["clusters"]:
        raise NotTaken("it is about other references than those of the pillar that is in force")
    known = record.read(freshness.NAME)
    if behind := freshness.not_newer(clusters, known):
        raise NotTaken(behind)
    served = {one for found in references.values() for one in found}
    return {
        key: _filled(basis["block"], references),
        "k8s_nodes": {"clusters": clusters, "served": sorted(served)},
    }


def _basis(pillar: Mapping[str, Any], key: str) -> dict[str, Any]:
    ours = pillar.get("k8s_nodes")
    told = ours.get("delivery") if isinstance(ours, Mapping) else None
    if not isinstance(ours, Mapping) or not isinstance(told, Mapping):
        return {}
    block = told.get("block")
    # Who has left is told from the whole pillar there, so it is always asked for.
    if not isinstance(block, Mapping) or block.get("prune") not in (None, False):
        return {}
    served = frozenset(map(str, ours.get("served", ())))
    # Another ext_pillar may have changed the block after its references were replaced.
    if not _is_made_of(pillar.get(key), block, served):
        return {}
    return {
        "block": block,
        "references": sorted(map(str, told.get("references", ()))),
        "clusters": sorted(freshness.of(pillar)),
        "key": str(told.get("key", "")),
    }


def _seal(key: str, minion: str, clusters: Any, references: Any) -> str:
    text = json.dumps([minion, clusters, references], sort_keys=True, separators=(",", ":"))
    return hmac.new(bytes.fromhex(key), text.encode(), hashlib.sha256).hexdigest()


def _filled(value: Any, references: Mapping[str, Sequence[str]]) -> Any:
    """Return a value with addresses in the place of the references in its lists."""
    if isinstance(value, Mapping):
        return {name: _filled(one, references) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        found: list[Any] = []
        for one in value:
            if isinstance(one, str) and one in references:
                found.extend(references[one])
            else:
                found.append(_filled(one, references))
        return found
    return value


def _is_made_of(value: Any, written: Any, served: frozenset[str]) -> bool:
    """Whether a value is what was written, but for addresses in the place of references."""
    if isinstance(written, Mapping):
        return (
            isinstance(value, Mapping)
            and value.keys() == written.keys()
            and all(_is_made_of(value[name], one, served) for name, one in written.items())
        )
    if isinstance(written, (list, tuple)) and isinstance(value, (list, tuple)):
        plain = [one for one in written if not addresses.references(one)]
        if len(plain) == len(written):
            return list(value) == list(written)
        if any(isinstance(one, (Mapping, list, tuple)) for one in written):
            return len(value) == len(written) and all(
                _is_made_of(one, other, served) for one, other in zip(value, written, strict=True)
            )
        return all(one in value for one in plain) and all(
            one in plain or one in served for one in value
        )
    return bool(value == written)
