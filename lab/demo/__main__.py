"""``python -m lab.demo``: run the story in a world of its own, and sum up what was measured."""

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
    """0 when every claim was seen, 1 when one was not, 2 when the machine cannot run a lab."""
    parser = argparse.ArgumentParser(prog="python -m lab.demo", description=__doc__)
    parser.add_argument("--api", choices=list(BACKENDS), default="emulator")
    parser.add_argument("--keep", action="store_true", help="leave the world up")
    given = parser.parse_args(argv)
    narrator = Narrator()
    OUTPUT.unlink(missing_ok=True)
    try:
        narrator.chapter("A world in network namespaces; this machine's own network is not touched")
        world = provision(NAME, api=given.api, progress=narrator.fact)
    except MachineUnfit as exc:
        narrator.say(f"The demo cannot run on this machine: {exc}")
        return 2
    except (LabError, BackendError) as exc:
        narrator.fact(str(exc), good=False)
        return 1
    try:
        return _run(world, narrator)
    finally:
        if given.keep:
            _invite(narrator)
        else:
            world.down()


def _run(world: World, narrator: Narrator) -> int:
    story = Story(world, narrator)
    try:
        story.run()
    except (LabError, BackendError, ApiError) as exc:
        narrator.fact(str(exc), good=False)
        narrator.say(f"Logs: {os.path.relpath(world.save_logs())}")
    result = story.result
    result.write(OUTPUT)
    _sum_up(story, result, narrator)
    return 0 if result.true else 1


def _sum_up(story: Story, result: Result, narrator: Narrator) -> None:
    tries = {name: f"{count:,} connections tried" for name, count in story.attempts.items()}
    ended = "ended" if result.established_ended else "still alive"
    closed = "nothing lets them in" if result.verified else "something may let them in"
    unchanged = "nothing changed" if result.outage_unchanged else "something changed"
    office = "always let in" if result.always_open else "not always let in"
    stranger = "never let in" if result.never_opened else "let in"
    rows = [
        ("join to first connection", _range(result.opened_ms), bool(result.opened_ms)),
        ("leave to first refusal", _range(result.closed_ms), bool(result.closed_ms)),
        ("connections open when their node left", ended, result.established_ended),
        ("addresses that left, by the kernel", closed, result.verified),
        ("while the API was away", unchanged, result.outage_unchanged),
        ("office, allowed by hand", f"{office}, {tries['office']}", result.always_open),
        ("stranger, on no list", f"{stranger}, {tries['stranger']}", result.never_opened),
    ]
    narrator.table(rows)
    narrator.say(f"\nThese figures are also in {os.path.relpath(OUTPUT)}")


def _range(found: list[int]) -> str:
    if not found:
        return "never seen"
    middle = statistics.median(found)
    return f"median {middle:.0f} ms ({min(found)} to {max(found)} ms, {len(found)} measured)"


def _invite(narrator: Narrator) -> None:
    lab = f"{os.path.relpath(sys.executable)} -m lab"
    narrator.say("\nThe world stays up. Try:")
    for what in (
        f"{lab} status --name {NAME}",
        f"{lab} salt-run --name {NAME} k8s_nodes.status",
        f"{lab} node join node4 --name {NAME}",
        f"{lab} node leave node4 --name {NAME}",
        f"{lab} exec --name {NAME} minion1 iptables -S",
        f"{lab} api stop --name {NAME}",
        f"{lab} down --name {NAME}",
    ):
        narrator.say(f"  {what}")


if __name__ == "__main__":
    sys.exit(main())
