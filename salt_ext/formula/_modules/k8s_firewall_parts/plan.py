"""The difference between the kernel and the desired state; the kernel is read, never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import addresses, errors, foreign_firewalls
from .backend import Backend, Change, Record, SetChanges
from .desired import Desired
from .ipset_sets import IpsetSets
from .nft_table import NftTable

_SHOWN_ENTRIES = 100

Part = tuple[Backend[Any, Any], Any]
"""A backend and its change."""


@dataclass(frozen=True)
class Plan:
    """What every backend has to change, so that the kernel has the desired state."""

    parts: tuple[Part, ...] = ()

    @property
    def each(self) -> list[Change]:
        """The change of each backend."""
        return [change for _, change in self.parts]

    @property
    def empty(self) -> bool:
        """Whether the kernel has the desired state already."""
        return all(change.empty for change in self.each)

    @property
    def replaces(self) -> bool:
        """Whether rules are loaded, or deleted, as a whole."""
        return any(change.replaces for change in self.each)

    @property
    def sets(self) -> SetChanges:
        """The entries that each set gains and loses."""
        return {name: entries for change in self.each for name, entries in change.sets.items()}

    def changes(self) -> dict[str, object]:
        """Return the changes for a person and for Salt; long lists are cut."""
        found: dict[str, object] = {}
        if sets := self.sets:
            found["sets"] = {
                name: {"added": _shortened(added), "removed": _shortened(removed)}
                for name, (added, removed) in sorted(sets.items())
            }
        for change in self.each:
            found.update(change.shown())
        return found


def backends(
    record: Record, before: Desired | None = None, departed: addresses.Content | None = None
) -> tuple[Backend[Any, Any], ...]:
    """Return every backend, in the order of plans; see ``NftTable`` for the arguments."""
    return NftTable(record, before, departed), IpsetSets(record)


def make(
    desired: Desired,
    record: Record,
    before: Desired | None = None,
    departed: addresses.Content | None = None,
) -> Plan:
    """
    Read the kernel and return what has to change.

    record
        What the last run recorded.
    before, departed
        See ``NftTable``.
    """
    # All of them, also those that are not needed any more: they have something to remove.
    found = backends(record, before, departed)
    made = Plan(tuple((one, one.plan(desired, one.observe(desired))) for one in found))
    if made.replaces and (conflict := foreign_firewalls.conflict(desired, whole=True)):
        raise errors.Refused(conflict)
    return made


def _shortened(entries: frozenset[str]) -> list[str]:
    shown = sorted(entries)[:_SHOWN_ENTRIES]
    if len(entries) > _SHOWN_ENTRIES:
        shown.append(f"... and {len(entries) - _SHOWN_ENTRIES} more")
    return shown
