"""
Whether something in nf_tables may name one of a few addresses: looked for as bytes.

``nft -j list ruleset`` takes seconds beside 20,000 rules of others, and begins anew with each
transaction that comes meanwhile: beside one a second it was killed after a minute. The kernel's own
messages are read once here and searched for the bytes of each address. Where they are found, or
where it is not certain that bytes would show them, the readers decide.

Only single addresses are looked for, and only what was made for them: a larger network, which has
an address too, does not have its bytes.
"""

from __future__ import annotations

import re
import socket
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence

from . import intervals, netlink, read_nft
from .intervals import Interval

_TRIES = 4
_INTERVAL, _CONCATENATION = 0x4, 0x80
"""Flags of a set."""
_INTERVAL_END, _CATCH_ALL = 1, 2
"""Flags of an element."""
_VERSIONS = {4: 4, 16: 6}

_DIRECT = frozenset({*read_nft.QUIET, "conntrack", "iprange"})
"""Matches of iptables that name no address, or that name one by its bytes."""

_MATCH = b"match\0\0\0"
_DATA = b"|".join(re.escape(struct.pack("=H", number)) for number in (2, 2 | 0x8000))
"""The number of the attribute that has the match, as older kernels write it and as others do."""
_MATCH_NAME = re.compile(
    _MATCH + b"..(?:" + _DATA + b").." + re.escape(struct.pack("=H", 1)) + rb"([^\0]+)\0",
    re.DOTALL,
)


def may_name(entries: Iterable[str]) -> bool:
    """Whether a rule, a set or a map may be about just one of these; False only where certain."""
    wanted = [intervals.parse(entry) for entry in entries]
    single = [one for one in wanted if one is not None and one.size == 1]
    if len(single) != len(wanted):
        return True
    try:
        return bool(netlink.tables()) and _found(single)
    except (OSError, struct.error, KeyError, netlink.NotFound):
        return True


def _found(wanted: Sequence[Interval]) -> bool:
    pattern = _pattern(wanted)
    with netlink.connect() as sock:
        rules = _rules(sock)
        if rules is None or pattern.search(rules) or not _is_direct(rules):
            return True
        sets = _sets(sock)
        return sets is None or any(_in_set(sock, one, wanted, pattern) for one in sets)


def _rules(sock: socket.socket) -> bytes | None:
    """Return the messages of all rules; None where others change them too often."""
    linked: list[bytes] = []
    for _ in range(_TRIES):
        found, whole = netlink.messages(sock, netlink.RULE)
        if whole:
            return found
        if is_linked(found):
            linked.append(found)
        # Only the last rule of a chain can be missing unnoticed, and not twice.
        if len(linked) > 1:
            return b"".join(linked)
    return None


def is_linked(rules: bytes) -> bool:
    """
    Whether no rule is missing between two others, although something changed meanwhile.

    Each rule names the handle of the one before it.
    """
    chain: object = None
    last: bytes | None = None
    seen: set[bytes] = set()
    for family, rule in _objects(rules):
        if chain != (chain := (family, rule[1], rule[2])):
            last, seen = None, set()
        handle = rule[3]
        if handle in seen:
            # One was put in before it, so that it comes a second time.
            continue
        if rule.get(6) != last:
            return False
        seen.add(handle)
        last = handle
    return True


def _is_direct(rules: bytes) -> bool:
    """Whether no match of iptables names addresses in another place, such as an ipset."""
    names = _MATCH_NAME.findall(rules)
    known = all(name.decode("ascii", "replace") in _DIRECT for name in set(names))
    return known and len(names) == rules.count(_MATCH)


def _sets(sock: socket.socket) -> list[tuple[int, Mapping[int, bytes]]] | None:
    """Return all sets; None where others change them too often."""
    for _ in range(_TRIES):
        found, whole = netlink.messages(sock, netlink.SET)
        if whole:
            return list(_objects(found))
    return None


