"""Commands for a whole world: up, down, status."""

from __future__ import annotations

import argparse
import os
import sys
import time

from lab.cli import screen
from lab.errors import NoSuchWorld
from lab.network.host import Host
from lab.world.provisioning import provision
from lab.world.state_file import worlds
from lab.world.world import World


def up(given: argparse.Namespace) -> int:
    begin = time.monotonic()
    provision(
        given.name,
        minions=given.minions,
        masters=given.masters,
        api=given.api,
        progress=screen.progress,
    )
    print(f"The world {given.name} is up after {time.monotonic() - begin:.1f} s. Now try:")
    option = "" if given.name == "lab" else f" --name {given.name}"
    for command in (
        f"status{option}",
        f"node join node1{option}",
        f"node leave node1{option}",
        f"salt-run{option} k8s_nodes.status",
        f"exec{option} minion1 iptables -S",
        f"down{option}",
    ):
        print(f"  {os.path.relpath(sys.executable)} -m lab {command}")
    return 0


def down(given: argparse.Namespace) -> int:
    if not given.all and given.name not in worlds():
        raise NoSuchWorld(given.name)
    for name in worlds() if given.all else [given.name]:
        World(name).down()
        print(f"The world {name} is removed.")
    return 0


def status(given: argparse.Namespace) -> int:
    world = World.open(given.name)
    rows = [["Kubernetes API", _state(bool(world.api.pids)), world.api.endpoint.url]]
    rows += [["Salt master", _state(one.alive), one.host.name] for one in world.masters]
    rows += [["Salt minion", _state(one.alive), one.host.name] for one in world.minions]
    screen.table(["part", "state", "where"], rows, title=f"World {world.name}, {world.folder}")
    print()
    screen.table(
        ["host", "IPv4", "IPv6", *(f"to {m.host.name}" for m in world.minions)],
        [
            [host.name, str(host.addresses.v4), str(host.addresses.v6), *_reach(world, host)]
            for host in world.hosts.values()
        ],
        title="New connections to port 5432",
    )
    others = [name for name in worlds() if name != given.name]
    if others:
        print(f"\nOther worlds: {', '.join(others)}")
    return 0


def _state(running: bool) -> str:
    return "running" if running else "stopped"


def _reach(world: World, host: Host) -> list[str]:
    """What the host's probe last saw at each minion."""
    traffic = world.traffic.get(host.name)
    if traffic is None or not traffic.probes:
        return ["-"] * len(world.minions)
    return [traffic.connect(minion.host.name).state() or "-" for minion in world.minions]
