"""
The chains of any packet filter in one form, and which of their rules let an address in.

``read_nft`` and ``read_iptables`` make them; pure: no program is run here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import errors
from .intervals import Interest, Interval
from .openings import ACCEPTS, UNCLEAR, Opening, Removal

# What a condition looks at.
SOURCE, DEST, PORT, PROTOCOL, FAMILY = "source", "destination", "port", "protocol", "family"
STATE, DIRECTION, STATUS = "state", "direction", "status"
ORIGINAL_PORT = "original port"
"""As the client sent it, before a redirect or a published container port changed it."""
INTERFACE, DEST_TYPE, PACKET_TYPE, SYN = "interface", "destination type", "packet type", "syn"
OTHER = "other"

# What a rule does with a packet that it matches.
ACCEPT, DROP, RETURN, JUMP, GOTO, NOTHING = "accept", "drop", "return", "jump", "goto", "nothing"
STRANGE = "strange"
"""It may let the packet in on a way that is not understood: a mark, a queue, another address."""

_MAX_TEXT = 200
_INPUT_HOOKS = ("ingress", "prerouting", "input", "forward")
_NOT_FILTERS = ("raw", "mangle", "nat", "security")
"""iptables tables whose ACCEPT only ends that table."""

ChainKey = tuple[str, str, str]
"""The family, the table and the chain."""


@dataclass(eq=False)
class NamedSet:
    """A kernel set or map that conditions name; each element has one value for each field."""

    place: str
    elements: Sequence[tuple[Any, ...]] = ()
    intervals: bool = False
    """Whether neighbours may have been merged into one element."""
    known: bool = True
    """Whether its elements could be read."""
    places: dict[tuple[Any, ...], str] = field(default_factory=dict)
    """Where an element is written, if not in the kernel."""
    removals: dict[tuple[Any, ...], list[Removal]] = field(default_factory=dict)
    """How an element is deleted, from each place that has it."""
    _touched: dict[int, list[tuple[Any, ...]]] = field(default_factory=dict)

    _reach: dict[int, Interest] = field(default_factory=dict)

    def touched(self, position: int, interest: Interest) -> list[tuple[Any, ...]]:
        """Return the elements with an address of interest at a position."""
        if position not in self._touched:
            self._touched[position] = [
                element
                for element in self.elements
                if position < len(element)
                and isinstance(element[position], Interval)
                and interest.touches(element[position])
            ]
        return self._touched[position]

    def reaches(self, position: int, source: Interval) -> bool:
        """Whether some element has an address of a source at a position."""
        if position not in self._reach:
            self._reach[position] = Interest.of(
                element[position]
                for element in self.elements
                if position < len(element) and isinstance(element[position], Interval)
            )
        return self._reach[position].touches(source)


class Condition(NamedTuple):
    """What a rule asks of a packet: that its fields, together, are one of the elements."""

    fields: tuple[str, ...]
    elements: tuple[tuple[Any, ...], ...] = ()
    negated: bool = False
    named: NamedSet | None = None

    def all_elements(self) -> Sequence[tuple[Any, ...]]:
        """Return what is allowed, also where a named set says so."""
        return self.named.elements if self.named else self.elements


class Rule(NamedTuple):
    """One rule; an element of a verdict map is one, too."""

    place: str
    conditions: tuple[Condition, ...]
    verdict: str
    target: ChainKey | None = None
    why: str = ""
    """What is not understood, where the verdict is strange."""
    removal: Removal | None = None
    text: str | Callable[[], str] = ""
    element_of: NamedSet | None = None

    def shown(self) -> str:
        """Return the rule as an operator knows it, printable and not too long."""
        return shown(self.text if isinstance(self.text, str) else self.text())


@dataclass
class Chain:
    """A chain; one with a hook is called by the kernel."""

    key: ChainKey
    rules: list[Rule] = field(default_factory=list)
    type: str = ""
    hook: str = ""
    priority: int = 0
    policy: str = ACCEPT


Chains = dict[ChainKey, Chain]

_PROTOCOL_NAMES = {6: "tcp", 17: "udp"}
_LOCAL = Condition((INTERFACE,), (("lo",),))
"""No packet of another host comes in there."""


def shown(text: str) -> str:
    """Return foreign text in a form that can be printed."""
    text = " ".join(errors.printable(text).split())
    plain = "".join(char if char.isprintable() else "?" for char in text)
    return plain if len(plain) <= _MAX_TEXT else f"{plain[: _MAX_TEXT - 4]} ..."


class Analysis:
    """What the rules of all chains together do; each question is answered once."""

    def __init__(self, chains: Chains, *, incomplete: bool = False) -> None:
        """Take all chains; incomplete where others, not known here, may call them (a file)."""
        self.chains = chains
        self._may_drop: dict[ChainKey, bool] = {}
        self._drops_all: dict[ChainKey, bool] = {}
        self._accepting: dict[tuple[ChainKey, Interval], tuple[str, str]] = {}
        self.reachable, self.counting = self._reach(incomplete=incomplete)

    def _reach(self, *, incomplete: bool) -> tuple[set[ChainKey], set[ChainKey]]:
        reachable: set[ChainKey] = set()
        counting: set[ChainKey] = set()
        elsewhere: set[ChainKey] = set()
        for chain in self.chains.values():
            if not chain.hook:
                continue
            below = self._below(chain.key)
            if chain.hook not in _INPUT_HOOKS:
                elsewhere |= below
                continue
            reachable |= below
            filters = chain.type == "filter" and chain.hook in ("input", "forward")
            if (filters and chain.key[1] not in _NOT_FILTERS) or self.may_drop(chain.key):
                counting |= below
        if incomplete:
            called = self.chains.keys() - elsewhere - reachable
            reachable |= called
            counting |= {key for key in called if key[1] not in _NOT_FILTERS}
        return reachable, counting

    def _below(self, key: ChainKey) -> set[ChainKey]:
        found: set[ChainKey] = set()
        todo = [key]
        while todo:
            one = todo.pop()
            if one in found or one not in self.chains:
                continue
            found.add(one)
            todo += {rule.target for rule in self.chains[one].rules if rule.target}
        return found

    def may_drop(self, key: ChainKey) -> bool:
        """Whether some packet is dropped in a chain or below it."""
        if key not in self._may_drop:
            self._may_drop[key] = any(
                self.chains[one].policy == DROP
                or any(rule.verdict == DROP for rule in self.chains[one].rules)
                for one in self._below(key)
            )
        return self._may_drop[key]

    def drops_all(self, key: ChainKey | None) -> bool:
        """Whether a chain ends with the drop of every packet that it has not accepted before."""
        if key is None or key not in self.chains:
            return False
        if key not in self._drops_all:
            self._drops_all[key] = False  # Where chains call each other in a circle.
            self._drops_all[key] = self._drops_rest(self.chains[key].rules)
        return self._drops_all[key]

    def drops(self, chain: Chain, rule: Rule) -> bool:
        """Whether a rule drops what it matches, in a chain where that counts."""
        drops = rule.verdict == DROP or self.drops_all(rule.target)
        return drops and chain.key in self.counting

    def _drops_rest(self, rules: Iterable[Rule]) -> bool:
        for rule in rules:
            if rule.conditions:
                continue
            if rule.verdict == DROP:
                return True
            if rule.verdict in (JUMP, GOTO) and self.drops_all(rule.target):
                return True
            if rule.verdict in (ACCEPT, RETURN, GOTO):
                return False
        return False

    def accepts(self, key: ChainKey | None, source: Interval) -> tuple[str, str]:
        """Return the effect of a chain on packets of a source, and why it is unclear."""
        if key is None or key not in self.chains:
            return UNCLEAR, "it jumps to a chain that was not read"
        if (key, source) not in self._accepting:
            # Where chains call each other in a circle.
            self._accepting[key, source] = ("", "")
            self._accepting[key, source] = self._walk(key, source)
        return self._accepting[key, source]

    def _walk(self, key: ChainKey, source: Interval) -> tuple[str, str]:
        unclear = ""
        for rule in self.chains[key].rules:
            if not may_match(rule, source):
                continue
            if rule.verdict == ACCEPT:
                return ACCEPTS, ""
            if rule.verdict == STRANGE:
                unclear = unclear or rule.why
            elif rule.verdict in (JUMP, GOTO):
                effect, why = self.accepts(rule.target, source)
                if effect == ACCEPTS:
                    return effect, ""
                unclear = unclear or why
            if not rule.conditions and (
                rule.verdict in (DROP, RETURN, GOTO) or self.drops_all(rule.target)
            ):
                break
        return (UNCLEAR, unclear) if unclear else ("", "")

    def effect(self, chain: Chain, at: int, source: Interval) -> tuple[str, str]:
        """Return the effect of a chain's rule on a source that it names; empty: not let in."""
        rule = chain.rules[at]
        if rule.verdict == ACCEPT:
            return (ACCEPTS, "") if chain.key in self.counting else ("", "")
        if rule.verdict in (JUMP, GOTO):
            effect, why = self.accepts(rule.target, source)
            if effect == ACCEPTS and chain.key not in self.counting:
                return "", ""
            return effect, why
        if rule.verdict == RETURN:
            return self._return_effect(chain, at, source)
        if rule.verdict == STRANGE:
            return UNCLEAR, rule.why
        return "", ""

    def _return_effect(self, chain: Chain, at: int, source: Interval) -> tuple[str, str]:
        if chain.hook and chain.policy == DROP:
            return "", ""
        mine = {condition for condition in chain.rules[at].conditions if _comparable(condition)}
        unclear = False
        for rule in chain.rules[at + 1 :]:
            if not may_match(rule, source):
                continue
            drops = rule.verdict == DROP or (
                rule.verdict in (JUMP, GOTO) and self.drops_all(rule.target)
            )
            # A drop of just those packets that are let past it here.
            if drops and all(condition in mine for condition in rule.conditions):
                return ACCEPTS, ""
            if drops or (rule.target in self.chains and self.may_drop(rule.target)):
                unclear = True
            if rule.verdict in (ACCEPT, RETURN, GOTO) and not rule.conditions:
                break
        why = "it returns before rules that drop some packets"
        return (UNCLEAR, why) if unclear else ("", "")


