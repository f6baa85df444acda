"""A peer: an operator on kopf that handles every node event."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import kopf

from benchmarks.workers.meter import Meter, emit

SEEN = [0]


def main() -> None:
    """Measure: URL, CA file, token file of an administrator, and how many events."""
    _what, url, ca_file, token_file, events = sys.argv[1:]
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)  # type: ignore[arg-type]
    def login(**_: Any) -> kopf.ConnectionInfo:
        token = Path(token_file).read_text().strip()
        return kopf.ConnectionInfo(server=url, ca_path=ca_file, token=token)

    @kopf.on.event("", "v1", "nodes", registry=registry)
    def count(**_: Any) -> None:
        SEEN[0] += 1

    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    operator = kopf.operator(
        registry=registry, settings=settings, standalone=True, clusterwide=True
    )
    threading.Thread(target=lambda: asyncio.run(operator), daemon=True).start()
    last = -1
    # kopf calls the handler for each listed node first; then no more calls come.
    while last != SEEN[0] or not last:
        last = SEEN[0]
        time.sleep(2.0)
    emit(ready=True)
    sys.stdin.readline()
    meter, first = Meter(), SEEN[0]
    emit(started=True)
    while SEEN[0] < first + int(events):
        time.sleep(0.02)
    emit(**meter.read(), events=SEEN[0] - first)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
