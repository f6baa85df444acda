"""The lab's command line: ``python -m lab up``, and then look, join, leave, break and mend."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Sequence

from lab.cli import screen
from lab.errors import LabError, MachineUnfit, NoSuchWorld
from lab.kubernetes import BACKENDS
from lab.kubernetes.backend import BackendError
from lab.kubernetes.client import ApiError
from lab.network.address import NODES
from lab.network.host import Host
from lab.traffic.probe import Probe
from lab.world.prerequisites import unfit
from lab.world.state_file import worlds
from lab.world.world import World

_PASS = ("exec", "salt", "salt-run", "salt-key")


def up(given: argparse.Namespace) -> int:
    begin = time.monotonic()
    World.up(
        given.name, minions=given.minions, masters=given.masters, api=given.api, say=screen.say
    )
    print(f"The world {given.name} is up after {time.monotonic() - begin:.1f} s. Now try:")
    option = "" if given.name == "lab" else f" --name {given.name}"
    for what in (
        f"status{option}",
        f"node join node1{option}",
        f"node leave node1{option}",
        f"salt-run{option} k8s_nodes.status",
        f"exec{option} minion1 iptables -S",
        f"down{option}",
    ):
        print(f"  {os.path.relpath(sys.executable)} -m lab {what}")
    return 0


def down(given: argparse.Namespace) -> int:
    if not given.all and given.name not in worlds():
        raise NoSuchWorld(given.name)
    for name in worlds() if given.all else [given.name]:
        World(name).down()
        print(f"The world {name} is gone.")
    return 0


def status(given: argparse.Namespace) -> int:
    world = World.open(given.name)
    answers = bool(world.api.pids)
    screen.table(
        ["part", "state", "where"],
        [
            ["Kubernetes API", "running" if answers else "stopped", world.api.endpoint.url],
            *(
                ["Salt master", "running" if m.alive else "stopped", m.host.name]
                for m in world.masters
            ),
            *(
                ["Salt minion", "running" if m.alive else "stopped", m.host.name]
                for m in world.minions
            ),
        ],
        title=f"World {world.name}, {world.folder}",
    )
    print()
    screen.table(
        ["host", "IPv4", "IPv6", *(f"to {m.host.name}" for m in world.minions)],
        [
            [host.name, str(host.addresses.v4), str(host.addresses.v6), *_ways(world, host)]
            for host in world.hosts.values()
        ],
        title="What fresh connections to port 5432 meet",
    )
    others = [name for name in worlds() if name != given.name]
    if others:
        print(f"\nOther worlds: {', '.join(others)}")
    return 0


def _ways(world: World, host: Host) -> list[str]:
    traffic = world.traffic.get(host.name)
    if traffic is None or not traffic.probes:
        return ["-"] * len(world.minions)
    return [traffic.connect(minion.host.name).state() or "-" for minion in world.minions]


def node_join(given: argparse.Namespace) -> int:
    world = World.open(given.name)
    labels = dict(label.split("=", 1) for label in given.label)
    node = world.join(given.node, address=given.address, labels=labels)
    print(f"{node.name} has joined with {node.host.addresses}")
    return _follow(world, node.name, "open", node.at, given.wait)


def node_leave(given: argparse.Namespace) -> int:
    world = World.open(given.name)
    at = world.leave(given.node)
    print(f"{given.node} has left")
    code = _follow(world, given.node, "closed", at, given.wait)
    if given.remove_host:
        world.remove_host(given.node)
    return code


def _follow(world: World, name: str, what: str, at: float, within: float) -> int:
    """Tell what the node's packets meet at each minion, from the API's confirmation on."""
    for one in world.traffic[name].probes if within else ():
        if one.how == "connect":
            seen = one.wait(what, since=at, within=within)
            print(f"  {one.target}: {what} after {(seen.at - at) * 1000:.0f} ms")
    return 0


def node_list(given: argparse.Namespace) -> int:
    world = World.open(given.name)
    members = {node["metadata"]["name"]: node for node in world.nodes.list()}
    here = {name for name, host in world.hosts.items() if host.addresses.group == NODES}
    rows = []
    for name in sorted(members.keys() | here):
        addresses = members.get(name, {}).get("status", {}).get("addresses", [])
        internal = [one["address"] for one in addresses if one["type"] == "InternalIP"]
        if not internal and name in here:
            internal = [str(world.hosts[name].addresses)]
        rows.append([name, "yes" if name in members else "no",
                     "yes" if name in here else "no", " ".join(internal)])  # fmt: skip
    screen.table(["node", "member", "has a host", "addresses"], rows)
    return 0


def _passed(words: list[str]) -> list[str]:
    return words[1:] if words[:1] == ["--"] else words


def execute(given: argparse.Namespace) -> int:
    World.open(given.name).host(given.host).become(_passed(given.command) or ["sh"])
    return 1


def tool(given: argparse.Namespace) -> int:
    World.open(given.name).host("master").become([given.what, *_passed(given.arguments)])
    return 1


def probe(given: argparse.Namespace) -> int:
    world = World.open(given.name)
    target = given.to
    if target in world.hosts:
        place = world.hosts[target].addresses
        target = str(place.v6 if given.ipv6 else place.v4)
    folder = world.folder / "probes"
    source = world.host(given.source)
    found = Probe.start(source, "connect", given.to, target, given.port, folder=folder)
    begin, shown = time.monotonic(), 0
    try:
        with contextlib.suppress(KeyboardInterrupt):
            while time.monotonic() - begin < given.seconds:
                time.sleep(0.05)
                for sight in found.sights()[shown:]:
                    shown += 1
                    after = f"{max(0.0, sight.at - begin):8.3f} s"
                    screen.out.print(f"{after}  {screen.styled(sight.what)} {sight.why}")
    finally:
        count = found.stop()
    print(
        f"{count['attempts']:.0f} attempts: {count['open']:.0f} open, {count['closed']:.0f} closed"
    )
    return 0 if found.state() == "open" else 1


def logs(given: argparse.Namespace) -> int:
    files = World.open(given.name).logs(given.host)
    if not files:
        raise LabError(f"there are no logs of {given.host!r}")
    follow = ["--follow"] if given.follow else []
    argv = ["tail", f"--lines={given.lines}", *follow, "--", *map(str, files)]
    sys.stdout.flush()
    os.execvp(argv[0], argv)


def cut(given: argparse.Namespace) -> int:
    World.open(given.name).cut(given.host)
    return 0


def mend(given: argparse.Namespace) -> int:
    World.open(given.name).mend(given.host)
    return 0


def api(given: argparse.Namespace) -> int:
    backend = World.open(given.name).api
    {"start": backend.start, "stop": backend.stop, "restart": backend.restart}[given.what]()
    return 0


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    name = argparse.ArgumentParser(add_help=False)
    name.add_argument("--name", default="lab", help="the world's name (default: lab)")
    top = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(
        words: str, run: object, text: str, under: object = commands
    ) -> argparse.ArgumentParser:
        assert isinstance(under, type(commands))
        made = under.add_parser(words, parents=[name], help=text, description=text)
        made.set_defaults(run=run)
        return made

    one = command("up", up, "make a world")
    one.add_argument("--minions", type=int, default=2, metavar="N")
    one.add_argument("--masters", type=int, default=1, metavar="N")
    one.add_argument("--api", choices=list(BACKENDS), default="emulator")
    one = command("down", down, "remove a world, or what a crash left of it")
    one.add_argument("--all", action="store_true", help="every world of this machine")
    command("status", status, "what runs, and who gets in where")

    node = commands.add_parser("node", help="let nodes join and leave")
    nodes = node.add_subparsers(required=True, metavar="COMMAND")
    one = command("join", node_join, "a node joins, with a host that sends real traffic", nodes)
    one.add_argument("node")
    one.add_argument("--address", help="an IPv4 address in 10.77.2.0/24 (default: the next)")
    one.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    one.add_argument("--wait", type=float, default=30, metavar="SECONDS", help="0: do not look on")
    one = command("leave", node_leave, "a node leaves; its host goes on sending", nodes)
    one.add_argument("node")
    one.add_argument("--remove-host", action="store_true")
    one.add_argument("--wait", type=float, default=30, metavar="SECONDS", help="0: do not look on")
    command("list", node_list, "the cluster's nodes and the node hosts", nodes)

    one = command("exec", execute, "run a command on a host")
    one.add_argument("host")
    one.add_argument("command", nargs=argparse.REMAINDER)
    for what in ("salt", "salt-run", "salt-key"):
        one = command(what, tool, f"run {what} on the master")
        one.add_argument("arguments", nargs=argparse.REMAINDER)
        one.set_defaults(what=what)
    one = command("probe", probe, "try a fresh connection every 10 ms and tell what happens")
    one.add_argument("source", metavar="FROM")
    one.add_argument("to", metavar="TO", help="a host or an address")
    one.add_argument("port", type=int)
    one.add_argument("-6", dest="ipv6", action="store_true", help="to the host's IPv6 address")
    one.add_argument("--seconds", type=float, default=3.0)
    one = command("logs", logs, "the end of the logs")
    one.add_argument("host", nargs="?", default="*")
    one.add_argument("-n", "--lines", type=int, default=10)
    one.add_argument("-f", "--follow", action="store_true")
    one = command("cut", cut, "black-hole a host")
    one.add_argument("host")
    one = command("mend", mend, "undo cut")
    one.add_argument("host")
    one = command("api", api, "start, stop or restart the Kubernetes API")
    one.add_argument("what", choices=["start", "stop", "restart"])
    return top


def _split(argv: list[str]) -> list[str]:
    """Set off the command line that is to be passed on, whose options are not ours."""
    if not argv or argv[0] not in _PASS:
        return argv
    ours = 1
    if len(argv) > ours and argv[ours].startswith("--name"):
        ours += 1 if "=" in argv[ours] else 2
    ours += argv[0] == "exec"
    return [*argv[:ours], "--", *argv[ours:]] if argv[ours:] != ["--help"] else argv


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 2 when this machine cannot, 1 when it did not work."""
    given = parser().parse_args(_split(list(sys.argv[1:] if argv is None else argv)))
    try:
        if os.geteuid() != 0 and (reason := unfit()):
            raise MachineUnfit(reason)
        code: int = given.run(given)
    except MachineUnfit as exc:
        screen.fail(f"No lab on this machine: {exc}")
        return 2
    except (LabError, BackendError, ApiError) as exc:
        screen.fail(str(exc))
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
