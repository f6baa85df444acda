"""
Rules of other programs that may drop everything.

Most rules are about an address, a port or an interface. They say nothing about all packets and are
left out while they are read (narrow). What is left is judged by a probe: the first packet of a
connection, of one family and protocol. ``foreign_nft_rules`` reads them from the kernel and
``foreign_saved_rules`` from what iptables-legacy-save prints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import netlink

ACCEPT, DROP, RETURN, JUMP, GOTO = "accept", "drop", "return", "jump", "goto"
UNCLEAR = "unclear"
"""It ends the way of a packet, and where to is not known: to a program, for example."""
TCP, UDP = 6, 17
NEW = 8
_SYN = 2

# Targets of iptables that neither match nor decide.
CONTINUING = frozenset(
    [
        *("LOG", "NFLOG", "ULOG", "AUDIT", "TRACE", "TEE", "LED", "IDLETIMER", "RATEEST"),
        *("MARK", "CONNMARK", "SECMARK", "CONNSECMARK", "HMARK", "CT", "NOTRACK", "SET"),
        *("CLASSIFY", "CHECKSUM", "DSCP", "ECN", "TOS", "TTL", "HL", "TCPMSS", "TCPOPTSTRIP"),
    ]
)


@dataclass(frozen=True)
class Probe:
    """The first packet of a connection."""

    family: int
    protocol: int

    def value(self, field: str) -> int:
        """Return what the packet has in a field; -1 where it has none."""
        v4 = self.family == netlink.IPV4
        return {
            "family": self.family,
            "protocol": self.protocol,
            "ethertype": 0x0800 if v4 else 0x86DD,
            "ip protocol": self.protocol if v4 else -1,
            "ip6 nexthdr": -1 if v4 else self.protocol,
            "state": NEW,
            "flags": _SYN if self.protocol == TCP else -1,
        }[field]


@dataclass(frozen=True)
class Condition:
    """A match on a field of a probe."""

    field: str
    values: frozenset[int]
    negated: bool = False
    mask: int | None = None

    def holds(self, probe: Probe) -> bool:
        """Whether a probe matches."""
        value = probe.value(self.field)
        if value < 0:
            return False
        if self.mask is not None:
            value &= self.mask
        return (value in self.values) is not self.negated


@dataclass(frozen=True)
class ForeignRule:
    """A rule about all packets of some kind."""

    verdict: str
    target: str = ""
    """The chain to which it jumps or goes."""
    conditions: tuple[Condition, ...] = ()

    def holds(self, probe: Probe) -> bool:
        """Whether a probe matches."""
        return all(one.holds(probe) for one in self.conditions)


def verdict(
    chains: Callable[[str], list[ForeignRule]], chain: str, probe: Probe, depth: int = 0
) -> str:
    """Return what a chain does to a probe: a verdict, or empty where it comes to the end."""
    # The kernel allows 16 jumps.
    for rule in chains(chain) if depth <= 16 else ():
        if not rule.holds(probe):
            continue
        if rule.verdict == RETURN:
            return ""
        if rule.verdict not in (JUMP, GOTO):
            return rule.verdict
        found = verdict(chains, rule.target, probe, depth + 1)
        if found or rule.verdict == GOTO:
            return found
    return ""
