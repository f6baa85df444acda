"""Whether the master itself runs."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def is_running(opts: Mapping[str, Any]) -> bool:
    """Whether the socket of the master's bus accepts connections; in doubt the master runs."""
    if opts.get("ipc_mode", "ipc") != "ipc":
        return True
    path = Path(opts["sock_dir"], "master_event_pull.ipc")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(2)
        try:
            sock.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            # A path that is too long, a user without the right, a busy master.
            return path.exists()
    return True
