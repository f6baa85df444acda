"""Reports what of a node is not let in: once for each node and reason, and not too often."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from salt_ext.core import events
from salt_ext.core.cluster.refusal import MAX_EXAMPLES, Reason, Refusal, cure
from salt_ext.core.display import quote

log = logging.getLogger(__name__)

_AGAIN_AFTER = 600.0
"""Seconds after which a refusal that ended and came back is reported again."""


@dataclass(slots=True)
class _Reported:
    at: float
    lasts: bool


class RefusalReporter:
    """Logs a line for each reason, and fires an event for each node; ``fire`` sends an event."""

    def __init__(self, cluster: str, fire: Callable[[events.Event], None]) -> None:
        self._cluster = cluster
        self._fire = fire
        self._reported: dict[str, dict[Reason, _Reported]] = {}
        self._forget_at = 0.0

    def report(self, news: Mapping[str, Sequence[Refusal]], now: float) -> None:
        """Report what is new; ``news`` has all refusals of each node of which they changed."""
        fresh = [
            refusal
            for node, refusals in news.items()
            for refusal in self._fresh(node, refusals, now)
        ]
        by_reason: dict[Reason, list[Refusal]] = {}
        for refusal in fresh:
            by_reason.setdefault(refusal.reason, []).append(refusal)
        for refusals in by_reason.values():
            self._log(refusals)
        # The line has the number of all, and status their first names.
        for refusal in fresh[: events.MAX_NODES]:
            self._fire(events.refused(self._cluster, refusal))
        self._forget(now)

    def _fresh(self, node: str, refusals: Sequence[Refusal], now: float) -> list[Refusal]:
        """Return the refusals of a node that did not last until now, nor were reported lately."""
        known = self._reported.get(node, {})
        reasons = {refusal.reason for refusal in refusals}
        fresh = []
        for refusal in refusals:
            before = known.get(refusal.reason)
            if before is None or not (before.lasts or now < before.at + _AGAIN_AFTER):
                known[refusal.reason] = _Reported(now, lasts=True)
                fresh.append(refusal)
        for reason, reported in known.items():
            reported.lasts = reason in reasons
        if known:
            self._reported[node] = known
        return fresh

    def _forget(self, now: float) -> None:
        if now < self._forget_at:
            return
        self._forget_at = now + _AGAIN_AFTER
        for node, known in list(self._reported.items()):
            if not any(one.lasts or now < one.at + _AGAIN_AFTER for one in known.values()):
                del self._reported[node]

    def _log(self, refusals: Sequence[Refusal]) -> None:
        """Log the refusals of one reason."""
        first = refusals[0]
        nodes = ", ".join(
            f"{one.node} ({', '.join([*map(quote, one.examples), *_more(one)])})"
            if one.examples
            else one.node
            for one in refusals[:MAX_EXAMPLES]
        )
        more = len(refusals) - MAX_EXAMPLES
        if more > 0:
            nodes += f" and {more} more"
        remedy = cure(first.reason, self._cluster)
        if first.is_held:
            log.error(
                "cluster %s: %d nodes held (%s): %s; %s [node-held]",
                self._cluster,
                len(refusals),
                first.reason.value,
                nodes,
                remedy,
            )
        else:
            log.warning(
                "cluster %s: %d addresses of %d nodes refused (%s): %s; %s [addresses-refused]",
                self._cluster,
                sum(one.count for one in refusals),
                len(refusals),
                first.reason.value,
                nodes,
                remedy,
            )


def _more(refusal: Refusal) -> list[str]:
    more = refusal.count - len(refusal.examples)
    return [f"{more} more"] if more > 0 else []
