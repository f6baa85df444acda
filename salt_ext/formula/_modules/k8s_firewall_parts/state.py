"""What is in force, what the kernel has of it, and what is missing."""

from __future__ import annotations

from typing import Any

from . import commands, errors, force, nft, revision, served, wanted
from .record import Record


def status(record: Record, version: str) -> dict[str, Any]:
    """Return what is in force by our own record, and each way in which the kernel differs."""
    applied = record.read(force.APPLIED)
    told: dict[str, Any] = {
        "version": version,
        "digest": applied.get("digest", ""),
        "revision": revision.numbers(record.read(revision.NAME)),
        "applied_at": applied.get("at"),
        "problems": [],
    }
    this = force.in_force(record)
    known = served.recorded(record)
    if known:
        told["served"] = len(known)
    if this is None:
        if not record.read(revision.NAME):
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


def _problems(this: wanted.Wanted, applied: dict[str, Any], record: Record) -> list[str]:
    found: list[str] = []
    try:
        if foreign := force.refusing(this):
            found.append(foreign)
        made = force.plan(this, applied)
    except errors.FirewallError as exc:
        return [str(exc)]
    if made.structure:
        if force.listed() is None:
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
    files = {force.RULESET: nft.needed(this), force.IPSETS: ipsets}
    found += [
        f"{record.folder / name} is gone, so that the next boot will not have it"
        for name, due in files.items()
        if due and not (record.folder / name).exists()
    ]
    if not commands.installed("ss"):
        found.append("the program ss is not installed: connections of who has left are not ended")
    return found
