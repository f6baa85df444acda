"""CPU that the processes of lab hosts use, by the kernel's own accounts."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from lab.network.host import Host
from lab.process import in_namespace

_TICKS = os.sysconf("SC_CLK_TCK")
IDLE_SECONDS = 10


class HostCpu:
    """CPU seconds since it was made: processes that live throughout, and children they reaped."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = hosts
        self._before = self._total()
        self._begun = time.monotonic()

    def seconds(self, *, idle_rate: float = 0.0) -> float:
        """Return the CPU seconds used; ``idle_rate`` is what a second without work uses."""
        return self._total() - self._before - idle_rate * (time.monotonic() - self._begun)

    def _total(self) -> float:
        pids = [one.pid for host in self._hosts for one in in_namespace(host.namespace.path)]
        return sum(_cpu(pid) for pid in pids)


def idle_rate(hosts: Sequence[Host]) -> float:
    """Return the CPU seconds that a second without work uses."""
    meter = HostCpu(hosts)
    time.sleep(IDLE_SECONDS)
    return meter.seconds() / IDLE_SECONDS


def _cpu(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = text[text.rindex(")") + 2 :].split()
    return sum(map(int, fields[11:15])) / _TICKS
