"""The master's event bus."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import salt.payload
import salt.utils.event

_TAG_ENDS = b"\n\n"


class Bus:
    """Fires from one thread; make one for each thread."""

    def __init__(self, opts: dict[str, Any]) -> None:
        self._event = salt.utils.event.get_event(
            "master", sock_dir=opts["sock_dir"], opts=opts, listen=False
        )

    def fire(self, tag: str, data: Mapping[str, Any]) -> None:
        """Fire an event; an event that is lost is made up for by the engine's own timer."""
        self._event.fire_event(dict(data), tag)


@dataclass(frozen=True, slots=True)
class BusEvent:
    """The tag of an event, and the minion that it is about where only its data says that."""

    tag: str
    minion: str = ""


class EventStream:
    """Hears Salt's own events without decoding them: a return can be megabytes long."""

    def __init__(self, event: Any) -> None:
        self._event = event
        event.unpack = _tag_and_bytes

    def next(self, wait: float) -> BusEvent | None:
        """Return the next event, None when there is none for so many seconds."""
        got = self._event.get_event(
            wait=wait, tag="salt/", match_type="startswith", full=True, auto_reconnect=True
        )
        if got is None:
            return None
        tag = str(got["tag"])
        return BusEvent(tag, _minion(got["data"]) if tag == "salt/auth" else "")


@contextlib.contextmanager
def listening(opts: dict[str, Any]) -> Iterator[EventStream]:
    """Lend an ear, closed at the end."""
    event = salt.utils.event.get_event(
        "master", sock_dir=opts["sock_dir"], opts=opts, listen=True, keep_loop=False
    )
    try:
        yield EventStream(event)
    finally:
        event.destroy()


def _tag_and_bytes(raw: bytes) -> tuple[str, bytes]:
    tag, _, data = raw.partition(_TAG_ENDS)
    return tag.decode(errors="replace"), data


def _minion(data: object) -> str:
    with contextlib.suppress(Exception):
        found = salt.payload.loads(data).get("id")
        return found if isinstance(found, str) else ""
    return ""
