"""
Rules of formulas that only append: those that let in who has left; text in, text out.

Only rules that accept, whose source is exactly such an address, in the chains that are named.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from . import addresses, errors

_RULE = re.compile(r"(?:\[\d+:\d+\] )?(-A .*)")
# What ufw writes above each of its rules, and reads back.
_TUPLE = "### tuple ###"

Chains = Mapping[str, Sequence[str]]
"""The chains of each table."""


@dataclass(frozen=True)
class Stale:
    """One rule that is to go."""

    table: str
    chain: str
    source: str
    rule: str

    def __str__(self) -> str:
        return f"{self.table}: {errors.readable(self.rule)}"


def rules(saved: str, chains: Chains, gone: frozenset[str]) -> list[Stale]:
    """Return the rules to delete, of what ``iptables-save`` prints or of a file of that form."""
    return [found for _, found in _read(saved, chains, gone) if found]


def deletion(these: Sequence[Stale]) -> str:
    """Return what deletes them, for one ``iptables-restore --noflush``: a transaction a table."""
    lines: list[str] = []
    for table in dict.fromkeys(one.table for one in these):
        lines.append(f"*{table}")
        lines += [f"-D{one.rule[2:]}" for one in these if one.table == table]
        lines.append("COMMIT")
    return "".join(f"{line}\n" for line in lines)


def without(saved: str, chains: Chains, gone: frozenset[str]) -> str:
    """Return a saved file without the rules that are to go, and otherwise as it is."""
    kept: list[str] = []
    for line, found in _read(saved, chains, gone):
        if not found:
            kept.append(line)
        elif kept and kept[-1].startswith(_TUPLE):
            kept.pop()
    return "".join(kept)


def source(text: str) -> str:
    """Return a rule's source in its one form; empty when it is no address and no network."""
    try:
        return next(iter(addresses.content([text]).everything()))
    except addresses.NoAddress:
        return ""


def _read(saved: str, chains: Chains, gone: frozenset[str]) -> Iterator[tuple[str, Stale | None]]:
    table = ""
    for line in saved.splitlines(keepends=True):
        text = line.strip()
        if text.startswith("*"):
            table = text[1:]
        match = _RULE.fullmatch(text)
        yield line, _stale(table, match[1], chains, gone) if match else None


def _stale(table: str, rule: str, chains: Chains, gone: frozenset[str]) -> Stale | None:
    try:
        words = shlex.split(rule)
    except ValueError:
        return None
    if len(words) < 2 or words[1] not in chains.get(table, ()):
        return None
    # Never a rule that keeps somebody out.
    if "-j" not in words or words[words.index("-j") + 1 :][:1] != ["ACCEPT"]:
        return None
    for at, word in enumerate(words[:-1]):
        # "! -s" is everyone else.
        if word in ("-s", "--source") and words[at - 1] != "!":
            who = source(words[at + 1])
            return Stale(table, words[1], who, rule) if who in gone else None
    return None
