"""`check` beside a master, an engine and minions that are real, well and unwell."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from lab.process import wait_until
from lab.world import World

pytestmark = pytest.mark.root

WITHIN = 60.0


def check(world: World) -> tuple[int, list[dict[str, str]], dict[str, Any]]:
    """Return the exit code, what is wrong, and all that was told."""
    done = world.master.call("salt-run", "--out=json", "k8s_nodes.check")
    told = json.loads(done.stdout)
    assert told["retcode"] == done.returncode
    return done.returncode, [one for one in told["findings"] if one["level"] != "info"], told


def engine(world: World) -> int:
    found = world.salt_run("k8s_nodes.status")["engine_pid"]
    assert found
    return int(found)


def test_nothing_is_wrong_with_a_world_that_is_well(quiet: World) -> None:
    quiet.nodes.create("n1", internal=["10.77.2.77"])
    quiet.settle()
    code, wrong, told = check(quiet)
    assert (code, wrong) == (0, [])
    prod = told["clusters"]["prod"]
    assert prod["may"]["watch nodes"] is True
    assert prod["asked_with"] == str(quiet.api.endpoint.tokens["reader"])
    done = quiet.master.call("salt-run", "k8s_nodes.check")
    assert done.returncode == 0
    assert "\nerrors:" not in done.stdout


def test_an_engine_that_is_stopped_hangs_and_is_named(quiet: World) -> None:
    pid = engine(quiet)
    os.kill(pid, signal.SIGSTOP)
    try:
        code, (hung, *more), _ = check(quiet)
        assert (code, hung["where"], more) == (1, "engine", [])
        assert "stopped by a signal" in hung["what"]
        assert f"kill -9 {pid}" in hung["mend"]
        assert quiet.salt_run("k8s_nodes.status")["engine"].startswith("stuck: its process")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert check(quiet)[:2] == (0, [])


def test_an_engine_that_was_killed_is_dead_until_salt_starts_it_again(quiet: World) -> None:
    pid = engine(quiet)
    os.kill(pid, signal.SIGKILL)
    code, (dead, *more), _ = check(quiet)
    assert (code, dead["where"], more) == (1, "engine", [])
    assert dead["what"] == f"is dead: process {pid} has ended"
    wait_until(lambda: check(quiet)[:2] == (0, []), within=WITHIN, what="a right set-up", every=0.5)
