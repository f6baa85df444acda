"""The class of each minion: the first in the configuration whose target matches it."""

from __future__ import annotations

from collections.abc import Callable, Set

from salt_ext.core.config.apply import ANY_GRAINS, Action, ApplyConfig

TargetMatches = Callable[[str], Set[str]]
"""Returns the minions that a compound target matches."""


def no_minions(_: str) -> frozenset[str]:
    """Match no minion with any target."""
    return frozenset()


class MinionClasses:
    """The classes as targets and cached grains tell them at one moment."""

    def __init__(self, apply: ApplyConfig, match: TargetMatches) -> None:
        self._apply = apply
        self._members = {
            action.target: match(action.target)
            for action in apply.classes
            if action.target is not None
        }
        by_grains = any(action.needs_grains for action in apply.classes)
        self._with_grains = match(ANY_GRAINS) if by_grains else None

    def of(self, minion: str) -> Action | None:
        """Return the class of a minion; None while it is unknown, since its grains may be lost."""
        if self._with_grains is not None and not self._apply.knows_class(
            minion, self._members, self._with_grains
        ):
            return None
        return self._apply.class_of(minion, self._members)
