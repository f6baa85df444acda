"""One node joins and leaves a world again and again; packets say when each firewall followed."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field

from benchmarks.comparison import Progress
from lab.errors import LabError
from lab.world.world import World

NODE = "node1"
"""The node that joins and leaves, with a host that sends packets all the time."""

TIMEOUT = 60.0
PAUSE = 2.1
"""Seconds after which no rate limit delays a minion's next run."""

EMPTY_RUN = "an empty state run"
"""The peer: ``state.apply`` of one state that does nothing, from Salt's own command line."""
EMPTY_RUNS = 5
_EMPTY_SLS = "nothing: test.nop\n"


@dataclass(slots=True)
class JoinLeaveTimes:
    """Seconds from the API's 2xx until every minion lets the node in, or shuts it out."""

    opened: list[float] = field(default_factory=list)
    closed: list[float] = field(default_factory=list)


def join_and_leave(world: World, count: int, progress: Progress) -> JoinLeaveTimes:
    """Let the node join and leave ``count`` times, each time from a settled world."""
    start_node_host(world)
    times = JoinLeaveTimes()
    for turn in range(count):
        settle(world)
        since = world.join(NODE).at
        times.opened.append(_last(world, "open", since))
        settle(world)
        since = world.leave(NODE)
        times.closed.append(_last(world, "closed", since))
        progress(
            f"  {turn + 1}: open after {times.opened[-1]:.2f} s, closed {times.closed[-1]:.2f} s"
        )
    settle(world)
    return times


def empty_run_seconds(world: World) -> float:
    """Return the seconds of an empty state run on all minions, the median of some."""
    (world.srv / "salt" / "empty.sls").write_text(_EMPTY_SLS)
    seconds = []
    for _ in range(EMPTY_RUNS):
        settle(world)
        begun = time.monotonic()
        returns = world.salt("*", "state.apply", "empty")
        seconds.append(time.monotonic() - begun)
        succeeded = [one for one in returns.values() if _succeeded(one)]
        if len(succeeded) != len(world.minions):
            raise LabError(f"an empty state run failed: {returns}")
    return statistics.median(seconds)


def settle(world: World) -> None:
    """Wait until all minions are up to date and none was busy a moment ago."""
    world.settle(within=TIMEOUT)
    time.sleep(PAUSE)


def start_node_host(world: World) -> None:
    """Make the node's host, with probes to every minion where the world starts none by itself."""
    world.join(NODE, create=False)
    if NODE not in world.traffic or not world.traffic[NODE].probes:
        world.start_traffic(NODE, kinds=("connect",))
    for minion in world.minions:
        world.traffic[NODE].connect(minion.host.name).wait("closed", within=TIMEOUT)


def create_other_nodes(world: World, count: int, *, first: int = 50) -> None:
    """Create nodes without hosts, of one address each."""
    numbers = range(first, first + count)
    world.nodes.create_many({f"other{n}": {"internal": [f"10.77.2.{n}"]} for n in numbers})


def _succeeded(state_run: object) -> bool:
    return isinstance(state_run, dict) and all(one["result"] is True for one in state_run.values())


def _last(world: World, outcome: str, since: float) -> float:
    probes = [world.traffic[NODE].connect(minion.host.name) for minion in world.minions]
    return max(probe.wait(outcome, since=since, within=TIMEOUT).at - since for probe in probes)
