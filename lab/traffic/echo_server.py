"""
The service that a minion offers: what arrives is sent back, TCP and UDP, IPv4 and IPv6.

Runs on a host of the lab as a script of its own (standard library only): ``echo.py PORT``. It
prints ``ready`` when it listens.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys


def _listeners(port: int) -> list[socket.socket]:
    found = []
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            sock = socket.socket(family, kind)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address, port))
            if kind == socket.SOCK_STREAM:
                sock.listen(4096)
            sock.setblocking(False)
            found.append(sock)
    return found


def serve(port: int) -> None:
    """Echo for ever."""
    selector = selectors.DefaultSelector()
    listeners = _listeners(port)
    for listener in listeners:
        selector.register(listener, selectors.EVENT_READ, "listener")
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            sock = key.fileobj
            if not isinstance(sock, socket.socket):
                continue
            if key.data != "listener":
                _echo(selector, sock)
            elif sock.type == socket.SOCK_DGRAM:
                with contextlib.suppress(OSError):
                    data, sender = sock.recvfrom(65536)
                    sock.sendto(data, sender)
            else:
                with contextlib.suppress(OSError):
                    connection, _ = sock.accept()
                    connection.setblocking(False)
                    selector.register(connection, selectors.EVENT_READ)
                    # Most are probes, and reset by now: gone before they are ever waited for.
                    _echo(selector, connection)


def _echo(selector: selectors.BaseSelector, connection: socket.socket) -> None:
    try:
        data = connection.recv(65536)
        if data:
            with contextlib.suppress(BlockingIOError):
                connection.send(data)
            return
    except BlockingIOError:
        return
    except OSError:
        pass  # Reset by the other side, as every probe does.
    selector.unregister(connection)
    connection.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
