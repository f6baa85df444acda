"""Whether a minion is meant by a target, asked while its pillar is compiled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import salt.loader

log = logging.getLogger(__name__)

Matches = Callable[[str], bool]


def matcher(opts: Mapping[str, Any], minion: str) -> Matches:
    """
    Return a function that tells whether a compound target means the minion.

    The grains are those of the compile: the minion's own word. A target that cannot be read
    means nobody.
    """

    mine = {**opts, "id": minion}
    # Loading them takes longer than asking them.
    loaded: list[Any] = []

    def matches(target: str) -> bool:
        try:
            if not loaded:
                loaded.append(salt.loader.matchers(mine))
            compound = loaded[0]["compound_match.match"]
            return bool(compound(target, opts=mine, minion_id=minion))
        except Exception as exc:  # noqa: BLE001  Salt's matchers raise all sorts
            log.error("target %r cannot be read (%s): it means no minion", target, exc)
            return False

    return matches
