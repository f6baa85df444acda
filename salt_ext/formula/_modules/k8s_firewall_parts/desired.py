"""The firewall that a minion's pillar asks for."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import addresses, errors, gates, ipset, prune, rules

PILLAR_KEY = "k8s_firewall"
Pillar = Mapping[str, Any]
KEEP = "keep"
"""The set of addresses that every gate and rule chain accepts."""

NFT, IPSET = "nft", "ipset"
BACKENDS = (NFT, IPSET)
"""Where the named sets may be, as the pillar calls it."""
KEYS = frozenset({"backend", "boot", "sets", "gates", "rules", "policy", "keep", "prune", "drift"})
# nft wants a letter first; ipset takes 31 characters, of which the suffix needs three.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,27}")
_PART = re.compile(r"_(v4|v6)(_net)?$")


@dataclass(frozen=True)
class Desired:
    """The desired state of the firewall: valid and complete."""

    backend: str = NFT
    sets: Mapping[str, addresses.Content] = field(default_factory=dict)
    gates: tuple[gates.Gate, ...] = ()
    rules: tuple[rules.Rule, ...] = ()
    policy: Mapping[str, str] = field(default_factory=lambda: dict(rules.POLICIES))
    rule_sets: Mapping[str, addresses.Content] = field(default_factory=dict)
    """The addresses written in rules themselves, as sets by the rules' names."""
    keep: addresses.Content = addresses.Content()

    def sets_in(self, backend: str) -> Mapping[str, addresses.Content]:
        """Return the named sets that a backend has: all of them or none."""
        return self.sets if self.backend == backend else {}

    def all_sets(self) -> dict[str, addresses.Content]:
        """Return every set by its name, also the sets of rules and ``keep``."""
        return {**self.sets, **self.rule_sets, KEEP: self.keep}

    def has_entry(self, entry: str) -> bool:
        """Whether some set has exactly this address or network."""
        return any(
            entry in part
            for content in self.all_sets().values()
            for part in content.parts().values()
        )

    def wants(self, entry: str) -> bool:
        """Whether a set, or a rule, is to let in exactly this address or network."""
        contents = (*self.sets.values(), *self.rule_sets.values())
        return any(entry in part for content in contents for part in content.parts().values())

    def removed_since(self, previous: Desired) -> frozenset[str]:
        """Return every address and network that some set had then and none has now."""
        now = self.all_sets()
        removed: set[str] = set()
        for name, content in previous.all_sets().items():
            for kind, part in content.parts().items():
                removed |= part - now[name].parts()[kind] if name in now else part
        return frozenset(entry for entry in removed if not self.has_entry(entry))

    @functools.cached_property
    def as_dict(self) -> dict[str, Any]:
        """The desired state as JSON can hold it."""
        return {
            "backend": self.backend,
            "sets": {name: content.to_dict() for name, content in sorted(self.sets.items())},
            "gates": [gate.to_dict() for gate in self.gates],
            "rules": [rule.to_dict() for rule in self.rules],
            "policy": dict(self.policy),
            "rule_sets": {
                name: content.to_dict() for name, content in sorted(self.rule_sets.items())
            },
            "keep": self.keep.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Desired:
        """Read ``as_dict`` back."""
        return cls(
            backend=data["backend"],
            sets=_contents(data["sets"]),
            gates=tuple(gates.Gate.from_dict(gate) for gate in data["gates"]),
            rules=tuple(rules.Rule.from_dict(rule) for rule in data["rules"]),
            policy=data["policy"],
            rule_sets=_contents(data["rule_sets"]),
            keep=addresses.Content.from_dict(data["keep"]),
        )

    def digest(self) -> str:
        """Return a short hash that differs for every other desired state."""
        text = json.dumps(self.as_dict, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ParsedPillar:
    """The desired state of a pillar, and what else a run needs of it."""

    desired: Desired
    unresolved: Mapping[str, str]
    """The sets that keep their last content, and why: a reference of theirs is not resolved."""
    prune: prune.PruneConfig | None


def block(pillar: Pillar, *, required: bool = True) -> Mapping[str, Any]:
    """
    Return the pillar's block; refuse a pillar that is absent or did not compile.

    required
        Whether to refuse a pillar without the block too.
    """
    if not pillar:
        raise errors.Refused("this minion's pillar is empty")
    if found := pillar.get("_errors"):
        first = found[0] if isinstance(found, Sequence) and not isinstance(found, str) else found
        raise errors.Refused(f"the pillar did not compile: {first}")
    value = pillar.get(PILLAR_KEY)
    if value is None and not required:
        return {}
    if not isinstance(value, Mapping):
        raise errors.Refused(f"the pillar has no mapping {PILLAR_KEY}")
    return value


def parse(
    pillar: Pillar,
    applied_sets: Mapping[str, addresses.Content],
    masters: Sequence[str] = (),
    *,
    required: bool = True,
) -> ParsedPillar:
    """
    Read a pillar; refuse it as a whole with every mistake in it.

    A pillar without the block is refused where the block is ``required``, else it asks for nothing.

    A set with an unresolved reference keeps the content that was applied last, so that an unknown
    cluster does not block the other sets. A set that was never applied cannot, and is a mistake.
    """
    value = block(pillar, required=required)
    problems: list[str] = []
    if unknown := sorted(set(map(str, value)) - KEYS):
        known = ", ".join(sorted(KEYS))
        problems.append(f"{PILLAR_KEY}:{unknown[0]} is not a known key; known keys: {known}")
    backend = value.get("backend", NFT)
    if backend not in BACKENDS:
        problems.append(f"{PILLAR_KEY}:backend is {backend!r}, not one of {', '.join(BACKENDS)}")
    unresolved: dict[str, str] = {}
    sets = _sets(value.get("sets", {}), applied_sets, unresolved, problems)
    parsed_rules, written = rules.parse(value.get("rules", ()), sets, problems)
    rule_sets = {
        name: _content(name, items, applied_sets, unresolved, problems)
        for name, items in written.items()
    }
    keep = _keep(value.get("keep"), masters, problems)
    prune_config = prune.parse(value.get("prune"), problems)
    desired = Desired(
        backend=backend,
        sets=sets,
        gates=gates.parse(value.get("gates", {}), sets, problems),
        rules=parsed_rules,
        policy=rules.parse_policy(value.get("policy"), problems),
        rule_sets=rule_sets,
        keep=keep,
    )
    if problems:
        raise errors.Refused("; ".join(problems))
    return ParsedPillar(desired, unresolved, prune_config)


def _contents(data: Mapping[str, Any]) -> dict[str, addresses.Content]:
    return {name: addresses.Content.from_dict(content) for name, content in data.items()}


def _sets(
    value: object,
    applied_sets: Mapping[str, addresses.Content],
    unresolved: dict[str, str],
    problems: list[str],
) -> dict[str, addresses.Content]:
    if not isinstance(value, Mapping):
        problems.append(f"{PILLAR_KEY}:sets is not a mapping of names to lists")
        return {}
    sets: dict[str, addresses.Content] = {}
    for name, items in value.items():
        where = f"{PILLAR_KEY}:sets:{name}"
        if problem := _name_problem(name):
            problems.append(f"{where} {problem}")
        elif not isinstance(items, (list, tuple)):
            problems.append(f"{where} is not a list (write [] for an empty set)")
        else:
            sets[name] = _content(name, items, applied_sets, unresolved, problems)
    return sets


def _name_problem(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == KEEP:
        return (
            f"is not a valid name of a set: a letter, then letters, digits, _ and -, at most "
            f"28 characters, and not {KEEP}"
        )
    if _PART.search(name) or name.startswith(rules.PREFIX):
        return "looks like a name that this module gives to kernel sets: choose another name"
    if name.startswith(ipset.SCRATCH):
        return (
            f"begins with {ipset.SCRATCH}, like the temporary ipsets that each run deletes: "
            f"choose another name"
        )
    return ""


def _content(
    name: str,
    items: Sequence[object],
    applied_sets: Mapping[str, addresses.Content],
    unresolved: dict[str, str],
    problems: list[str],
) -> addresses.Content:
    where = f"{PILLAR_KEY}:sets:{name}"
    if name.startswith(rules.PREFIX):
        where = f"{PILLAR_KEY}:rules: {name[len(rules.PREFIX) :]}: sources"
    if references := addresses.find_references(items):
        if name in applied_sets:
            unresolved[name] = f"{references[0]} is not resolved"
            return applied_sets[name]
        problems.append(f"{where}: {references[0]} is not resolved")
        return addresses.Content()
    try:
        return addresses.parse(items)
    except addresses.InvalidAddress as exc:
        problems.append(f"{where}: {exc}")
        return addresses.Content()


def _keep(value: object, masters: Sequence[str], problems: list[str]) -> addresses.Content:
    if value is None:
        value = list(masters)
    if not isinstance(value, (list, tuple)):
        problems.append(f"{PILLAR_KEY}:keep is not a list")
        return addresses.Content()
    try:
        return addresses.parse(value)
    except addresses.InvalidAddress as exc:
        problems.append(f"{PILLAR_KEY}:keep: {exc}")
        return addresses.Content()
