"""Nodes that join and leave a world again and again: what packets and the kernel's accounts say."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.row import Say
from lab.errors import LabError
from lab.kubernetes.real_backend import unavailable
from lab.network.host import Host
from lab.process import in_namespace
from lab.world.world import World

NODE = "node1"
"""The one that joins and leaves, with a host that sends packets all the time."""

WITHIN = 60.0
QUIET = 2.1
"""Seconds after which a minion's next run has no pace to keep."""

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Turns:
    """Seconds from the API's 2xx until every minion lets in, or shuts out."""

    opened: list[float] = field(default_factory=list)
    closed: list[float] = field(default_factory=list)


def turns(world: World, count: int, say: Say) -> Turns:
    """Join and leave so often, each from where nothing is under way."""
    host_of_node(world)
    found = Turns()
    for turn in range(count):
        quiet(world)
        since = world.join(NODE).at
        found.opened.append(_all(world, "open", since))
        quiet(world)
        since = world.leave(NODE)
        found.closed.append(_all(world, "closed", since))
        say(f"  {turn + 1}: open after {found.opened[-1]:.2f} s, closed {found.closed[-1]:.2f} s")
    quiet(world)
    return found


def quiet(world: World) -> None:
    """Wait until nothing is under way, and no minion has only just been busy."""
    world.settle(within=WITHIN)
    time.sleep(QUIET)


def host_of_node(world: World) -> None:
    """Make the host of the node that joins; a world without traffic of its own probes from here."""
    world.join(NODE, create=False)
    if NODE not in world.traffic or not world.traffic[NODE].probes:
        world.start_traffic(NODE, how=("connect",))
    for minion in world.minions:
        world.traffic[NODE].connect(minion.host.name).wait("closed", within=WITHIN)


def fill(world: World, count: int, *, first: int = 50) -> list[str]:
    """Create nodes without hosts, of one address each; their names."""
    wanted = {f"other{n}": {"internal": [f"10.77.2.{n}"]} for n in range(first, first + count)}
    world.nodes.create_many(wanted)
    return list(wanted)


def needs_an_api() -> None:
    """Raise where there is no real kube-apiserver."""
    if why := unavailable():
        raise LabError(f"it needs a real kube-apiserver: {why}")


def share(times: Sequence[float], which: float) -> float:
    """Return a quantile; of few times, the highest is the 99th percentile."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(which * len(ordered)))]


class Spent:
    """CPU seconds that hosts spend: what lives throughout, with the children that it reaped."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = hosts
        self._before = self._now()
        self._begun = time.monotonic()

    def read(self) -> float:
        """Return the seconds since it was made."""
        return self._now() - self._before

    @property
    def wall(self) -> float:
        """Seconds that have passed."""
        return time.monotonic() - self._begun

    def _now(self) -> float:
        pids = [one.pid for host in self._hosts for one in in_namespace(host.namespace.path)]
        return sum(_cpu(pid) for pid in pids)


def _cpu(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = text[text.rindex(")") + 2 :].split()
    return sum(map(int, fields[11:15])) / _TICKS


def _all(world: World, what: str, since: float) -> float:
    probes = [world.traffic[NODE].connect(minion.host.name) for minion in world.minions]
    return max(probe.wait(what, since=since, within=WITHIN).at - since for probe in probes)
