"""
This module's objects in the kernel, behind one interface: observe, plan, apply, record.

A ``Backend`` is one kind of object that this module has there: ``nft_table``, ``ipset_sets``. Each
run takes every backend through the same steps, and each step returns the value that the next one
takes. A backend is made for one run, with the record of the last one. ``plan``, ``kernel`` and
``applied`` know only this interface.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from .desired import Desired

BOOT_HEADER = (
    "# Written by k8s_firewall and loaded at boot. To change it, edit the pillar k8s_firewall.\n"
)

Record = Mapping[str, Any]
"""What the last run recorded: see ``applied.record``."""
SetChanges = Mapping[str, tuple[frozenset[str], frozenset[str]]]
"""The entries that each set gains and loses."""


@dataclass(frozen=True)
class Change:
    """What one backend is to change in the kernel."""

    text: str = ""
    """The input of the one call of its program; empty where there is nothing to change."""
    sets: SetChanges = field(default_factory=dict)
    replaces: bool = False
    """Whether rules are loaded, or deleted, as a whole."""
    drift: str = ""
    """
    How the kernel differs beside the entries of sets, for a person.

    It holds where the desired state is the one that was applied.
    """

    @property
    def empty(self) -> bool:
        """Whether the kernel has the desired state already."""
        return not self.text

    def shown(self) -> dict[str, object]:
        """Return, beside the entries of sets, what changes, for a person and for Salt."""
        return {}


Observed = TypeVar("Observed")
Changed = TypeVar("Changed", bound=Change)


class Backend(ABC, Generic[Observed, Changed]):
    """One kind of object that this module has in the kernel."""

    all_or_nothing: ClassVar[bool]
    """Whether an ``apply`` that fails has changed nothing."""
    boot_file_names: ClassVar[tuple[str, ...]]

    @abstractmethod
    def needed(self, desired: Desired) -> bool:
        """Whether the desired state has anything for this backend."""

    @abstractmethod
    def observe(self, desired: Desired) -> Observed:
        """Read what the kernel has, as far as it matters for the desired state."""

    @abstractmethod
    def plan(self, desired: Desired, observed: Observed) -> Changed:
        """Return what has to change; nothing is read or run."""

    def check(self, change: Changed) -> None:
        """Ask the kernel whether it would take a change; raise CommandFailed where not."""

    @abstractmethod
    def apply(self, change: Changed) -> Changed:
        """Change the kernel; return the change as it was applied."""

    def remove_unused(self, change: Changed) -> None:
        """Remove what is not desired any more, after every backend has applied its change."""

    def confirm(self, change: Changed) -> Changed:
        """Read back what was applied, as far as the record needs it."""
        return change

    @abstractmethod
    def boot_files(self, desired: Desired) -> dict[str, str]:
        """Return the files for the next boot, by name; none where the backend is not needed."""

    @abstractmethod
    def recorded(self, desired: Desired, change: Changed) -> dict[str, Any]:
        """Return what the next run has to know."""

    def leftover(self) -> str:
        """Return a sentence on what is recorded and still in the kernel after a removal."""
        return ""


def set_changes(
    parts: Mapping[str, Iterable[str]],
    current: Mapping[str, frozenset[str]],
    desired: Mapping[str, frozenset[str]],
) -> SetChanges:
    """Return the changes of named sets, each of which the kernel has in several parts."""
    empty: frozenset[str] = frozenset()
    found: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
    for name, names in parts.items():
        added, removed = empty, empty
        for part in names:
            old, new = current.get(part, empty), desired.get(part, empty)
            if old != new:
                added, removed = added | (new - old), removed | (old - new)
        if added or removed:
            found[name] = (added, removed)
    return found
