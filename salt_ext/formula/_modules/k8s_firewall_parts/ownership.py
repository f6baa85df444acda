"""
Who has left: served by a reference at some time, and not served any more.

The minion's own record has every address that was served and is not proven to be closed. What the
pillar serves now is added before anything is done with it, and what has gone is taken out only
after it was closed: whatever fails in between, it is found the next time.
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

NAME = "served"

_KEY = "k8s_nodes"
_LIKE_AN_ADDRESS = re.compile(r"[0-9a-fA-F.:]+(?:/\d+)?")
_PORT = re.compile(r"(\d+\.\d+\.\d+\.\d+):\d+")


@dataclass(frozen=True)
class Leaving:
    """What is to be closed, and what is spared although it is not served any more, and why."""

    gone: frozenset[str]
    spared: Mapping[str, str]


def now(pillar: Mapping[str, Any]) -> frozenset[str]:
    """Return what references put into this pillar."""
    told = pillar.get(_KEY)
    listed = told.get("served", []) if isinstance(told, Mapping) else []
    try:
        return addresses.each(listed)
    except (addresses.NoAddress, TypeError) as exc:
        raise errors.Refused(f"the pillar's {_KEY}:served cannot be read: {exc}") from exc


def recorded(record: StateDir) -> frozenset[str]:
    """Return what was served before and is not proven to be closed."""
    return frozenset(record.read(NAME).get("addresses", []))


def remember(record: StateDir, these: frozenset[str]) -> None:
    """Replace the record, if it differs."""
    if these != recorded(record):
        record.write(NAME, {"addresses": sorted(these)})


def unresolved(pillar: Mapping[str, Any]) -> list[str]:
    """Return every reference of the pillar that is not resolved: who it means is not known."""
    told = pillar.get(_KEY)
    listed = told.get("unresolved") if isinstance(told, Mapping) else None
    found = list(listed) if isinstance(listed, Mapping) else []
    return found + addresses.references(_without_ours(pillar))


class Staying:
    """Whether an address has another reason to be in: then its connections are not ended."""

    def __init__(self, pillar: Mapping[str, Any], contents: Iterable[addresses.Content]) -> None:
        self._pillar = pillar
        self._contents = [*contents, addresses.content(now(pillar))]
        self._written: set[str] | None = None

    def __call__(self, address: str) -> bool:
        """Say whether it is in a set, served, or written anywhere in the pillar."""
        if self._written is None:
            self._written = _written(_without_ours(self._pillar))
        return address in self._written or any(one.has(address) for one in self._contents)


def leaving(pillar: Mapping[str, Any], before: frozenset[str], keep: addresses.Content) -> Leaving:
    """Return what was served before and has no reason to be let in any more."""
    absent = before - now(pillar)
    spared = {one: "is to be kept" for one in absent if _kept(one, keep)}
    for one in absent & _written(_without_ours(pillar)):
        spared.setdefault(one, "is written in the pillar")
    return Leaving(absent - spared.keys(), spared)


def _kept(one: str, keep: addresses.Content) -> bool:
    if "/" not in one:
        return keep.has(one)
    meant = ipaddress.ip_network(one)
    networks = keep.v4_net if meant.version == 4 else keep.v6_net
    return any(meant.subnet_of(ipaddress.ip_network(kept)) for kept in networks)  # type: ignore[arg-type]


def _without_ours(pillar: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in pillar.items() if key != _KEY}


def _written(value: object) -> set[str]:
    """Return every address that stands anywhere in a value, also within a longer text."""
    found: set[str] = set()
    for text in _texts(value):
        # Most texts have none.
        if "." not in text and ":" not in text:
            continue
        for like in _LIKE_AN_ADDRESS.findall(_PORT.sub(r"\1 ", text)):
            # Rather one too many: 192.0.2.1/24 is no network, and means 192.0.2.1 perhaps.
            for one in (like, like.partition("/")[0].rstrip(".")):
                with contextlib.suppress(addresses.NoAddress):
                    found |= addresses.content([one]).everything()
    return found


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            for one in pair:
                yield from _texts(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)
