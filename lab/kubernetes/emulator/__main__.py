"""
The emulator's process: ``python -m lab.kubernetes.emulator --folder DIR --address IP --port N``.
"""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

from lab.kubernetes.emulator.cluster import Cluster
from lab.kubernetes.emulator.control_server import Commands, serve
from lab.kubernetes.emulator.listener import Listener


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="certificates, tokens and state")
    parser.add_argument("--control", type=Path, required=True, help="Unix socket for commands")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()

    asked_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_stop.set())
    cluster = Cluster(options.folder)
    listener = Listener((options.address, options.port), options.folder / "certs", cluster)
    control = serve(options.control, Commands(cluster, listener))
    threading.Thread(target=control.serve_forever, args=(0.1,), daemon=True).start()
    listener.open()
    asked_to_stop.wait()
    listener.close()
    cluster.write_state()


if __name__ == "__main__":
    main()
