"""
The server side of the control socket: JSON lines on a Unix socket, which works from every network
namespace.
"""

from __future__ import annotations

import json
import os
import socketserver
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.kubernetes.emulator import watch
from lab.kubernetes.emulator.cluster import Cluster
from lab.kubernetes.emulator.listener import Listener


class Commands:
    """Every method that does not begin with an underscore is a command."""

    def __init__(self, cluster: Cluster, listener: Listener) -> None:
        self._cluster, self._listener = cluster, listener

    # recorded requests

    def requests(self, **wanted: Any) -> list[dict[str, Any]]:
        return self._cluster.log.entries(**wanted)

    def wait_for_requests(
        self, *, count: int, seconds: float, wanted: dict[str, Any]
    ) -> list[dict[str, Any]]:
        return self._cluster.log.wait(count, seconds, **wanted)

    def forget_requests(self) -> None:
        self._cluster.log.clear()

    # wrong answers

    def on(self, **options: Any) -> int:
        return self._cluster.faults.add(**options)

    def clear(self, *, rule: int | None = None) -> None:
        self._cluster.faults.remove(rule)

    def fired(self, *, rule: int) -> int:
        return self._cluster.faults.fired(rule)

    # open watches

    def streams(self) -> list[dict[str, Any]]:
        return [dict(one) for one in self._cluster.streams.about()]

    def order(self, *, action: dict[str, Any], user: str = "") -> int:
        return self._cluster.streams.order(action, user)

    # data

    def version(self) -> int:
        return self._cluster.store.version

    def write_state(self) -> None:
        self._cluster.write_state()

    def load(self, *, nodes: list[dict[str, Any]]) -> int:
        return self._cluster.load(nodes)

    def save(self, *, name: str) -> None:
        self._cluster.save(name)

    def restore(self, *, name: str, quietly: bool) -> None:
        self._cluster.restore(name, quietly=quietly)
        if not quietly:
            self._listener.drop_connections()

    def wipe(self) -> None:
        self._cluster.store.reset()
        self._listener.drop_connections()

    def compact(self) -> None:
        self._cluster.store.compact()

    def expire(self) -> None:
        self._cluster.store.forget_cache()

    def advance(self, *, by: int) -> int:
        return self._cluster.store.advance(by)

    # time

    def tune(self, *, bookmark_seconds: float | None = None, patience: float | None = None) -> None:
        if bookmark_seconds is not None:
            watch.BOOKMARK_SECONDS = bookmark_seconds
        if patience is not None:
            self._cluster.store.patience = patience

    # access

    def revoke(self, *, user: str) -> None:
        self._cluster.access.revoke(user)

    def reinstate(self, *, user: str) -> None:
        self._cluster.access.reinstate(user)

    def forbid(self, *, user: str) -> None:
        self._cluster.access.forbid(user)

    def permit(self, *, user: str) -> None:
        self._cluster.access.permit(user)

    def reload_tokens(self) -> None:
        self._cluster.access.reload()

    # the network

    def refuse(self) -> None:
        self._listener.close()

    def listen(self) -> None:
        self._listener.open()

    def drop_connections(self) -> None:
        self._listener.drop_connections()


class _Socket(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    commands: Commands


class _Line(socketserver.StreamRequestHandler):
    server: _Socket

    def handle(self) -> None:
        for line in self.rfile:
            asked = json.loads(line)
            self.wfile.write(json.dumps(self._do(asked["do"], asked["with"])).encode() + b"\n")

    def _do(self, name: str, options: dict[str, Any]) -> dict[str, Any]:
        command: Callable[..., Any] | None = getattr(self.server.commands, name, None)
        if command is None or name.startswith("_"):
            return {"error": "unknown command"}
        try:
            return {"result": command(**options)}
        except Exception as error:  # noqa: BLE001 - reported to the caller
            return {"error": f"{type(error).__name__}: {error}"}


def serve(path: Path, commands: Commands) -> socketserver.BaseServer:
    """Listen for commands; the caller runs the server that is returned."""
    path.unlink(missing_ok=True)
    mask = os.umask(0o077)
    try:
        server = _Socket(str(path), _Line)
    finally:
        os.umask(mask)
    server.commands = commands
    return server
