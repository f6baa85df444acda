"""The commands of ``python -m lab`` and their options."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from lab.cli import host_commands, node_commands, world_commands
from lab.kubernetes import BACKENDS

Command = Callable[[argparse.Namespace], int]

_PASS = ("exec", "salt", "salt-run", "salt-key")


def parser() -> argparse.ArgumentParser:
    """The whole command line; what a command does is in its option ``run``."""
    name = argparse.ArgumentParser(add_help=False)
    name.add_argument("--name", default="lab", help="name of the world (default: lab)")
    top = argparse.ArgumentParser(
        prog="python -m lab", description="Create a world, look at it, and let parts of it fail."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(
        words: str, run: Command, text: str, under: object = commands
    ) -> argparse.ArgumentParser:
        assert isinstance(under, type(commands))
        created = under.add_parser(words, parents=[name], help=text, description=text)
        created.set_defaults(run=run)
        return created

    one = command("up", world_commands.up, "create a world")
    one.add_argument("--minions", type=int, default=2, metavar="N")
    one.add_argument("--masters", type=int, default=1, metavar="N")
    one.add_argument("--api", choices=list(BACKENDS), default="emulator")
    one = command("down", world_commands.down, "remove a world, or the remains after a crash")
    one.add_argument("--all", action="store_true", help="every world of this machine")
    command("status", world_commands.status, "what runs, and which host reaches which minion")

    node = commands.add_parser("node", help="let nodes join and leave")
    nodes = node.add_subparsers(required=True, metavar="COMMAND")
    one = command("join", node_commands.join, "a node joins; its host sends traffic", nodes)
    one.add_argument("node")
    one.add_argument("--address", help="an IPv4 address in 10.77.2.0/24 (default: the next)")
    one.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    _add_wait(one)
    one = command("leave", node_commands.leave, "a node leaves; its host goes on sending", nodes)
    one.add_argument("node")
    one.add_argument("--remove-host", action="store_true", help="remove the host as well")
    _add_wait(one)
    command("list", node_commands.show, "the cluster's nodes and their hosts", nodes)

    one = command("exec", host_commands.execute, "run a command on a host")
    one.add_argument("host")
    one.add_argument("command", nargs=argparse.REMAINDER)
    for tool in ("salt", "salt-run", "salt-key"):
        one = command(tool, host_commands.salt_tool, f"run {tool} on the master")
        one.add_argument("arguments", nargs=argparse.REMAINDER)
        one.set_defaults(tool=tool)
    one = command("probe", host_commands.probe, "try a new connection every 10 ms")
    one.add_argument("source", metavar="FROM")
    one.add_argument("to", metavar="TO", help="a host or an address")
    one.add_argument("port", type=int)
    one.add_argument("-6", dest="ipv6", action="store_true", help="use the host's IPv6 address")
    one.add_argument("--seconds", type=float, default=3.0)
    one = command("logs", host_commands.logs, "the last lines of the logs")
    one.add_argument("host", nargs="?", default="*")
    one.add_argument("-n", "--lines", type=int, default=10)
    one.add_argument("-f", "--follow", action="store_true")
    one = command("cut", host_commands.cut, "black-hole a host")
    one.add_argument("host")
    one = command("reconnect", host_commands.reconnect, "undo cut")
    one.add_argument("host")
    one = command("api", host_commands.api, "start, stop or restart the Kubernetes API")
    one.add_argument("action", choices=["start", "stop", "restart"])
    return top


def _add_wait(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--wait", type=float, default=30, metavar="SECONDS", help="0: return at once (default: 30)"
    )


def separated(argv: list[str]) -> list[str]:
    """The command line with ``--`` before the part that is passed on with its own options."""
    if not argv or argv[0] not in _PASS:
        return argv
    count = 1
    if len(argv) > count and argv[count].startswith("--name"):
        count += 1 if "=" in argv[count] else 2
    count += argv[0] == "exec"
    return [*argv[:count], "--", *argv[count:]] if argv[count:] != ["--help"] else argv
