"""The nft table ``inet k8s_firewall`` as a backend; ``nft`` has its text."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import Any

from . import addresses, errors, generation, nft, programs
from .backend import BOOT_HEADER, Backend, Change, Record, set_changes
from .desired import NFT, Desired

RULESET = "ruleset.nft"
_TRIES = 3
_CHANGED = f"the nft table {nft.TABLE} was changed by another program"


@dataclass(frozen=True)
class ObservedTable:
    """What the kernel has."""

    table: nft.Table | None = None
    """None where there is no table."""
    generation: str = ""
    """The generation of nftables before the table was read."""


@dataclass(frozen=True)
class TableChange(Change):
    """What is to change in the table, and how the kernel has it once that is applied."""

    diff: tuple[str, ...] = ()
    """The lines of the table that change, without the elements of sets."""
    generation_before: str = ""
    generation_after: str = ""
    """The generation after this change was applied; empty where another program changed it too."""
    listing: str = ""
    """The structure of the applied table, as the kernel lists it."""

    def shown(self) -> dict[str, object]:
        """Return what changes besides elements."""
        found: dict[str, object] = {}
        if self.replaces:
            found["table"] = "deleted" if self.text == nft.DELETE else "replaced"
        if self.diff:
            found["table_diff"] = list(self.diff)
        return found


class NftTable(Backend[ObservedTable, TableChange]):
    """
    The table, which each change replaces or leaves as a whole.

    before
        The state that was applied last: the table is not read while nothing has changed since.
        Without it the table is always read.
    departed
        The addresses that may not come back through connection tracking; those of the record where
        it is not given.
    """

    all_or_nothing = True
    boot_file_names = (RULESET,)

    def __init__(
        self,
        record: Record,
        before: Desired | None = None,
        departed: addresses.Content | None = None,
    ) -> None:
        self.record = record
        self.before = before
        self.departed = recorded_departed(record) if departed is None else departed
        self._rendered: tuple[Desired | None, str] = (None, "")

    def needed(self, desired: Desired) -> bool:
        """Whether there are gates, rules or sets of nft."""
        return nft.needed(desired)

    def observe(self, desired: Desired) -> ObservedTable:
        """Read the table, where it may have changed since it was applied."""
        needed = nft.needed(desired)
        if not needed and not programs.installed("nft"):
            return ObservedTable()
        now = generation.current(nft.TABLE)
        table = self._unchanged(now)
        if table is None:
            table = _read_where_needed(needed or bool(self.record.get("structure")))
        return ObservedTable(table, now)

    def plan(self, desired: Desired, observed: ObservedTable) -> TableChange:
        """Return the elements that change, or the whole table where anything else does."""
        table = observed.table
        if not nft.needed(desired):
            if table is None:
                return TableChange()
            return TableChange(
                nft.DELETE,
                replaces=True,
                drift=_CHANGED,
                generation_before=observed.generation,
            )
        current = table.elements if table else {}
        elements = nft.elements(desired, self.departed)
        # What other sets gain and lose is reported by the backend that has them.
        others = desired.sets.keys() - desired.sets_in(NFT).keys()
        parts = {
            name: [f"{name}_{part}" for part in addresses.PARTS]
            for name in desired.all_sets()
            if name not in others
        }
        sets, before = set_changes(parts, current, elements), observed.generation
        if not self._is_replaced(desired, table):
            return TableChange(nft.delta(current, elements), sets, generation_before=before)
        return TableChange(
            self._full(desired),
            sets,
            replaces=True,
            drift=_CHANGED if table else _missing(desired),
            diff=self._diff(desired, table),
            generation_before=before,
        )

    def check(self, change: TableChange) -> None:
        """Let the kernel check the transaction."""
        if change.text:
            programs.run(nft.CHECK, change.text)

    def apply(self, change: TableChange) -> TableChange:
        """Run one transaction."""
        return _load(change) if change.text else change

    def confirm(self, change: TableChange) -> TableChange:
        """Note how the kernel lists the table that was loaded, and only what was loaded."""
        if not change.replaces or change.text == nft.DELETE:
            return change
        for _ in range(_TRIES):
            listed = read_with_handles()
            change = replace(change, listing=nft.structure_of(listed))
            now = generation.current(nft.TABLE)
            if now and now == change.generation_after:
                return change
            # Another program has changed something; mostly a table of its own.
            if nft.is_as_loaded(listed, change.text):
                break
            change = _load(replace(change, listing="", generation_before=now))
        return replace(change, generation_after="")

    def boot_files(self, desired: Desired) -> dict[str, str]:
        """Return the whole table."""
        if not nft.needed(desired):
            return {}
        return {RULESET: BOOT_HEADER + self._full(desired)}

    def recorded(self, desired: Desired, change: TableChange) -> dict[str, Any]:
        """Return how the table was written, how it is listed, and when that is known to hold."""
        needed = nft.needed(desired)
        listing = self.record.get("listing", "")
        if change.replaces or "listing" not in self.record:
            listing = change.listing
            if not change.replaces and needed:
                listing = read_structure()
        return {
            "departed": self.departed.to_dict(),
            "structure": nft.structure(desired) if needed else "",
            "listing": listing,
            "generation": change.generation_after
            if change.text
            else self.record.get("generation", ""),
        }

    def _full(self, desired: Desired) -> str:
        """Return the text of the whole table, which the kernel and the next boot get."""
        if self._rendered[0] is not desired:
            # 40 ms with 65,000 addresses.
            self._rendered = (desired, nft.full(desired, self.departed))
        return self._rendered[1]

    def _unchanged(self, now: str) -> nft.Table | None:
        """Return the table as it was applied; None where another program may have changed it."""
        if self.before is None or not nft.needed(self.before):
            return None
        if not now or now != self.record.get("generation"):
            return None
        elements = nft.elements(self.before, recorded_departed(self.record))
        return nft.Table(self.record.get("listing", ""), elements)

    def _is_replaced(self, desired: Desired, table: nft.Table | None) -> bool:
        """Whether the table was changed since it was applied, or is to have another structure."""
        return (
            table is None
            or self.record.get("structure") != nft.structure(desired)
            or self.record.get("listing") != table.structure
        )

    def _diff(self, desired: Desired, table: nft.Table | None) -> tuple[str, ...]:
        """Return the lines of the table that are to change."""
        old, new = self.record.get("structure", ""), nft.structure(desired)
        if old == new and table is not None:
            # Another program has changed the table.
            old, new = table.structure, self.record.get("listing", "")
        lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1)
        kept = (line for line in lines if not line.startswith(("---", "+++")))
        return tuple(line.replace("\t", "") for line in kept)


def _missing(desired: Desired) -> str:
    gates = ", ".join(str(gate) for gate in desired.gates)
    return f"the nft table {nft.TABLE} is missing" + (f", with the gates {gates}" if gates else "")


def recorded_departed(record: Record) -> addresses.Content:
    """Return the departed addresses of the table, by the record of the last run."""
    try:
        return addresses.Content.from_dict(record.get("departed", {}))
    except (AttributeError, TypeError):
        return addresses.Content()


def read_table() -> nft.Table | None:
    """Read the table from the kernel; None where there is none."""
    try:
        return nft.parse(programs.run(nft.LIST))
    except errors.CommandFailed as exc:
        if "No such file or directory" in exc.output:
            return None
        raise


def read_with_handles() -> str:
    """Read the table from the kernel, as ``nft.is_as_loaded`` takes it."""
    return programs.run(nft.LIST_HANDLES)


def read_structure() -> str:
    """Read the structure of the table from the kernel; empty without a table."""
    table = read_table()
    return table.structure if table else ""


def _read_where_needed(needed: bool) -> nft.Table | None:
    try:
        return read_table()
    except errors.CommandFailed:
        # The program is there and the kernel has no nf_tables, as in some containers.
        if needed:
            raise
        return None


def _load(change: TableChange) -> TableChange:
    programs.run(nft.APPLY, change.text)
    after = generation.current(nft.TABLE)
    follows = generation.follows(after, change.generation_before)
    return replace(change, generation_after=after if follows else "")
