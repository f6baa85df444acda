"""
Saved files as ``nft list`` prints them, such as Salt's own ``nftables.save`` writes.

Only whole lines go: one rule each, that accepts, and whose source is exactly such an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .prune_iptables import Chains, Stale, source

# A text, a line that goes on, a comment, as nft reads them: a text may have all of these in it.
_PIECE = re.compile(r'("[^"]*")|(\\\n)|#[^\n]*')
_LINE = re.compile(r'(?:"[^"]*"|\\\n|#[^\n]*|[^"#\\\n]+|["\\])+\n?|\n')
_TABLE = re.compile(r"table (?:(ip6?|inet) )?(\S+) \{")
_CHAIN = re.compile(r"chain (\S+) \{.*")
_BRACES = re.compile(r"\{[^{}]*\}")


def of_nft(saved: str) -> bool:
    """Whether a file is nft's, and not iptables-save's."""
    return any(_TABLE.fullmatch(_plain(line)) for line in _LINE.findall(saved))


def rules(saved: str, chains: Chains, gone: frozenset[str]) -> list[Stale]:
    """Return the rules that are to go; the chains are those of tables such as "inet filter"."""
    return [found for _, found in _read(saved, chains, gone) if found]


def without(saved: str, chains: Chains, gone: frozenset[str]) -> str:
    """Return the file without them, and otherwise as it is."""
    return "".join(line for line, found in _read(saved, chains, gone) if not found)


def _read(saved: str, chains: Chains, gone: frozenset[str]) -> Iterator[tuple[str, Stale | None]]:
    table, chain, depth = "", "", 0
    for line in _LINE.findall(saved):
        plain = _plain(line)
        if depth == 0:
            opens = _TABLE.fullmatch(plain)
            table = f"{opens[1] or 'ip'} {opens[2]}" if opens else ""
        elif depth == 1:
            opens = _CHAIN.fullmatch(plain)
            chain = opens[1] if opens else ""
        found = None
        # Deeper, a statement has begun on a line before.
        if depth == 2 and chain in chains.get(table, ()) and (who := _lets_in(plain)) in gone:
            found = Stale(table, chain, who, " ".join(line.split()))
        depth += plain.count("{") - plain.count("}")
        yield line, found


def _plain(line: str) -> str:
    """Return a line as one that has no comment, and no text that could be taken for anything."""
    return " ".join(_PIECE.sub(lambda it: '""' if it[1] else " " if it[2] else "", line).split())


def _lets_in(plain: str) -> str:
    """Return the one address, or network, that a rule lets in; empty where that is not all."""
    words = _BRACES.sub("{}", plain).removesuffix(";").removesuffix('comment ""').split()
    # Its verdict is the last word; two rules may stand on a line, or one on several.
    if words[-1:] != ["accept"] or words[-2:-1] in (["jump"], ["goto"]):
        return ""
    if any(char in word for word in words for char in ";{}" if word != "{}"):
        return ""
    found = [
        words[at + 1]
        for at in range(1, len(words))
        if words[at] == "saddr" and words[at - 1] in ("ip", "ip6")
        # Of a connection, not of the packet.
        if words[at - 2 : at - 1] not in (["original"], ["reply"])
    ]
    return source(found[0]) if len(found) == 1 else ""
