"""
Read rules of other programs from nftables, those of iptables-nft among them.

The kernel is asked without the program: nft 0.9.8 shows no target of iptables (``xt: null``), and
its JSON of 20,000 rules takes a second.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass

from . import netlink
from .foreign_rules import (
    ACCEPT,
    CONTINUING,
    DROP,
    GOTO,
    JUMP,
    RETURN,
    UNCLEAR,
    Condition,
    ForeignRule,
)

Keys = Callable[[str], "frozenset[int] | None"]
"""Return the keys of a set without a name; None where they are not plain."""

_CODES = {0: DROP, 1: ACCEPT, -3: JUMP, -4: GOTO, -5: RETURN, -1: "", -2: ""}
_PAYLOADS = {(1, 9, 1): "ip protocol", (1, 6, 1): "ip6 nexthdr", (2, 13, 1): "flags"}
_META = {1: "ethertype", 15: "family", 16: "protocol"}
_INTERFACES = (4, 5, 6, 7)
# They neither match nor decide.
_STATEMENTS = frozenset({"counter", "log", "notrack", "last", "dup", "nat", "masq", "redir"})
_TO_THIS_HOST = struct.pack("=HHI", 0, 4, 0)
_NARROWING = frozenset(
    [
        *("limit", "quota", "connlimit", "range", "byteorder", "fib", "socket", "rt", "osf"),
        *("hash", "numgen", "exthdr", "xfrm", "tunnel", "dynset", "objref", "lookup", "match"),
    ]
)
# Most rules by far: an address or a port is loaded and compared. Found at once in the byte order
# of most machines; on others the rule is read.
_ABOUT_SOME = re.compile(
    rb"payload\0\$\0\x02\0\x08\0\x01\0....\x08\0\x02\0\0\0\0"
    rb"(?:\x01\x08\0\x03\0\0\0\0[\x08\x0c\x10\x18]|\x02\x08\0\x03\0\0\0\0[\0\x02])"
    rb"\x08\0\x04\0......\x01\0..\x01\0(?:cmp|bitwise|lookup|range)\0",
    re.DOTALL,
)


class _Narrow(Exception):
    """The rule is about some packets only."""


@dataclass
class _Loaded:
    """What an expression has put into a register."""

    field: str = ""
    """Empty where a probe does not have it."""
    interface: bool = False
    mask: int | None = None


def parse_rule(expressions: bytes, keys: Keys) -> ForeignRule | None:
    """Read the expressions of a rule; None where it is narrow or decides nothing."""
    if _ABOUT_SOME.search(expressions):
        return None
    conditions: list[Condition] = []
    registers: dict[int, _Loaded] = {}
    unclear = False
    try:
        for _, element in netlink.listed(expressions):
            parts = netlink.attributes(element)
            kind = netlink.text(parts.get(1, b""))
            found = _expression(kind, netlink.attributes(parts.get(2, b"")), registers, keys)
            if isinstance(found, ForeignRule):
                verdict = UNCLEAR if unclear else found.verdict
                return ForeignRule(verdict, found.target, tuple(conditions))
            unclear = unclear or found is None
            conditions += found or ()
    except (_Narrow, KeyError, struct.error):
        return None
    return None


def _expression(
    kind: str, data: dict[int, bytes], registers: dict[int, _Loaded], keys: Keys
) -> ForeignRule | list[Condition] | None:
    """Return a verdict, or what must hold; None for an expression of a kind that is unknown."""
    if kind in _STATEMENTS:
        return []
    if kind == "immediate":
        return _immediate(data)
    if kind == "reject":
        return ForeignRule(DROP)
    if kind in ("queue", "synproxy"):
        return ForeignRule(UNCLEAR)
    if kind == "target":
        return _target(netlink.text(data[1]))
    if kind == "match":
        return _match(netlink.text(data[1]), data.get(3, b""))
    if kind in ("meta", "ct", "payload"):
        # With a source register it sets something.
        if 1 in data:
            registers[_number(data[1])] = _load(kind, data)
        return []
    if kind == "bitwise":
        _mask(data, registers)
        return []
    if kind == "cmp":
        return _compare(data, registers)
    if kind == "lookup":
        return _lookup(data, registers, keys)
    if kind == "objref" and _number(data.get(1, b"\0\0\0\1")) == 1:
        return []
    if kind == "dynset" and not {7, 10} & data.keys():
        # Without an expression, such as a limit, it only adds to a set.
        return []
    if kind in _NARROWING:
        raise _Narrow
    return None


def _immediate(data: dict[int, bytes]) -> ForeignRule | list[Condition]:
    if _number(data[1]):
        return []
    decided = netlink.attributes(netlink.attributes(data[2])[2])
    (code,) = struct.unpack("!i", decided[1])
    found = _CODES.get(code, UNCLEAR)
    return ForeignRule(found, netlink.text(decided.get(2, b""))) if found else []


def _target(name: str) -> ForeignRule | list[Condition]:
    if name in CONTINUING:
        return []
    return ForeignRule(DROP if name in ("DROP", "REJECT") else UNCLEAR)


def _load(kind: str, data: dict[int, bytes]) -> _Loaded:
    if kind == "meta":
        key = _number(data[2])
        return _Loaded(_META.get(key, ""), interface=key in _INTERFACES)
    if kind == "ct":
        return _Loaded("" if _number(data[2]) or 3 in data else "state")
    where = (_number(data[2]), _number(data[3]), _number(data[4]))
    return _Loaded(_PAYLOADS.get(where, ""))


def _mask(data: dict[int, bytes], registers: dict[int, _Loaded]) -> None:
    loaded = registers[_number(data[1])]
    values = [netlink.attributes(data[number])[1] for number in (4, 5)]
    if not loaded.field or any(values[1]):
        raise _Narrow
    registers[_number(data[2])] = _Loaded(loaded.field, mask=_integer(loaded.field, values[0]))


def _compare(data: dict[int, bytes], registers: dict[int, _Loaded]) -> list[Condition]:
    loaded, operator = registers[_number(data[1])], _number(data[2])
    if loaded.interface and operator == 1:
        # Not from one interface, mostly lo: from all others.
        return []
    if not loaded.field or operator > 1:
        raise _Narrow
    value = _integer(loaded.field, netlink.attributes(data[3])[1])
    return [Condition(loaded.field, frozenset({value}), operator == 1, loaded.mask)]


def _lookup(data: dict[int, bytes], registers: dict[int, _Loaded], keys: Keys) -> list[Condition]:
    loaded = registers[_number(data[2])]
    name = netlink.text(data[1])
    # A map of verdicts decides for each of its keys; another set is about some packets.
    if not loaded.field or 3 in data or not name.startswith("__set"):
        raise _Narrow
    raw = keys(name)
    if raw is None:
        raise _Narrow
    if loaded.field == "state":
        raw = frozenset(_swapped(value) for value in raw)
    return [Condition(loaded.field, raw, bool(_number(data.get(5, b"\0\0\0\0"))), loaded.mask)]


def _match(name: str, info: bytes) -> list[Condition]:
    """Read a match of iptables in the kernel's own form."""
    if name == "comment":
        return []
    if name == "conntrack" and len(info) >= 152:
        wanted, inverted, states = struct.unpack_from("=HHH", info, 146)
        if wanted & ~0x2000 == 1:
            return [Condition("state", frozenset({0}), not inverted & 1, states)]
    if name == "state" and len(info) >= 4:
        return [Condition("state", frozenset({0}), True, *struct.unpack_from("=I", info))]
    if name in ("tcp", "udp") and info[:8] == b"\0\0\xff\xff\0\0\xff\xff":
        if name == "udp" and not info[8]:
            return []
        if name == "tcp" and len(info) >= 12 and not info[8] and not info[11]:
            return [Condition("flags", frozenset({info[10]}), mask=info[9])]
    if name == "addrtype" and info[:8] == _TO_THIS_HOST:
        return []
    if name == "pkttype" and info[:8] == bytes(8):
        return []
    raise _Narrow


