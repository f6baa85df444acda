"""What a minion's pillar grants it, so that addresses may be published to it without a compile."""

from __future__ import annotations

import logging
from typing import Any

from salt_ext.core.config.apply import MODULE
from salt_ext.core.config.config import Config
from salt_ext.core.errors import StoreError
from salt_ext.core.references import node_lists, reference
from salt_ext.core.references.expand import Expansion
from salt_ext.core.rollout.payload import key
from salt_ext.store import Store

log = logging.getLogger(__name__)


def is_public(text: str, config: Config) -> bool:
    """Whether a reference may be published: every minion can read what is published to some."""
    if text.startswith(node_lists.SCHEME):
        return False
    cluster = config.clusters.get(reference.parse(text).cluster)
    return cluster is not None and cluster.serve_to is None


def grant(
    minion: str, block: Any, done: Expansion, config: Config, store: Store
) -> dict[str, Any] | None:
    """
    Return what a minion needs to take a delivery, for its pillar; None where it gets none.

    ``block`` is the pillar's own as it was written, with its references.
    """
    if MODULE not in done.changed or done.unresolved or not config.apply.max_inline_addresses:
        return None
    if not all(is_public(text, config) for text in done.resolved):
        return None
    try:
        secret = store.signing_key.read()
    except StoreError as exc:
        log.warning("%s: nothing can be delivered to it: %s", minion, exc)
        return None
    return {"block": block, "references": sorted(done.resolved), "key": key(secret, minion)}
