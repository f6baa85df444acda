"""
Delete rules that accept a removed address from saved files of nft.

The files have the form that ``nft list`` prints, such as Salt's own ``nftables.save`` writes. Only
whole lines are deleted: a line with one rule that accepts, and whose source is exactly a removed
address or network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .prune_iptables import Chains, StaleRule, canonical_source

# A quoted text, a continued line, a comment, as nft reads them: a quoted text may hold all of them.
_PIECE = re.compile(r'("[^"]*")|(\\\n)|#[^\n]*')
_LINE = re.compile(r'(?:"[^"]*"|\\\n|#[^\n]*|[^"#\\\n]+|["\\])+\n?|\n')
_TABLE = re.compile(r"table (?:(ip6?|inet) )?(\S+) \{")
_CHAIN = re.compile(r"chain (\S+) \{.*")
_BRACES = re.compile(r"\{[^{}]*\}")


def is_nft(saved: str) -> bool:
    """Whether a file has the form of nft, and not that of iptables-save."""
    return any(_TABLE.fullmatch(_plain(line)) for line in _LINE.findall(saved))


def stale_rules(saved: str, chains: Chains, removed: frozenset[str]) -> list[StaleRule]:
    """Return the rules to delete; the tables have names such as "inet filter"."""
    return [rule for _, rule in _read(saved, chains, removed) if rule]


def without_stale(saved: str, chains: Chains, removed: frozenset[str]) -> str:
    """Return the file without the stale rules, and otherwise byte for byte as it is."""
    return "".join(line for line, rule in _read(saved, chains, removed) if not rule)


def _read(
    saved: str, chains: Chains, removed: frozenset[str]
) -> Iterator[tuple[str, StaleRule | None]]:
    table, chain, depth = "", "", 0
    for line in _LINE.findall(saved):
        plain = _plain(line)
        if depth == 0:
            opens = _TABLE.fullmatch(plain)
            table = f"{opens[1] or 'ip'} {opens[2]}" if opens else ""
        elif depth == 1:
            opens = _CHAIN.fullmatch(plain)
            chain = opens[1] if opens else ""
        rule = None
        # Deeper, the line continues a statement of an earlier line.
        if depth == 2 and chain in chains.get(table, ()):
            source = _accepted_source(plain)
            if source in removed:
                rule = StaleRule(table, chain, source, " ".join(line.split()))
        depth += plain.count("{") - plain.count("}")
        yield line, rule


def _plain(line: str) -> str:
    """Return a line without its comment, and with empty texts in place of the quoted ones."""
    return " ".join(_PIECE.sub(lambda it: '""' if it[1] else " " if it[2] else "", line).split())


def _accepted_source(plain: str) -> str:
    """Return the one address or network that a rule accepts; empty where there is not just one."""
    words = _BRACES.sub("{}", plain).removesuffix(";").removesuffix('comment ""').split()
    # The verdict is the last word; a line may hold two rules, and a rule may take several lines.
    if words[-1:] != ["accept"] or words[-2:-1] in (["jump"], ["goto"]):
        return ""
    if any(char in word for word in words for char in ";{}" if word != "{}"):
        return ""
    sources = [
        words[at + 1]
        for at in range(1, len(words) - 1)
        if words[at] == "saddr" and words[at - 1] in ("ip", "ip6")
        # The source of a connection, not of the packet.
        if words[at - 2 : at - 1] not in (["original"], ["reply"])
    ]
    return canonical_source(sources[0]) if len(sources) == 1 else ""
