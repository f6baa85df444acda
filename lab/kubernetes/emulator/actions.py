"""
The faults that an emulator can be ordered to show; values for :meth:`Control.on` and
:meth:`Control.disturb`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

Action = dict[str, Any]

# How a stream or an answer can stop
END = "end"  # at once, cleanly: the last chunk is empty
CUT = "cut"  # in the middle of a chunk that holds half a line, then the connection is closed
TRUNCATE = "truncate"  # half a line without its end, then a clean end
RESET = "reset"  # a TCP reset
FREEZE = "freeze"  # nothing more, with the connection open
GONE = "gone"  # an ERROR event with code 410, then a clean end, as when the watch cache is outrun


def respond(status: int, body: object = "", *, headers: Mapping[str, str] | None = None) -> Action:
    """Any answer; a str is sent as it is, anything else as JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    return {"respond": {"status": status, "body": text, "headers": dict(headers or {})}}


def delay(seconds: float) -> Action:
    """The right answer, late."""
    return {"delay": seconds}


def hang() -> Action:
    """No answer, with the connection open."""
    return {"hang": True}


def close(*, reset: bool = False) -> Action:
    """No answer, with the connection closed."""
    return {"close": "reset" if reset else "end"}


def gone() -> Action:
    """HTTP 410, the Status that a LIST gets for a version which is too old."""
    return {"gone": True}


def from_state(name: str) -> Action:
    """The right answer of another time: what was saved under this name, versions included."""
    return {"state": name}


def cut_body(fraction: float = 0.5) -> Action:
    """The right answer, and the connection closed in the middle of it."""
    return {"cut_body": fraction}


def stream(
    *,
    lines: Iterable[str | Mapping[str, Any]] = (),
    after: int = 0,
    then: str = "",
    drop: Iterable[str] = (),
    names: Iterable[str] = (),
    pause: float = 0.0,
) -> Action:
    """
    A watch that is opened, and then goes wrong: first ``lines`` are sent as they are (mappings as
    JSON), then ``after`` events as they come, then ``then`` happens. Events whose type is in
    ``drop`` are swallowed (with ``names``: only those of these objects). ``pause`` seconds pass
    before each event.
    """
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    return {
        "stream": {
            "lines": texts,
            "after": after,
            "then": then,
            "drop": list(drop),
            "names": list(names),
            "pause": pause,
        }
    }
