"""The service that each minion offers, behind its firewall."""

from __future__ import annotations

import sys
import time

from lab.errors import LabError, TookTooLong
from lab.network.host import Host
from lab.traffic import echo_server

PORT = 5432


def start(minion: Host) -> None:
    """Start the service of a minion and wait until it listens; it ends with its host."""
    log = minion.logs / "service.log"
    argv = [sys.executable, "-IS", "-u", echo_server.__file__, str(PORT)]
    child = minion.popen(argv, log=log)
    begin = time.monotonic()
    while "ready" not in log.read_text():
        if child.poll() is not None:
            raise LabError(f"the service of {minion.name} does not start: {log.read_text()}")
        if time.monotonic() - begin > 60:
            raise TookTooLong(f"the service of {minion.name} did not start within 60 s")
        time.sleep(0.005)
    child.returncode = 0
