"""Bring what is wanted into force in the kernel, and on the disk for the next boot."""

from __future__ import annotations

import contextlib
import difflib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import addresses, desired, errors, foreign_firewalls, generation, ipset, nft, programs
from .state_dir import StateDir

APPLIED = "applied"
PREVIOUS = "previous"
RULESET = "ruleset.nft"
IPSETS = "sets.ipset"

_SHOWN = 100
_TRIES = 3
_HEADER = (
    "# Written by k8s_firewall, loaded at boot. The pillar k8s_firewall is where to change it.\n"
)


@dataclass
class Plan:
    """The difference between the kernel and what is wanted, and the texts that end it."""

    nft: str = ""
    structure: bool = False
    """Whether the nft table is replaced as a whole."""
    difference: list[str] = field(default_factory=list)
    """What is different then, line by line, but for the elements of sets."""
    ipset: str = ""
    unused: list[str] = field(default_factory=list)
    """Our ipsets that nothing wants any more."""
    sets: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)
    """What each set gains and loses."""
    seen: str = ""
    """The state of the kernel's nftables before it was looked at."""
    generation: str = ""
    """The state of the kernel's nftables that it has led to, if nobody else has changed it."""
    listing: str = ""
    """The structure of the table that was loaded, as the kernel lists it."""

    @property
    def empty(self) -> bool:
        """Whether the kernel has it all."""
        return not (self.nft or self.ipset or self.unused)

    def told(self) -> dict[str, Any]:
        """Return the changes for a person and for Salt; long lists are cut."""
        found: dict[str, Any] = {}
        if self.sets:
            found["sets"] = {
                name: {"added": _some(added), "removed": _some(gone)}
                for name, (added, gone) in sorted(self.sets.items())
            }
        if self.structure:
            found["table"] = (
                "replaced" if "table inet" in self.nft[len(nft.DELETE) :] else "deleted"
            )
        if self.difference:
            found["difference"] = self.difference
        if self.unused:
            found["unused"] = self.unused
        return found


def plan(this: desired.Wanted, applied: Mapping[str, Any], known: nft.Found | None = None) -> Plan:
    """Ask the kernel what it has, but for a table that is known; change nothing."""
    made = Plan()
    _plan_nft(this, applied, made, known)
    _plan_ipset(this, applied, made)
    return made


def listed() -> nft.Found | None:
    """Return our nft table as the kernel has it, None when there is none."""
    try:
        return nft.parse(programs.run(nft.LIST))
    except errors.CommandFailed as exc:
        if "No such file or directory" in exc.output:
            return None
        raise


def _structure() -> str:
    """Return the structure of our table as the kernel has it."""
    found = ""
    with contextlib.suppress(errors.CommandFailed):
        found = nft.ours(programs.run(nft.LIST_ALL))
    if not found and (whole := listed()) is not None:
        found = whole.structure
    return found


def changed(applied: Mapping[str, Any], this: desired.Wanted, found: nft.Found | None) -> bool:
    """Whether the nft table is not as it was when it was loaded, or is to have another shape."""
    return (
        found is None
        or applied.get("structure") != nft.structure(this)
        or applied.get("listing") != found.structure
    )


def _difference(
    applied: Mapping[str, Any], this: desired.Wanted, found: nft.Found | None
) -> list[str]:
    old, new = applied.get("structure", ""), nft.structure(this)
    if old == new and found is not None:
        # Somebody has changed it.
        old, new = found.structure, applied.get("listing", "")
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1)
    return [line.replace("\t", "") for line in lines if not line.startswith(("---", "+++"))]


def refusing(this: desired.Wanted) -> str:
    """Say whose chain drops what a rule of ours lets in; empty when nobody's does."""
    for hook in {rule.chain: None for rule in this.rules if rule.action == "accept"}:
        names = foreign_firewalls.dropping(
            json.loads(programs.run(foreign_firewalls.LIST)), nft.TABLE, hook
        )
        for family, tables in (("ip", "iptables"), ("ip6", "ip6tables")):
            made = Path(f"/proc/thread-self/net/{family}_tables_names")
            if "filter" in (made.read_text().split() if made.exists() else ()):
                saved = programs.run([f"{tables}-legacy-save", "-t", "filter"])
                if foreign_firewalls.dropping_legacy(saved, hook):
                    names.append(f"{tables}-legacy filter {hook.upper()}")
        if names:
            return (
                f"rules that accept in {hook} open nothing here: {', '.join(names)} drops the "
                f"packets after them; use sets or gates beside that firewall"
            )
    return ""


def _plan_nft(
    this: desired.Wanted, applied: Mapping[str, Any], made: Plan, known: nft.Found | None
) -> None:
    needed = nft.needed(this)
    if not needed and not programs.installed("nft"):
        return
    made.seen = applied["generation"] if known else generation.now(nft.TABLE)
    found = known or listed()
    if not needed:
        if found is not None:
            made.nft, made.structure = nft.DELETE, True
        return
    meant = nft.elements(this)
    made.structure = changed(applied, this, found)
    had = found.elements if found else {}
    if made.structure and (foreign := refusing(this)):
        raise errors.Refused(foreign)
    if made.structure:
        made.difference = _difference(applied, this, found)
    made.nft = nft.full(this) if made.structure else nft.delta(had, meant)
    for name in this.contents():
        # The others are told of as ipsets.
        if this.backend == "nft" or name not in this.sets:
            _note(made, name, [f"{name}_{part}" for part in addresses.PARTS], had, meant)


