"""The event bus of a master that runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import salt.config
import salt.utils.event

from salt_ext.master.bus import Bus, open_event_stream


class HeardBus:
    """Fires on the real bus, and returns when a listener has heard the event."""

    def __init__(self, opts: dict[str, Any]) -> None:
        self._opts = opts
        self._heard = threading.Event()
        self._listening = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        self._bus = Bus(opts)
        while not self._listening.is_set():
            self._bus.fire("salt/bench/hello", {})
            self._listening.wait(0.2)

    def fire(self, tag: str, data: Mapping[str, Any]) -> None:
        """Fire and wait until it was heard."""
        self._heard.clear()
        self._bus.fire(tag, data)
        if tag.endswith("/changed"):
            self._heard.wait(10)

    def _listen(self) -> None:
        with open_event_stream(self._opts) as ear:
            while True:
                heard = ear.next(5)
                if heard is None:
                    continue
                self._listening.set()
                if heard.tag.endswith("/changed"):
                    self._heard.set()


def real_bus(sock_dir: str) -> HeardBus:
    """Return the bus of a master that runs, by the folder of its sockets."""
    return HeardBus({**salt.config.master_config(None), "sock_dir": sock_dir})
