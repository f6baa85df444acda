"""What the demo found out, each of it from packets, and whether its story is true."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Result:
    """Filled in while the story goes on; what was not shown is not claimed."""

    opened_ms: list[int] = field(default_factory=list)
    """From the API's confirmation of a join to its first connection, at each minion."""
    closed_ms: list[int] = field(default_factory=list)
    """From the API's confirmation of a leave to the first connection that is refused."""
    outage_unchanged: bool = False
    """While the API was away, every probe saw what it had seen before."""
    established_ended: bool = False
    """A connection that was open when its node left carried nothing more, to the end."""
    never_opened: bool = False
    """A host that is on no list never got in."""
    always_open: bool = False
    """A host that is on the list for good always got in."""

    @property
    def true(self) -> bool:
        """Whether everything that the story tells has happened."""
        return all(asdict(self).values())

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)) + "\n")
