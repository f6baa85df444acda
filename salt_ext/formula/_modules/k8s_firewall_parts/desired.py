"""What a minion's firewall is to be, read from its pillar."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import addresses, errors, gates, ipset, prune, rules

KEY = "k8s_firewall"
Pillar = Mapping[str, Any]
KEEP = "keep"
"""The set of those that whatever we install lets in."""

BACKENDS = ("nft", "ipset")
KEYS = frozenset({"backend", "boot", "sets", "gates", "rules", "policy", "keep", "prune", "drift"})
# nft takes a letter first; ipset takes 31 characters, of which three are ours.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,27}")
_PART = re.compile(r"_(v4|v6)(_net)?$")


@dataclass(frozen=True)
class Wanted:
    """Everything that is to be in force, valid and whole."""

    backend: str = "nft"
    sets: Mapping[str, addresses.Content] = field(default_factory=dict)
    gates: tuple[gates.Gate, ...] = ()
    rules: tuple[rules.Rule, ...] = ()
    policy: Mapping[str, str] = field(default_factory=lambda: dict(rules.POLICIES))
    inline: Mapping[str, addresses.Content] = field(default_factory=dict)
    """What rules have for addresses in themselves, as sets by the rules' names."""
    keep: addresses.Content = addresses.Content()

    def contents(self) -> dict[str, addresses.Content]:
        """Return every set by its name, also the one of those who are always let in."""
        return {**self.sets, **self.inline, KEEP: self.keep}

    def has(self, one: str) -> bool:
        """Whether some set has exactly this address or network."""
        return any(
            one in part for some in self.contents().values() for part in some.parts().values()
        )

    def lacks(self, before: Wanted) -> frozenset[str]:
        """Return every address and network that some set had before and none has now."""
        now = self.contents()
        gone: set[str] = set()
        for name, content in before.contents().items():
            for kind, part in content.parts().items():
                gone |= part - now[name].parts()[kind] if name in now else part
        return frozenset(one for one in gone if not self.has(one))

    @functools.cached_property
    def told(self) -> dict[str, Any]:
        """It as JSON can hold it."""
        return {
            "backend": self.backend,
            "sets": {name: one.to_dict() for name, one in sorted(self.sets.items())},
            "gates": [gate.to_dict() for gate in self.gates],
            "rules": [rule.to_dict() for rule in self.rules],
            "policy": dict(self.policy),
            "inline": {name: one.to_dict() for name, one in sorted(self.inline.items())},
            "keep": self.keep.to_dict(),
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Wanted:
        """Read what was told."""
        return cls(
            backend=told["backend"],
            sets={name: addresses.Content.from_dict(one) for name, one in told["sets"].items()},
            gates=tuple(gates.Gate.from_dict(one) for one in told["gates"]),
            rules=tuple(rules.Rule.from_dict(one) for one in told["rules"]),
            policy=told["policy"],
            inline={name: addresses.Content.from_dict(one) for name, one in told["inline"].items()},
            keep=addresses.Content.from_dict(told["keep"]),
        )

    def digest(self) -> str:
        """Return what tells this from anything else that could be wanted."""
        text = json.dumps(self.told, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Reading:
    """What was read of a pillar, and which sets are left as they are, and why."""

    wanted: Wanted
    held: Mapping[str, str]
    prune: prune.Where | None


def block(pillar: Pillar) -> Mapping[str, Any]:
    """Return the pillar's block; refuse a pillar that is absent or did not compile."""
    if not pillar:
        raise errors.Refused("this minion's pillar is empty")
    if found := pillar.get("_errors"):
        first = found[0] if isinstance(found, Sequence) and not isinstance(found, str) else found
        raise errors.Refused(f"the pillar did not compile: {first}")
    told = pillar.get(KEY)
    if not isinstance(told, Mapping):
        raise errors.Refused(f"the pillar has no mapping {KEY}")
    return told


def read(
    pillar: Pillar,
    in_force: Mapping[str, addresses.Content],
    masters: Sequence[str] = (),
) -> Reading:
    """
    Read a pillar, or refuse all of it with every mistake that is in it.

    A set with a reference that nobody has resolved is held as it is in force: a cluster that is
    not known is in nobody else's way. One that is not in force yet cannot be held.
    """
    told = block(pillar)
    problems: list[str] = []
    if unknown := sorted(set(map(str, told)) - KEYS):
        known = ", ".join(sorted(KEYS))
        problems.append(f"{KEY}:{unknown[0]} is no key of {KEY}, which has {known}")
    backend = told.get("backend", "nft")
    if backend not in BACKENDS:
        problems.append(f"{KEY}:backend is {backend!r}, not one of {', '.join(BACKENDS)}")
    held: dict[str, str] = {}
    sets = _sets(told.get("sets", {}), in_force, held, problems)
    ours, items = rules.read(told.get("rules", ()), sets, problems)
    inline = {
        name: _content(name, these, in_force, held, problems) for name, these in items.items()
    }
    keep = _keep(told.get("keep"), masters, problems)
    where = prune.read(told.get("prune"), problems)
    wanted = Wanted(
        backend=backend,
        sets=sets,
        gates=gates.read(told.get("gates", {}), sets, problems),
        rules=ours,
        policy=rules.read_policy(told.get("policy"), problems),
        inline=inline,
        keep=keep,
    )
    if problems:
        raise errors.Refused("; ".join(problems))
    return Reading(wanted, held, where)


def _sets(
    told: object,
    in_force: Mapping[str, addresses.Content],
    held: dict[str, str],
    problems: list[str],
) -> dict[str, addresses.Content]:
    if not isinstance(told, Mapping):
        problems.append(f"{KEY}:sets is no mapping of names to lists")
        return {}
    found: dict[str, addresses.Content] = {}
    for name, items in told.items():
        where = f"{KEY}:sets:{name}"
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name == KEEP:
            problems.append(
                f"{where} cannot be the name of a set: a letter, then letters, digits, _ and -, "
                f"28 at most, and not {KEEP}"
            )
            continue
        if _PART.search(name) or name.startswith(rules.PREFIX):
            problems.append(f"{where} is a name like those that the kernel's sets are given")
            continue
        if name.startswith(ipset.SCRATCH):
            problems.append(
                f"{where} begins with {ipset.SCRATCH}, as the ipsets do that each run clears away: "
                f"name the set differently"
            )
            continue
        if not isinstance(items, (list, tuple)):
            problems.append(f"{where} is not a list (write [] to let nobody in)")
            continue
        found[name] = _content(name, items, in_force, held, problems)
    return found


def _content(
    name: str,
    items: Sequence[object],
    in_force: Mapping[str, addresses.Content],
    held: dict[str, str],
    problems: list[str],
) -> addresses.Content:
    where = f"{KEY}:sets:{name}"
    if name.startswith(rules.PREFIX):
        where = f"{KEY}:rules: {name[len(rules.PREFIX) :]}: sources"
    if unresolved := addresses.references(items):
        if name in in_force:
            held[name] = f"{unresolved[0]} is not resolved"
            return in_force[name]
        problems.append(f"{where} has {unresolved[0]}, which is not resolved")
        return addresses.Content()
    try:
        return addresses.content(items)
    except addresses.NoAddress as exc:
        problems.append(f"{where}: {exc}")
        return addresses.Content()


def _keep(told: object, masters: Sequence[str], problems: list[str]) -> addresses.Content:
    if told is None:
        told = list(masters)
    if not isinstance(told, (list, tuple)):
        problems.append(f"{KEY}:keep is not a list")
        return addresses.Content()
    try:
        return addresses.content(told)
    except addresses.NoAddress as exc:
        problems.append(f"{KEY}:keep: {exc}")
        return addresses.Content()
