"""Commands for one host: exec, salt tools, probe, logs, cut, reconnect, and the Kubernetes API."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time

from lab.cli import screen
from lab.errors import LabError
from lab.traffic.probe import Probe
from lab.world.world import World


def execute(given: argparse.Namespace) -> int:
    World.open(given.name).host(given.host).become(_passed_on(given.command) or ["sh"])
    return 1


def salt_tool(given: argparse.Namespace) -> int:
    World.open(given.name).host("master").become([given.tool, *_passed_on(given.arguments)])
    return 1


def _passed_on(words: list[str]) -> list[str]:
    return words[1:] if words[:1] == ["--"] else words


def probe(given: argparse.Namespace) -> int:
    world = World.open(given.name)
    target = given.to
    if target in world.hosts:
        addresses = world.hosts[target].addresses
        target = str(addresses.v6 if given.ipv6 else addresses.v4)
    folder = world.folder / "probes"
    source = world.host(given.source)
    running = Probe.start(source, "connect", given.to, target, given.port, folder=folder)
    begin, shown = time.monotonic(), 0
    try:
        with contextlib.suppress(KeyboardInterrupt):
            while time.monotonic() - begin < given.seconds:
                time.sleep(0.05)
                for transition in running.transitions()[shown:]:
                    shown += 1
                    after = f"{max(0.0, transition.at - begin):8.3f} s"
                    screen.out.print(
                        f"{after}  {screen.styled(transition.state)} {transition.reason}"
                    )
    finally:
        count = running.stop()
    print(
        f"{count['attempts']:.0f} attempts: {count['open']:.0f} open, {count['closed']:.0f} closed"
    )
    return 0 if running.state() == "open" else 1


def logs(given: argparse.Namespace) -> int:
    files = World.open(given.name).logs(given.host)
    if not files:
        raise LabError(f"no logs of a host {given.host!r}")
    follow = ["--follow"] if given.follow else []
    argv = ["tail", f"--lines={given.lines}", *follow, "--", *map(str, files)]
    sys.stdout.flush()
    os.execvp(argv[0], argv)


def cut(given: argparse.Namespace) -> int:
    World.open(given.name).cut(given.host)
    return 0


def reconnect(given: argparse.Namespace) -> int:
    World.open(given.name).reconnect(given.host)
    return 0


def api(given: argparse.Namespace) -> int:
    backend = World.open(given.name).api
    {"start": backend.start, "stop": backend.stop, "restart": backend.restart}[given.action]()
    return 0
