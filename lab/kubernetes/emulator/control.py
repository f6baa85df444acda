"""
The client side of the control socket: script faults, break streams, turn back the data of a running
emulator, and read which requests it received.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.kubernetes.emulator.actions import Action, stream

_SECONDS = 30.0


class ControlError(Exception):
    """The emulator could not carry out a command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """A request that the emulator received."""

    number: int
    time: float  # of the monotonic clock, which all processes of a machine share
    method: str
    verb: str  # get, list, watch, create, ...
    path: str
    query: Mapping[str, str]
    user: str
    agent: str
    page: int
    status: int  # 0 while it is not answered, -1 if it never will be


class Control:
    """Commands for one emulator; each returns once it is done."""

    def __init__(self, path: Path) -> None:
        self._path = path

    # recorded requests

    def requests(
        self,
        *,
        verb: str | None = None,
        path: str | None = None,
        user: str | None = None,
        since: int = 0,
    ) -> list[RecordedRequest]:
        """The requests in order; ``since`` is the number of the last one that is already known."""
        return _recorded(self.do("requests", verb=verb, path=path, user=user, since=since))

    def wait_for_requests(
        self,
        count: int,
        *,
        verb: str | None = None,
        path: str | None = None,
        user: str | None = None,
        since: int = 0,
        seconds: float = 10.0,
    ) -> list[RecordedRequest]:
        """Wait until at least that many matching requests came; raises TimeoutError."""
        wanted = {"verb": verb, "path": path, "user": user, "since": since}
        found = _recorded(self.do("wait_for_requests", count=count, seconds=seconds, wanted=wanted))
        if len(found) < count:
            raise TimeoutError(f"{len(found)} of {count} requests {wanted} within {seconds:g} s")
        return found

    def forget_requests(self) -> None:
        self.do("forget_requests")

    # wrong answers

    def on(
        self,
        verb: str = "any",
        *,
        do: Action,
        path: str = "",
        user: str = "",
        page: int = 0,
        skip: int = 0,
        times: int | None = 1,
        every: int = 1,
    ) -> int:
        """
        Make a rule; see :mod:`lab.kubernetes.emulator.actions` for what can be done.

        ``path`` is a regular expression, ``page`` picks a page of LISTs (1 is the first). The first
        ``skip`` matching requests are answered rightly, then each ``every``-th one gets the action,
        ``times`` times (None: for ever).
        """
        options = {"verb": verb, "action": do, "path": path, "user": user, "page": page}
        number: int = self.do("on", **options, skip=skip, times=times, every=every)
        return number

    def clear(self, rule: int | None = None) -> None:
        """Remove one rule or all, and close the connections that hang because of it."""
        self.do("clear", rule=rule)

    def fired(self, rule: int) -> int:
        number: int = self.do("fired", rule=rule)
        return number

    # open watches

    def streams(self) -> list[RecordedRequest]:
        """The requests of the watches that are open now."""
        return _recorded(self.do("streams"))

    def disturb(self, action: Action, *, user: str = "") -> int:
        """
        Do what :func:`~lab.kubernetes.emulator.actions.stream` describes to the open watches;
        returns how many.
        """
        return self._order(action, user)

    def stop_streams(self, how: str, *, user: str = "") -> int:
        """
        End, cut, truncate, reset, freeze or expire (``actions.END`` ...) the open watches right
        now.
        """
        return self._order({"stop": how}, user)

    def thaw_streams(self, *, user: str = "") -> int:
        return self._order({"thaw": True}, user)

    def send(self, *lines: str | Mapping[str, Any], user: str = "") -> int:
        """Write lines into the open watches as they are."""
        return self.disturb(stream(lines=lines), user=user)

    def drop_events(
        self, kinds: Iterable[str], *, names: Iterable[str] = (), user: str = ""
    ) -> int:
        """Swallow events of the open watches, as in a DELETE that is never seen."""
        return self.disturb(stream(drop=kinds, names=names), user=user)

    def bookmark(self, version: int | None = None, *, user: str = "") -> int:
        """Send a bookmark now to those that take them."""
        return self._order({"bookmark": version}, user)

    # data

    def version(self) -> int:
        number: int = self.do("version")
        return number

    def write_state(self) -> None:
        """Write all data to disk, where the next start looks for it, as a stop does."""
        self.do("write_state")

    def load(self, nodes: Iterable[Mapping[str, Any]]) -> int:
        """Create nodes without requests, thousands in a moment; returns the last version."""
        number: int = self.do("load", nodes=list(nodes))
        return number

    def save(self, name: str = "saved") -> None:
        self.do("save", name=name)

    def restore(self, name: str = "saved", *, quietly: bool = False) -> None:
        """
        Objects and versions go back; ``quietly`` leaves watches open, at versions that are now in
        the future.
        """
        self.do("restore", name=name, quietly=quietly)

    def wipe(self) -> None:
        self.do("wipe")

    def compact(self) -> None:
        self.do("compact")

    def expire(self) -> None:
        """Empty the watch cache: a WATCH from any older version is too old from now on."""
        self.do("expire")

    def advance(self, by: int = 1) -> int:
        """Let versions pass by without any event, as writes to other resources do."""
        number: int = self.do("advance", by=by)
        return number

    # time

    def tune(self, *, bookmark_seconds: float | None = None, patience: float | None = None) -> None:
        """
        Bookmarks of watches opened from now on; how long a LIST waits for a version that is too
        large.
        """
        self.do("tune", bookmark_seconds=bookmark_seconds, patience=patience)

    # access

    def revoke(self, user: str) -> None:
        """401 for the user's token from now on."""
        self.do("revoke", user=user)

    def reinstate(self, user: str) -> None:
        self.do("reinstate", user=user)

    def forbid(self, user: str) -> None:
        """403 for the user from now on."""
        self.do("forbid", user=user)

    def permit(self, user: str) -> None:
        self.do("permit", user=user)

    def reload_tokens(self) -> None:
        self.do("reload_tokens")

    # the network

    def refuse(self) -> None:
        """Close the listening socket and every connection."""
        self.do("refuse")

    def listen(self) -> None:
        self.do("listen")

    def drop_connections(self) -> None:
        self.do("drop_connections")

    def _order(self, action: Action, user: str) -> int:
        number: int = self.do("order", action=action, user=user)
        return number

    def do(self, command: str, **options: Any) -> Any:
        """Send a command by its name; the methods above are these commands with their types."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SECONDS + options.get("seconds", 0))
            connection.connect(str(self._path))
            connection.sendall(json.dumps({"do": command, "with": options}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                answer = json.loads(answers.readline())
        if "error" in answer:
            raise ControlError(f"{command}: {answer['error']}")
        return answer["result"]


def _recorded(found: Iterable[Mapping[str, Any]]) -> list[RecordedRequest]:
    return [RecordedRequest(**one) for one in found]
