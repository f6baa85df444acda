"""Why nothing is published, at all or for some clusters: every publish and every screen asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from salt_ext.core.config.config import Config
from salt_ext.core.display import utc
from salt_ext.store import Store
from salt_ext.store.decisions import UnusableDecisions

NOT_COMPARED = "not compared yet with what minions were served"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovering:
    """What is known since the store was lost."""

    why: str
    since: float | None = None
    """None until the engine has noticed it."""
    aside: str = ""
    clusters: Mapping[str, str]
    """Each configured cluster, and how far its view agrees with what minions were served."""
    waiting: frozenset[str]
    """The clusters that nothing is published for."""

    def __str__(self) -> str:
        since = f" (noticed {utc(self.since)})" if self.since is not None else ""
        listed = ", ".join(sorted(self.waiting))
        return (
            f"nothing is published for {listed}: {self.why}{since}. It goes on once the nodes "
            "agree with what minions were served, or after `salt-run k8s_nodes.resume`"
        )


def publishing_stopped(config: Config, store: Store) -> str | None:
    """Return why nothing at all is published, or nothing for some clusters; None without cause."""
    stopped = decided_stop(store)
    if stopped is None and config.in_doubt:
        stopped = f"nothing is published: {config.in_doubt[0]}"
    if stopped is None and (found := recovering(config, store)) is not None:
        stopped = str(found)
    return stopped


def decided_stop(store: Store) -> str | None:
    """Return why persons want nothing to be published, also where that cannot be known."""
    try:
        store.continuity.check()
        paused = store.decisions.paused()
    except UnusableDecisions as exc:
        # Fail closed: a pause may be in it.
        return str(exc)
    if paused is None:
        return None
    why = f": {paused.reason}" if paused.reason else ""
    return f"paused by {paused.by} since {utc(paused.at)}{why}"


def recovering(config: Config, store: Store) -> Recovering | None:
    """Return how far the recovery from a loss of the store has come; None where there is none."""
    try:
        loss = store.continuity.loss()
        known = store.continuity.recovery(loss) if loss is not None else None
    except UnusableDecisions:
        # That stops everything already.
        return None
    if loss is None:
        return None
    agreed = known.agreed if known is not None else ()
    reports = known.reports if known is not None else {}
    waiting = frozenset(config.names).difference(agreed)
    if not waiting:
        return None
    return Recovering(
        why=known.why if known is not None else loss.why,
        since=known.since if known is not None else None,
        aside=known.aside if known is not None else loss.aside,
        clusters={name: reports.get(name, NOT_COMPARED) for name in config.names},
        waiting=waiting,
    )