def _comparable(condition: Condition) -> bool:
    return OTHER not in condition.fields and SOURCE not in condition.fields


def may_match(rule: Rule, source: Interval) -> bool:
    """Whether a rule may match packets of a source, as far as its conditions tell of sources."""
    return all(
        _may_hold(condition, kind, at, source)
        for condition in rule.conditions
        for at, kind in enumerate(condition.fields)
        if kind in _TELLING
    )


_TELLING = (SOURCE, DEST, FAMILY, PROTOCOL)
_VERSIONS = {4: 4, 6: 6, "ipv4": 4, "ipv6": 6, "ip": 4, "ip6": 6}
_OF_VERSION = {1: 4, "icmp": 4, 58: 6, "icmpv6": 6, "ipv6-icmp": 6}
"""Protocols that belong to one version of IP: firewalld has all zones call a chain for them."""


def version_of(family: object) -> int:
    """Return the IP version of a family as rules write it; 0 for anything else."""
    return _VERSIONS.get(family, 0) if isinstance(family, (int, str)) else 0


def _may_hold(condition: Condition, kind: str, at: int, source: Interval) -> bool:
    if kind == SOURCE and condition.named and not condition.negated:
        return not condition.named.known or condition.named.reaches(at, source)
    values = [element[at] for element in condition.all_elements() if at < len(element)]
    if kind == SOURCE:
        places = [value for value in values if isinstance(value, Interval)]
        if condition.negated:
            alone = len(condition.fields) == 1
            return not (alone and any(source.within(place) for place in places))
        return any(source.overlaps(place) for place in places)
    if condition.negated:
        return True
    if kind == DEST:
        # From an address to itself, as between the hosts of one zone, lets nothing in.
        return source.size > 1 or any(value != source for value in values) or not values
    if kind == FAMILY:
        return any(version_of(value) in (0, source.version) for value in values)
    return any(
        not isinstance(value, (int, str))
        or _OF_VERSION.get(value, source.version) == source.version
        for value in values
    )