def _number(value: bytes) -> int:
    return int.from_bytes(value[:4], "big")


def _integer(field: str, value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder if field == "state" else "big")


def _swapped(value: int) -> int:
    return int.from_bytes(value.to_bytes(4, "big"), sys.byteorder)


def read_chain(family: int, table: str, chain: str, seconds: float) -> list[ForeignRule]:
    """Read a chain of nftables; raise netlink.TooSlow where it takes longer."""
    asked = netlink.name(1, table) + netlink.name(2, chain)

    def keys(name: str) -> frozenset[int] | None:
        return _read_keys(family, table, name, seconds)

    found = (
        parse_rule(rule.get(4, b""), keys)
        for _, rule in netlink.dump(netlink.RULE, asked, family, seconds=seconds)
    )
    return [rule for rule in found if rule]


def _read_keys(family: int, table: str, name: str, seconds: float) -> frozenset[int] | None:
    asked = netlink.name(1, table) + netlink.name(2, name)
    found: set[int] = set()
    for _, answer in netlink.dump(netlink.ELEMENT, asked, family, seconds=seconds):
        for _, element in netlink.listed(answer.get(3, b"")):
            parts = netlink.attributes(element)
            # The end of an interval.
            if 3 in parts or 1 not in parts:
                return None
            found.add(int.from_bytes(netlink.attributes(parts[1]).get(1, b""), "big"))
    return frozenset(found)
