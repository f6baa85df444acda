"""The master's event bus."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import salt.utils.event


class Bus:
    """Fires from one thread; make one for each thread."""

    def __init__(self, opts: dict[str, Any]) -> None:
        self._event = salt.utils.event.get_event(
            "master", sock_dir=opts["sock_dir"], opts=opts, listen=False
        )

    def fire(self, tag: str, data: Mapping[str, Any]) -> None:
        """Fire an event; an event that is lost is made up for by the engine's own timer."""
        self._event.fire_event(dict(data), tag)


@contextlib.contextmanager
def listening(opts: dict[str, Any]) -> Iterator[Any]:
    """Lend Salt's event listener, closed at the end."""
    event = salt.utils.event.get_event(
        "master", sock_dir=opts["sock_dir"], opts=opts, listen=True, keep_loop=False
    )
    try:
        yield event
    finally:
        event.destroy()
