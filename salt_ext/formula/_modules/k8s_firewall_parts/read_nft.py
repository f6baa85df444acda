"""
Read what ``nft -j list ruleset`` prints, decoded, into chains.

It has the rules of nft and of iptables-nft, each with its handle. Matches and targets of iptables
are opaque in it: for those the rule's text is taken from what ``iptables-nft-save`` prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import intervals, nft_text, read_iptables
from .chains import (
    ACCEPT,
    DEST,
    DEST_TYPE,
    DIRECTION,
    DROP,
    FAMILY,
    GOTO,
    INTERFACE,
    JUMP,
    NOTHING,
    ORIGINAL_PORT,
    OTHER,
    PACKET_TYPE,
    PORT,
    PROTOCOL,
    RETURN,
    SOURCE,
    STATE,
    STATUS,
    STRANGE,
    SYN,
    Chain,
    ChainKey,
    Chains,
    Condition,
    NamedSet,
    Rule,
)
from .intervals import Interest, Interval
from .openings import NftRule

PROGRAMS = {"ip": "iptables", "ip6": "ip6tables"}
FAMILIES = ("ip", "ip6", "inet", "netdev", "bridge")

Texts = Mapping[ChainKey, Sequence[str]]
"""The rules of iptables-nft as text, in order, for each chain that could be read whole."""

QUIET = frozenset({"comment", "tcp", "udp", "limit", "multiport", "state", "mark", "connmark",
                    "addrtype", "icmp", "icmp6", "physdev", "pkttype", "hl", "ttl", "length",
                    "time", "statistic", "owner", "mac", "hashlimit", "connlimit", "helper",
                    "dscp", "tos", "rt", "frag", "ipv6header", "eui64", "LOG", "sctp", "dccp",
                    "rpfilter", "socket", "cgroup", "cpu", "nfacct", "quota", "rateest", "realm",
                    "ecn", "esp", "ah", "dst", "hbh", "mh", "cluster", "connbytes", "connlabel",
                    "devgroup", "ipcomp", "control", "tcpmss", "string"})  # fmt: skip
"""Matches of iptables that name no address."""

_TARGETS = frozenset({*read_iptables.VERDICTS, *read_iptables.HARMLESS})

STATEMENTS: Mapping[str, str] = {
    "dnat": "it sends the packet to another address",
    "redirect": "it sends the packet to another port",
    "tproxy": "it hands the packet to a proxy",
    "queue": "a program decides on the packet",
    "notrack": "it takes the packet out of connection tracking",
    "dup": "it copies the packet to another host",
    "fwd": "it forwards the packet to another interface",
    "synproxy": "it answers in place of the service",
}
_MARKS = ("mark", "secmark", "zone")
_LIMITS = ("limit", "quota", "ct count", "meter")

OWN_TABLE = ("inet", "k8s_firewall")
DEPARTED = "k8sfw-departed"
"""The sets of departed addresses in this module's own table: see ``reverse_flows``."""


@dataclass
class Listing:
    """The rules of a document but for those whose only source is not of interest."""

    rules: list[tuple[ChainKey, int, Mapping[str, Any]]]
    """Each with its chain, and with its number there from 0."""
    lengths: Mapping[ChainKey, int]
    """The number of all rules of each chain."""

    @classmethod
    def of(cls, document: object, interest: Interest) -> Listing:
        """Take the rules of a document."""
        made, lengths = cls([], {}), dict[ChainKey, int]()
        for rule in _objects(document, "rule"):
            key = (str(rule.get("family")), str(rule.get("table")), str(rule.get("chain")))
            number = lengths.get(key, 0)
            lengths[key] = number + 1
            statements = rule.get("expr")
            if isinstance(statements, list) and not _names_others(statements, interest):
                made.rules.append((key, number, rule))
        made.lengths = lengths
        return made

    def opaque(self, *, evaluate: bool = False) -> set[ChainKey]:
        """
        Return the chains with rules that nft does not show whole, and iptables may.

        evaluate
            Every part of a rule is needed, and not only what may name an address.
        """
        found: set[ChainKey] = set()
        for key, _, rule in self.rules:
            names = [
                one["xt"].get("name") if isinstance(one["xt"], dict) else None
                for one in rule["expr"]
                if isinstance(one, dict) and "xt" in one
            ]
            if (
                names
                and key[0] in PROGRAMS
                and (evaluate or any(name not in QUIET | _TARGETS for name in names))
            ):
                found.add(key)
        return found


