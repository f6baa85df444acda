"""
Every request that the emulator received, for assertions such as "no storm of LISTs".
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from lab.kubernetes.emulator.request import Request

_KEEP = 100_000


class RequestLog:
    """
    Requests in the order in which they came; times are of the monotonic clock, which all processes
    share.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._entries: deque[dict[str, Any]] = deque(maxlen=_KEEP)
        self._count = 0

    def add(self, request: Request, user: str, page: int) -> dict[str, Any]:
        with self.changed:
            self._count += 1
            entry = {
                "number": self._count,
                "time": time.monotonic(),
                "method": request.method,
                "verb": request.verb,
                "path": request.path,
                "query": dict(request.query),
                "user": user,
                "agent": request.headers.get("user-agent", ""),
                "page": page,
                "status": 0,  # until it is answered
            }
            self._entries.append(entry)
            self.changed.notify_all()
            return entry

    def answered(self, entry: dict[str, Any], status: int) -> None:
        with self.changed:
            entry["status"] = status
            self.changed.notify_all()

    def entries(self, **wanted: Any) -> list[dict[str, Any]]:
        with self.changed:
            return self._matching(wanted)

    def wait(self, count: int, seconds: float, **wanted: Any) -> list[dict[str, Any]]:
        """
        Those that match, as soon as there are enough of them, or those that there are when time is
        up.
        """
        with self.changed:
            self.changed.wait_for(lambda: len(self._matching(wanted)) >= count, seconds)
            return self._matching(wanted)

    def clear(self) -> None:
        with self.changed:
            self._entries.clear()

    def _matching(self, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        since = wanted.get("since", 0)
        keys = [
            (key, value) for key, value in wanted.items() if key != "since" and value is not None
        ]
        return [
            dict(entry)
            for entry in self._entries
            if entry["number"] > since and all(entry[key] == value for key, value in keys)
        ]
