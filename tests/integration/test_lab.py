"""The lab itself: worlds that disturb neither each other nor the machine, and leave nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import lab.world.prerequisites
from lab.cli.main import main
from lab.errors import LabError, WorldExists
from lab.network.namespace import of_world
from lab.polling import wait_until
from lab.process import in_namespace
from lab.traffic.probe import Probe
from lab.traffic.service import PORT
from lab.world.provisioning import provision
from lab.world.state_file import StateFile, worlds
from lab.world.world import World
from tests.integration.surroundings import STATIC_PILLAR, of_the_machine

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]


def lab_command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip


def services(*allowed: str) -> dict[str, Any]:
    postgresql = {"port": PORT, "ips_allow": list(allowed)}
    return {"firewall": {"services": {"postgresql": postgresql}}}


@pytest.fixture
def applied(plain: World) -> World:
    """The world without the extension, office alone on the list."""
    before = (plain.srv / "pillar" / "firewall.sls").read_text()
    plain.write_pillar(STATIC_PILLAR)
    if (plain.srv / "pillar" / "firewall.sls").read_text() != before:
        plain.apply()
    return plain


def apply(world: World, minion: str = "minion1") -> list[dict[str, Any]]:
    return list(world.salt(minion, "state.apply", "firewall")[minion].values())


def rules(world: World, minion: str = "minion1") -> str:
    host = world.hosts[minion]
    return host.run(["iptables", "-S"]).stdout + host.run(["ip6tables", "-S"]).stdout


def gets_in(world: World, name: str, *, ipv6: bool = False, minion: str = "minion1") -> bool:
    addresses = world.hosts[minion].addresses
    target = str(addresses.v6 if ipv6 else addresses.v4)
    with world.hosts[name].namespace.entered():
        try:
            socket.create_connection((target, PORT), timeout=0.5).close()
        except TimeoutError:
            return False
    return True


# The machine, and worlds side by side


def test_two_worlds_leave_the_machine_as_it_is(
    machine: dict[str, Any], plain: World, world: World
) -> None:
    assert of_the_machine() == machine
    assert {plain.name, world.name} <= set(worlds())


def test_two_worlds_have_the_same_addresses_and_do_not_meet(plain: World, world: World) -> None:
    assert plain.hosts["kube"].addresses == world.hosts["kube"].addresses
    address = str(plain.hosts["kube"].addresses.v4)
    with plain.hosts["kube"].namespace.entered():
        listener = socket.create_server((address, 7777))
    with listener:
        with plain.hosts["office"].namespace.entered():
            socket.create_connection((address, 7777), timeout=5).close()
        with (
            world.hosts["office"].namespace.entered(),
            pytest.raises(ConnectionRefusedError),
        ):
            socket.create_connection((address, 7777), timeout=5)


def test_a_host_has_a_name_and_an_etc_of_its_own(plain: World) -> None:
    first, second = (plain.hosts[name] for name in ("minion1", "minion2"))
    assert first.run(["hostname"]).stdout == "minion1\n"
    first.run(["sh", "-c", "mkdir -p /etc/iptables && echo first >/etc/iptables/only"])
    assert second.run(["cat", "/etc/iptables/only"], check=False).returncode
    assert not Path("/etc/iptables/only").exists()
    assert first.run(["cat", "/etc/iptables/only"]).stdout == "first\n"
    assert "id: minion1" in first.run(["cat", "/etc/salt/minion"]).stdout


def test_a_started_process_is_the_command_itself(plain: World, tmp_path: Path) -> None:
    child = plain.hosts["office"].popen(["sleep", "60"], log=tmp_path / "log")
    try:
        wait_until(
            lambda: Path(f"/proc/{child.pid}/comm").read_text() == "sleep\n", within=60, what="exec"
        )
    finally:
        child.kill()
        assert child.wait(60) == -signal.SIGKILL


# The firewall state


def test_who_is_on_the_list_gets_in_and_nobody_else(applied: World) -> None:
    for ipv6 in (False, True):
        assert gets_in(applied, "office", ipv6=ipv6)
        assert not gets_in(applied, "stranger", ipv6=ipv6)


def test_applying_again_changes_nothing(applied: World) -> None:
    before = rules(applied)
    assert not any(state["changes"] for state in apply(applied))
    assert rules(applied) == before


@pytest.mark.parametrize(
    "harm",
    [
        ["iptables", "-F"],
        ["nft", "flush", "ruleset"],
        ["iptables", "-I", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT"],
        ["iptables", "-I", "firewall-postgresql", "-s", "10.77.3.2", "-j", "ACCEPT"],
    ],
    ids=["flushed", "everything flushed", "a rule before ours", "a rule among ours"],
)
def test_running_rules_that_differ_are_repaired(applied: World, harm: list[str]) -> None:
    before = rules(applied)
    host = applied.hosts["minion1"]
    host.run(harm)
    apply(applied)
    assert not gets_in(applied, "stranger")
    assert gets_in(applied, "office")
    assert host.run(["iptables", "-S", "INPUT", "1"]).stdout == "-A INPUT -j firewall\n"
    host.run(
        ["iptables", "-D", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT"],
        check=False,
    )
    assert rules(applied) == before


@pytest.mark.parametrize(
    ("pillar", "says"),
    [
        (services("10.77.3.2", "k8s://prod"), "ips_allow has k8s://prod, which is no address"),
        (services("10.77.3.2", "1.2.3.4; reboot"), "which is no address"),
        (
            {"firewall": {"services": {"postgresql": {"port": PORT}}}},
            "ips_allow is not a list",
        ),
        (
            {"firewall": {"services": {"postgresql": {"port": PORT, "ips_allow": None}}}},
            "ips_allow is not a list",
        ),
        ({"firewall": {}}, "firewall:services is no mapping"),
    ],
    ids=["unresolved reference", "junk", "absent list", "null list", "no services"],
)
def test_a_pillar_that_is_not_whole_changes_nothing(
    applied: World, pillar: dict[str, Any], says: str
) -> None:
    before = rules(applied)
    applied.write_pillar(pillar)
    (state,) = apply(applied)
    assert state["result"] is False
    assert says in state["comment"]
    assert rules(applied) == before


def test_an_empty_list_lets_nobody_in(applied: World) -> None:
    applied.write_pillar(services())
    applied.apply()
    assert not gets_in(applied, "office")
    assert not gets_in(applied, "office", ipv6=True)


def test_a_service_that_has_gone_is_closed(applied: World) -> None:
    applied.write_pillar({"firewall": {"services": {"web": {"port": 80, "ips_allow": []}}}})
    applied.apply()
    assert not gets_in(applied, "office")


def test_who_has_gone_from_the_list_loses_open_connections_too(applied: World) -> None:
    minion = applied.hosts["minion1"]
    flow = Probe.start(
        applied.hosts["office"], "flow", "minion1", str(minion.addresses.v4), PORT,
        folder=applied.folder / "probes",
    )  # fmt: skip
    flow.wait("flowing", within=60)
    applied.write_pillar(services("10.77.3.2"))
    applied.apply()
    flow.wait("stopped", within=60)
    flow.stop()


def test_the_minion_answers_its_master_from_behind_its_firewall(applied: World) -> None:
    assert applied.salt("*", "test.ping") == {"minion1": True, "minion2": True}


# Faults, and finding the way back


def test_a_cut_host_is_silent_and_a_reconnected_one_is_back(applied: World) -> None:
    probe = applied.traffic["office"].connect("minion2")
    probe.wait("open", within=60)
    begin = time.monotonic()
    applied.cut("minion2")
    assert probe.wait("closed", since=begin, within=60).reason == "ETIMEDOUT"
    applied.reconnect("minion2")
    probe.wait("open", within=60)


def test_a_restarted_master_has_its_minions_back(applied: World) -> None:
    before = applied.master.process
    applied.master.restart()
    assert applied.master.process != before
    assert applied.salt("*", "test.ping") == {"minion1": True, "minion2": True}


def test_a_killed_minion_comes_back(applied: World) -> None:
    minion = applied.minions[0]
    minion.kill()
    wait_until(lambda: applied.master.listeners == 1, within=60, what="a minion less")
    minion.start()
    applied.master.wait(2)


def test_a_node_host_is_made_and_taken_away(plain: World) -> None:
    node = plain.join("n1", address="10.77.2.77")
    assert str(node.host.addresses) == "10.77.2.77 fd77:0:0:2::4d"
    assert [one["metadata"]["name"] for one in plain.nodes.list()] == ["n1"]
    assert World.open(plain.name).hosts["n1"] == node.host
    with pytest.raises(LabError, match="belongs to another host"):
        plain.join("n2", address="10.77.2.77")
    plain.leave("n1")
    assert "n1" in plain.hosts
    plain.remove_host("n1")
    assert not node.host.namespace.path.exists()
    assert not node.host.holder.alive
    assert "n1" not in World.open(plain.name).hosts


# The command line


def test_the_command_line_finds_the_world(plain: World) -> None:
    name = ["--name", plain.name]
    done = lab_command("status", *name)
    assert done.returncode == 0
    assert "stranger  10.77.3.2  fd77:0:0:3::2  closed      closed" in done.stdout
    done = lab_command("exec", *name, "minion1", "hostname")
    assert (done.returncode, done.stdout) == (0, "minion1\n")
    assert lab_command("exec", *name, "minion1", "false").returncode == 1
    done = lab_command("salt", *name, "--out=txt", "minion1", "test.ping")
    assert done.stdout == "minion1: True\n"
    done = lab_command("probe", *name, "stranger", "minion1", str(PORT), "--seconds", "0.3")
    assert done.returncode == 1
    assert " 0 open" in done.stdout
    done = lab_command("logs", *name, "minion1", "-n", "1")
    assert "hosts/minion1/logs/salt.log" in done.stdout


def test_the_command_line_says_what_is_wrong(plain: World, capsys: Any) -> None:
    assert main(["up", "--name", plain.name]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(["status", "--name", "nowhere"]) == 1
    assert "there is no world 'nowhere'" in capsys.readouterr().err
    assert main(["up", "--name", "No World"]) == 1
    assert "cannot be the name of a world" in capsys.readouterr().err
    assert main(["exec", "--name", plain.name, "nobody", "true"]) == 1
    assert "unknown host 'nobody'" in capsys.readouterr().err
    with pytest.raises(WorldExists):
        provision(plain.name)


@pytest.mark.parametrize(
    ("attribute", "value", "says"),
    [
        ("os.geteuid", lambda: 1000, "run it with sudo"),
        ("shutil.which", lambda _: None, "apt-get install iproute2 iptables nftables util-linux"),
    ],
)
def test_a_machine_that_cannot_is_told_what_would_help(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, attribute: str, value: object, says: str
) -> None:
    monkeypatch.setattr(f"lab.world.prerequisites.{attribute}", value)
    assert says in str(lab.world.prerequisites.unmet())
    assert main(["up", "--name", "unmet"]) == 2
    assert says in capsys.readouterr().err


# Nothing is left behind


def test_what_a_killed_up_has_left_is_removed(fit: None) -> None:
    name = f"k{os.getpid()}"
    making = subprocess.Popen(
        [sys.executable, "-m", "lab", "up", "--name", name],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    world = World(name)
    wait_until((world.folder / "api" / "backend.json").exists, within=180, what="an API process")
    making.kill()
    making.wait()
    left = [process for space in of_world(name) for process in in_namespace(space.path)]
    assert len(left) > 8
    assert main(["status", "--name", name]) == 1
    assert main(["down", "--name", name]) == 0
    assert not any(process.alive for process in left)
    assert not of_world(name)
    assert not StateFile(name).exists


def test_an_up_that_fails_leaves_nothing(fit: None) -> None:
    name = f"f{os.getpid()}"
    with pytest.raises(LabError, match="the logs are in"):
        provision(name, minions=1, master={"interface": "192.0.2.1"}, extension=False)
    assert not of_world(name)
    assert not StateFile(name).exists