def _names_others(statements: list[Any], interest: Interest) -> bool:
    """Whether a rule matches only sources that are not of interest; the common case, and fast."""
    for one in statements:
        match = one.get("match") if isinstance(one, dict) else None
        if not isinstance(match, dict) or match.get("op") != "==":
            continue
        left, right = match.get("left"), match.get("right")
        payload = left.get("payload") if isinstance(left, dict) else None
        if (
            isinstance(right, str)
            and isinstance(payload, dict)
            and payload.get("field") == "saddr"
            and _field(left) == SOURCE
        ):
            source = intervals.parse(right)
            if source is not None and not interest.touches(source):
                return True
    return False


def problem(document: object) -> str:
    """Return why a document is not whole; empty where it is."""
    listed = document.get("nftables") if isinstance(document, Mapping) else None
    if not isinstance(listed, list):
        return "the output of nft is not a ruleset"
    if not any(isinstance(one, Mapping) and "metainfo" in one for one in listed):
        return "the output of nft lacks its first line"
    return ""


def _objects(document: object, *kinds: str) -> Iterator[Mapping[str, Any]]:
    listed = document.get("nftables") if isinstance(document, dict) else None
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            for kind in kinds:
                if isinstance(value := one.get(kind), dict):
                    yield value


class Reader:
    """Reads one document; what it does not understand is in ``unknown`` at the end."""

    def __init__(
        self,
        document: object,
        texts: Texts,
        set_of: Callable[[str], NamedSet],
        interest: Interest | None = None,
        *,
        listing: Listing | None = None,
        steady: bool = True,
    ) -> None:
        """
        Read a document, but for rules whose only source is not of interest.

        listing
            The rules of the document, where they were taken already.

        steady
            Nothing has changed between the document and the texts, so that a rule has the handle
            of the one and the text of the other.
        """
        self._steady = steady
        listing = listing or Listing.of(document, interest or Interest())
        self._lengths = listing.lengths
        self.unknown: dict[str, str] = {}
        self.unread_sets = False
        """Whether a rule matches an ipset, and which one is not shown."""
        self._texts = texts
        self._set_of = set_of
        self._sets: dict[ChainKey, Mapping[str, Any]] = {
            (str(one.get("family")), str(one.get("table")), str(one.get("name"))): one
            for one in _objects(document, "set", "map")
        }
        self._named: dict[ChainKey, NamedSet] = {}
        self.chains: Chains = {}
        for one in _objects(document, "chain"):
            chain = _chain(one)
            if chain.key[0] in FAMILIES:
                self.chains[chain.key] = chain
        for key, number, rule in listing.rules:
            if key[0] in FAMILIES:
                self._add(self.chains.setdefault(key, Chain(key)), number, rule)

    def _add(self, chain: Chain, number: int, rule: Mapping[str, Any]) -> None:
        # Elements of verdict maps are rules here, too: the kernel's rules are counted apart.
        statements = rule["expr"]
        handle = rule.get("handle")
        removal = NftRule(*chain.key, handle) if isinstance(handle, int) else None
        xt = [one["xt"] for one in statements if isinstance(one, dict) and "xt" in one]
        program = self._iptables(chain.key)
        place = f"nft {' '.join(chain.key)} handle {handle}"
        if program:
            place = f"{program} {chain.key[1]} {chain.key[2]} rule {number + 1}"
        if xt:
            texts = self._texts.get(chain.key, ())
            named = any(SOURCE in _fields(one) for one in statements)
            if len(texts) == self._lengths[chain.key] and (self._steady or not named):
                family, table, _ = chain.key
                parsed = read_iptables.parse(texts[number])
                chain.rules.append(
                    read_iptables.rule(
                        parsed,
                        family,
                        table,
                        self._set_of,
                        place,
                        removal=removal if self._steady else None,
                        text=texts[number],
                    )
                )
                return
        comment = rule.get("comment")
        made = _Statements(self, chain.key, place, removal, statements, comment)
        chain.rules += made.rules()
        names = [one.get("name") if isinstance(one, Mapping) else None for one in xt]
        if "set" in names:
            self.unread_sets = True
        if made.may_name_any([name for name in names if name != "set"]):
            self.unknown.setdefault(
                f"nft {' '.join(chain.key)}",
                f"nft does not show what the rule with handle {handle} matches, and "
                f"iptables-nft-save did not print it",
            )

    def _iptables(self, key: ChainKey) -> str:
        """Return the iptables program that a chain belongs to; empty where it is nft's own."""
        family, table, _ = key
        if family not in PROGRAMS or not any(
            (family, table, name) in self.chains for name in read_iptables.HOOKS
        ):
            return ""
        return PROGRAMS[family] if table in read_iptables.PRIORITIES else ""

    def named(self, key: ChainKey) -> NamedSet:
        """Return a named set or map of a table, read once."""
        if key not in self._named:
            # What this set names is kept out, also where the rest of the traffic is let in.
            ours = key[:2] == OWN_TABLE and key[2].startswith(DEPARTED)
            one = {} if ours else self._sets.get(key, {})
            kind = "map" if "map" in one else "set"
            flags = one.get("flags")
            self._named[key] = NamedSet(
                f"nft {kind} {' '.join(key)}",
                [_element(item) for item in _list(one.get("elem")) if not _is_pair(item)]
                or [_element(item[0]) for item in _list(one.get("elem")) if _is_pair(item)],
                intervals="interval" in flags if isinstance(flags, list) else flags == "interval",
            )
        return self._named[key]

    def map_items(self, key: ChainKey) -> list[tuple[object, object]]:
        """Return the keys and the values of a map."""
        elements = _list(self._sets.get(key, {}).get("elem"))
        return [(item[0], item[1]) for item in elements if _is_pair(item)]


