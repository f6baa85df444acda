"""The three requests that are made of a Kubernetes API server, and what can come of them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import msgspec
from urllib3.exceptions import HTTPError, ReadTimeoutError

from salt_ext.core.cluster.node import Node
from salt_ext.core.cluster.reflector import Change
from salt_ext.kube import wire
from salt_ext.kube.errors import RequestFailed, UnexpectedResponse, WatchIdle
from salt_ext.kube.line_stream import LineTooLong, read_lines
from salt_ext.kube.request import Requests, decoded, reason, refused
from salt_ext.kube.session import Session

_NODES = "/api/v1/nodes"


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a LIST."""

    nodes: list[Node]
    resource_version: str
    continue_token: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A watch event about a node."""

    change: Change
    node: Node
    resource_version: str


@dataclass(frozen=True, slots=True)
class Bookmarked:
    """A watch event that only moves the version forward."""

    resource_version: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """A line of a watch that nothing can be made of."""

    why: str


@dataclass(frozen=True, slots=True)
class Opened:
    """The server has accepted the watch."""


_CHANGES = {change.value: change for change in Change}

Event = Opened | Changed | Bookmarked | Ignored


class NodesApi:
    """The nodes of one cluster, over one session."""

    def __init__(self, session: Session) -> None:
        self._requests = Requests(session)
        self._watching: Any = None

    def identity(self) -> str:
        """Return the uid of the ``kube-system`` namespace, which no other cluster has."""
        what = "GET namespace kube-system"
        body = self._requests.get("/api/v1/namespaces/kube-system", {}, what)
        found = decoded(wire.namespace, body, what, "Namespace")
        if found.kind != "Namespace" or not found.metadata.uid:
            raise UnexpectedResponse(what, f"answered a {found.kind!r} instead of a Namespace")
        return str(found.metadata.uid)

    def page(self, limit: int, continue_token: str) -> Page:
        """Return one page of a LIST; never with a resourceVersion, which asks for an old state."""
        what = "LIST nodes"
        query = {"limit": str(limit)}
        if continue_token:
            query["continue"] = continue_token
        found = decoded(wire.node_list, self._requests.get(_NODES, query, what), what, "NodeList")
        if found.kind != "NodeList":
            raise UnexpectedResponse(what, f"answered a {found.kind!r} instead of a NodeList")
        if found.items is None:
            raise UnexpectedResponse(what, "answered a NodeList whose items are null")
        if not found.metadata.resourceVersion:
            raise UnexpectedResponse(what, "answered a NodeList without a resourceVersion")
        nodes = [wire.node(item) for item in found.items]
        return Page(nodes, found.metadata.resourceVersion, found.metadata.continue_)

    def watch(
        self, resource_version: str, server_timeout: int, inactivity: float
    ) -> Generator[Event, None, None]:
        """
        Yield what happens from a version on, until the server ends the watch.

        Raises :class:`WatchIdle` after ``inactivity`` seconds without a byte.
        """
        what = "WATCH nodes"
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(server_timeout),
        }
        response = self._requests.open(_NODES, query, what, read=inactivity)
        self._watching = response
        try:
            yield Opened()
            for line in read_lines(response):
                yield _event(line, what)
        except ReadTimeoutError as exc:
            raise WatchIdle(what, f"nothing heard for {inactivity:.0f} s") from exc
        except (HTTPError, OSError, ValueError, LineTooLong) as exc:
            raise RequestFailed(what, reason(exc)) from exc
        finally:
            self._watching = None
            response.close()

    def cut(self) -> None:
        """End an open watch from another thread, as if the server had closed it."""
        connection = getattr(self._watching, "connection", None)
        sock = getattr(connection, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown, which takes TLS off under the reading thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def version(self) -> str:
        """Return the server's newest version."""
        return self.page(1, "").resource_version


def _event(line: bytes, what: str) -> Event:
    try:
        event = wire.node_event.decode(line)
    except msgspec.MsgspecError as exc:
        return _other_event(line, what, f"unreadable line ({exc})")
    change = _CHANGES.get(event.type)
    if change is None:
        return _other_event(line, what, "unknown type")
    found = event.object
    if not found.metadata.resourceVersion:
        return Ignored("an object without a resourceVersion")
    return Changed(change, wire.node(found), found.metadata.resourceVersion)


def _other_event(line: bytes, what: str, why: str) -> Event:
    """Read a line that is not about a node, or give up on it."""
    try:
        event = wire.watch_event.decode(line)
        if event.type == "ERROR":
            status = wire.status.decode(event.object)
            raise refused(what, status.code, event.object, "")
        if event.type == "BOOKMARK":
            return Bookmarked(wire.bookmark.decode(event.object).metadata.resourceVersion)
    except msgspec.MsgspecError:
        pass
    return Ignored(why)
