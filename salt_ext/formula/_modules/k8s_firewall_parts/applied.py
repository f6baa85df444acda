"""The record of the applied state: for the next run, for a rollback, and for the next boot."""

from __future__ import annotations

import time
from typing import Any

from . import generation, ipset, nft
from .desired import Desired
from .plan import Plan, read_structure, recorded_departed
from .state_dir import StateDir

FILE = "applied"
PREVIOUS_FILE = "previous"
RULESET = "ruleset.nft"
IPSETS = "sets.ipset"
IPSET_NAMES = "sets.create"

_HEADER = (
    "# Written by k8s_firewall and loaded at boot. To change it, edit the pillar k8s_firewall.\n"
)


def record(desired: Desired, plan: Plan, state_dir: StateDir, version: str) -> None:
    """Record what was applied, and write the files that the next boot loads."""
    applied = state_dir.read(FILE)
    digest = desired.digest()
    ipsets = sorted(ipset.members(desired.sets)) if desired.backend == "ipset" else []
    if plan.empty and applied.get("digest") == digest and _has_boot_files(state_dir, desired):
        state_dir.mark_clean()
        return
    if nft.needed(desired):
        state_dir.write_text(
            RULESET,
            _HEADER + (plan.nft if plan.replaces_table else nft.full(desired, plan.departed)),
        )
    else:
        state_dir.remove(RULESET)
    if ipsets:
        members = ipset.members(desired.sets)
        state_dir.write_text(IPSET_NAMES, ipset.boot_names(members))
        state_dir.write_text(IPSETS, _HEADER + ipset.boot(members))
    else:
        state_dir.remove(IPSETS)
        state_dir.remove(IPSET_NAMES)
    if applied and applied.get("digest") != digest:
        state_dir.copy(FILE, PREVIOUS_FILE)
    listing, state = applied.get("listing", ""), plan.generation_after
    if not plan.nft:
        state = applied.get("generation", "")
    if plan.replaces_table or "listing" not in applied:
        listing = plan.listing
        if not plan.replaces_table and nft.needed(desired):
            listing = read_structure()
    state_dir.write(
        FILE,
        {
            "digest": digest,
            "desired": desired.as_dict,
            "departed": plan.departed.to_dict(),
            "structure": nft.structure(desired) if nft.needed(desired) else "",
            "listing": listing,
            "generation": state,
            "ipsets": ipsets + [name for name in plan.unused_ipsets if name not in ipsets],
            "applied_at": time.time(),
            "version": version,
        },
    )
    state_dir.mark_clean()


def missing_boot_files(state_dir: StateDir, desired: Desired) -> list[str]:
    """Return the paths of the files that the next boot would need and not find."""
    return [
        str(state_dir.folder / name)
        for name, needed in _boot_files(desired).items()
        if needed and not (state_dir.folder / name).exists()
    ]


def last(state_dir: StateDir) -> Desired | None:
    """Return the state that was applied last; None where there is none."""
    data = state_dir.read(FILE).get("desired")
    if state_dir.decoded[0] is not data:
        state_dir.decoded = (data, parse(data))
    return state_dir.decoded[1] if data else None


def previous(state_dir: StateDir) -> Desired | None:
    """Return the state that was applied before the last change; None where there is none."""
    return parse(state_dir.read(PREVIOUS_FILE).get("desired"))


def parse(data: Any) -> Desired | None:
    """Read a recorded state; None where there is none, or one in the form of another version."""
    try:
        return Desired.from_dict(data) if data else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def unchanged_table(state_dir: StateDir) -> nft.Table | None:
    """Return the nft table as it was applied; None where another program may have changed it."""
    record, before = state_dir.read(FILE), last(state_dir)
    state = record.get("generation")
    if before is None or not nft.needed(before):
        return None
    if not state or state != generation.current(nft.TABLE):
        return None
    elements = nft.elements(before, recorded_departed(record))
    return nft.Table(record.get("listing", ""), elements)


def _boot_files(desired: Desired) -> dict[str, bool]:
    ipsets = desired.backend == "ipset" and bool(desired.sets)
    return {RULESET: nft.needed(desired), IPSETS: ipsets, IPSET_NAMES: ipsets}


def _has_boot_files(state_dir: StateDir, desired: Desired) -> bool:
    return all(
        (state_dir.folder / name).exists() == needed
        for name, needed in _boot_files(desired).items()
    )
