"""A network between engine and API server that can be held, cut, or drop its data."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit

from lab.kubernetes.endpoint import Endpoint


class Network:
    """
    Forwards bytes unchanged, so TLS and the server's certificate stay the server's own.

    While held, it accepts connections but forwards nothing, as a kernel or a middlebox does for a
    dead server.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.url)
        self._to = (parts.hostname or "", parts.port or 443)
        self._open: set[socket.socket] = set()
        self._stranded: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()
        self._ended = False
        self._cut_after: int | None = None
        self._listener = self._listen()
        self._address = self._listener.getsockname()

    @property
    def url(self) -> str:
        return f"https://{self._address[0]}:{self._address[1]}"

    def hold(self) -> None:
        """Forward nothing; connections stay open and new ones are accepted."""
        self._flows.clear()

    def flow(self) -> None:
        """Forward again, the held bytes first."""
        self._flows.set()

    def strand(self) -> None:
        """Drop all data of the open connections without closing them."""
        with self._lock:
            self._stranded |= self._open

    def cut(self) -> None:
        """Close every connection."""
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def cut_after(self, count: int) -> None:
        """Forward ``count`` more bytes to the client, then close the connection."""
        with self._lock:
            self._cut_after = count

    def refuse(self) -> None:
        """Close every connection and refuse new ones."""
        _end(self._listener)
        self.cut()

    def listen(self) -> None:
        """Accept connections again, on the same address."""
        self._listener = self._listen(self._address)

    def close(self) -> None:
        self._ended = True
        self._flows.set()
        self.refuse()

    def _listen(self, address: tuple[str, int] = ("127.0.0.1", 0)) -> socket.socket:
        listener = socket.create_server(address)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._to, 5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            for source, to, down in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._forward, args=(source, to, down), daemon=True).start()

    def _forward(self, source: socket.socket, to: socket.socket, down: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                self._flows.wait()
                if self._ended:
                    break
                if source in self._stranded:
                    continue
                let_through = self._allowance(len(piece)) if down else len(piece)
                to.sendall(piece[:let_through])
                if let_through < len(piece):
                    break
        self._flows.wait()
        for one in (source, to):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open -= {source, to}
            self._stranded -= {source}

    def _allowance(self, count: int) -> int:
        with self._lock:
            if self._cut_after is None:
                return count
            left = self._cut_after - count
            let_through = min(count, self._cut_after)
            self._cut_after = left if left >= 0 else None
            return let_through


def _end(listener: socket.socket) -> None:
    # Closing alone leaves the thread in accept, and the port open for one more connection.
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
