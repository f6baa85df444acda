"""The engine's own process under a real master: it ends when told to, and comes back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.kubernetes.emulator import actions
from lab.kubernetes.emulator.control import Control
from lab.kubernetes.emulator_backend import EmulatorBackend
from lab.polling import wait_until
from lab.world.world import World

pytestmark = pytest.mark.root

WITHIN = 180.0


def engine(world: World) -> int | None:
    """The process that holds the engine's lock, as status tells it."""
    found: int | None = world.salt_run("k8s_nodes.status")["engine_pid"]
    return found


def log(world: World) -> str:
    return "".join(path.read_text(errors="replace") for path in world.logs("master"))


def gone(pid: int) -> bool:
    """Whether the process has ended; its parent may look after it only seconds later."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


@pytest.fixture
def control(quiet: World) -> Iterator[Control]:
    """What makes the world's API server answer wrongly."""
    assert isinstance(quiet.api, EmulatorBackend)
    yield quiet.api.control
    quiet.api.control.clear()


def test_an_engine_that_is_told_to_end_does_so_at_once_and_loses_nothing(
    quiet: World, control: Control
) -> None:
    world = quiet
    pid = engine(world)
    assert pid
    before = world.salt_run("k8s_nodes.nodes", "prod")
    tracebacks = log(world).count("Traceback")
    # In the middle of a LIST that nobody answers, which it would wait for half a minute.
    known = len(control.requests(verb="list"))
    control.on("list", do=actions.hang(), times=None)
    world.salt_run("k8s_nodes.refresh", "prod", "timeout=1")
    control.wait_for_requests(known + 1, verb="list", seconds=WITHIN)
    os.kill(pid, signal.SIGTERM)
    # It takes a second at most; the others are for a machine that has more to do.
    wait_until(lambda: gone(pid), within=15, what="the end of the engine", every=0.01)
    control.clear()
    assert log(world).count("Traceback") == tracebacks
    assert world.salt_run("k8s_nodes.nodes", "prod") == before
    # Salt looks after its engines every ten seconds.
    wait_until(
        lambda: engine(world) not in (None, pid), within=WITHIN, what="a new engine", every=0.2
    )
    wait_until(
        lambda: not world.salt_run("k8s_nodes.status")["clusters"]["prod"]["stale"],
        within=WITHIN,
        what="a watch",
        every=0.2,
    )
    assert world.salt_run("k8s_nodes.nodes", "prod") == before
