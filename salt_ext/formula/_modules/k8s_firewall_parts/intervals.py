"""IP addresses, networks and ranges as numbers: to compare a few with very many."""

from __future__ import annotations

import ipaddress
import socket
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_BITS = {4: 32, 6: 128}
_MERGED_AT_MOST = 64
"""Neighbours that the kernel may show as one network; people write larger networks themselves."""


class Interval(NamedTuple):
    """All addresses of one version from the first to the last."""

    version: int
    first: int
    last: int

    def overlaps(self, other: Interval) -> bool:
        """Whether some address is in both."""
        return (
            self.version == other.version and self.first <= other.last and other.first <= self.last
        )

    def within(self, other: Interval) -> bool:
        """Whether every address of this one is in the other."""
        return (
            self.version == other.version and other.first <= self.first and self.last <= other.last
        )

    @property
    def size(self) -> int:
        """The number of addresses."""
        return self.last - self.first + 1

    @property
    def everything(self) -> bool:
        """Whether it has every address of its version."""
        return self.size == 1 << _BITS[self.version]

    @property
    def aligned(self) -> bool:
        """Whether it is one address or one network, and not another range."""
        return not self.size & (self.size - 1) and not self.first % self.size

    def __str__(self) -> str:
        first = text_of(self.version, self.first)
        if self.first == self.last:
            return first
        if self.aligned:
            return f"{first}/{_BITS[self.version] - self.size.bit_length() + 1}"
        return f"{first}-{text_of(self.version, self.last)}"


ALL_V4 = Interval(4, 0, (1 << 32) - 1)
ALL_V6 = Interval(6, 0, (1 << 128) - 1)


def may_be_merged(one: Interval, entry: Interval) -> bool:
    """Whether a set's element around an entry may be neighbours that the kernel has made one."""
    return not one.aligned or one.size <= entry.size * _MERGED_AT_MOST


def last_of(version: int) -> int:
    """Return the last address of a version as a number."""
    return (1 << _BITS[version]) - 1


def text_of(version: int, number: int) -> str:
    """Return one address as the kernel's tools print it."""
    return socket.inet_ntop(_FAMILIES[version], number.to_bytes(_BITS[version] // 8, "big"))


def parse(text: object) -> Interval | None:
    """
    Read an address, a network or a range; None for anything else.

    A network may have bits behind its prefix, and a mask in place of a length, as in iptables.
    """
    if not isinstance(text, str):
        return None
    version = 6 if ":" in text else 4
    try:
        # Many times faster than ipaddress, for the common case.
        number = int.from_bytes(socket.inet_pton(_FAMILIES[version], text), "big")
    except (OSError, ValueError):
        return _parse_more(text, version)
    return Interval(version, number, number)


def _parse_more(text: str, version: int) -> Interval | None:
    if "/" in text:
        address, _, length = text.partition("/")
        if length in ("32", "128"):
            # As iptables-save writes an address.
            one = parse(address)
            if one is not None and one.size == 1 and length == str(_BITS[one.version]):
                return one
        one = parse(_padded(address) if version == 4 else address)
        if one is None or one.first != one.last:
            return None
        if length.isdecimal() and length.isascii() and len(length) < 4:
            return network(one, int(length))
        mask = parse(_padded(length) if version == 4 else length)
        if mask is None or mask.version != version:
            return None
        return masked(one, mask.first)
    first, dash, last = text.partition("-")
    if not dash:
        return None
    return between(parse(first), parse(last))


def network(address: Interval, length: int) -> Interval | None:
    """Return the network of this prefix length around an address."""
    if address.size != 1 or not 0 <= length <= _BITS[address.version]:
        return None
    host = (1 << (_BITS[address.version] - length)) - 1
    return Interval(address.version, address.first & ~host, address.first | host)


def masked(address: Interval, mask: int) -> Interval:
    """Return the network of a mask; where the mask has gaps, the one of the bits before them."""
    bits = _BITS[address.version]
    inverted = ~mask & ((1 << bits) - 1)
    host = (1 << inverted.bit_length()) - 1
    return Interval(address.version, address.first & ~host, address.first & ~host | host)


def has_gaps(mask: Interval) -> bool:
    """Whether a mask is not that of a network."""
    inverted = ~mask.first & ((1 << _BITS[mask.version]) - 1)
    return bool(inverted & (inverted + 1))


def between(first: Interval | None, last: Interval | None) -> Interval | None:
    """Return the range from one address to another."""
    if first is None or last is None or first.version != last.version or first.first > last.last:
        return None
    return Interval(first.version, first.first, last.last)


def _padded(text: str) -> str:
    # iptables takes 10.77/16 for 10.77.0.0/16.
    parts = text.split(".")
    if not 0 < len(parts) < 4 or not all(part.isdecimal() for part in parts):
        return text
    return ".".join([*parts, "0", "0", "0"][:4])


class Interest:
    """The addresses that are asked about; without any, every address is of interest."""

    def __init__(self, entries: Iterable[str] | None = None) -> None:
        self._all = entries is None
        self._cover(one for entry in entries or () if (one := parse(entry)) is not None)

    @classmethod
    def of(cls, intervals: Iterable[Interval]) -> Interest:
        """Return an interest in just these intervals."""
        made = cls(())
        made._cover(intervals)
        return made

    def _cover(self, found: Iterable[Interval]) -> None:
        self._firsts: dict[int, list[int]] = {4: [], 6: []}
        self._lasts: dict[int, list[int]] = {4: [], 6: []}
        for one in sorted(found):
            firsts, lasts = self._firsts[one.version], self._lasts[one.version]
            if lasts and one.first <= lasts[-1]:
                lasts[-1] = max(lasts[-1], one.last)
            else:
                firsts.append(one.first)
                lasts.append(one.last)

    def touches(self, one: Interval) -> bool:
        """Whether some address of interest is in an interval."""
        if self._all:
            return True
        lasts = self._lasts[one.version]
        at = bisect_left(lasts, one.first)
        return at < len(lasts) and self._firsts[one.version][at] <= one.last


class Entries:
    """Addresses and networks in order: finds those that overlap an interval."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._sorted: dict[int, list[tuple[Interval, str]]] = {4: [], 6: []}
        self._wide: dict[int, list[tuple[Interval, str]]] = {4: [], 6: []}
        for entry in entries:
            one = parse(entry)
            if one is None:
                continue
            # Networks are few, and may lie in one another.
            kind = self._sorted if one.size == 1 else self._wide
            kind[one.version].append((one, entry))
        for listed in self._sorted.values():
            listed.sort()
        self._numbers = {
            version: [one.first for one, _ in listed] for version, listed in self._sorted.items()
        }

    def overlapping(self, one: Interval) -> Iterator[tuple[Interval, str]]:
        """Yield every entry that has an address in an interval."""
        numbers = self._numbers[one.version]
        begin, end = bisect_left(numbers, one.first), bisect_right(numbers, one.last)
        yield from self._sorted[one.version][begin:end]
        for entry in self._wide[one.version]:
            if entry[0].overlaps(one):
                yield entry


def is_multicast(one: Interval) -> bool:
    """Whether an interval has multicast or broadcast addresses only."""
    return all(
        ipaddress.ip_address(text_of(one.version, number)).is_multicast
        or (one.version == 4 and number == ALL_V4.last)
        for number in (one.first, one.last)
    )
