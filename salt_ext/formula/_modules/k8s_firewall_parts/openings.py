"""
What lets an address in: one value for each rule, set element or line, whichever firewall has it.

The readers (``read_nft``, ``read_iptables``, ``read_saved``) return openings of what they read;
``verify`` asks which of them name a removed address, and ``prune`` deletes those that are rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ACCEPTS = "accepts"
UNCLEAR = "unclear"
"""It names an address, and what it does with a packet is not understood: counts as open."""


@dataclass(frozen=True)
class NftRule:
    """A rule that nft deletes by its handle; also one that iptables-nft has made."""

    family: str
    table: str
    chain: str
    handle: int


@dataclass(frozen=True)
class XtRule:
    """A rule that an iptables program deletes by its text, or else by its number."""

    program: str
    table: str
    chain: str
    number: int
    rule: str
    """As the program saves it, from -A on."""


@dataclass(frozen=True)
class FileLines:
    """Whole lines of a saved file: the first one and the one after the last, from 0."""

    path: str
    first: int
    end: int
    text: str
    """Those lines as they were read: they are deleted only while they are the same."""


@dataclass(frozen=True)
class IpsetMember:
    """A member of an ipset, as it is written there."""

    name: str
    member: str


@dataclass(frozen=True)
class FirewalldSetting:
    """A setting that firewalld itself removes, from its files and from the kernel."""

    path: str
    owner: str
    """The option that names its zone, policy or ipset: ``--zone=public``."""
    option: str
    """The option that removes it; empty for the rich rules that accept one source."""
    source: str


Removal = NftRule | XtRule | FileLines | IpsetMember | FirewalldSetting


@dataclass(frozen=True)
class Opening:
    """One place that names addresses and lets them in, or may."""

    place: str
    """For an operator: ``iptables filter INPUT rule 7``, ``nft set inet filter prod``."""
    text: str
    """The rule, element or line, printable."""
    sources: tuple[str, ...]
    """What it names, canonical: addresses, networks, and ranges such as 192.0.2.1-192.0.2.9."""
    effect: str = ACCEPTS
    why: str = ""
    """Where the effect is unclear: what is not understood."""
    removal: Removal | None = None
    """How it is deleted: only a rule whose single source it is. None for everything else."""
    ports: frozenset[tuple[str, int, int]] | None = None
    """What it opens: protocol (empty for every one), first and last port; None for unknown."""
    element: bool = False
    """Whether it is an element of a set or map, which may be merged from several entries."""

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


@dataclass(frozen=True)
class Reading:
    """Every opening of a host, and what could not be read whole."""

    openings: tuple[Opening, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)
    """The reason, by what could not be read: ``iptables``, a path."""
