"""Small builders for the tests of the minion's module."""

from __future__ import annotations

from typing import Any

from k8s_firewall_parts import desired


def state(*masters: str, **block: Any) -> desired.Desired:
    """Return the desired state of a block of the pillar."""
    return desired.parse({desired.PILLAR_KEY: block}, {}, masters).desired


def view(revision: int, observed_at: float = 1.0, **more: Any) -> dict[str, Any]:
    """Return what the master's part of a pillar says of one cluster."""
    return {"revision": revision, "observed_at": observed_at, "store": "a", "stale": False, **more}