def openings(analysis: Analysis, interest: Interest) -> Iterator[Opening]:
    """Yield every opening that names an address of interest."""
    for key in analysis.chains:
        if key not in analysis.reachable:
            continue
        chain = analysis.chains[key]
        for at, rule in enumerate(chain.rules):
            for condition in rule.conditions:
                if SOURCE in condition.fields:
                    yield from _named(analysis, chain, at, condition, interest)


def _named(
    analysis: Analysis, chain: Chain, at: int, condition: Condition, interest: Interest
) -> Iterator[Opening]:
    rule = chain.rules[at]
    if _LOCAL in rule.conditions:
        return
    position = condition.fields.index(SOURCE)
    if condition.named:
        found = condition.named.touched(position, interest)
    else:
        found = [
            element
            for element in condition.elements
            if position < len(element)
            and isinstance(element[position], Interval)
            and interest.touches(element[position])
        ]
    if not condition.negated:
        found = [element for element in found if may_match(rule, element[position])]
    if not found:
        return
    # Where all others are dropped, those that are named get in.
    if condition.negated and not analysis.drops(chain, rule):
        return
    by_effect: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for element in found:
        if condition.negated:
            effect = (ACCEPTS, "")
        else:
            effect = analysis.effect(chain, at, element[position])
        if effect[0]:
            by_effect.setdefault(effect, []).append(element)
    for (effect_name, why), elements in by_effect.items():
        named = condition.named or rule.element_of
        if named:
            for element in elements:
                removable = effect_name == ACCEPTS and not condition.negated
                for removal in (removable and named.removals.get(element)) or (None,):
                    yield Opening(
                        place=named.places.get(element, named.place),
                        text=shown(f"{_element_text(element)}, in {rule.place}: {rule.shown()}"),
                        sources=(str(element[position]),),
                        effect=effect_name,
                        why=why,
                        ports=_ports(rule),
                        removal=removal,
                        element=named.intervals,
                    )
            continue
        alone = not condition.negated and len(condition.elements) == 1 and _only_source(rule)
        yield Opening(
            place=rule.place,
            text=rule.shown(),
            sources=tuple(str(element[position]) for element in elements),
            effect=effect_name,
            why=why,
            ports=_ports(rule),
            removal=rule.removal if alone and effect_name == ACCEPTS else None,
        )


def _ports(rule: Rule) -> frozenset[tuple[str, int, int]] | None:
    """Return what a rule opens: protocol, first and last port; None where it does not tell."""
    protocols, ports = [""], [] if rule.verdict != ACCEPT else [(1, 65535)]
    for condition in rule.conditions:
        if not {PORT, PROTOCOL} & set(condition.fields):
            continue
        if len(condition.fields) > 1 or condition.negated or condition.named:
            return None
        values = [element[0] for element in condition.elements]
        if condition.fields == (PORT,):
            ports = values
        else:
            protocols = [_PROTOCOL_NAMES.get(value, "") for value in values]
    found = ((protocol, *port) for protocol in protocols for port in ports)
    return frozenset(found) or None


def _only_source(rule: Rule) -> bool:
    sources = [one for one in rule.conditions if SOURCE in one.fields]
    return len(sources) == 1 and sources[0].fields == (SOURCE,)


def _element_text(element: tuple[Any, ...]) -> str:
    return " . ".join(
        f"{part[0]}-{part[1]}" if type(part) is tuple and len(part) == 2 else str(part)
        for part in element
    )
