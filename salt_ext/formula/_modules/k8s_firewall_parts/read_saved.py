"""
Read the files from which firewalls are loaded at boot: text in, chains and openings out.

Four forms: that of iptables-save, with ufw's tuples; that of nft; that of ``ipset save``; and
firewalld's XML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree as ET

from . import intervals, ownership, read_ipset, read_iptables, read_nft_file
from .chains import (
    ACCEPT,
    DROP,
    NOTHING,
    SOURCE,
    STRANGE,
    Analysis,
    Chain,
    Chains,
    Condition,
    NamedSet,
    Rule,
    openings,
    shown,
)
from .intervals import Interest
from .openings import UNCLEAR, FileLines, FirewalldSetting, IpsetMember, Opening, Removal

_TABLE_LINE = re.compile(r"^\s*\*[a-z]+\s*$", re.MULTILINE)
_IPSET_LINE = re.compile(r"^\s*(?:create|add|-N|-A|n|a)\s+\S+\s+\S", re.MULTILINE)
_NFT_LINE = re.compile(
    r"(?:^|;)[ \t]*(?:table|include|define|flush\s+ruleset|(?:destroy|delete)\s+table"
    r"|(?:add|insert|create)\s+(?:rule|table|chain|set|element|map))\b",
    re.MULTILINE,
)
_UFW_TUPLE = "### tuple ###"
_UFW_OUTPUT = re.compile(r"ufw6?-.*output", re.ASCII)
_LETS_IN = ("service", "port", "protocol", "source-port", "icmp-type", "forward-port")

IPTABLES, NFT, IPSET, XML = "iptables", "nft", "ipset", "xml"


class Saved(NamedTuple):
    """One file as it was read."""

    path: str
    text: str


def form(path: str, text: str) -> str:
    """Return the form of a file; empty where it has none that is known."""
    if text.lstrip()[:1] == "<":
        return XML
    if _TABLE_LINE.search(text):
        return IPTABLES
    if path.endswith(".xml"):
        return XML
    if "ipset" in path and _IPSET_LINE.search(text):
        return IPSET
    if _NFT_LINE.search(text) or path.endswith(".nft"):
        return NFT
    return IPSET if _IPSET_LINE.search(text) else ""


def family_of(path: str) -> str:
    """Return the family of a file in the form of iptables-save, by its name."""
    name = path.rpartition("/")[2]
    return "ip6" if "6" in name.replace("x86", "") else "ip"


def iptables(saved: Saved, set_of: read_iptables.SetOf, interest: Interest) -> Iterator[Opening]:
    """Yield the openings of a file in the form of iptables-save; ufw's are its tuples."""
    lines = saved.text.split("\n")
    tuples = list(_tuples(lines))
    inside = {number for one in tuples for number in range(one.first, one.end)}

    def make(_table: str, _chain: str, _at: int, line: int, _text: str) -> Mapping[str, object]:
        return {"removal": _lines(saved, lines, line, line + 1)}

    chains = read_iptables.chains_of(
        saved.text, family_of(saved.path), set_of,
        lambda _table, _chain, _at: saved.path, make,
    )  # fmt: skip
    for key in [key for key in chains if _UFW_OUTPUT.fullmatch(key[2])]:
        chains[key].hook = "output"
    complete = any(
        chains[key].rules
        for key in chains
        if key[1:] in (("filter", "INPUT"), ("filter", "FORWARD"))
    )
    for opening in openings(Analysis(chains, incomplete=not complete), interest):
        lines_of = opening.removal
        if not isinstance(lines_of, FileLines) or lines_of.path != saved.path:
            yield opening
        elif lines_of.first not in inside:
            yield _placed(opening, f" line {lines_of.first + 1}")
    for one in tuples:
        source = intervals.parse(one.source)
        if source is not None and not source.everything and interest.touches(source):
            yield Opening(
                place=f"{saved.path} line {one.first + 1}",
                text=shown(lines[one.first]),
                sources=(str(source),),
                removal=_lines(saved, lines, one.first, one.end),
            )


