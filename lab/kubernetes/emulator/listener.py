"""
The emulator's listening socket, which can be closed and opened again.
"""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

from lab.kubernetes.emulator.cluster import Cluster
from lab.kubernetes.emulator.server import Server


class Listener:
    """While it is closed, connections are refused, as with a process that has ended."""

    def __init__(self, address: tuple[str, int], certs: Path | None, cluster: Cluster) -> None:
        """``certs`` is the folder of the certificates; None: plain HTTP."""
        self._address, self._cluster = address, cluster
        self._context = None if certs is None else _context(certs)
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        if self._server is None:
            self._server = Server(self._address, self._cluster, self._context)
            # Port 0 is a free one; the next time it must be the same.
            self._address = (self._address[0], self._server.server_address[1])
            self._thread = threading.Thread(
                target=self._server.serve_forever, args=(0.1,), daemon=True
            )
            self._thread.start()

    @property
    def url(self) -> str:
        host, port = self._address
        scheme = "http" if self._context is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.socket.close()  # not server_close: it would wait for every connection's thread
            server.drop_connections()

    def drop_connections(self) -> None:
        if self._server is not None:
            self._server.drop_connections()


def _context(certs: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certs / "server.crt", certs / "server.key")
    # As on the real server, client certificates are optional.
    context.load_verify_locations(certs / "client-ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context
