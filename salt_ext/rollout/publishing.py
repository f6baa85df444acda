"""Why nothing at all is published: the answer on which every publish and every screen depends."""

from __future__ import annotations

from salt_ext.core.config.config import Config
from salt_ext.core.display import utc
from salt_ext.store import Store
from salt_ext.store.decisions import UnusableDecisions


def publishing_stopped(config: Config, store: Store) -> str | None:
    """Return why nothing at all is published; None when something may be."""
    stopped = decided_stop(store)
    if stopped is None and config.in_doubt:
        stopped = f"nothing is published: {config.in_doubt[0]}"
    return stopped


def decided_stop(store: Store) -> str | None:
    """Return why persons want nothing to be published, also where that cannot be known."""
    try:
        paused = store.decisions.paused()
    except UnusableDecisions as exc:
        # Fail closed: a pause may be in it.
        return str(exc)
    if paused is None:
        return None
    why = f": {paused.reason}" if paused.reason else ""
    return f"paused by {paused.by} since {utc(paused.at)}{why}"
