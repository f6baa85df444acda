"""The difference between the kernel and the desired state; the kernel is read, never changed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from . import addresses, errors, foreign_firewalls, generation, ipset, nft, programs
from .desired import Desired

_SHOWN_ENTRIES = 100


@dataclass
class Plan:
    """The difference between the kernel and the desired state, and the texts that remove it."""

    nft: str = ""
    replaces_table: bool = False
    """Whether the nft table is replaced, or deleted, as a whole."""
    table_diff: list[str] = field(default_factory=list)
    """The lines of the table that change, without the elements of sets."""
    departed: addresses.Content = addresses.Content()
    """The departed addresses that the nft table keeps out of connection tracking."""
    ipset: str = ""
    unused_ipsets: list[str] = field(default_factory=list)
    """This module's ipsets that the desired state no longer has."""
    sets: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)
    """The entries that each set gains and loses."""
    generation_before: str = ""
    """The kernel's nftables generation before the table was read."""
    generation_after: str = ""
    """The generation after this plan was applied; empty where another program changed it too."""
    listing: str = ""
    """The structure of the applied table, as the kernel lists it."""

    @property
    def empty(self) -> bool:
        """Whether the kernel has the desired state already."""
        return not (self.nft or self.ipset or self.unused_ipsets)

    def changes(self) -> dict[str, object]:
        """Return the changes for a person and for Salt; long lists are cut."""
        found: dict[str, object] = {}
        if self.sets:
            found["sets"] = {
                name: {"added": _shortened(added), "removed": _shortened(removed)}
                for name, (added, removed) in sorted(self.sets.items())
            }
        if self.replaces_table:
            replaced = "table inet" in self.nft[len(nft.DELETE) :]
            found["table"] = "replaced" if replaced else "deleted"
        if self.table_diff:
            found["table_diff"] = self.table_diff
        if self.unused_ipsets:
            found["unused_ipsets"] = self.unused_ipsets
        return found


def make(
    desired: Desired,
    applied: Mapping[str, Any],
    unchanged_table: nft.Table | None = None,
    departed: addresses.Content | None = None,
) -> Plan:
    """
    Read the kernel and return what has to change.

    applied
        The record of the last run.
    unchanged_table
        The nft table where it is known without reading it.
    departed
        The addresses that may not come back through connection tracking; those of the record where
        it is not given.
    """
    plan = Plan(departed=recorded_departed(applied) if departed is None else departed)
    _plan_nft(desired, applied, plan, unchanged_table)
    _plan_ipset(desired, applied, plan)
    return plan


def recorded_departed(applied: Mapping[str, Any]) -> addresses.Content:
    """Return the departed addresses of the nft table, by the record of the last run."""
    try:
        return addresses.Content.from_dict(applied.get("departed", {}))
    except (AttributeError, TypeError):
        return addresses.Content()


def read_table() -> nft.Table | None:
    """Read this module's nft table from the kernel; None where there is none."""
    try:
        return nft.parse(programs.run(nft.LIST))
    except errors.CommandFailed as exc:
        if "No such file or directory" in exc.output:
            return None
        raise


def read_with_handles() -> str:
    """Read this module's nft table from the kernel, as ``nft.is_as_loaded`` takes it."""
    return programs.run(nft.LIST_HANDLES)


def read_structure() -> str:
    """Read the structure of this module's nft table from the kernel; empty without a table."""
    table = read_table()
    return table.structure if table else ""


def read_ipset_names() -> frozenset[str]:
    """Read the names of all ipsets from the kernel."""
    return frozenset(programs.run(ipset.LIST_NAMES).split())


def read_ipsets(names: Set[str]) -> dict[str, ipset.IpSet]:
    """Read the ipsets of these names from the kernel, and the temporary ones of a killed run."""
    found = {name for name in read_ipset_names() if name in names or name.startswith(ipset.SCRATCH)}
    return ipset.parse("".join(programs.run([*ipset.READ, name]) for name in sorted(found)))