def _chain(one: Mapping[str, Any]) -> Chain:
    priority = one.get("prio")
    return Chain(
        (str(one.get("family")), str(one.get("table")), str(one.get("name"))),
        type=str(one.get("type", "")),
        hook=str(one.get("hook", "")),
        priority=priority if isinstance(priority, int) else 0,
        policy=DROP if one.get("policy") == "drop" else ACCEPT,
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _is_pair(item: object) -> bool:
    return isinstance(item, list) and len(item) == 2


class _Statements:
    """The statements of one rule, which become one rule or, with a verdict map, several."""

    def __init__(
        self,
        reader: Reader,
        key: ChainKey,
        place: str,
        removal: NftRule | None,
        statements: list[Any],
        comment: object,
    ) -> None:
        self._reader = reader
        self._key = key
        self._place = place
        self._removal = removal
        self._statements = statements
        self._comment = comment
        self._conditions: list[Condition] = []
        self._made: list[Rule] = []
        self._strange = ""
        self._ended = False

    def text(self) -> str:
        """Return the rule as nft writes it, as well as can be."""
        return nft_text.rule(self._statements, self._comment)

    def may_name_any(self, names: list[Any]) -> bool:
        """Whether the rule may let in addresses that are not shown, by matches of these names."""
        if all(name in QUIET for name in names):
            return False
        return any(
            rule.verdict in (ACCEPT, JUMP, GOTO, RETURN, STRANGE)
            and not any(SOURCE in one.fields for one in rule.conditions)
            for rule in self._made
        )

    def rules(self) -> list[Rule]:
        """Return the rules that the statements are."""
        for statement in self._statements:
            if isinstance(statement, Mapping):
                for name, value in statement.items():
                    self._take(name, value)
            elif isinstance(statement, str):
                self._take(statement, None)
        if not self._ended:
            self._emit(NOTHING)
        return self._made

    def _emit(
        self,
        verdict: str,
        target: str = "",
        more: Sequence[Condition] = (),
        element_of: NamedSet | None = None,
    ) -> None:
        why = ""
        if self._strange and verdict in (NOTHING, RETURN):
            verdict, why = STRANGE, self._strange
        if self._ended and not more:
            return
        self._made.append(
            Rule(
                self._place,
                (*self._conditions, *more),
                verdict,
                (*self._key[:2], target) if target else None,
                why,
                self._removal,
                self.text,
                element_of,
            )
        )

    def _take(self, name: str, value: Any) -> None:
        if name == "match" and isinstance(value, Mapping):
            self._match(value)
        elif name in ("accept", "drop", "return", "jump", "goto", "reject"):
            verdict, target = _verdict({name: value})
            self._emit(verdict, target)
            self._ended = True
        elif name == "vmap" and isinstance(value, Mapping):
            self._vmap(value)
        elif name in _LIMITS:
            self._conditions.append(Condition((OTHER,), ((name,),)))
        elif name in STATEMENTS:
            self._strange = self._strange or STATEMENTS[name]
        elif name == "mangle" and isinstance(value, Mapping):
            self._mangle(value)
        elif name in ("set", "map") and isinstance(value, Mapping):
            if value.get("op") in ("add", "update"):
                self._strange = self._strange or f"it adds to the set {value.get('set')}"
        elif name == "xt":
            self._xt(value)

    def _xt(self, value: Any) -> None:
        kind = value.get("type") if isinstance(value, Mapping) else None
        name = value.get("name") if isinstance(value, Mapping) else None
        if kind == "target":
            if name in read_iptables.VERDICTS:
                self._emit(read_iptables.VERDICTS[name])
                self._ended = True
            elif name not in read_iptables.HARMLESS:
                self._strange = self._strange or f"its target {name} is not shown by nft"
        elif name != "comment":
            self._conditions.append(Condition((OTHER,), ((str(name),),)))
            # nft 0.9.8 shows neither the name nor whether it is a match: with no verdict behind
            # it, it may be a target such as REJECT.
            if value is None and self._statements[-1] == {"xt": None}:
                self._strange = self._strange or "nft does not show what its target is"

    def _mangle(self, value: Mapping[str, Any]) -> None:
        key = value.get("key")
        for part in key.values() if isinstance(key, Mapping) else ():
            if isinstance(part, Mapping) and part.get("key") in _MARKS:
                self._strange = self._strange or "it marks the packet"

    def _match(self, match: Mapping[str, Any]) -> None:
        left, right, operator = match.get("left"), match.get("right"), match.get("op", "==")
        self._conditions += _implied(left)
        self._conditions.append(self._condition(left, right, str(operator)))

    def _condition(self, left: Any, right: Any, operator: str) -> Condition:
        negated = operator == "!="
        parts = left["concat"] if isinstance(left, Mapping) and "concat" in left else [left]
        if not isinstance(parts, list):
            return Condition((OTHER,), (("?",),))
        fields = tuple(_field(part) for part in parts)
        if isinstance(right, str) and right.startswith("@"):
            named = self._reader.named((*self._key[:2], right[1:]))
            return Condition(fields, (), negated, _masked_set(named, parts))
        if fields == (SYN,):
            return Condition((SYN,), ((_only_syn(left, right, operator),),))
        if operator in ("<", "<=", ">", ">="):
            return _compared(fields, right, operator)
        if isinstance(right, Mapping) and "set" in right:
            elements = [_element(item, parts) for item in _list(right["set"])]
        elif isinstance(right, list):
            elements = [_element(item, parts) for item in right]
        else:
            elements = [_element(right, parts)]
        return Condition(fields, tuple(_masked_parts(one, parts) for one in elements), negated)

    def _vmap(self, value: Mapping[str, Any]) -> None:
        left, data = value.get("key"), value.get("data")
        parts = left["concat"] if isinstance(left, Mapping) and "concat" in left else [left]
        fields = tuple(_field(part) for part in parts) if isinstance(parts, list) else (OTHER,)
        implied = _implied(left)
        named: NamedSet | None = None
        items: list[tuple[object, object]] = []
        if isinstance(data, str):
            key: ChainKey = (*self._key[:2], data.removeprefix("@"))
            named, items = self._reader.named(key), self._reader.map_items(key)
        elif isinstance(data, Mapping):
            items = [(one[0], one[1]) for one in _list(data.get("set")) if _is_pair(one)]
        if len(items) > 1:
            self._removal = None
        for element, result in items:
            verdict, target = _verdict(result)
            condition = Condition(fields, (_masked_parts(_element(element, parts), parts),))
            self._emit(verdict, target, (*implied, condition), named)


def _verdict(value: object) -> tuple[str, str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name in ("jump", "goto"):
                target = inner.get("target") if isinstance(inner, Mapping) else inner
                return (JUMP if name == "jump" else GOTO), str(target)
            if name == "reject":
                return DROP, ""
            if name in ("accept", "drop", "return"):
                return {"accept": ACCEPT, "drop": DROP, "return": RETURN}[name], ""
    return NOTHING, ""


_META = {
    "l4proto": PROTOCOL,
    "nfproto": FAMILY,
    "protocol": FAMILY,
    "iif": INTERFACE,
    "iifname": INTERFACE,
    "pkttype": PACKET_TYPE,
}
_CT = {"state": STATE, "direction": DIRECTION, "status": STATUS, "proto-dst": ORIGINAL_PORT}
_PAYLOADS = {
    ("ip", "saddr"): SOURCE,
    ("ip6", "saddr"): SOURCE,
    ("ip", "daddr"): DEST,
    ("ip6", "daddr"): DEST,
    ("ip", "protocol"): PROTOCOL,
    ("ip6", "nexthdr"): PROTOCOL,
    ("tcp", "dport"): PORT,
    ("udp", "dport"): PORT,
    ("th", "dport"): PORT,
    ("tcp", "flags"): SYN,
}
_IMPLIED = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58, "sctp": 132, "dccp": 33, "udplite": 136}
# Where the source address lies in the header, which nft shows as numbers in some tables.
_RAW_SOURCES = {(96, 32): 4, (64, 128): 6}


def _fields(statement: Any) -> tuple[str, ...]:
    """Return what a statement looks at; empty where it does not match anything."""
    match = statement.get("match") if isinstance(statement, Mapping) else None
    left = match.get("left") if isinstance(match, Mapping) else None
    parts = left.get("concat") if isinstance(left, Mapping) else None
    return tuple(_field(part) for part in (parts if isinstance(parts, list) else [left]))


def _field(left: Any) -> str:
    if not isinstance(left, Mapping):
        return OTHER
    if isinstance(payload := left.get("payload"), Mapping):
        if payload.get("base") == "nh":
            place = (payload.get("offset"), payload.get("len"))
            return SOURCE if place in _RAW_SOURCES else OTHER
        protocol = payload.get("protocol", payload.get("name"))
        return _PAYLOADS.get((str(protocol), str(payload.get("field"))), OTHER)
    if isinstance(meta := left.get("meta"), Mapping):
        return _META.get(str(meta.get("key")), OTHER)
    if isinstance(tracked := left.get("ct"), Mapping):
        key, direction = str(tracked.get("key")), tracked.get("dir")
        if key.split()[-1:] == ["saddr"]:
            return SOURCE if direction != "reply" else OTHER
        return _CT.get(key, OTHER) if direction != "reply" else OTHER
    if isinstance(fib := left.get("fib"), Mapping):
        flags = fib.get("flags")
        to_type = fib.get("result") == "type" and flags in ("daddr", ["daddr"])
        return DEST_TYPE if to_type else OTHER
    if isinstance(header := left.get("exthdr"), Mapping) and header.get("name") == "rt":
        return PACKET_TYPE
    if isinstance(parts := left.get("&"), list) and parts:
        inner = _field(parts[0])
        return inner if inner in (SOURCE, SYN) else OTHER
    return OTHER


def _implied(left: Any) -> list[Condition]:
    """Return what a field asks for beside its value: a port of tcp is one of tcp alone."""
    if not isinstance(left, Mapping):
        return []
    if isinstance(parts := left.get("concat"), list):
        return [condition for part in parts for condition in _implied(part)]
    if isinstance(parts := left.get("&"), list):
        return _implied(parts[0]) if parts else []
    payload = left.get("payload")
    if isinstance(payload, Mapping):
        protocol = payload.get("protocol", payload.get("name"))
        if protocol in _IMPLIED:
            return [Condition((PROTOCOL,), ((_IMPLIED[str(protocol)],),))]
        if protocol in ("ip", "ip6"):
            return [Condition((FAMILY,), ((4 if protocol == "ip" else 6,),))]
    return []


def _element(item: Any, lefts: Sequence[Any] = ()) -> tuple[Any, ...]:
    """Return one element of a set, with one value for each field."""
    item = _unwrapped(item)
    if isinstance(item, Mapping) and isinstance(parts := item.get("concat"), list):
        return tuple(
            _value(part, lefts[at] if at < len(lefts) else None) for at, part in enumerate(parts)
        )
    return (_value(item, lefts[0] if lefts else None),)


def _unwrapped(item: Any) -> Any:
    while isinstance(item, Mapping) and isinstance(inner := item.get("elem"), Mapping):
        item = inner.get("val", inner)
    return item


def _value(item: Any, left: Any = None) -> Any:
    """Return one value: an interval of addresses, a pair of ports, a text."""
    item = _unwrapped(item)
    if isinstance(item, str):
        return intervals.parse(item) or item
    if isinstance(item, bool) or item is None:
        return str(item)
    if isinstance(item, int):
        return _number(item, left)
    if isinstance(item, Mapping):
        if isinstance(prefix := item.get("prefix"), Mapping):
            base, length = intervals.parse(prefix.get("addr")), prefix.get("len")
            if base is not None and isinstance(length, int):
                return intervals.network(base, length) or str(item)
        if isinstance(ends := item.get("range"), list) and len(ends) == 2:
            if all(isinstance(end, int) for end in ends):
                return (ends[0], ends[1])
            both = intervals.between(intervals.parse(ends[0]), intervals.parse(ends[1]))
            return both or f"{ends[0]}-{ends[1]}"
    return str(item)


def _number(number: int, left: Any) -> Any:
    payload = left.get("payload") if isinstance(left, Mapping) else None
    if isinstance(payload, Mapping) and payload.get("base") == "nh":
        place: Any = (payload.get("offset"), payload.get("len"))
        version = _RAW_SOURCES.get(place)
        if version and number >= 0:
            return Interval(version, number, number)
    return (number, number)


def _compared(fields: tuple[str, ...], right: Any, operator: str) -> Condition:
    value = _value(right)
    if fields == (SOURCE,) and isinstance(value, Interval):
        everything = intervals.ALL_V4 if value.version == 4 else intervals.ALL_V6
        if operator in ("<", "<="):
            last = value.last if operator == "<=" else value.first - 1
            one = Interval(value.version, 0, max(last, 0))
        else:
            first = value.first if operator == ">=" else value.last + 1
            one = Interval(value.version, min(first, everything.last), everything.last)
        return Condition(fields, ((one,),))
    return Condition((OTHER,), ((f"{operator} {value}",),))


def _mask_of(left: Any) -> Interval | None:
    """Return the mask that a rule lays over an address before it compares it."""
    parts = left.get("&") if isinstance(left, Mapping) else None
    return intervals.parse(parts[1]) if isinstance(parts, list) and len(parts) == 2 else None


def _masked_parts(element: tuple[Any, ...], lefts: Sequence[Any]) -> tuple[Any, ...]:
    """Return an element with networks in place of addresses, where a rule looks at networks."""
    masks = [_mask_of(left) for left in lefts]
    if not any(masks):
        return element
    return tuple(
        intervals.masked(Interval(value.version, value.first, value.first), mask.first)
        if isinstance(value, Interval) and mask and mask.version == value.version
        else value
        for value, mask in zip(element, [*masks, *[None] * len(element)], strict=False)
    )


def _masked_set(named: NamedSet, lefts: Sequence[Any]) -> NamedSet:
    if not any(_mask_of(left) for left in lefts):
        return named
    elements = [_masked_parts(element, lefts) for element in named.elements]
    return NamedSet(named.place, elements, intervals=named.intervals)


_FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128}


def _only_syn(left: Any, right: Any, operator: str) -> bool | None:
    """Whether the first packet of a connection, with the flag SYN alone, matches."""
    mask = 255
    if isinstance(left, Mapping) and isinstance(parts := left.get("&"), list) and len(parts) == 2:
        found = _flag_bits(parts[1])
        if found is None:
            return None
        mask = found
    wanted = _flag_bits(right)
    if wanted is None:
        return None
    if operator == "in":
        return bool(wanted & 2)
    return (mask & 2 == wanted) == (operator != "!=")


def _flag_bits(value: Any) -> int | None:
    if isinstance(value, str):
        return _FLAGS.get(value)
    if isinstance(value, int):
        return value
    if isinstance(value, Mapping) and isinstance(inner := value.get("|", value.get("set")), list):
        value = inner
    if isinstance(value, list):
        bits = [_flag_bits(one) for one in value]
        return sum({bit for bit in bits if bit is not None}) if None not in bits else None
    return None
