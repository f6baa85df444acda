"""
Which addresses came from references, and which of them are spared although none serves them.

The minion records every address that references serve to it. What the pillar serves now is
recorded before anything else is done with it, and an address is taken out only after its departure
was recorded: whatever fails in between, the next run finds it again.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import ipaddress
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from . import addresses, errors, freshness
from .state_dir import StateDir

FILE = "served"

_MAX_ANSWERED = 20_000
"""Addresses in one answer to the master."""

_MASTERS_KEY = "k8s_nodes"
_TOKEN = re.compile(r"[0-9a-fA-F.:/]+", re.ASCII)
_V4 = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}(?:/\d{1,2}(?!\d))?", re.ASCII)
_LAST_NUMBER = re.compile(r"\d{1,3}", re.ASCII)
_MAX_GROUPS, _MAX_V6 = 9, 45
"""Of the longest spelling of an IPv6 address: groups, and characters."""

_Range = tuple[Any, Any]
"""The first and the last address."""


class Written:
    """Every address that is written anywhere in a value, also within a longer text."""

    def __init__(self, value: object) -> None:
        self.entries: set[str] = set()
        self.ranges: list[_Range] = []
        for text in _texts(value):
            # Most texts have none.
            if "." in text or ":" in text:
                self._read(text)

    def has(self, entry: str) -> bool:
        """Whether an address or network is written, or lies in a range such as a-b."""
        if entry in self.entries:
            return True
        if not self.ranges:
            return False
        network = ipaddress.ip_network(entry)
        return any(
            first.version == network.version
            and first <= network.network_address
            and network.broadcast_address <= last
            for first, last in self.ranges
        )

    def _read(self, text: str) -> None:
        if _is_v4(text):
            # Nothing but an address: the common case, and many times faster.
            self.entries.add(text)
            return
        end, before = 0, ""
        for match in _TOKEN.finditer(text):
            token = match[0]
            if before and text[end : match.start()].strip() == "-":
                self._read_range(before, token)
            for like in _like_addresses(token):
                self._add(like)
            before, end = token, match.end()

    def _read_range(self, before: str, after: str) -> None:
        firsts = [like.partition("/")[0] for like in _V4.findall(before)[-1:]]
        lasts = [like.partition("/")[0] for like in _V4.findall(after)[:1]]
        if firsts and not lasts and (short := _LAST_NUMBER.match(after)):
            # 192.0.2.10-20 is short for 192.0.2.10-192.0.2.20.
            lasts = [f"{firsts[0].rpartition('.')[0]}.{short[0]}"]
        if firsts and lasts:
            self._add_range(firsts, lasts[0])
        elif ":" in before:
            self._add_range([like for like in _v6_parts(before) if before.endswith(like)], after)

    def _add(self, like: str) -> None:
        # Rather one too many: 192.0.2.1/24 is not a network, and may mean 192.0.2.1.
        for part in {like, like.partition("/")[0]}:
            with contextlib.suppress(addresses.InvalidAddress):
                self.entries |= addresses.parse([part]).entries()

    def _add_range(self, firsts: Iterable[str], last: str) -> None:
        """Add the smallest range: a word before the first address is no part of it."""
        found: list[_Range] = []
        for first in firsts:
            with contextlib.suppress(ValueError):
                start = ipaddress.ip_address(first)
                end = ipaddress.ip_address(last.partition("/")[0].rstrip(".:"))
                if start.version == end.version and start <= end:  # type: ignore[operator]
                    found.append((start, end))
        if found:
            self.ranges.append(max(found, key=lambda one: one[0]))


def served(pillar: Mapping[str, Any]) -> frozenset[str]:
    """Return the addresses that references put into this pillar."""
    block = pillar.get(_MASTERS_KEY)
    listed = block.get("served", []) if isinstance(block, Mapping) else []
    try:
        return addresses.parse_separately(listed)
    except (addresses.InvalidAddress, TypeError) as exc:
        raise errors.Refused(f"the pillar's {_MASTERS_KEY}:served is not valid: {exc}") from exc


def recorded(state_dir: StateDir) -> frozenset[str]:
    """Return the addresses that were served before and are not yet departed."""
    return frozenset(state_dir.read(FILE).get("addresses", []))


def answer(state_dir: StateDir, known: Any, version: str) -> dict[str, Any]:
    """
    Return the record for the master, which may have lost its own.

    known
        Digests of lists that the master has: they are left out, since many minions have the same.
    """
    listed = sorted(recorded(state_dir))
    digest = hashlib.sha256("\n".join(listed).encode()).hexdigest()
    clusters = {
        name: {"revision": view.get("revision"), "observed_at": view.get("observed_at")}
        for name, view in sorted(state_dir.read(freshness.FILE).items())
        if isinstance(view, Mapping)
    }
    found: dict[str, Any] = {"version": version, "digest": digest, "clusters": clusters}
    if not isinstance(known, (list, tuple)) or digest not in known:
        found["addresses"] = listed[:_MAX_ANSWERED]
        found["truncated"] = len(listed) > _MAX_ANSWERED
    return found


def existing(state_dir: StateDir) -> dict[str, frozenset[str]]:
    """Return the connections that addresses had before they were served, by address."""
    found = state_dir.read(FILE).get("existing", {})
    return {entry: frozenset(listed) for entry, listed in found.items()}


def record(
    state_dir: StateDir, entries: frozenset[str], before: Mapping[str, frozenset[str]] | None = None
) -> None:
    """
    Replace the record, if it differs.

    before
        The connections of addresses that were not served before, as ``existing`` returns them.
    """
    known = existing(state_dir)
    kept = {
        entry: found for entry, found in {**known, **(before or {})}.items() if entry in entries
    }
    if entries != recorded(state_dir) or kept != known:
        listed = {entry: sorted(found) for entry, found in sorted(kept.items())}
        state_dir.write(FILE, {"addresses": sorted(entries), "existing": listed})


def unresolved(pillar: Mapping[str, Any]) -> list[str]:
    """Return every unresolved reference of the pillar: its addresses are unknown."""
    block = pillar.get(_MASTERS_KEY)
    listed = block.get("unresolved") if isinstance(block, Mapping) else None
    found = list(listed) if isinstance(listed, Mapping) else []
    return found + addresses.find_references(_users_part(pillar))


class StillAllowed:
    """Whether an address is allowed for another reason, so that its connections stay open."""

    def __init__(self, pillar: Mapping[str, Any], contents: Iterable[addresses.Content]) -> None:
        self._pillar = pillar
        self._contents = [*contents, addresses.parse(served(pillar))]
        self._written: Written | None = None

    def __call__(self, address: str) -> bool:
        """Whether an address is in a set, served, or written anywhere in the pillar."""
        if self._written is None:
            self._written = Written(_users_part(self._pillar))
        return self._written.has(address) or any(one.matches(address) for one in self._contents)


def spared(
    pillar: Mapping[str, Any], entries: Iterable[str], keep: addresses.Content
) -> dict[str, str]:
    """Return why an address is not closed although no reference serves it, by address."""
    found = {entry: "is in k8s_firewall:keep" for entry in entries if _kept(entry, keep)}
    rest = [entry for entry in entries if entry not in found]
    if rest:
        written = Written(_users_part(pillar))
        found |= {entry: "is written in the pillar" for entry in rest if written.has(entry)}
    return found


def _is_v4(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def _like_addresses(token: str) -> Iterator[str]:
    if "." in token:
        yield from _V4.findall(token)
    if ":" in token:
        yield from _v6_parts(token)


def _v6_parts(token: str) -> Iterator[str]:
    """
    Yield every IPv6 address that a text may mean, such as those in ``sshd:2001:db8::1:22``.

    A word before it, and a port after it, cannot be told from its own groups.
    """
    for text, length in _split_lengths(token.rstrip(".")):
        yield from _v6_parts_of(text, length)


def _split_lengths(token: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of a text between slashes, each with the number after it."""
    parts = token.split("/")
    for text, after in zip(parts, [*parts[1:], ""], strict=False):
        if ":" in text:
            yield text, after if after.isdecimal() else ""


def _v6_parts_of(text: str, length: str) -> Iterator[str]:
    colons = [at for at, char in enumerate(text) if char == ":"]
    ends = [*colons, len(text)]
    # "::1" begins with its own colons.
    for start in sorted({0, *colons, *(at + 1 for at in colons)}):
        at = bisect.bisect_right(ends, start)
        for end in reversed(ends[at : at + _MAX_GROUPS + 1]):
            part = text[start : min(end, start + _MAX_V6)]
            if part.count(":") >= 2:
                yield f"{part}/{length}" if length and end == len(text) else part


def covers(entry: str, address: str) -> bool:
    """Whether an address is the entry, or lies in the network that the entry is."""
    return ipaddress.ip_address(address) in ipaddress.ip_network(entry)


def _kept(entry: str, keep: addresses.Content) -> bool:
    if "/" not in entry:
        return keep.matches(entry)
    network = ipaddress.ip_network(entry)
    networks = keep.v4_net if network.version == 4 else keep.v6_net
    return any(network.subnet_of(ipaddress.ip_network(kept)) for kept in networks)  # type: ignore[arg-type]


def _users_part(pillar: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in pillar.items() if key != _MASTERS_KEY}


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            for part in pair:
                yield from _texts(part)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
