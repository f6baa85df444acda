"""What a minion's pillar grants it, so that addresses can be published without a pillar compile."""

from __future__ import annotations

import logging

from salt_ext.core.config.apply import MODULE
from salt_ext.core.config.config import Config
from salt_ext.core.errors import StoreError
from salt_ext.core.rollout.payload import key
from salt_ext.references.rendering import Rendering
from salt_ext.store import Store

log = logging.getLogger(__name__)


def is_public(cluster: str, config: Config) -> bool:
    """Return whether addresses of a cluster may be published: every minion can read a publish."""
    known = config.clusters.get(cluster)
    return known is not None and known.serve_to is None


def grant(
    rendering: Rendering, block: object, config: Config, store: Store
) -> dict[str, object] | None:
    """
    Return what a minion needs to accept a published payload; None where it gets none.

    ``block`` is the pillar's key ``k8s_firewall`` as it was written, with its references.
    """
    if not config.apply.max_inline_addresses or MODULE not in rendering.expansion.changed:
        return None
    # A node list is not published at all.
    if rendering.unresolved or rendering.lists:
        return None
    if not all(is_public(cluster, config) for cluster in rendering.clusters()):
        return None
    try:
        secret = store.signing_key.read()
    except StoreError as exc:
        log.warning(
            "minion %s: no addresses can be published to it, it compiles its pillar instead: %s "
            "[payload-not-granted]",
            rendering.minion,
            exc,
        )
        return None
    return {
        "block": block,
        "references": sorted(rendering.expansion.served),
        "key": key(secret, rendering.minion),
    }