def _in_set(
    sock: socket.socket,
    listed: tuple[int, Mapping[int, bytes]],
    wanted: Sequence[Interval],
    pattern: re.Pattern[bytes],
) -> bool:
    family, one = listed
    table, name = netlink.text(one[1]), netlink.text(one[2])
    own = family == netlink.INET and table == read_nft.OWN_TABLE[1]
    if own and name.startswith(read_nft.DEPARTED):
        # It names them to keep them out.
        return False
    asked = netlink.name(1, table) + netlink.name(2, name)
    elements, whole = netlink.messages(sock, netlink.ELEMENT, asked, family)
    if not whole:
        elements, whole = netlink.messages(sock, netlink.ELEMENT, asked, family)
    if not whole or has_element(pattern, elements):
        return True
    flags = int.from_bytes(one.get(3, b""), "big")
    if not flags & _INTERVAL or not elements:
        return False
    version = _VERSIONS.get(int.from_bytes(one.get(5, b""), "big"))
    if flags & _CONCATENATION or version is None:
        return True
    return in_merged(_bounds(elements), [it for it in wanted if it.version == version])


def has_element(pattern: re.Pattern[bytes], elements: bytes) -> bool:
    """
    Whether the bytes of an address are where those of an element may begin: at every fourth.

    A last byte and the head of the next element look like an address, too. Rules have no such
    places: several fields may be compared at once.
    """
    at = 0
    while match := pattern.search(elements, at):
        if match.start() % 4 == 0:
            return True
        at = match.start() + 1
    return False


def _bounds(elements: bytes) -> Iterator[tuple[int, bool]]:
    """Yield the first address of each interval, and with True the one behind its last."""
    for _, message in _objects(elements):
        for _, element in netlink.listed(message.get(3, b"")):
            parts = netlink.attributes(element)
            flags = int.from_bytes(parts.get(3, b""), "big")
            if not flags & _CATCH_ALL:
                key = netlink.attributes(parts[1])[1]
                yield int.from_bytes(key, "big"), bool(flags & _INTERVAL_END)


def in_merged(bounds: Iterable[tuple[int, bool]], wanted: Iterable[Interval]) -> bool:
    """Whether some address is in an interval that may have been merged from such addresses."""
    # Where one interval ends and another begins, the address belongs to the second.
    ordered = sorted(bounds, key=lambda bound: (bound[0], not bound[1]))
    numbers = [number for number, _ in ordered]
    for one in wanted:
        at = bisect_right(numbers, one.first)
        if at == 0 or ordered[at - 1][1]:
            continue
        last = numbers[at] - 1 if at < len(numbers) else intervals.last_of(one.version)
        if intervals.may_be_merged(Interval(one.version, numbers[at - 1], last), one):
            return True
    return False


def _pattern(wanted: Iterable[Interval]) -> re.Pattern[bytes]:
    sizes = {version: size for size, version in _VERSIONS.items()}
    tree: dict[int, object] = {}
    for one in wanted:
        node = tree
        for byte in one.first.to_bytes(sizes[one.version], "big"):
            node = node.setdefault(byte, {})  # type: ignore[assignment]
    return re.compile(_alternatives(tree), re.DOTALL)


def _alternatives(tree: Mapping[int, object]) -> bytes:
    """Return a pattern that tells 10,000 addresses apart byte by byte, which is fast."""
    by_rest: dict[bytes, list[int]] = {}
    for byte, below in tree.items():
        rest = _alternatives(below) if isinstance(below, dict) and below else b""
        by_rest.setdefault(rest, []).append(byte)
    parts = [
        b"[" + b"".join(b"\\x%02x" % byte for byte in listed) + b"]" + rest
        for rest, listed in by_rest.items()
    ]
    return b"(?:" + b"|".join(parts) + b")"


def _objects(found: bytes) -> Iterator[tuple[int, Mapping[int, bytes]]]:
    """Yield the family and the attributes of each message."""
    at = 0
    while at + 20 <= len(found):
        (size,) = struct.unpack_from("=I", found, at)
        yield found[at + 16], netlink.attributes(found[at : at + size], 20)
        at += max((size + 3) & ~3, 20)
