"""What a tag on the event bus makes one look at; any minion can fire any tag."""

from __future__ import annotations

from dataclasses import dataclass, field

from salt_ext.core.config.apply import MODULE

KEY_TAG = "salt/key"
"""A key may have been accepted or deleted."""

_MOST = 10_000
"""Names that are remembered between two looks: the engine's own timer finds the rest."""


@dataclass(slots=True)
class Hints:
    """Nothing of it is believed: it only says where to look, and sooner."""

    returned: set[str] = field(default_factory=set)
    """Jobs that something may have returned to."""
    alive: set[str] = field(default_factory=set)
    """Minions that may be there."""
    started: set[str] = field(default_factory=set)
    """Minions that may have started."""
    drifted: set[str] = field(default_factory=set)
    """Minions whose firewall may not be what they have proved."""

    def take(self, tag: str, minion: str = "") -> bool:
        """Take a tag, and the minion that its data names where that is needed; whether it says."""
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
    if len(names) < _MOST:
        names.add(name)
