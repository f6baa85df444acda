"""Which minions a target matches: the one whose pillar is compiled, or all of this master."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import salt.loader
import salt.utils.minions

log = logging.getLogger(__name__)

Matches = Callable[[str], bool]
"""Whether a compound target matches a certain minion."""


def minion_matcher(opts: Mapping[str, Any], minion: str) -> Matches:
    """
    Return a function that tells whether a compound target matches one minion.

    Grains are those of the compile, as the minion itself reported them. A target that cannot be
    evaluated matches no minion.
    """

    # Loaded for the first target, and kept: that takes longer than any match.
    loaded: list[tuple[Any, dict[str, Any]]] = []

    def matches(target: str) -> bool:
        try:
            if not loaded:
                minion_opts = {**opts, "id": minion}
                matchers = salt.loader.matchers(minion_opts)
                loaded.append((matchers["compound_match.match"], minion_opts))
            ((compound_match, minion_opts),) = loaded
            return bool(compound_match(target, opts=minion_opts, minion_id=minion))
        except Exception as exc:  # noqa: BLE001  Salt's matchers raise errors of every type
            log.error(
                "config: target %r cannot be evaluated (%s); it matches no minion [target-invalid]",
                target,
                exc,
            )
            return False

    return matches


class TargetMatcher:
    """
    The minions that a compound target matches, among those that the master knows.

    Grains are those that the master has cached, as each minion reported them. A minion without
    cached grains is matched by no grain.
    """

    def __init__(self, opts: dict[str, Any], keep: float = 0.0) -> None:
        """``keep`` is for how many seconds an answer is kept."""
        self._minions = salt.utils.minions.CkMinions(opts)
        self._keep = keep
        self._matched: dict[str, tuple[float, frozenset[str]]] = {}

    def __call__(self, target: str) -> frozenset[str]:
        """Return the ids of the minions."""
        at, minions = self._matched.get(target, (float("-inf"), frozenset()))
        now = time.monotonic()
        if now >= at + self._keep:
            answer = self._minions.check_minions(target, "compound", greedy=False)
            minions = frozenset(answer["minions"])
            self._matched[target] = now, minions
        return minions
