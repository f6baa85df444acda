"""What guards hold, as ``status``, ``confirm`` and ``reject`` show it: the same picture in each."""

from __future__ import annotations

from salt_ext.core import answers
from salt_ext.core.cluster.hold import Kind
from salt_ext.core.display import utc
from salt_ext.store import Store
from salt_ext.store.holds import HeldChange

_MAX_NAMES = 20
"""Names that one held change shows."""


def picture(store: Store, cluster: str) -> list[answers.HeldChange]:
    """Return the held changes of a cluster, each with what its release would do, in numbers."""
    held = store.holds.of(cluster)
    if not held:
        return []
    minions = store.subscriptions.count(cluster)
    waiting = {one.token for one in store.decisions.of(cluster).confirmations}
    return [_shown(cluster, change, minions, confirmed=change.token in waiting) for change in held]


def _shown(
    cluster: str, change: HeldChange, minions: int, *, confirmed: bool
) -> answers.HeldChange:
    kind = Kind(change.kind)
    shown: answers.HeldChange = {
        "what": change.kind,
        "why": change.why,
        "since": utc(change.since) if change.since else None,
        "names": change.keys[:_MAX_NAMES],
        "count": len(change.subjects),
        "if_released": change.effect.text(minions) if kind.confirmable else None,
        "token": change.token if kind.confirmable else None,
        "release": f"salt-run k8s_nodes.confirm {cluster} {change.token}"
        if kind.confirmable
        else None,
        "reject": f"salt-run k8s_nodes.reject {cluster} {change.token}"
        if kind.rejectable and not change.rejected
        else None,
    }
    if change.rejected:
        shown["rejected"] = True
    if confirmed:
        shown["confirmed"] = "recorded; it takes effect when the engine runs"
    return shown
