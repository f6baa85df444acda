"""
Find and delete nft rules in the kernel that accept a removed address.

They are read as JSON, where a comment cannot be taken for a statement. A rule is stale when it
accepts and its only source, wherever it stands in the rule, is exactly a removed address or
network: not a set, not a range, not a negation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .prune_iptables import StaleRule, canonical_source

_ACCEPT = {"accept": None}


def stale_rules(
    listing: Mapping[str, object], table: str, chains: Sequence[str], removed: frozenset[str]
) -> list[StaleRule]:
    """Return the rules to delete from what ``nft -j list table`` prints; ``rule`` is the handle."""
    stale: list[StaleRule] = []
    for rule in _rules(listing):
        chain, handle, statements = rule.get("chain"), rule.get("handle"), rule.get("expr")
        if not isinstance(chain, str) or chain not in chains or not isinstance(handle, int):
            continue
        if not isinstance(statements, Sequence):
            continue
        source = _accepted_source(statements)
        if source in removed:
            stale.append(StaleRule(table, chain, source, str(handle)))
    return stale


def deletion(rules: Sequence[StaleRule]) -> str:
    """Return the input for one ``nft -f`` that deletes the rules."""
    return "".join(f"delete rule {rule.table} {rule.chain} handle {rule.rule}\n" for rule in rules)


def _rules(listing: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    items = listing.get("nftables")
    for item in items if isinstance(items, list) else ():
        rule = item.get("rule") if isinstance(item, Mapping) else None
        if isinstance(rule, Mapping):
            yield rule


def _accepted_source(statements: Sequence[object]) -> str:
    """Return the one address or network that a rule accepts; empty where there is not just one."""
    if _ACCEPT not in statements:
        return ""
    matches = list(_source_matches(statements))
    if len(matches) != 1 or matches[0].get("op") != "==":
        return ""
    right = matches[0].get("right")
    if isinstance(right, Mapping) and isinstance(network := right.get("prefix"), Mapping):
        right = f"{network.get('addr')}/{network.get('len')}"
    return canonical_source(right) if isinstance(right, str) else ""


def _source_matches(statements: Sequence[object]) -> Iterator[Mapping[str, object]]:
    for statement in statements:
        match = statement.get("match") if isinstance(statement, Mapping) else None
        if not isinstance(match, Mapping):
            continue
        left = match.get("left")
        payload = left.get("payload") if isinstance(left, Mapping) else None
        if isinstance(payload, Mapping) and payload.get("field") == "saddr":
            # nft 0.9.0 calls it the name; ether has a saddr too.
            protocol = payload.get("protocol", payload.get("name"))
            if protocol in ("ip", "ip6"):
                yield match
