"""
The emulator as a program: ``python -m lab.kubernetes.emulator --help``.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
from pathlib import Path

from lab.kubernetes.emulator import arguments, initial_nodes
from lab.kubernetes.emulator.cluster import Cluster
from lab.kubernetes.emulator.control_server import Commands, serve
from lab.kubernetes.emulator.folder import Folder
from lab.kubernetes.emulator.listener import Listener


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; 1 when the address cannot be used."""
    options = arguments.parse(argv)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if options.folder is not None:
        return _run(options, Folder(options.folder.absolute()), stop)
    with tempfile.TemporaryDirectory(prefix="kubernetes-emulator-") as path:
        return _run(options, Folder(Path(path)), stop)


def _run(options: argparse.Namespace, folder: Folder, stop: threading.Event) -> int:
    folder.provide(options.address, tls=not options.http, token=options.token)
    cluster = Cluster(folder.path)
    cluster.load_missing([*initial_nodes.numbered(options.nodes), *options.node])
    certs = None if options.http else folder.certs
    listener = Listener((options.address, options.port), certs, cluster)
    socket = options.control or folder.control_socket
    # First: a client to which the API answers may send commands at once.
    control = serve(socket, Commands(cluster, listener))
    threading.Thread(target=control.serve_forever, args=(0.1,), daemon=True).start()
    try:
        listener.open()
        folder.write_kubeconfigs(listener.url)
        print(_where(listener.url, folder, socket, tls=not options.http), flush=True)
        stop.wait()
        listener.close()
        cluster.write_state()
    except OSError as exc:
        print(f"cannot serve {listener.url}: {exc.strerror}", file=sys.stderr)
        return 1
    finally:
        socket.unlink(missing_ok=True)
    return 0


def _where(url: str, folder: Folder, socket: Path, *, tls: bool) -> str:
    lines = {
        "URL": url,
        "kubeconfig": f"{folder.kubeconfig('admin')} (or reader.kubeconfig)",
        "token": f"{folder.token_file('admin')} (or reader.token)",
        **({"CA": folder.ca_file} if tls else {}),
        "control": socket,
    }
    rows = [f"  {name:<11} {value}" for name, value in lines.items()]
    return "\n".join(["The emulator is ready. Stop it with Ctrl-C.", *rows])


if __name__ == "__main__":
    sys.exit(main())
