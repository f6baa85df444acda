"""What is applied, and where the kernel and the files for the next boot differ from it."""

from __future__ import annotations

from typing import Any

from . import applied, errors, foreign_firewalls, freshness, ownership, plan, programs
from .desired import Desired
from .plan import Plan
from .state_dir import StateDir

NOTHING_APPLIED = "nothing is applied yet; run k8s_firewall.sync"


def status(state_dir: StateDir, version: str) -> dict[str, Any]:
    """Return what is applied by this module's record, and every problem with it."""
    record = state_dir.read(applied.FILE)
    found: dict[str, Any] = {
        "version": version,
        "digest": record.get("digest", ""),
        "revision": freshness.numbers(state_dir.read(freshness.FILE)),
        "applied_at": record.get("applied_at"),
        "problems": [],
    }
    desired = applied.last(state_dir)
    if served := ownership.recorded(state_dir):
        found["served"] = len(served)
    if desired is None:
        if not state_dir.read(freshness.FILE):
            found["problems"] = [NOTHING_APPLIED]
    else:
        found["backend"] = desired.backend
        found["sets"] = {name: len(one.entries()) for name, one in sorted(desired.sets.items())}
        found["rules"] = [rule.name for rule in desired.rules]
        found["gates"] = {str(gate): list(gate.sets) for gate in desired.gates}
        found["problems"] = _problems(desired, record, state_dir)
    found["result"] = not found["problems"]
    found["comment"] = "; ".join(found["problems"]) or "up to date"
    return found


def drift(made: Plan) -> list[str]:
    """
    Return a sentence for each way in which the kernel differs from what was applied.

    made
        The plan that would bring the kernel back.
    """
    found = [change.drift for change in made.each if change.drift]
    found += [
        f"the set {name} has {len(removed)} unexpected entries and lacks {len(added)}"
        for name, (added, removed) in sorted(made.sets.items())
    ]
    if not made.empty and not found:
        found.append("kernel sets were changed by another program")
    return found


def _problems(desired: Desired, record: dict[str, Any], state_dir: StateDir) -> list[str]:
    found: list[str] = []
    try:
        if conflict := foreign_firewalls.conflict(desired, whole=True):
            found.append(conflict)
        made = plan.make(desired, record)
    except errors.FirewallError as exc:
        return [str(exc)]
    found += drift(made)
    found += [
        f"{path} is missing: the next boot will not load it"
        for path in applied.missing_boot_files(state_dir, desired)
    ]
    if not programs.installed("ss"):
        found.append("the program ss is not installed: connections of removed addresses stay open")
    return found
