"""``python -m lab.demo``: make a world, tell the story in it, and sum up what the packets said."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.demo.narrator import Narrator
from lab.demo.result import Result
from lab.demo.story import Story
from lab.errors import LabError, MachineUnfit
from lab.kubernetes import BACKENDS
from lab.kubernetes.backend import BackendError
from lab.kubernetes.client import ApiError
from lab.world.provisioning import provision
from lab.world.world import World

OUTPUT = Path(__file__).parents[2] / "build" / "demo.json"
NAME = "demo"


def main(argv: Sequence[str] | None = None) -> int:
    """0 when the story is true, 1 when it is not, 2 when this machine cannot tell it."""
    parser = argparse.ArgumentParser(prog="python -m lab.demo", description=__doc__)
    parser.add_argument("--api", choices=list(BACKENDS), default="emulator")
    parser.add_argument("--keep", action="store_true", help="leave the world up")
    given = parser.parse_args(argv)
    tell = Narrator()
    OUTPUT.unlink(missing_ok=True)
    try:
        tell.chapter("A world of its own: network namespaces, this machine's network is left alone")
        world = provision(NAME, api=given.api, progress=tell.fact)
    except MachineUnfit as exc:
        tell.say(f"The demo cannot run on this machine: {exc}")
        return 2
    except (LabError, BackendError) as exc:
        tell.fact(str(exc), good=False)
        return 1
    try:
        return _told(world, tell)
    finally:
        if given.keep:
            _invite(tell)
        else:
            world.down()


def _told(world: World, tell: Narrator) -> int:
    story = Story(world, tell)
    try:
        story.run()
    except (LabError, BackendError, ApiError) as exc:
        tell.fact(str(exc), good=False)
        tell.say(f"The logs are in {os.path.relpath(world.save_logs())}")
    result = story.result
    result.write(OUTPUT)
    _sum_up(story, result, tell)
    return 0 if result.true else 1


def _sum_up(story: Story, result: Result, tell: Narrator) -> None:
    tries = {name: f"{count:,} connections tried" for name, count in story.attempts.items()}
    ended = "ended" if result.established_ended else "lived on"
    unchanged = "nothing changed" if result.outage_unchanged else "something changed"
    office = "always let in" if result.always_open else "not always let in"
    stranger = "never let in" if result.never_opened else "let in"
    rows = [
        ("join to first connection", _range(result.opened_ms), bool(result.opened_ms)),
        ("leave to first refusal", _range(result.closed_ms), bool(result.closed_ms)),
        ("connections open when their node left", ended, result.established_ended),
        ("while the API was away", unchanged, result.outage_unchanged),
        ("office, allowed by hand", f"{office}, {tries['office']}", result.always_open),
        ("stranger, on no list", f"{stranger}, {tries['stranger']}", result.never_opened),
    ]
    tell.table(rows)
    tell.say(f"\nThe same in {os.path.relpath(OUTPUT)}")


def _range(found: list[int]) -> str:
    if not found:
        return "never seen"
    middle = statistics.median(found)
    return f"median {middle:.0f} ms ({min(found)} to {max(found)} ms, {len(found)} measured)"


def _invite(tell: Narrator) -> None:
    lab = f"{os.path.relpath(sys.executable)} -m lab"
    tell.say("\nThe world stays up. Try:")
    for what in (
        f"{lab} status --name {NAME}",
        f"{lab} salt-run --name {NAME} k8s_nodes.status",
        f"{lab} node join node4 --name {NAME}",
        f"{lab} node leave node4 --name {NAME}",
        f"{lab} exec --name {NAME} minion1 iptables -S",
        f"{lab} api stop --name {NAME}",
        f"{lab} down --name {NAME}",
    ):
        tell.say(f"  {what}")


if __name__ == "__main__":
    sys.exit(main())
