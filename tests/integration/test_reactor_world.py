"""The reactor and the runner on a real master, when what is asked for is a mistake."""

from __future__ import annotations

import pytest

from lab.polling import wait_until
from lab.world.world import World

pytestmark = pytest.mark.root


def log(world: World) -> str:
    return "".join(path.read_text(errors="replace") for path in world.logs("master"))


def test_an_event_for_a_cluster_that_nobody_configured_is_one_line_in_the_log(quiet: World) -> None:
    said = "cluster 'nowhere' is not configured; configured: prod"
    before = log(quiet)
    quiet.salt_run("event.send", "salt/k8s_nodes/nowhere/changed", {"cluster": "prod"})
    wait_until(lambda: said in log(quiet), within=180, what="a line in the master's log", every=0.1)
    new = log(quiet)[len(before) :]
    assert "Traceback" not in new
    (line,) = [line for line in new.splitlines() if said in line]
    assert "[ERROR" in line
