"""Commands for nodes: node join, node leave, node list."""

from __future__ import annotations

import argparse

from lab.cli import screen
from lab.network.address import NODES
from lab.world.world import World


def join(given: argparse.Namespace) -> int:
    world = World.open(given.name)
    labels = dict(label.split("=", 1) for label in given.label)
    node = world.join(given.node, address=given.address, labels=labels)
    print(f"{node.name} has joined with {node.host.addresses}")
    return _follow(world, node.name, "open", node.at, given.wait)


def leave(given: argparse.Namespace) -> int:
    world = World.open(given.name)
    at = world.leave(given.node)
    print(f"{given.node} has left")
    code = _follow(world, given.node, "closed", at, given.wait)
    if given.remove_host:
        world.remove_host(given.node)
    return code


def _follow(world: World, name: str, state: str, at: float, within: float) -> int:
    """Print when the node's packets get through or fail at each minion, after the API's answer."""
    for probe in world.traffic[name].probes if within else ():
        if probe.kind == "connect":
            seen = probe.wait(state, since=at, within=within)
            print(f"  {probe.target}: {state} after {(seen.at - at) * 1000:.0f} ms")
    return 0


def show(given: argparse.Namespace) -> int:
    world = World.open(given.name)
    members = {node["metadata"]["name"]: node for node in world.nodes.list()}
    hosts = {host.name: host for host in world.inventory.of_group(NODES)}
    rows = []
    for name in sorted(members.keys() | hosts.keys()):
        addresses = members.get(name, {}).get("status", {}).get("addresses", [])
        internal = [one["address"] for one in addresses if one["type"] == "InternalIP"]
        if not internal and name in hosts:
            internal = [str(hosts[name].addresses)]
        member, host = _yes_or_no(name in members), _yes_or_no(name in hosts)
        rows.append([name, member, host, " ".join(internal)])
    screen.table(["node", "member", "has a host", "addresses"], rows)
    return 0


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"
