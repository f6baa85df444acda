"""
Which addresses came from references, and which of them have left.

The minion records every address that references have served to it and that is not yet closed.
What the pillar serves now is recorded before anything else is done with it, and an address is
taken out only after it was closed: whatever fails in between, the next run finds it again.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import addresses, errors
from .state_dir import StateDir

FILE = "served"

_MASTERS_KEY = "k8s_nodes"
_LIKE_AN_ADDRESS = re.compile(r"[0-9a-fA-F.:]+(?:/\d+)?")
_WITH_PORT = re.compile(r"(\d+\.\d+\.\d+\.\d+):\d+")


@dataclass(frozen=True)
class Departures:
    """The addresses to close, and those that are spared although no reference serves them."""

    removed: frozenset[str]
    spared: Mapping[str, str]
    """The reason, by address."""


def served(pillar: Mapping[str, Any]) -> frozenset[str]:
    """Return the addresses that references put into this pillar."""
    block = pillar.get(_MASTERS_KEY)
    listed = block.get("served", []) if isinstance(block, Mapping) else []
    try:
        return addresses.parse_separately(listed)
    except (addresses.InvalidAddress, TypeError) as exc:
        raise errors.Refused(f"the pillar's {_MASTERS_KEY}:served is not valid: {exc}") from exc


def recorded(state_dir: StateDir) -> frozenset[str]:
    """Return the addresses that were served before and are not yet closed."""
    return frozenset(state_dir.read(FILE).get("addresses", []))


def record(state_dir: StateDir, entries: frozenset[str]) -> None:
    """Replace the record, if it differs."""
    if entries != recorded(state_dir):
        state_dir.write(FILE, {"addresses": sorted(entries)})


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
        self._written: set[str] | None = None

    def __call__(self, address: str) -> bool:
        """Whether an address is in a set, served, or written anywhere in the pillar."""
        if self._written is None:
            self._written = written_addresses(_users_part(self._pillar))
        return address in self._written or any(one.matches(address) for one in self._contents)


def departures(
    pillar: Mapping[str, Any], before: frozenset[str], keep: addresses.Content
) -> Departures:
    """Return the addresses that were served before and that the pillar no longer allows."""
    absent = before - served(pillar)
    spared = {entry: "is in k8s_firewall:keep" for entry in absent if _kept(entry, keep)}
    for entry in absent & written_addresses(_users_part(pillar)):
        spared.setdefault(entry, "is written in the pillar")
    return Departures(absent - spared.keys(), spared)


def written_addresses(value: object) -> set[str]:
    """Return every address that is written anywhere in a value, also within a longer text."""
    found: set[str] = set()
    for text in _texts(value):
        # Most texts have none.
        if "." not in text and ":" not in text:
            continue
        for like in _LIKE_AN_ADDRESS.findall(_WITH_PORT.sub(r"\1 ", text)):
            # Rather one too many: 192.0.2.1/24 is not a network, and may mean 192.0.2.1.
            for part in (like, like.partition("/")[0].rstrip(".")):
                with contextlib.suppress(addresses.InvalidAddress):
                    found |= addresses.parse([part]).entries()
    return found


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
