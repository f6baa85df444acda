"""The event bus of a running master, with a listener that confirms each event."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import salt.config
import salt.utils.event

from salt_ext.master.bus import Bus, open_event_stream


class AcknowledgedBus:
    """Fires on the real bus, and returns when a listener has received the event."""

    def __init__(self, opts: dict[str, Any]) -> None:
        self._opts = opts
        self._received = threading.Event()
        self._listening = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        self._bus = Bus(opts)
        while not self._listening.is_set():
            self._bus.fire("salt/bench/hello", {})
            self._listening.wait(0.2)

    def fire(self, tag: str, data: Mapping[str, Any]) -> None:
        """Fire, and wait until the listener has received it."""
        self._received.clear()
        self._bus.fire(tag, data)
        if tag.endswith("/changed"):
            self._received.wait(10)

    def _listen(self) -> None:
        with open_event_stream(self._opts) as stream:
            while True:
                event = stream.next(5)
                if event is None:
                    continue
                self._listening.set()
                if event.tag.endswith("/changed"):
                    self._received.set()


def real_bus(sock_dir: str) -> AcknowledgedBus:
    """Return the bus of a running master, found by the folder of its sockets."""
    return AcknowledgedBus({**salt.config.master_config(None), "sock_dir": sock_dir})
