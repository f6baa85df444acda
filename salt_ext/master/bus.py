"""The master's event bus."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import salt.payload
import salt.utils.event

_TAG_ENDS = b"\n\n"


class Bus:
    """Fires from one thread; make one for each thread."""

    def __init__(self, opts: dict[str, object]) -> None:
        self._event = salt.utils.event.get_event(
            "master", sock_dir=opts["sock_dir"], opts=opts, listen=False
        )

    def fire(self, tag: str, data: Mapping[str, object]) -> None:
        """Fire an event; the engine's own timer makes up for one that is lost."""
        self._event.fire_event(dict(data), tag)


@dataclass(frozen=True, slots=True)
class BusEvent:
    """An event's tag, and its minion where only the data names it."""

    tag: str
    minion: str = ""


class SaltEvent(Protocol):
    """The part of ``salt.utils.event.SaltEvent`` that is used here."""

    unpack: object

    def get_event(self, **options: object) -> Mapping[str, object] | None:
        """Return the next event that the options allow, None when there is none in time."""


class EventStream:
    """Salt's own events, not decoded: a return can be megabytes long."""

    def __init__(self, event: SaltEvent) -> None:
        self._event = event
        event.unpack = _split

    def next(self, wait: float) -> BusEvent | None:
        """Return the next event, None when there is none for ``wait`` seconds."""
        event = self._event.get_event(
            wait=wait, tag="salt/", match_type="startswith", full=True, auto_reconnect=True
        )
        if event is None:
            return None
        tag = str(event["tag"])
        return BusEvent(tag, _minion(event["data"]) if tag == "salt/auth" else "")


@contextlib.contextmanager
def open_event_stream(opts: dict[str, object]) -> Iterator[EventStream]:
    """Lend a stream of the master's events, closed at the end."""
    event = salt.utils.event.get_event(
        "master", sock_dir=opts["sock_dir"], opts=opts, listen=True, keep_loop=False
    )
    try:
        yield EventStream(event)
    finally:
        event.destroy()


def _split(raw: bytes) -> tuple[str, bytes]:
    """Return the tag, and the data as it came."""
    tag, _, data = raw.partition(_TAG_ENDS)
    return tag.decode(errors="replace"), data


def _minion(data: object) -> str:
    with contextlib.suppress(Exception):
        minion = salt.payload.loads(data).get("id")
        return minion if isinstance(minion, str) else ""
    return ""
