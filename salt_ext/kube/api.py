"""The three requests to a Kubernetes API server: identity, LIST nodes, WATCH nodes."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Generator
from dataclasses import dataclass

import msgspec
from urllib3.exceptions import HTTPError, ReadTimeoutError

from salt_ext.core.cluster.node import Node
from salt_ext.core.cluster.reflector import Change
from salt_ext.kube import wire
from salt_ext.kube.errors import RequestFailed, UnexpectedResponse, WatchIdle
from salt_ext.kube.http_response import HttpResponse
from salt_ext.kube.line_stream import LineTooLong, read_lines
from salt_ext.kube.request import ApiClient, decode, describe, error_of_status
from salt_ext.kube.session import Session

_NODES = "/api/v1/nodes"
_KUBE_SYSTEM = "/api/v1/namespaces/kube-system"


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a LIST."""

    nodes: list[Node]
    resource_version: str
    continue_token: str
    """Empty on the last page."""


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The server accepted the watch."""


@dataclass(frozen=True, slots=True)
class NodeChanged:
    """A watch event about a node."""

    change: Change
    node: Node
    resource_version: str


@dataclass(frozen=True, slots=True)
class Bookmark:
    """A watch event that only moves the resourceVersion forward."""

    resource_version: str


@dataclass(frozen=True, slots=True)
class LineIgnored:
    """A line of a watch that cannot be read; ``reason`` says why."""

    reason: str


_CHANGES = {change.value: change for change in Change}

Event = StreamOpened | NodeChanged | Bookmark | LineIgnored


class NodesApi:
    """The nodes of one cluster, over one session; every method raises :class:`RequestFailed`."""

    def __init__(self, session: Session) -> None:
        self._client = ApiClient(session)
        self._open_watch: HttpResponse | None = None

    def identity(self) -> str:
        """Return the uid of the ``kube-system`` namespace, unique to each cluster."""
        name = "GET namespace kube-system"
        body = self._client.get(_KUBE_SYSTEM, {}, name)
        namespace = decode(wire.namespace, body, name, "Namespace")
        if namespace.kind != "Namespace" or not namespace.metadata.uid:
            raise UnexpectedResponse(name, f"answered a {namespace.kind!r}, expected a Namespace")
        return namespace.metadata.uid

    def list_page(self, limit: int, continue_token: str) -> Page:
        """Return one page of a LIST; without resourceVersion, which would allow an old state."""
        name = "LIST nodes"
        query = {"limit": str(limit)}
        if continue_token:
            query["continue"] = continue_token
        page = decode(wire.node_list, self._client.get(_NODES, query, name), name, "NodeList")
        if page.kind != "NodeList":
            raise UnexpectedResponse(name, f"answered a {page.kind!r}, expected a NodeList")
        if page.items is None:
            raise UnexpectedResponse(name, "answered a NodeList whose items are null")
        if not page.metadata.resourceVersion:
            raise UnexpectedResponse(name, "answered a NodeList without a resourceVersion")
        nodes = [wire.to_node(item) for item in page.items]
        return Page(nodes, page.metadata.resourceVersion, page.metadata.continue_)

    def watch(
        self, resource_version: str, server_timeout: int, inactivity: float
    ) -> Generator[Event, None, None]:
        """
        Yield every event after a resourceVersion, until the server ends the watch.

        ``server_timeout`` is the longest watch in seconds. Raises :class:`WatchIdle` after
        ``inactivity`` seconds without a byte, :class:`Expired` when the version is too old.
        """
        name = "WATCH nodes"
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(server_timeout),
        }
        response = self._client.send(_NODES, query, name, read_timeout=inactivity)
        self._open_watch = response
        try:
            yield StreamOpened()
            for line in read_lines(response):
                yield _decode_event(line, name)
        except ReadTimeoutError as exc:
            raise WatchIdle(name, f"no data for {inactivity:.0f} s") from exc
        except (HTTPError, OSError, ValueError, LineTooLong) as exc:
            raise RequestFailed(name, describe(exc)) from exc
        finally:
            self._open_watch = None
            response.close()

    def abort_watch(self) -> None:
        """End an open watch from another thread, as if the server had closed it."""
        connection = getattr(self._open_watch, "connection", None)
        sock = getattr(connection, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                # SSLSocket.shutdown would remove TLS under the reading thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def newest_version(self) -> str:
        """Return the server's newest resourceVersion, by a LIST of one node."""
        return self.list_page(1, "").resource_version


def _decode_event(line: bytes, name: str) -> Event:
    try:
        event = wire.node_event.decode(line)
    except msgspec.MsgspecError as exc:
        return _decode_other_event(line, name, f"unreadable line ({exc})")
    change = _CHANGES.get(event.type)
    if change is None:
        return _decode_other_event(line, name, "unknown event type")
    node = event.object
    if not node.metadata.resourceVersion:
        return LineIgnored("object without a resourceVersion")
    return NodeChanged(change, wire.to_node(node), node.metadata.resourceVersion)


def _decode_other_event(line: bytes, name: str, reason: str) -> Event:
    """Return the event of a bookmark, raise that of an error, or ignore the line."""
    try:
        event = wire.watch_event.decode(line)
        if event.type == "ERROR":
            status = wire.status.decode(event.object)
            raise error_of_status(name, status.code, event.object, "")
        if event.type == "BOOKMARK":
            return Bookmark(wire.bookmark.decode(event.object).metadata.resourceVersion)
    except msgspec.MsgspecError:
        pass
    return LineIgnored(reason)
