"""`check` beside a master, an engine and minions that are real, well and unwell."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.network.address import NODES_V4, NODES_V6
from lab.polling import wait_until
from lab.world.world import World
from salt_ext.master import processes

pytestmark = pytest.mark.root

WITHIN = 180.0


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
    assert prod["rights"]["watch nodes"] is True
    assert prod["credential"] == str(quiet.api.endpoint.tokens["reader"])
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
        assert f"kill -9 {pid}" in hung["fix"]
        assert quiet.salt_run("k8s_nodes.status")["engine"].startswith("stuck: its process")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert check(quiet)[:2] == (0, [])


def test_an_engine_that_was_killed_is_dead_until_salt_starts_it_again(quiet: World) -> None:
    pid = engine(quiet)
    master = processes.parent(pid)
    assert master
    # However long a check takes here, the master is not to be quicker.
    os.kill(master, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        code, (dead, *more), _ = check(quiet)
    finally:
        os.kill(master, signal.SIGCONT)
    assert (code, dead["where"], more) == (1, "engine", [])
    assert dead["what"] == f"not running: process {pid} has ended"
    wait_until(lambda: check(quiet)[:2] == (0, []), within=WITHIN, what="a right set-up", every=0.5)


def test_what_setup_prints_is_all_that_a_new_master_needs(plain: World) -> None:
    master, folder = plain.master, plain.master.host.folder / "salt"
    main = (folder / "master").read_text()
    # Else the engine would keep its store where the machine's own does.
    block = master.drop_in("k8s_nodes", {"k8s_nodes": {"state_dir": str(plain.folder / "state")}})
    try:
        endpoint = plain.api.endpoint
        done = master.call(
            "salt-run",
            "--out=json",
            "k8s_nodes.setup",
            f"server={endpoint.url}",
            f"ca_file={endpoint.ca_file}",
            f"token_file={endpoint.tokens['reader']}",
            f"allowed_networks={NODES_V4},{NODES_V6}",
        )
        assert done.returncode == 0, done.stderr
        for name, text in json.loads(done.stdout)["put"].items():
            path = folder / Path(name).relative_to("/etc/salt")
            there = yaml.safe_load(path.read_text())
            path.write_text(yaml.safe_dump({**there, **yaml.safe_load(text)}))
        code, wrong, _ = check(plain)
        assert code == 1
        assert "was never started" in {one["where"]: one["what"] for one in wrong}["engine"]
        master.restart()
        wait_until(
            lambda: check(plain)[:2] == (0, []), within=WITHIN, what="a right set-up", every=0.5
        )
    finally:
        block.unlink()
        (folder / "master").write_text(main)
        master.restart()