def needs_replacement(
    applied: Mapping[str, object], desired: Desired, table: nft.Table | None
) -> bool:
    """Whether the nft table was changed since it was applied, or is to have another structure."""
    return (
        table is None
        or applied.get("structure") != nft.structure(desired)
        or applied.get("listing") != table.structure
    )


def table_diff(applied: Mapping[str, Any], desired: Desired, table: nft.Table | None) -> list[str]:
    """Return the lines of the nft table that are to change."""
    old, new = applied.get("structure", ""), nft.structure(desired)
    if old == new and table is not None:
        # Another program has changed the table.
        old, new = table.structure, applied.get("listing", "")
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1)
    return [line.replace("\t", "") for line in lines if not line.startswith(("---", "+++"))]


def _plan_nft(
    desired: Desired, applied: Mapping[str, Any], plan: Plan, unchanged_table: nft.Table | None
) -> None:
    needed = nft.needed(desired)
    if not needed and not programs.installed("nft"):
        return
    plan.generation_before = (
        applied["generation"] if unchanged_table else generation.current(nft.TABLE)
    )
    table = unchanged_table or _read_where_needed(needed or bool(applied.get("structure")))
    if not needed:
        if table is not None:
            plan.nft, plan.replaces_table = nft.DELETE, True
        return
    elements = nft.elements(desired, plan.departed)
    plan.replaces_table = needs_replacement(applied, desired, table)
    current = table.elements if table else {}
    if plan.replaces_table and (conflict := foreign_firewalls.conflict(desired, whole=True)):
        raise errors.Refused(conflict)
    if plan.replaces_table:
        plan.table_diff = table_diff(applied, desired, table)
    if plan.replaces_table:
        plan.nft = nft.full(desired, plan.departed)
    else:
        plan.nft = nft.delta(current, elements)
    for name in desired.all_sets():
        # The others are reported as ipsets.
        if desired.backend == "nft" or name not in desired.sets:
            parts = [f"{name}_{part}" for part in addresses.PARTS]
            _note_set_change(plan, name, parts, current, elements)


def _read_where_needed(needed: bool) -> nft.Table | None:
    try:
        return read_table()
    except errors.CommandFailed:
        # The program is there and the kernel has no nf_tables, as in some containers.
        if needed:
            raise
        return None


def _plan_ipset(desired: Desired, applied: Mapping[str, Any], plan: Plan) -> None:
    members = ipset.members(desired.sets) if desired.backend == "ipset" else {}
    applied_ipsets = set(applied.get("ipsets", []))
    if not members and not applied_ipsets:
        return
    ipsets = read_ipsets(members.keys() | applied_ipsets)
    plan.ipset = ipset.changes(ipsets, members)
    plan.unused_ipsets = sorted((applied_ipsets - members.keys()) & ipsets.keys())
    current = {name: one.members for name, one in ipsets.items()}
    for name in desired.sets if members else ():
        parts = [f"{name}_{family}" for family in ("v4", "v6")]
        _note_set_change(plan, name, parts, current, members)


def _note_set_change(
    plan: Plan,
    name: str,
    parts: Iterable[str],
    current: Mapping[str, frozenset[str]],
    desired: Mapping[str, frozenset[str]],
) -> None:
    empty: frozenset[str] = frozenset()
    added, removed = empty, empty
    for part in parts:
        old, new = current.get(part, empty), desired.get(part, empty)
        if old != new:
            added, removed = added | (new - old), removed | (old - new)
    if added or removed:
        plan.sets[name] = (added, removed)


def _shortened(entries: frozenset[str]) -> list[str]:
    shown = sorted(entries)[:_SHOWN_ENTRIES]
    if len(entries) > _SHOWN_ENTRIES:
        shown.append(f"... and {len(entries) - _SHOWN_ENTRIES} more")
    return shown
