"""The ipsets of this module as a backend, for rules of other programs; ``ipset`` has the text."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from . import errors, ipset, programs
from .backend import BOOT_HEADER, Backend, Change, Record, set_changes
from .desired import IPSET, Desired

SETS = "sets.ipset"
NAMES = "sets.create"


@dataclass(frozen=True)
class IpsetChange(Change):
    """What is to change in the sets."""

    unused: tuple[str, ...] = ()
    """This module's sets that the desired state no longer has."""

    @property
    def empty(self) -> bool:
        """Whether the kernel has exactly the desired sets."""
        return not (self.text or self.unused)

    def shown(self) -> dict[str, object]:
        """Return the sets that go."""
        return {"unused_ipsets": list(self.unused)} if self.unused else {}


class IpsetSets(Backend[Mapping[str, ipset.IpSet], IpsetChange]):
    """The sets, two for each named set."""

    all_or_nothing = False
    boot_file_names = (NAMES, SETS)

    def __init__(self, record: Record) -> None:
        self.record = record

    def needed(self, desired: Desired) -> bool:
        """Whether named sets are ipsets."""
        return bool(desired.sets_in(IPSET))

    def observe(self, desired: Desired) -> Mapping[str, ipset.IpSet]:
        """Read the sets that are desired or recorded; not those of others."""
        names = ipset.names(desired.sets_in(IPSET)) | self._recorded()
        return read(names) if names else {}

    def plan(self, desired: Desired, observed: Mapping[str, ipset.IpSet]) -> IpsetChange:
        """Return the members that change, and the sets that are not desired any more."""
        sets = desired.sets_in(IPSET)
        members = ipset.members(sets)
        current = {name: one.members for name, one in observed.items()}
        return IpsetChange(
            ipset.changes(observed, members),
            set_changes({name: sorted(ipset.names([name])) for name in sets}, current, members),
            unused=tuple(sorted((self._recorded() - members.keys()) & observed.keys())),
        )

    def apply(self, change: IpsetChange) -> IpsetChange:
        """Run one restore, which may fail in the middle."""
        if change.text:
            programs.run(ipset.APPLY, change.text)
        return change

    def remove_unused(self, change: IpsetChange) -> None:
        """Empty and destroy the sets that go."""
        for name in change.unused:
            # A foreign rule may still use it: then it is emptied now and destroyed another time.
            programs.run([*ipset.FLUSH, name])
            try:
                programs.run([*ipset.DESTROY, name])
            except errors.CommandFailed as exc:
                if "in use" not in exc.output:
                    raise

    def boot_files(self, desired: Desired) -> dict[str, str]:
        """Return the lines that make the sets, and the input that fills them."""
        if not self.needed(desired):
            return {}
        members = ipset.members(desired.sets_in(IPSET))
        return {NAMES: ipset.boot_names(members), SETS: BOOT_HEADER + ipset.boot(members)}

    def recorded(self, desired: Desired, change: IpsetChange) -> dict[str, Any]:
        """Return the names of the sets, also of those that a rule of another program keeps."""
        wanted = sorted(ipset.names(desired.sets_in(IPSET)))
        return {"ipsets": wanted + [name for name in change.unused if name not in wanted]}

    def leftover(self) -> str:
        """Return which recorded sets could not be destroyed."""
        recorded = self._recorded()
        names = sorted(read_names() & recorded) if recorded else []
        if not names:
            return ""
        return (
            f"the ipset {', '.join(names)} is empty but not removed: a rule of another program "
            f"uses it; delete that rule, then run k8s_firewall.remove again"
        )

    def _recorded(self) -> frozenset[str]:
        return frozenset(self.record.get("ipsets", ()))


def read_names() -> frozenset[str]:
    """Read the names of all ipsets from the kernel."""
    return frozenset(programs.run(ipset.LIST_NAMES).split())


def read(names: Set[str]) -> dict[str, ipset.IpSet]:
    """Read the ipsets of these names from the kernel, and the temporary ones of a killed run."""
    found = {name for name in read_names() if name in names or name.startswith(ipset.SCRATCH)}
    return ipset.parse("".join(programs.run([*ipset.READ, name]) for name in sorted(found)))
