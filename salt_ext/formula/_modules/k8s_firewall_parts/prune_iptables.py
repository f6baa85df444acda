"""
Find and delete iptables rules that accept a removed address; text in, text out.

Only rules in the named chains are looked at. A rule is stale when it accepts and its source is
exactly a removed address or network.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from . import addresses, errors

_RULE = re.compile(r"(?:\[\d+:\d+\] )?(-A .*)")
# Not str.splitlines: a comment may hold other characters that it takes for the end of a line.
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
# ufw writes this line above each of its rules, and reads it back.
_UFW_TUPLE = "### tuple ###"

Chains = Mapping[str, Sequence[str]]
"""The chains to look at, by their table."""


@dataclass(frozen=True)
class StaleRule:
    """One rule to delete."""

    table: str
    chain: str
    source: str
    rule: str

    def __str__(self) -> str:
        return f"{self.table}: {errors.printable(self.rule)}"


def stale_rules(saved: str, chains: Chains, removed: frozenset[str]) -> list[StaleRule]:
    """Return the rules to delete from what ``iptables-save`` prints, or a file of that form."""
    return [rule for _, rule in _read(saved, chains, removed) if rule]


def deletion(rules: Sequence[StaleRule]) -> str:
    """Return the input for one ``iptables-restore --noflush``: one transaction for each table."""
    lines: list[str] = []
    for table in dict.fromkeys(rule.table for rule in rules):
        lines.append(f"*{table}")
        lines += [f"-D{rule.rule[2:]}" for rule in rules if rule.table == table]
        lines.append("COMMIT")
    return "".join(f"{line}\n" for line in lines)


def without_stale(saved: str, chains: Chains, removed: frozenset[str]) -> str:
    """Return a saved file without the stale rules, and otherwise byte for byte as it is."""
    kept: list[str] = []
    for line, rule in _read(saved, chains, removed):
        if not rule:
            kept.append(line)
        elif kept and kept[-1].startswith(_UFW_TUPLE):
            kept.pop()
    return "".join(kept)


def canonical_source(text: str) -> str:
    """Return a rule's source in canonical form; empty where it is not one address or network."""
    try:
        return next(iter(addresses.parse([text]).entries()))
    except addresses.InvalidAddress:
        return ""


def _read(
    saved: str, chains: Chains, removed: frozenset[str]
) -> Iterator[tuple[str, StaleRule | None]]:
    table = ""
    for line in _LINE.findall(saved):
        text = line.strip()
        if text.startswith("*"):
            table = text[1:]
        match = _RULE.fullmatch(text)
        yield line, _stale(table, match[1], chains, removed) if match else None


def _stale(table: str, rule: str, chains: Chains, removed: frozenset[str]) -> StaleRule | None:
    try:
        words = shlex.split(rule)
    except ValueError:
        return None
    if len(words) < 2 or words[1] not in chains.get(table, ()):
        return None
    # Never a rule that drops or rejects.
    if "-j" not in words or words[words.index("-j") + 1 :][:1] != ["ACCEPT"]:
        return None
    for at, word in enumerate(words[:-1]):
        # "! -s" matches every other source.
        if word in ("-s", "--source") and words[at - 1] != "!":
            source = canonical_source(words[at + 1])
            return StaleRule(table, words[1], source, rule) if source in removed else None
    return None
