"""
Delete the rules that let removed addresses in: in the kernel, and in the files of the next boot.

Each rule is deleted by its handle, its number or its lines, whoever made it (``removals``). One
that cannot be deleted is reported, and the others are deleted all the same.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import firewalld, removals
from .openings import ACCEPTS, FirewalldSetting, Opening
from .removals import Limits

_COMMANDS = ("iptables", "iptables-nft", "iptables-legacy")
_TABLE = re.compile(r"(?:ip|ip6|inet) [A-Za-z0-9_][A-Za-z0-9_./-]*")
KEYS = frozenset({"iptables", "nft", "saved", "commands"})


class PruneConfig(Limits):
    """The pillar ``k8s_firewall:prune``: limits to where rules are deleted."""

    def covers(self, opening: Opening) -> bool:
        """Whether a rule is deleted: it accepts one address, and no limit excludes it."""
        kind = removals.of(opening)
        return kind is not None and opening.effect == ACCEPTS and kind.covers(self, opening)


@dataclass
class Pruned:
    """The outcome of deleting rules."""

    deleted: dict[str, list[str]] = field(default_factory=dict)
    """The deleted rules, by where they were."""
    problems: list[str] = field(default_factory=list)
    """A sentence for each rule that could not be deleted."""


def parse(value: object, problems: list[str]) -> PruneConfig | None:
    """Read the pillar; None where nothing is to be pruned. Mistakes are added to the problems."""
    where = "k8s_firewall:prune"
    if value is None or value is True:
        return PruneConfig()
    if value is False:
        return None
    if not isinstance(value, Mapping):
        problems.append(f"{where} is not a mapping; write true for the defaults, false for none")
        return None
    if unknown := sorted(set(map(str, value)) - KEYS):
        known = ", ".join(sorted(KEYS))
        problems.append(f"{where}:{unknown[0]} is not a known key; known keys: {known}")
    given: dict[str, Any] = {}
    for key in ("iptables", "nft"):
        if key in value:
            given[key] = _chains(value[key], f"{where}:{key}", problems)
    for key in ("saved", "commands"):
        if key in value:
            given[key] = _names(value[key], f"{where}:{key}", problems)
    problems.extend(
        f"{where}:nft:{name} is not a table; example: inet filter"
        for name in given.get("nft", {})
        if not _TABLE.fullmatch(name)
    )
    problems.extend(
        f"{where}:commands: {name!r} is not one of {', '.join(_COMMANDS)}"
        for name in given.get("commands", ())
        if name not in _COMMANDS
    )
    return PruneConfig(**given)


def prune(config: PruneConfig, openings: Iterable[Opening], *, test: bool) -> Pruned:
    """
    Delete what lets addresses in, where the configuration covers it.

    test
        Only return what would be deleted.
    """
    done = Pruned()
    covered = dict.fromkeys(one for one in openings if config.covers(one))
    ordered = sorted(firewalld.settings_for(covered), key=_order)
    for (_, place, _), group in itertools.groupby(ordered, _order):
        rules = list(group)
        kind = removals.of(rules[0])
        deleted = rules if test or kind is None else kind.delete_each(rules, done.problems)
        if deleted:
            done.deleted.setdefault(place, []).extend(one.text for one in deleted)
    return done


def _order(opening: Opening) -> tuple[bool, str, str]:
    """Return when a rule is deleted, where it is, and how it is deleted there."""
    kind = removals.of(opening)
    # Firewalld is first: it fails where the rule of its setting is gone already.
    later = not isinstance(opening.removal, FirewalldSetting)
    return (later, kind.place(opening), type(kind).__name__) if kind else (True, "", "")


def _chains(value: object, where: str, problems: list[str]) -> dict[str, Sequence[str]]:
    if not isinstance(value, Mapping):
        problems.append(f"{where} is not a mapping of tables to lists of chains")
        return {}
    return {
        str(table): _names(names, f"{where}:{table}", problems) for table, names in value.items()
    }


def _names(value: object, where: str, problems: list[str]) -> Sequence[str]:
    if isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value):
        return list(value)
    problems.append(f"{where} is not a list of names")
    return []
