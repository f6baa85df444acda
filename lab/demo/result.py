"""The result of the demo: times and claims, each measured by packets."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Result:
    """Filled in while the story runs; a claim that was not seen stays false."""

    opened_ms: list[int] = field(default_factory=list)
    """From the API's confirmation of a join to its first connection, at each minion."""
    closed_ms: list[int] = field(default_factory=list)
    """From the API's confirmation of a leave to the first connection that is refused."""
    outage_unchanged: bool = False
    """While the API was away, every probe saw what it had seen before."""
    established_ended: bool = False
    """A connection that was open when its node left carried nothing more, to the end."""
    verified: bool = False
    """Each minion's kernel was read whole after each leave, and let the address in nowhere."""
    never_opened: bool = False
    """A host that is on no list never got in."""
    always_open: bool = False
    """A host that is on the list for good always got in."""

    @property
    def true(self) -> bool:
        """Whether every claim of the story was seen."""
        return all(asdict(self).values())

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)) + "\n")
