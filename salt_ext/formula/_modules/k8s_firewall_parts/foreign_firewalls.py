"""
Base chains of other firewalls that drop what none of their own rules accepts.

An accept in this module's table is not final: the packet goes on to such a chain and is dropped
there.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import errors, foreign_nft_rules, foreign_rules, foreign_saved_rules, netlink, nft, programs
from .desired import Desired
from .foreign_rules import ForeignRule, Probe

_FAMILIES = {netlink.INET: "inet", netlink.IPV4: "ip", netlink.IPV6: "ip6"}
_HOOKS = {"input": 1, "forward": 2}
_PROTOCOLS = {"tcp": (foreign_rules.TCP,), "udp": (foreign_rules.UDP,)}
_SHORT_SECONDS = 0.1
_LONG_SECONDS = 30.0


@dataclass(frozen=True)
class BaseChain:
    """A chain of another program through which the packets of a hook go."""

    family: int
    table: str
    name: str
    drops: bool
    """Whether its policy drops."""

    def __str__(self) -> str:
        return f"{_FAMILIES[self.family]} {self.table} {self.name}"


def conflict(desired: Desired, *, whole: bool = False) -> str:
    """
    Return one sentence on the chains that drop what a rule accepts; empty without conflict.

    whole
        Read the rules of others however many there are. Otherwise policies count, and rules where
        they can be read in a tenth of a second.
    """
    accepting = [rule for rule in desired.rules if rule.action == "accept"]
    seconds = _LONG_SECONDS if whole else _SHORT_SECONDS
    for hook in {rule.chain: None for rule in accepting}:
        protocols = {
            number
            for rule in accepting
            if rule.chain == hook
            for number in _PROTOCOLS.get(rule.protocol, (foreign_rules.TCP, foreign_rules.UDP))
        }
        found = {**_nftables(hook, protocols, seconds), **_legacy(hook, protocols)}
        if dropping := [name for name, verdict in found.items() if verdict == foreign_rules.DROP]:
            return (
                f"rules that accept in {hook} have no effect: {', '.join(dropping)} drops the "
                f"packets afterwards; use sets or gates beside that firewall"
            )
        if unclear := [name for name, verdict in found.items() if verdict]:
            return (
                f"rules that accept in {hook} may have no effect: what {', '.join(unclear)} does "
                f"with the packets afterwards is not known; use sets or gates beside that firewall"
            )
    return ""


def judge(
    chains: Callable[[str], list[ForeignRule]],
    chain: str,
    drops: bool,
    families: set[int],
    protocols: set[int],
) -> str:
    """Return DROP where a base chain drops a probe, UNCLEAR where that is unknown, else empty."""
    found = set()
    for family in families:
        for protocol in protocols:
            verdict = foreign_rules.verdict(chains, chain, Probe(family, protocol))
            found.add(verdict or (foreign_rules.DROP if drops else foreign_rules.ACCEPT))
    for verdict in (foreign_rules.DROP, foreign_rules.UNCLEAR):
        if verdict in found:
            return verdict
    return ""


def parse_chains(dumped: list[tuple[int, dict[int, bytes]]], hook: str) -> list[BaseChain]:
    """Return the base chains of a hook that belong to other programs."""
    found = []
    for family, chain in dumped:
        table, name = netlink.text(chain.get(1, b"")), netlink.text(chain.get(3, b""))
        hooked = netlink.attributes(chain.get(4, b""))
        if family not in _FAMILIES or 1 not in hooked or netlink.text(chain[7]) != "filter":
            continue
        if (family, table) == (netlink.INET, nft.TABLE):
            continue
        if struct.unpack("!I", hooked[1])[0] == _HOOKS[hook]:
            policy = struct.unpack("!I", chain.get(5, b"\0\0\0\1"))[0]
            found.append(BaseChain(family, table, name, policy == 0))
    return found


def _nftables(hook: str, protocols: set[int], seconds: float) -> dict[str, str]:
    found = {}
    try:
        chains = parse_chains(netlink.dump(netlink.CHAIN, seconds=seconds), hook)
    except (OSError, netlink.TooSlow) as exc:
        raise errors.FirewallError(f"the chains of nftables cannot be read: {exc}") from exc
    for chain in chains:
        families = {chain.family} if chain.family != netlink.INET else {netlink.IPV4, netlink.IPV6}
        read = functools.cache(
            functools.partial(_read_chain, chain.family, chain.table, seconds=seconds)
        )
        try:
            verdict = judge(read, chain.name, chain.drops, families, protocols)
        except netlink.TooSlow:
            verdict = foreign_rules.DROP if chain.drops else ""
        except OSError as exc:
            raise errors.FirewallError(f"the rules of {chain} cannot be read: {exc}") from exc
        found[str(chain)] = verdict
    return found


def _read_chain(family: int, table: str, chain: str, *, seconds: float) -> list[ForeignRule]:
    try:
        return foreign_nft_rules.read_chain(family, table, chain, seconds)
    except netlink.NotFound:
        # Deleted since the chains were read.
        return []


def _legacy(hook: str, protocols: set[int]) -> dict[str, str]:
    return dict(_legacy_verdicts(hook, protocols))


def _legacy_verdicts(hook: str, protocols: set[int]) -> Iterator[tuple[str, str]]:
    chain = hook.upper()
    for family, number, program in (("ip", netlink.IPV4, "iptables"),
                                    ("ip6", netlink.IPV6, "ip6tables")):  # fmt: skip
        # Only where the table exists: iptables-legacy-save would create it.
        tables = Path(f"/proc/thread-self/net/{family}_tables_names")
        if "filter" in (tables.read_text().split() if tables.exists() else ()):
            saved = programs.run([f"{program}-legacy-save", "-t", "filter"])
            yield (
                f"{program}-legacy filter {chain}",
                legacy_verdict(saved, chain, number, protocols),
            )


def legacy_verdict(saved: str, chain: str, family: int, protocols: set[int]) -> str:
    """Return what a chain of the filter table does, as iptables-legacy-save prints it."""
    policies, chains = foreign_saved_rules.parse(saved, "filter")

    def of(name: str) -> list[ForeignRule]:
        if name == chain or name in chains or name in policies:
            return chains.get(name, [])
        # A target that is not a chain belongs to an extension.
        return [ForeignRule(foreign_rules.UNCLEAR)]

    return judge(of, chain, policies.get(chain) == "DROP", {family}, protocols)