def not_understood(saved: Saved, interest: Interest) -> Iterator[Opening]:
    """Yield the lines of a file of an unknown form that name an address; comments do not."""
    for number, line in enumerate(saved.text.split("\n"), 1):
        if line.lstrip().startswith("#"):
            continue
        for entry in sorted(ownership.Written(line).entries):
            source = intervals.parse(entry)
            if source is not None and not source.everything and interest.touches(source):
                yield Opening(
                    place=f"{saved.path} line {number}",
                    text=shown(line),
                    sources=(entry,),
                    effect=UNCLEAR,
                    why="the form of this file is not known",
                )


def _placed(opening: Opening, number: str) -> Opening:
    values = {name: getattr(opening, name) for name in opening.__dataclass_fields__}
    return Opening(**{**values, "place": opening.place + number})


def _lines(saved: Saved, lines: Sequence[str], first: int, end: int) -> FileLines:
    text = "".join(f"{line}\n" for line in lines[first:end])
    if end >= len(lines):
        text = text[:-1]
    return FileLines(saved.path, first, end, text)


class _Tuple(NamedTuple):
    """One rule of ufw: what it was asked for, with all the lines that it became."""

    first: int
    end: int
    source: str


def _tuples(lines: Sequence[str]) -> Iterator[_Tuple]:
    """Yield the tuples that let packets in."""
    for number, line in enumerate(lines):
        if not line.startswith(_UFW_TUPLE):
            continue
        words = line[len(_UFW_TUPLE) :].split(" comment=")[0].split()
        action = words[0].rpartition(":")[2].split("_")[0] if words else ""
        if len(words) < 6 or action not in ("allow", "limit"):
            continue
        if words[-1].partition("!")[0].startswith("out") and not words[0].startswith("route:"):
            continue
        end = number + 1
        while end < len(lines) and lines[end].strip() and not lines[end].startswith("###"):
            end += 1
        yield _Tuple(number, end, words[5])


def nft(saved: Saved, include: read_nft_file.Include, interest: Interest) -> Iterator[Opening]:
    """Yield the openings of a file of nft, and of those that it includes."""
    reader = read_nft_file.Reader(saved.path, saved.text, include)
    yield from openings(Analysis(reader.chains, incomplete=reader.incomplete), interest)


def ipset_elements(saved: Saved) -> dict[str, NamedSet]:
    """Return the sets of a file of ipsets, by their names."""
    sets = read_ipset.parse(saved.text)
    found = {name: read_ipset.named_set(name, sets, f"{saved.path} ipset {name}") for name in sets}
    lines = saved.text.split("\n")
    places: dict[tuple[str, str], list[Removal]] = {}
    for number, line in enumerate(lines):
        for name, one in read_ipset.parse(line).items():
            for member in one.members:
                span = _lines(saved, lines, number, number + 1)
                places.setdefault((name, member), []).append(span)
    for named in found.values():
        named.removals = {
            element: [
                span
                for one in members
                if isinstance(one, IpsetMember)
                for span in places.get((one.name, one.member), ())
            ]
            for element, members in named.removals.items()
        }
    return found


