"""
The wire: HTTPS with kept connections, answers in one piece, watches in chunks.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
import time
import zlib
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from lab.kubernetes.emulator import continue_token
from lab.kubernetes.emulator.access import ANONYMOUS
from lab.kubernetes.emulator.actions import Action
from lab.kubernetes.emulator.api import Api
from lab.kubernetes.emulator.cluster import Cluster
from lab.kubernetes.emulator.request import Answer, Request, refusal
from lab.kubernetes.emulator.status import Refused, gone
from lab.kubernetes.emulator.streams import Stream
from lab.kubernetes.emulator.watch import Watch

_GZIP_FROM = 128 * 1024  # the real server does not bother below that
_HANDSHAKE_SECONDS = 10.0


class Server(ThreadingHTTPServer):
    """
    Listens, and gives each connection a thread, in which the TLS handshake delays no other client.
    """

    daemon_threads = True
    request_queue_size = 1024

    def __init__(
        self, address: tuple[str, int], cluster: Cluster, context: ssl.SSLContext | None
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.cluster, self._context = cluster, context
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, Connection)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            request.settimeout(_HANDSHAKE_SECONDS)
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = request
            if self._context is not None:
                connection = self._context.wrap_socket(request, server_side=True)
        except (OSError, ValueError):
            request.close()
            return
        connection.settimeout(None)
        with self._lock:
            self._connections.add(connection)
        try:
            with contextlib.suppress(OSError):  # the client has gone away
                Connection(connection, client_address, self)
        finally:
            with self._lock:
                self._connections.discard(connection)
            with contextlib.suppress(OSError):
                connection.close()

    def drop_connections(self) -> None:
        """Cut every connection, as the end of the process would."""
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    # Not SSLSocket.shutdown: after that, its thread would go on in plain text.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)


class Connection(BaseHTTPRequestHandler):
    """Requests of one connection, one after the other; also the pipe under a watch."""

    protocol_version = "HTTP/1.1"
    server: Server
    connection: socket.socket

    def setup(self) -> None:
        super().setup()
        self._cluster = self.server.cluster
        self._last = False

    def log_message(self, *_: Any) -> None:
        """The request log is elsewhere."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        request = Request(
            method=self.command,
            path=unquote(parts.path),
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={key.lower(): value for key, value in self.headers.items()},
            body=self.rfile.read(length) if length else b"",
        )
        cluster = self._cluster
        refused: Refused | None = None
        user, page = ANONYMOUS, 1
        try:
            user = cluster.access.user(request.headers, self._shown)
        except Refused as error:
            refused = error
        with contextlib.suppress(Refused):
            page = continue_token.page_number(request.query)
        entry = cluster.log.add(request, user, page)
        fault = cluster.faults.action(request.verb, request.path, user, page)
        found = self._outcome(user, request, refused, fault)
        if found is None:
            cluster.log.answered(entry, -1)
            self.close_connection = True
            return
        cluster.log.answered(entry, 200 if isinstance(found, Watch) else found.status)
        action = fault[1] if fault else {}
        if isinstance(found, Watch):
            self._stream(found, entry, action)
        else:
            self._send(found, action.get("cut_body"))

    @property
    def _shown(self) -> str:
        """The common name of the client's certificate."""
        if not isinstance(self.connection, ssl.SSLSocket):
            return ""
        shown: dict[str, Any] = self.connection.getpeercert() or {}
        names: dict[str, str] = dict(pair for part in shown.get("subject", ()) for pair in part)
        return names.get("commonName", "")

    def _outcome(
        self, user: str, request: Request, refused: Refused | None, fault: tuple[int, Action] | None
    ) -> Answer | Watch | None:
        """What to send; None for nothing at all."""
        api: Api = self._cluster.api
        if fault is not None:
            number, action = fault
            if "delay" in action:
                time.sleep(action["delay"])
            if "hang" in action:
                while self._cluster.faults.holds(number) and not self.abandoned:
                    time.sleep(0.02)
                return None
            if "close" in action:
                self.drop(reset=action["close"] == "reset")
                return None
            if "respond" in action:
                canned = action["respond"]
                headers = {"Content-Type": "application/json", **canned.get("headers", {})}
                body = canned.get("body", "").encode()
                return Answer(status=canned["status"], body=body, headers=headers)
            if "gone" in action:
                return refusal(gone("The resourceVersion for the provided list is too old."))
            if "state" in action:
                api = self._cluster.api_of(action["state"])
        try:
            if refused is not None:
                raise refused
            self._cluster.access.check(user, request)
            return api.answer(user, request)
        except Refused as error:
            return refusal(error)

    def _send(self, answer: Answer, cut: float | None = None) -> None:
        body, headers = answer.body, dict(answer.headers)
        if len(body) > _GZIP_FROM and "gzip" in self.headers.get("Accept-Encoding", ""):
            packer = zlib.compressobj(1, wbits=31)
            body = packer.compress(body) + packer.flush()
            headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        headers["Content-Length"] = str(len(body))
        if self.command == "HEAD":
            body = b""
        if cut is not None:
            body = body[: int(len(body) * cut)]
        self.wfile.write(self._head(answer.status, headers) + body)
        if cut is not None:
            self.drop(reset=False)

    def _head(self, status: int, headers: dict[str, str]) -> bytes:
        phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
        headers = {"Cache-Control": "no-cache, private", **headers, "Date": self.date_time_string()}
        lines = [
            f"HTTP/1.1 {status} {phrase}",
            *(f"{key}: {value}" for key, value in headers.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _stream(self, watch: Watch, entry: dict[str, Any], action: Action) -> None:
        headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
        stream = Stream(self._cluster.store, watch, self, entry)
        # First: a test that has seen the watch open may send an order to it at once.
        self._cluster.streams.add(stream)
        try:
            self.wfile.write(self._head(200, headers))
            stream.run(action.get("stream"))
        finally:
            self._cluster.streams.remove(stream)

    def chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))

    def half_chunk(self, content: bytes) -> None:
        """A chunk that announces more than comes."""
        self.wfile.write(b"%x\r\n%b" % (2 * len(content), content))

    def last_chunk(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def drop(self, *, reset: bool) -> None:
        self.close_connection = True
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return  # closing it sends the reset
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.connection, socket.SHUT_RDWR)

    @property
    def abandoned(self) -> bool:
        """Whether the client went away; it has nothing to say while it is being answered."""
        if self.close_connection and self._last:
            return True
        readable, _, _ = select.select([self.connection], [], [], 0)
        if not readable:
            return False
        self.connection.settimeout(0.01)
        try:
            self._last = not self.connection.recv(1)
        except (TimeoutError, ssl.SSLWantReadError):
            return False  # TLS's own business
        except OSError:
            self._last = True
        finally:
            self.connection.settimeout(None)
        self.close_connection = True
        return True
