"""Which minions a target means: one whose pillar is compiled, or all that the master knows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import salt.loader
import salt.utils.minions

log = logging.getLogger(__name__)

Matches = Callable[[str], bool]


def matcher(opts: Mapping[str, Any], minion: str) -> Matches:
    """
    Return a function that tells whether a compound target means the minion.

    The grains are those of the compile: the minion's own word. A target that cannot be read
    means nobody.
    """

    # Made for the first target, and kept: both take longer than any question.
    made: list[tuple[Any, dict[str, Any]]] = []

    def matches(target: str) -> bool:
        try:
            if not made:
                mine = {**opts, "id": minion}
                made.append((salt.loader.matchers(mine)["compound_match.match"], mine))
            ((compound, mine),) = made
            return bool(compound(target, opts=mine, minion_id=minion))
        except Exception as exc:  # noqa: BLE001  Salt's matchers raise all sorts
            log.error("target %r cannot be read (%s): it means no minion", target, exc)
            return False

    return matches


class TargetMatcher:
    """
    The minions that a compound target means, among those that the master knows.

    Grains in it are those that the master has cached: the minions' own word. A minion whose
    grains are not known is meant by no grain.
    """

    def __init__(self, opts: dict[str, Any], keep: float = 0.0) -> None:
        self._minions = salt.utils.minions.CkMinions(opts)
        self._keep = keep
        self._found: dict[str, tuple[float, frozenset[str]]] = {}

    def __call__(self, target: str) -> frozenset[str]:
        """Return the ids; what was found is kept for a while."""
        at, found = self._found.get(target, (float("-inf"), frozenset()))
        now = time.monotonic()
        if now >= at + self._keep:
            answer = self._minions.check_minions(target, "compound", greedy=False)
            found = frozenset(answer["minions"])
            self._found[target] = now, found
        return found
