"""
Rules of nft that let in who has left, as the kernel has them.

They are read as JSON, where a comment is a comment and nothing else. Wherever in a rule its
source stands, it is the whole of it: one address, not a set, not everyone but it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .prune_iptables import Stale, source

_ACCEPT = {"accept": None}


def rules(
    listed: Mapping[str, Any], table: str, chains: Sequence[str], gone: frozenset[str]
) -> list[Stale]:
    """Return the rules to delete of what ``nft -j list table`` prints; ``rule`` is the handle."""
    found: list[Stale] = []
    for one in listed.get("nftables", []):
        rule = one.get("rule")
        if rule and rule["chain"] in chains and (who := _lets_in(rule.get("expr", []))) in gone:
            found.append(Stale(table, rule["chain"], who, str(rule["handle"])))
    return found


def deletion(these: Sequence[Stale]) -> str:
    """Return what deletes them, for one ``nft -f``."""
    return "".join(f"delete rule {one.table} {one.chain} handle {one.rule}\n" for one in these)


def _lets_in(statements: Sequence[Any]) -> str:
    """Return the one address, or network, that a rule lets in; empty where that is not all."""
    if _ACCEPT not in statements:
        return ""
    sources = list(_sources(statements))
    if len(sources) != 1 or sources[0]["op"] != "==":
        return ""
    right = sources[0]["right"]
    if isinstance(right, Mapping) and isinstance(network := right.get("prefix"), Mapping):
        right = f"{network['addr']}/{network['len']}"
    return source(right) if isinstance(right, str) else ""


def _sources(statements: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    for one in statements:
        match = one.get("match", {}) if isinstance(one, Mapping) else {}
        left = match.get("left")
        payload = left.get("payload") if isinstance(left, Mapping) else None
        if isinstance(payload, Mapping) and payload.get("field") == "saddr":
            # nft 0.9.0 calls it the name; ether has a saddr too.
            protocol = payload.get("protocol", payload.get("name"))
            if protocol in ("ip", "ip6"):
                yield match
