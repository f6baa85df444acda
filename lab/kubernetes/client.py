"""
A plain HTTPS client for the lab's own use: the admin's writes, readiness, and what contract tests
look at byte by byte.

Standard library only, one connection that is kept open, and a ``dial`` that can come from another
network namespace: a socket stays in the namespace in which it was made.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from lab.kubernetes.endpoint import Endpoint

Dial = Callable[[tuple[str, int], float], socket.socket]


def dial(address: tuple[str, int], seconds: float) -> socket.socket:
    return socket.create_connection(address, seconds)


class ApiError(Exception):
    """The API answered with another status than 2xx."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.answer = answer

    def __str__(self) -> str:
        return f"HTTP {self.answer.status}: {self.answer.body[:300]!r}"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Requests of one user, one at a time."""

    def __init__(
        self,
        endpoint: Endpoint,
        user: str | None = "admin",
        *,
        token: str | None = None,
        seconds: float = 15.0,
        dial: Dial = dial,
    ) -> None:
        self.endpoint, self.user, self.seconds = endpoint, user, seconds
        self._token, self._dial = token, dial
        self._context = ssl.create_default_context(cafile=str(endpoint.ca_file))
        self._connection: http.client.HTTPSConnection | None = None

    def get(self, path: str, **query: object) -> Answer:
        return self.request("GET", path, query=query)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Answer:
        """Send one request and read the whole answer, whatever its status."""
        headers = {"Content-Type": content_type, **(headers or {})}
        kept, self._connection = self._connection, None
        connection = kept or self._connect()
        try:
            response = self._send(connection, method, path, body, query, headers)
        except (ConnectionError, ssl.SSLEOFError):
            # A kept connection may have been closed at the other end since: nothing was done yet.
            if kept is None:
                raise
            connection = self._connect()
            response = self._send(connection, method, path, body, query, headers)
        try:
            content = response.read()
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._connection = connection
        return Answer(response.status, dict(response.headers), content)

    def must(self, method: str, path: str, body: object = None, **options: Any) -> Any:
        """The decoded answer of a request that has to succeed."""
        answer = self.request(method, path, body, **options)
        if not 200 <= answer.status < 300:
            raise ApiError(answer)
        return answer.json()

    def watch(self, path: str, *, seconds: float | None = None, **query: object) -> Stream:
        """
        Open a watch on a connection of its own; ``seconds`` is the longest wait for a single line.
        """
        connection = self._connect(seconds)
        query = {"watch": "true", **query}
        return Stream(connection, self._send(connection, "GET", path, None, query, {}))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self, seconds: float | None = None) -> http.client.HTTPSConnection:
        parts = urlsplit(self.endpoint.url)
        assert parts.hostname is not None
        limit = self.seconds if seconds is None else seconds
        # Without a context it would load the system's certificates, which takes 70 ms.
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=limit, context=self._context
        )
        raw = self._dial((parts.hostname, parts.port or 443), limit)
        raw.settimeout(limit)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock = self._context.wrap_socket(raw, server_hostname=parts.hostname)
        return connection

    def _send(
        self,
        connection: http.client.HTTPSConnection,
        method: str,
        path: str,
        body: object,
        query: Mapping[str, object] | None,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": "lab", **headers}
        token = self._token or (self.endpoint.token(self.user) if self.user else None)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        target = f"{path}?{urlencode(query)}" if query else path
        try:
            connection.request(method, target, data, headers)
            return connection.getresponse()
        except BaseException:
            connection.close()
            raise


class Stream:
    """An open watch: iterate over its decoded events, or take raw lines."""

    def __init__(
        self, connection: http.client.HTTPSConnection, response: http.client.HTTPResponse
    ) -> None:
        self._connection, self._response = connection, response
        self._buffer = b""
        self.status, self.headers = response.status, dict(response.headers)

    def line(self) -> bytes:
        """
        The next line, or nothing at a clean end; raises TimeoutError when none comes in time, and
        IncompleteRead or ConnectionError when the connection ends in the middle of something.
        """
        # Not the response's own readline: it takes a broken connection for the end.
        while b"\n" not in self._buffer:
            content = self._response.read1(65536)
            if not content:
                line, self._buffer = self._buffer, b""
                return line
            self._buffer += content
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line + b"\n"

    def body(self) -> bytes:
        return self._buffer + self._response.read()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while line := self.line():
            yield json.loads(line)

    def next(self) -> dict[str, Any]:
        line = self.line()
        if not line:
            raise EOFError("the watch has ended")
        event: dict[str, Any] = json.loads(line)
        return event

    def close(self) -> None:
        self._response.close()
        self._connection.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
