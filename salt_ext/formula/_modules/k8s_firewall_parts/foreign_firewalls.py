"""
Base chains of others that drop what no rule of theirs lets in.

An accept of ours is not final: the packet goes on to such a chain and is dropped there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LIST = ["nft", "-j", "-t", "list", "ruleset"]

_FAMILIES = ("inet", "ip", "ip6")
_MUTE = {"counter", "log"}


def dropping(listed: Mapping[str, Any], ours: str, hook: str) -> list[str]:
    """Return the chains, as "inet filter input", that drop the rest of a hook's packets."""
    rules: dict[tuple[str, str, str], list[Any]] = {}
    bases: list[Mapping[str, Any]] = []
    for one in listed.get("nftables", []):
        if "chain" in one:
            chain = one["chain"]
            foreign = chain["family"] in _FAMILIES and chain["table"] != ours
            if foreign and chain.get("hook") == hook and chain.get("type") == "filter":
                bases.append(chain)
        elif "rule" in one:
            rule = one["rule"]
            key = (rule["family"], rule["table"], rule["chain"])
            rules.setdefault(key, []).append(rule.get("expr", []))
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in bases
        if chain.get("policy") == "drop"
        or _ends(rules, (chain["family"], chain["table"], chain["name"]), set())
    ]


def dropping_legacy(saved: str, hook: str) -> bool:
    """Whether the legacy filter table, as iptables-legacy-save prints it, drops the rest."""
    chain = hook.upper()
    lines = saved.partition("*filter\n")[2].partition("COMMIT")[0].splitlines()
    return any(
        line.startswith((f":{chain} DROP", f"-A {chain} -j DROP", f"-A {chain} -j REJECT"))
        for line in lines
    )


def _ends(
    rules: Mapping[tuple[str, str, str], list[Any]], key: tuple[str, str, str], seen: set[Any]
) -> bool:
    """Whether a chain has a rule without a condition that drops, here or where it leads."""
    if key in seen:
        return False
    seen.add(key)
    for expressions in rules.get(key, []):
        said = [one for one in expressions if not _MUTE & set(one)]
        if len(said) != 1:
            continue
        (verdict,) = said
        if "drop" in verdict or "reject" in verdict:
            return True
        if verdict.get("xt") and verdict["xt"].get("name") in ("REJECT", "DROP"):
            return True
        for how in ("jump", "goto"):
            if how in verdict and _ends(rules, (*key[:2], verdict[how]["target"]), seen):
                return True
        if "accept" in verdict or "return" in verdict:
            return False
    return False
