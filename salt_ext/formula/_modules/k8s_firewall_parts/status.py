"""What is in force, what the kernel has of it, and what is missing."""

from __future__ import annotations

from typing import Any

from . import desired, errors, freshness, kernel, nft, ownership, programs
from .state_dir import StateDir


def status(record: StateDir, version: str) -> dict[str, Any]:
    """Return what is in force by our own record, and each way in which the kernel differs."""
    applied = record.read(kernel.APPLIED)
    told: dict[str, Any] = {
        "version": version,
        "digest": applied.get("digest", ""),
        "revision": freshness.numbers(record.read(freshness.NAME)),
        "applied_at": applied.get("at"),
        "problems": [],
    }
    this = kernel.in_force(record)
    known = ownership.recorded(record)
    if known:
        told["served"] = len(known)
    if this is None:
        if not record.read(freshness.NAME):
            told["problems"] = ["nothing was brought into force yet: k8s_firewall.sync"]
    else:
        told["backend"] = this.backend
        told["sets"] = {name: len(one.everything()) for name, one in sorted(this.sets.items())}
        told["rules"] = [rule.name for rule in this.rules]
        told["gates"] = {str(gate): list(gate.sets) for gate in this.gates}
        told["problems"] = _problems(this, applied, record)
    told["result"] = not told["problems"]
    told["comment"] = "; ".join(told["problems"]) or "in force"
    return told


def _problems(this: desired.Wanted, applied: dict[str, Any], record: StateDir) -> list[str]:
    found: list[str] = []
    try:
        if foreign := kernel.refusing(this):
            found.append(foreign)
        made = kernel.plan(this, applied)
    except errors.FirewallError as exc:
        return [str(exc)]
    if made.structure:
        if kernel.listed() is None:
            open_now = ", ".join(str(gate) for gate in this.gates)
            found.append(
                f"the nft table {nft.TABLE} is gone"
                + (f", and with it the gates of {open_now}" if open_now else "")
            )
        else:
            found.append(f"the nft table {nft.TABLE} is not as it was loaded")
    found += [
        f"the set {name} has {len(gone)} too many and {len(added)} too few"
        for name, (added, gone) in sorted(made.sets.items())
    ]
    if not made.empty and not found:
        found.append("the kernel's sets are not as they were loaded")
    ipsets = this.backend == "ipset" and bool(this.sets)
    files = {kernel.RULESET: nft.needed(this), kernel.IPSETS: ipsets}
    found += [
        f"{record.folder / name} is gone, so that the next boot will not have it"
        for name, due in files.items()
        if due and not (record.folder / name).exists()
    ]
    if not programs.installed("ss"):
        found.append("the program ss is not installed: connections of who has left are not ended")
    return found