def _plan_ipset(this: desired.Wanted, applied: Mapping[str, Any], made: Plan) -> None:
    meant = ipset.members(this.sets) if this.backend == "ipset" else {}
    ours = set(applied.get("ipsets", []))
    if not meant and not ours:
        return
    found = ipset.parse(programs.run(ipset.READ))
    made.ipset = ipset.changes(found, meant)
    made.unused = sorted((ours - meant.keys()) & found.keys())
    had = {name: one.members for name, one in found.items()}
    for name in this.sets if meant else ():
        _note(made, name, [f"{name}_{family}" for family in ("v4", "v6")], had, meant)


def _note(
    made: Plan,
    name: str,
    parts: Iterable[str],
    had: Mapping[str, frozenset[str]],
    meant: Mapping[str, frozenset[str]],
) -> None:
    empty: frozenset[str] = frozenset()
    added, gone = empty, empty
    for part in parts:
        old, new = had.get(part, empty), meant.get(part, empty)
        if old != new:
            added, gone = added | (new - old), gone | (old - new)
    if added or gone:
        made.sets[name] = (added, gone)


def bring(this: desired.Wanted, record: StateDir) -> Plan:
    """Bring it into force in the kernel: one call for each of its tools, each all or nothing."""
    applied = record.read(APPLIED)
    made = plan(this, applied, unchanged(record))
    if not made.empty:
        record.doubt()
    try:
        execute(made)
    except errors.CommandFailed:
        # Somebody else has changed our sets since the look.
        again = plan(this, applied)
        if again.nft == made.nft and again.ipset == made.ipset:
            if not made.ipset:
                # nft takes all or nothing.
                record.settle()
            raise
        made = again
        execute(made)
    _list(made)
    return made


def _list(made: Plan) -> None:
    """Note how the kernel lists the table that was loaded, and only what was loaded."""
    if not made.structure or made.nft == nft.DELETE:
        return
    for _ in range(_TRIES):
        made.listing = _structure()
        now = generation.now(nft.TABLE)
        if not now or now == made.generation:
            return
        # Somebody has changed something: what was listed may be theirs.
        made.listing, made.seen = "", now
        _load(made, programs.run)
    made.generation = ""


def execute(made: Plan, run: Callable[..., str] = programs.run) -> None:
    """Let the kernel have it."""
    # Sets for others' rules first: what names one must find it.
    if made.ipset:
        run(ipset.APPLY, made.ipset)
    if made.nft:
        _load(made, run)
    for name in made.unused:
        # A rule of somebody's may name it still: then it lets nobody in and goes another time.
        run(["ipset", "flush", name])
        try:
            run(["ipset", "destroy", name])
        except errors.CommandFailed as exc:
            if "in use" not in exc.output:
                raise


def _load(made: Plan, run: Callable[..., str]) -> None:
    run(nft.APPLY, made.nft)
    after = generation.now(nft.TABLE)
    made.generation = after if generation.follows(after, made.seen) else ""


def left(record: StateDir) -> list[str]:
    """Return our ipsets that are still in the kernel."""
    ours = record.read(APPLIED).get("ipsets", [])
    return sorted(ipset.parse(programs.run(ipset.READ)).keys() & set(ours)) if ours else []


def check(made: Plan) -> None:
    """Ask the kernel whether it would take the nft table; raise what it says."""
    if made.nft:
        programs.run(nft.CHECK, made.nft)


def remember(this: desired.Wanted, made: Plan, record: StateDir, version: str) -> None:
    """Write down what is in force now, and what the next boot is to load."""
    applied = record.read(APPLIED)
    digest = this.digest()
    ipsets = sorted(ipset.members(this.sets)) if this.backend == "ipset" else []
    whole = (record.folder / RULESET).exists() == nft.needed(this)
    whole = whole and (record.folder / IPSETS).exists() == bool(ipsets)
    if made.empty and whole and applied.get("digest") == digest:
        record.settle()
        return
    if nft.needed(this):
        record.save(RULESET, _HEADER + (made.nft if made.structure else nft.full(this)))
    else:
        record.forget(RULESET)
    if ipsets:
        record.save(IPSETS, _HEADER + ipset.full(ipset.members(this.sets)))
    else:
        record.forget(IPSETS)
    if applied and applied.get("digest") != digest:
        record.keep(APPLIED, PREVIOUS)
    listing, state = applied.get("listing", ""), made.generation
    if not made.nft:
        state = applied.get("generation", "")
    if made.structure or "listing" not in applied:
        listing = made.listing
        if not made.structure and nft.needed(this):
            listing = _structure()
    record.write(
        APPLIED,
        {
            "digest": digest,
            "wanted": this.told,
            "structure": nft.structure(this) if nft.needed(this) else "",
            "listing": listing,
            "generation": state,
            "ipsets": ipsets + [name for name in made.unused if name not in ipsets],
            "at": time.time(),
            "version": version,
        },
    )
    record.settle()


def in_force(record: StateDir) -> desired.Wanted | None:
    """Return what was brought into force last; None when nothing was."""
    told = record.read(APPLIED).get("wanted")
    if record.known[0] is not told:
        record.known = (told, recorded(told))
    return record.known[1] if told else None


def recorded(told: Any) -> desired.Wanted | None:
    """Return what was written down; None when nothing was, or in another version's form."""
    try:
        return desired.Wanted.from_dict(told) if told else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def unchanged(record: StateDir) -> nft.Found | None:
    """Return our table as we left it; None when somebody may have changed it since."""
    applied, before = record.read(APPLIED), in_force(record)
    state = applied.get("generation")
    if before is None or not nft.needed(before):
        return None
    if not state or state != generation.now(nft.TABLE):
        return None
    return nft.Found(applied.get("listing", ""), nft.elements(before))


def _some(these: frozenset[str]) -> list[str]:
    shown = sorted(these)[:_SHOWN]
    if len(these) > _SHOWN:
        shown.append(f"... and {len(these) - _SHOWN} more")
    return shown
