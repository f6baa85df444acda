"""
Base chains of other firewalls that drop what none of their own rules accepts.

An accept in this module's table is not final: the packet goes on to such a chain and is dropped
there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import nft, programs
from .desired import Desired

LIST = ["nft", "-j", "-t", "list", "ruleset"]

_FAMILIES = ("inet", "ip", "ip6")
_WITHOUT_VERDICT = {"counter", "log"}


def conflict(desired: Desired) -> str:
    """Return one sentence on the chains that drop what a rule accepts; empty without conflict."""
    for hook in {rule.chain: None for rule in desired.rules if rule.action == "accept"}:
        names = dropping_chains(json.loads(programs.run(LIST)), nft.TABLE, hook)
        names += _dropping_legacy_chains(hook)
        if names:
            return (
                f"rules that accept in {hook} have no effect: {', '.join(names)} drops the "
                f"packets afterwards; use sets or gates beside that firewall"
            )
    return ""


def dropping_chains(ruleset: Mapping[str, Any], own_table: str, hook: str) -> list[str]:
    """
    Return the foreign chains, such as "inet filter input", that drop the rest of a hook's packets.

    ruleset
        What ``nft -j list ruleset`` prints, decoded.
    """
    rules: dict[tuple[str, str, str], list[Any]] = {}
    base_chains: list[Mapping[str, Any]] = []
    for item in ruleset.get("nftables", []):
        if "chain" in item:
            chain = item["chain"]
            foreign = chain["family"] in _FAMILIES and chain["table"] != own_table
            if foreign and chain.get("hook") == hook and chain.get("type") == "filter":
                base_chains.append(chain)
        elif "rule" in item:
            rule = item["rule"]
            key = (rule["family"], rule["table"], rule["chain"])
            rules.setdefault(key, []).append(rule.get("expr", []))
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in base_chains
        if chain.get("policy") == "drop"
        or _drops_all(rules, (chain["family"], chain["table"], chain["name"]), set())
    ]


def legacy_chain_drops(saved: str, hook: str) -> bool:
    """Whether the filter table, as iptables-legacy-save prints it, drops the rest."""
    chain = hook.upper()
    lines = saved.partition("*filter\n")[2].partition("COMMIT")[0].splitlines()
    return any(
        line.startswith((f":{chain} DROP", f"-A {chain} -j DROP", f"-A {chain} -j REJECT"))
        for line in lines
    )


def _dropping_legacy_chains(hook: str) -> Iterator[str]:
    for family, program in (("ip", "iptables"), ("ip6", "ip6tables")):
        # Only where the table exists: iptables-legacy-save would create it.
        tables = Path(f"/proc/thread-self/net/{family}_tables_names")
        if "filter" in (tables.read_text().split() if tables.exists() else ()):
            saved = programs.run([f"{program}-legacy-save", "-t", "filter"])
            if legacy_chain_drops(saved, hook):
                yield f"{program}-legacy filter {hook.upper()}"


def _drops_all(
    rules: Mapping[tuple[str, str, str], list[Any]], key: tuple[str, str, str], seen: set[Any]
) -> bool:
    """Whether a chain has a rule without a condition that drops, here or where it jumps to."""
    if key in seen:
        return False
    seen.add(key)
    for expressions in rules.get(key, []):
        statements = [one for one in expressions if not _WITHOUT_VERDICT & set(one)]
        if len(statements) != 1:
            continue
        (verdict,) = statements
        if "drop" in verdict or "reject" in verdict:
            return True
        if verdict.get("xt") and verdict["xt"].get("name") in ("REJECT", "DROP"):
            return True
        for jump in ("jump", "goto"):
            if jump in verdict and _drops_all(rules, (*key[:2], verdict[jump]["target"]), seen):
                return True
        if "accept" in verdict or "return" in verdict:
            return False
    return False
