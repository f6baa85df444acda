"""Hints from the event bus: which jobs and minions the engine should look at sooner."""

from __future__ import annotations

from dataclasses import dataclass, field

from salt_ext.core.config.apply import MODULE

KEY_TAG = "salt/key"
"""Tag of the events after which a key may be accepted or deleted."""

_MAX_NAMES = 10_000
"""Names kept between two looks; the engine's timer finds any others."""


@dataclass(slots=True)
class Hints:
    """Unverified: any minion can fire any tag. A hint only says where to look sooner."""

    returned: set[str] = field(default_factory=set)
    """Jobs with a possible return."""
    alive: set[str] = field(default_factory=set)
    """Minions that may be connected."""
    started: set[str] = field(default_factory=set)
    """Minions that may have started."""
    drifted: set[str] = field(default_factory=set)
    """Minions whose firewall may differ from the proven one."""

    def take(self, tag: str, minion: str = "") -> bool:
        """
        Record an event by its tag; return False when the tag is not a hint.

        ``minion`` is the minion named in the event's data, for tags without one.
        """
        parts = tag.split("/")
        if len(parts) == 5 and parts[1] == "job" and parts[3] == "ret":
            _add(self.returned, parts[2])
            _add(self.alive, parts[4])
        elif len(parts) == 4 and parts[1] == "minion" and parts[3] == "start":
            _add(self.started, parts[2])
        elif len(parts) == 4 and parts[1] == MODULE and parts[3] == "drift":
            _add(self.drifted, parts[2])
        elif tag == "salt/auth" and minion:
            _add(self.alive, minion)
        else:
            return False
        return True


def _add(names: set[str], name: str) -> None:
    if len(names) < _MAX_NAMES:
        names.add(name)
