"""The three requests that are made of a Kubernetes API server, and what can come of them."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, ProtocolError, ProxyError, ReadTimeoutError, SSLError

from salt_ext.core.node import Node
from salt_ext.core.reflector import Change
from salt_ext.kube import wire
from salt_ext.kube.access import Session
from salt_ext.kube.errors import Expired, NotAllowed, RequestFailed, Silent, WrongAnswer
from salt_ext.kube.lines import LineTooLong, lines

_CONNECT = 10.0
"""Seconds to open a connection."""
_READ = 30.0
"""Seconds without a byte of an answer that should come at once."""
_LARGEST_ANSWER = 256 * 1024 * 1024

_NODES = "/api/v1/nodes"

_OTHER_NAME = (62, 64)
"""OpenSSL's numbers for a certificate of another host name or IP address."""


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
        self._session = session
        self._watching: Any = None

    def identity(self) -> str:
        """Return the uid of the ``kube-system`` namespace, which no other cluster has."""
        what = "GET namespace kube-system"
        body = self._get("/api/v1/namespaces/kube-system", {}, what)
        found = _decoded(wire.namespace, body, what, "Namespace")
        if found.kind != "Namespace" or not found.metadata.uid:
            raise WrongAnswer(what, f"answered a {found.kind!r} instead of a Namespace")
        return str(found.metadata.uid)

    def page(self, limit: int, continue_token: str) -> Page:
        """Return one page of a LIST; never with a resourceVersion, which asks for an old state."""
        what = "LIST nodes"
        query = {"limit": str(limit)}
        if continue_token:
            query["continue"] = continue_token
        found = _decoded(wire.node_list, self._get(_NODES, query, what), what, "NodeList")
        if found.kind != "NodeList":
            raise WrongAnswer(what, f"answered a {found.kind!r} instead of a NodeList")
        if found.items is None:
            raise WrongAnswer(what, "answered a NodeList whose items are null")
        if not found.metadata.resourceVersion:
            raise WrongAnswer(what, "answered a NodeList without a resourceVersion")
        nodes = [wire.node(item) for item in found.items]
        return Page(nodes, found.metadata.resourceVersion, found.metadata.continue_)

    def watch(
        self, resource_version: str, server_timeout: int, inactivity: float
    ) -> Generator[Event, None, None]:
        """
        Yield what happens from a version on, until the server ends the watch.

        Raises :class:`Silent` after ``inactivity`` seconds without a byte.
        """
        what = "WATCH nodes"
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(server_timeout),
        }
        response = self._open(_NODES, query, what, read=inactivity)
        self._watching = response
        try:
            yield Opened()
            for line in lines(response):
                yield _event(line, what)
        except ReadTimeoutError as exc:
            raise Silent(what, f"nothing heard for {inactivity:.0f} s") from exc
        except (HTTPError, OSError, ValueError, LineTooLong) as exc:
            raise RequestFailed(what, _reason(exc)) from exc
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

    def _get(self, path: str, query: dict[str, str], what: str) -> bytes:
        response = self._open(path, query, what, read=_READ)
        try:
            body: bytes = response.read(_LARGEST_ANSWER)
        except (HTTPError, OSError) as exc:
            raise RequestFailed(what, _reason(exc)) from exc
        else:
            response.release_conn()
            return body
        finally:
            response.close()

    def _open(self, path: str, query: dict[str, str], what: str, *, read: float) -> Any:
        timeout = urllib3.Timeout(connect=_CONNECT, read=read)
        try:
            response = self._session.open(f"{path}?{urlencode(query)}" if query else path, timeout)
        except (HTTPError, OSError) as exc:
            raise RequestFailed(what, f"{self._session.host}: {_reason(exc)}") from exc
        if response.status == 200:
            return response
        try:
            body = response.read(64 * 1024)
        except (HTTPError, OSError):
            body = b""
        finally:
            response.close()
        refused = _refused(what, response.status, body, response.headers.get("Retry-After", ""))
        if response.status == 401:
            refused = NotAllowed(what, f"{refused.why}; asked with {self._session.asked_with}")
        raise refused


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
            raise _refused(what, status.code, event.object, "")
        if event.type == "BOOKMARK":
            return Bookmarked(wire.bookmark.decode(event.object).metadata.resourceVersion)
    except msgspec.MsgspecError:
        pass
    return Ignored(why)


def _decoded(decoder: msgspec.json.Decoder[Any], body: bytes, what: str, kind: str) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as exc:
        raise WrongAnswer(what, f"answered {len(body)} bytes that are no {kind}: {exc}") from exc


def _refused(what: str, code: int, body: bytes | msgspec.Raw, retry_after: str) -> RequestFailed:
    try:
        status = wire.status.decode(body)
    except msgspec.MsgspecError:
        status = wire.Status()
    why = f"{code} {status.reason} {status.message}".strip()[:300]
    if code == 410 or status.reason in ("Expired", "Gone"):
        return Expired(what, why)
    if code in (401, 403):
        return NotAllowed(what, why)
    wait = float(retry_after) if retry_after.isdigit() else 0.0
    return RequestFailed(what, why, retry_after=min(wait, 300.0))


def _reason(exc: Exception) -> str:
    """Return what went wrong in words, without an address of an object in them."""
    inner: BaseException = exc
    while isinstance(inner, HTTPError) and (inner.__cause__ or inner.__context__):
        inner = inner.__cause__ or inner.__context__ or inner
    if isinstance(inner, ssl.SSLCertVerificationError):
        if inner.verify_code in _OTHER_NAME:
            return (
                f"the server's certificate is for another name ({inner.verify_message}); "
                "check server, or tls-server-name in the kubeconfig"
            )
        return (
            f"the server's certificate does not match the CA ({inner.verify_message}); "
            "check ca_file, or certificate-authority in the kubeconfig"
        )
    if isinstance(exc, SSLError) or isinstance(inner, ssl.SSLError):
        return f"TLS failed ({inner})"
    if isinstance(exc, ProxyError):
        return f"the proxy fails ({getattr(inner, 'strerror', None) or inner})"
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    if isinstance(inner, TimeoutError) or isinstance(exc, ReadTimeoutError):
        return "no answer in time"
    if isinstance(exc, (ProtocolError, ValueError)):
        # http.client's own words for a stream that was cut in a chunk are about numbers in hex.
        return "the connection ended in the middle of an answer"
    return str(inner) or type(inner).__name__
