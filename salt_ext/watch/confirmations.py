"""Confirmations that the engine has taken, until the revision that follows from each is saved."""

from __future__ import annotations

from collections.abc import Collection

from salt_ext.core.cluster.diff import Difference
from salt_ext.core.cluster.hold import Kind

_MAX_PENDING = 100


class TakenConfirmations:
    """Says for each changed node which confirmation has let its change through."""

    def __init__(self) -> None:
        self._pending: dict[str, tuple[Kind, frozenset[str]]] = {}
        """By token: the kind of the change, and what it was about."""

    def take(self, token: str, kind: Kind, subjects: Collection[str]) -> None:
        """Remember one confirmation; the oldest is forgotten where too many lead to nothing."""
        self._pending.pop(token, None)
        self._pending[token] = kind, frozenset(subjects)
        if len(self._pending) > _MAX_PENDING:
            del self._pending[next(iter(self._pending))]

    def let_in_by(self, difference: Difference) -> dict[str, str]:
        """Return, by node that joined or changed, the token of the confirmation behind it."""
        found: dict[str, str] = {}
        for token, (kind, subjects) in self._pending.items():
            for member in (*difference.joined, *difference.updated):
                if kind.is_of_whole_view or member.name in subjects:
                    found[member.name] = token
        return found

    def end(self, difference: Difference) -> list[str]:
        """Return the tokens of the confirmations that led to a saved change, and forget them."""
        changed = {
            member.name for member in (*difference.joined, *difference.left, *difference.updated)
        }
        ended = [
            token
            for token, (kind, subjects) in self._pending.items()
            if kind.is_of_whole_view or not subjects.isdisjoint(changed)
        ]
        for token in ended:
            del self._pending[token]
        return ended