class Firewalld:
    """Firewalld's own files: zones, policies, ipsets and direct rules."""

    def __init__(self, files: Sequence[Saved], kernel_set_of: read_iptables.SetOf) -> None:
        self.unknown: dict[str, str] = {}
        self._kernel_set_of = kernel_set_of
        self._roots: list[tuple[Saved, ET.Element]] = []
        self._sets: dict[str, NamedSet] = {}
        for saved in files:
            try:
                root = ET.fromstring(saved.text)  # noqa: S314 (root's own files)
            except (ET.ParseError, ValueError) as exc:
                self.unknown[saved.path] = f"it is not valid XML: {exc}"
                continue
            self._roots.append((saved, root))
            if root.tag == "ipset":
                name = saved.path.rpartition("/")[2].removesuffix(".xml")
                members = [entry.text.strip() for entry in root.iter("entry") if entry.text]
                one = read_ipset.SavedSet(name, "", members)
                found = read_ipset.named_set(name, {name: one}, saved.path)
                found.removals = {
                    element: [
                        FirewalldSetting(
                            saved.path, f"--ipset={name}", "--remove-entry", removal.member
                        )
                        for removal in removals
                        if isinstance(removal, IpsetMember)
                    ]
                    for element, removals in found.removals.items()
                }
                self._sets[name] = found

    def openings(self, interest: Interest) -> Iterator[Opening]:
        """Yield the openings of all files."""
        for saved, root in self._roots:
            chains: Chains = {}
            if root.tag in ("zone", "policy"):
                chain = Chain(("firewalld", saved.path, "rules"), type="filter", hook="input")
                chain.rules = [*self._zone(saved, root), *self._rich(saved, root)]
                chains[chain.key] = chain
            elif root.tag == "direct":
                chains = self._direct(saved, root)
            yield from openings(Analysis(chains, incomplete=True), interest)

    def set_of(self, name: str) -> NamedSet:
        """Return an ipset of firewalld's, or else the kernel's."""
        return self._sets[name] if name in self._sets else self._kernel_set_of(name)

    def _zone(self, saved: Saved, root: ET.Element) -> Iterator[Rule]:
        target = root.get("target", "default")
        lets_in = target == "ACCEPT" or any(
            child.tag in _LETS_IN or child.find("accept") is not None for child in root
        )
        if root.tag != "zone" or not lets_in:
            return
        for source in root.findall("source"):
            condition = self._source(source)
            if condition is not None:
                removal = self._removal(saved, "--remove-source", source)
                yield Rule(saved.path, (condition,), ACCEPT, text=_xml(source), removal=removal)

    def _rich(self, saved: Saved, root: ET.Element) -> Iterator[Rule]:
        for rule in root.findall("rule"):
            source = rule.find("source")
            condition = None if source is None else self._source(source)
            if condition is None:
                continue
            verdict, why = NOTHING, ""
            if rule.find("accept") is not None:
                verdict = ACCEPT
            elif rule.find("drop") is not None or rule.find("reject") is not None:
                verdict = DROP
            elif rule.find("mark") is not None:
                verdict, why = STRANGE, "it marks the packet"
            elif rule.find("forward-port") is not None:
                verdict, why = STRANGE, "it sends the packet to another address"
            removal = None if source is None else self._removal(saved, "", source)
            yield Rule(saved.path, (condition,), verdict, why=why, text=_xml(rule), removal=removal)

    @staticmethod
    def _removal(saved: Saved, option: str, source: ET.Element) -> FirewalldSetting | None:
        address = source.get("address", "")
        folder, _, name = saved.path.removesuffix(".xml").rpartition("/")
        kind, _, above = folder.partition("/firewalld/")[2].partition("/")
        if not address or kind not in ("zones", "policies"):
            return None
        # The files in a folder of a zone's name are parts of this zone.
        owner = f"--{'zone' if kind == 'zones' else 'policy'}={above or name}"
        return FirewalldSetting(saved.path, owner, option, address)

    def _source(self, source: ET.Element) -> Condition | None:
        negated = source.get("invert", "").lower() in ("true", "yes", "1")
        if name := source.get("ipset"):
            return Condition((SOURCE,), (), negated, self.set_of(name))
        one = intervals.parse(source.get("address", ""))
        return Condition((SOURCE,), ((one,),), negated) if one else None

    def _direct(self, saved: Saved, root: ET.Element) -> Chains:
        chains: Chains = {}
        for rule in [*root.findall("rule"), *root.findall("passthrough")]:
            family = {"ipv6": "ip6", "eb": "eb"}.get(rule.get("ipv", ""), "ip")
            parsed = read_iptables.parse(rule.text or "")
            table = rule.get("table") or next(
                (words[0] for name, _, words in parsed.options if name == "table" and words),
                "filter",
            )
            name = rule.get("chain") or parsed.chain
            if family == "eb" or not name:
                continue
            key = (family, table, name)
            if key not in chains:
                chains[key] = read_iptables.new_chain(family, table, name, "ACCEPT")
            chains[key].rules.append(
                read_iptables.rule(parsed, family, table, self.set_of, saved.path, text=_xml(rule))
            )
        return chains


def _xml(element: ET.Element) -> str:
    return ET.tostring(element, encoding="unicode").strip()
