"""
Read the rules of iptables, as ``iptables-save`` prints them and ``iptables-restore`` takes them.

Text in, chains out. A rule is read in every spelling that the loader takes. What is not
understood narrows nothing away: a condition that is not understood may match, and a target that
is not understood is unclear.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from . import intervals
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

SetOf = Callable[[str], NamedSet]
"""Returns an ipset by its name; with the prefix, a list of the match recent."""
RECENT = "recent "

_WORD = re.compile(r'(?:"(?:\\.|[^"\\])*"|\\.|[^\s"\\])+|"', re.DOTALL)
_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"|\\(.)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_COUNTERS = re.compile(r"\[\d*:\d*\]")

# Every rule in every table goes through these hooks.
HOOKS = {
    "PREROUTING": "prerouting",
    "INPUT": "input",
    "FORWARD": "forward",
    "OUTPUT": "output",
    "POSTROUTING": "postrouting",
}
PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}

_SHORT = {
    "s": "source", "d": "destination", "p": "protocol", "j": "jump", "g": "goto",
    "i": "in-interface", "o": "out-interface", "m": "match", "c": "set-counters",
    "A": "append", "I": "insert", "D": "delete", "R": "replace", "N": "new-chain",
    "P": "policy", "F": "flush", "X": "delete-chain", "Z": "zero", "t": "table", "f": "fragment",
    "w": "wait", "n": "numeric", "v": "verbose", "4": "ipv4", "6": "ipv6", "C": "check",
    "E": "rename-chain", "L": "list", "S": "list-rules",
}  # fmt: skip
_LONG = frozenset(_SHORT.values())
_ALIASES = {"src": "source", "dst": "destination", "syn": "syn", "proto": "protocol"}
# One argument, whatever it looks like.
_TEXT = frozenset(
    {
        "comment", "log-prefix", "nflog-prefix", "ulog-prefix", "string", "hex-string", "name",
        "hashlimit-name", "bytecode", "cgroup", "path", "helper", "u32", "reject-with",
    }
)  # fmt: skip
_NO_ARGUMENT = frozenset({"syn", "fragment", "ipv4", "ipv6", "numeric", "verbose", "zero"})
_ANYTHING = ("match", "comment", "set-counters", "wait", "ipv4", "ipv6",
             "numeric", "verbose", "table", "zero",
             # Of the target REJECT, and of the match recent beside what it asks for.
             "reject-with", "rsource", "mask", "name")  # fmt: skip
"""Options that narrow nothing on the way in."""

VERDICTS = {"ACCEPT": ACCEPT, "DROP": DROP, "REJECT": DROP, "RETURN": RETURN}
HARMLESS = frozenset(
    {
        "LOG", "NFLOG", "ULOG", "AUDIT", "TRACE", "TCPMSS", "TCPOPTSTRIP", "TTL", "HL", "DSCP",
        "TOS", "ECN", "CLASSIFY", "CHECKSUM", "RATEEST", "IDLETIMER", "LED", "MASQUERADE", "SNAT",
        "DNPT", "SNPT", "TARPIT", "SECMARK", "CONNSECMARK",
    }
)  # fmt: skip
_STRANGE = {
    "MARK": "it marks the packet",
    "CONNMARK": "it marks the connection",
    "SET": "it adds the source to an ipset",
    "CT": "it changes the tracking of the connection",
    "NOTRACK": "it takes the packet out of connection tracking",
    "DNAT": "it sends the packet to another address",
    "REDIRECT": "it sends the packet to another port",
    "NETMAP": "it sends the packet to another address",
    "TPROXY": "it hands the packet to a proxy",
    "NFQUEUE": "a program decides on the packet",
    "QUEUE": "a program decides on the packet",
    "TEE": "it copies the packet to another host",
    "SYNPROXY": "it answers in place of the service",
}
_PROTOCOLS = {
    "icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "esp": 50, "ah": 51,
    "icmpv6": 58, "ipv6-icmp": 58, "sctp": 132, "udplite": 136, "ipv6-nonxt": 59, "ospf": 89,
    "vrrp": 112, "ipip": 4, "ipv6": 41, "pim": 103, "mobility": 135, "mh": 135,
}  # fmt: skip


@dataclass
class Table:
    """One table of a saved text."""

    name: str
    policies: dict[str, str] = field(default_factory=dict)
    rules: list[tuple[str, str, int]] = field(default_factory=list)
    """The chain, the rule from its first option on, and the number of its line."""


class Parsed(NamedTuple):
    """One rule in words."""

    command: str
    chain: str
    options: Sequence[tuple[str, bool, Sequence[str]]]
    """Each option with its arguments, and whether it is negated."""
    strange: Sequence[str]
    """Words that belong to no option."""


def cut_off(text: str) -> str:
    """Return why a saved text is not whole; empty where it is."""
    for line in text.splitlines():
        if line.startswith("#") and "incompatible" in line:
            return line.strip("# ").strip()
    begun = sum(line.startswith("*") for line in text.splitlines())
    ended = sum(line.strip() == "COMMIT" for line in text.splitlines())
    return "" if begun == ended else "the output ends in the middle of a table"


def tables(text: str) -> Iterator[Table]:
    """Yield the tables of a saved text; other lines are left out."""
    table: Table | None = None
    for number, line in enumerate(text.split("\n")):
        stripped = line.strip()
        if not stripped or stripped[0] == "#":
            continue
        if stripped[0] == "*":
            table = Table(stripped[1:].strip())
        elif table is None:
            continue
        elif stripped == "COMMIT":
            yield table
            table = None
        elif stripped[0] == ":":
            words = stripped[1:].split()
            if words:
                table.policies[words[0]] = words[1] if len(words) > 1 else "-"
        else:
            table.rules.append((_chain_of(stripped), stripped, number))
    if table is not None:
        yield table


def _chain_of(line: str) -> str:
    if line.startswith("-A "):
        return line[3:].split(None, 1)[0] if len(line) > 3 else ""
    return ""


def words_of(rule: str) -> list[str]:
    """Split a rule as iptables-restore does."""
    if '"' not in rule and "\\" not in rule:
        return rule.split()
    return [_QUOTED.sub(_plain, word) for word in _WORD.findall(rule)]


def _plain(quoted: re.Match[str]) -> str:
    return _ESCAPED.sub(r"\1", quoted[1]) if quoted[1] is not None else quoted[2]


def parse(rule: str) -> Parsed:
    """Read one line into its options, in any spelling."""
    words = words_of(rule)
    if words and _COUNTERS.fullmatch(words[0]):
        words = words[1:]
    options: list[tuple[str, bool, Sequence[str]]] = []
    strange: list[str] = []
    command = chain = ""
    negated = False
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "!":
            negated = True
            continue
        if word[0:1] != "-" or len(word) < 2:
            strange.append(word)
            negated = False
            continue
        name, attached = _option(word)
        arguments = [attached] if attached is not None else []
        if name in _TEXT:
            if not arguments and at < len(words):
                arguments, at = [words[at]], at + 1
        elif name not in _NO_ARGUMENT and (attached is None or name in _COMMANDS):
            while at < len(words) and not _begins_option(words, at):
                if words[at] == "!":
                    negated = not negated
                else:
                    arguments.append(words[at])
                at += 1
                if name in _ONE_ARGUMENT and arguments:
                    break
        if name in _COMMANDS:
            command, chain = name, arguments[0] if arguments else ""
            strange += arguments[2 if name in ("insert", "replace") else 1 :]
        else:
            options.append((name, negated, arguments))
        negated = False
    return Parsed(command, chain, options, strange)


_COMMANDS = frozenset(
    {"append", "insert", "delete", "replace", "new-chain", "policy", "flush", "delete-chain",
     "check", "rename-chain", "list", "list-rules"}
)  # fmt: skip
_ONE_ARGUMENT = frozenset(
    {"source", "destination", "protocol", "jump", "goto", "in-interface", "out-interface", "match"}
)


def _begins_option(words: Sequence[str], at: int) -> bool:
    word = words[at]
    if word == "!":
        # "! -s A" begins an option; "-s ! A" is the old place of the same sign.
        return at + 1 < len(words) and words[at + 1][:1] == "-"
    return word[:1] == "-" and len(word) > 1 and not word[1].isdigit()


def _option(word: str) -> tuple[str, str | None]:
    """Return the full name of an option, and an argument within the same word."""
    if word[1] != "-":
        name = _SHORT.get(word[1], word)
        return name, word[2:] or None
    name, sign, argument = word[2:].partition("=")
    name = _ALIASES.get(name, name)
    if name not in _LONG and len(name) > 1:
        # The loader takes every beginning that only one option has.
        fits = [long for long in _LONG if long.startswith(name)]
        if len(fits) == 1:
            name = fits[0]
    return name, argument if sign else None


def rule(
    parsed: Parsed,
    family: str,
    table: str,
    set_of: SetOf,
    place: str,
    **more: object,
) -> Rule:
    """Return a rule in the form of all firewalls; more are its removal and its text."""
    conditions: list[Condition] = []
    verdict, target, why = NOTHING, "", ""
    for name, negated, arguments in parsed.options:
        if name in ("jump", "goto"):
            target = arguments[0] if arguments else ""
            verdict = JUMP if name == "jump" else GOTO
        elif target and target not in VERDICTS and name not in _MATCHES:
            # An option of the target.
            continue
        elif name not in _ANYTHING and (
            condition := _condition(name, arguments, set_of, negated=negated)
        ):
            conditions.append(condition)
    if recent := _recent(parsed, set_of, conditions):
        conditions.append(recent)
    chain_target = None
    if target in VERDICTS:
        verdict = VERDICTS[target]
    elif target in HARMLESS:
        verdict = NOTHING
    elif target in _STRANGE:
        verdict, why = STRANGE, _STRANGE[target]
    elif target:
        chain_target = (family, table, target)
    if parsed.strange:
        conditions.append(Condition((OTHER,), ((" ".join(parsed.strange),),)))
    return Rule(place, tuple(conditions), verdict, chain_target, why, **more)  # type: ignore[arg-type]


def _recent(parsed: Parsed, set_of: SetOf, conditions: Sequence[Condition]) -> Condition | None:
    """Return the list of addresses that a rule of ``-m recent`` asks for, as port knocking does."""
    options = {name: negated for name, negated, _ in parsed.options}
    asks = [name for name in ("rcheck", "update") if name in options]
    if not asks or "rdest" in options or any(SOURCE in one.fields for one in conditions):
        return None
    names = [words[0] for name, _, words in parsed.options if name == "name" and words]
    named = set_of(f"{RECENT}{names[0] if names else 'DEFAULT'}")
    return Condition((SOURCE,), (), options[asks[0]], named)


def recent_list(text: str, place: str) -> NamedSet:
    """Read a list of addresses of the match recent, as the kernel shows it."""
    words = (line.partition(" ")[0] for line in text.splitlines())
    found = (intervals.parse(word.removeprefix("src=")) for word in words)
    return NamedSet(place, [(one,) for one in found if one is not None])


def _condition(
    name: str, arguments: Sequence[str], set_of: SetOf, *, negated: bool
) -> Condition | None:
    read = _MATCHES.get(name)
    if read is None:
        return Condition((OTHER,), ((" ".join((name, *arguments)),),), negated)
    found = read(arguments, set_of)
    return found and (found._replace(negated=True) if negated else found)


def _unread(name: str, arguments: Sequence[str]) -> Condition:
    return Condition((OTHER,), ((" ".join((name, *arguments)),),))


def _source(arguments: Sequence[str], _: SetOf) -> Condition | None:
    return _addresses(SOURCE, arguments)


def _destination(arguments: Sequence[str], _: SetOf) -> Condition | None:
    return _addresses(DEST, arguments)


def _addresses(kind: str, arguments: Sequence[str]) -> Condition | None:
    listed = [part for argument in arguments for part in argument.split(",") if part]
    found = [intervals.parse(text) or _short(text) for text in listed]
    known = [one for one in found if one is not None]
    if any(one.everything for one in known):
        return None
    if not known:
        return _unread(kind, arguments)
    return Condition((kind,), tuple((one,) for one in known))


def _short(text: str) -> Interval | None:
    """Read 10.77 as 10.77.0.0."""
    return intervals.parse(f"{text}/32") if text.replace(".", "").isdecimal() else None


def _protocol(arguments: Sequence[str], _: SetOf) -> Condition | None:
    name = arguments[0].lower() if arguments else ""
    if name in ("all", "0", ""):
        return None
    number = protocol_number(name)
    return Condition((PROTOCOL,), ((number,),)) if number else _unread("protocol", arguments)


def protocol_number(name: object) -> int:
    """Return the number of a protocol; 0 where it is not known."""
    if isinstance(name, int):
        return name
    if not isinstance(name, str):
        return 0
    return int(name) if name.isdecimal() and len(name) < 4 else _PROTOCOLS.get(name, 0)


def _ports(arguments: Sequence[str], _: SetOf) -> Condition | None:
    found: list[tuple[tuple[int, int]]] = []
    for text in (part for argument in arguments for part in argument.split(",")):
        first, colon, last = text.partition(":")
        low = port_number(first or "0")
        high = port_number(last or "65535") if colon else low
        if low is None or high is None:
            return _unread("dport", arguments)
        found.append(((low, high),))
    return Condition((PORT,), tuple(found))


def _original_ports(arguments: Sequence[str], set_of: SetOf) -> Condition | None:
    found = _ports(arguments, set_of)
    return found and found._replace(
        fields=(ORIGINAL_PORT,) if found.fields == (PORT,) else (OTHER,)
    )


def port_number(text: object) -> int | None:
    """Return the number of a port, which may have the name of a service."""
    if isinstance(text, int):
        return text
    if not isinstance(text, str):
        return None
    if text.isdecimal() and len(text) < 6:
        return int(text)
    try:
        return socket.getservbyname(text)
    except (OSError, ValueError):
        return None


def _texts(kind: str) -> Callable[[Sequence[str], SetOf], Condition]:
    def read(arguments: Sequence[str], _: SetOf) -> Condition:
        texts = [part.lower() for argument in arguments for part in argument.split(",")]
        return Condition((kind,), tuple((text,) for text in texts))

    return read


def _interface(arguments: Sequence[str], _: SetOf) -> Condition | None:
    name = arguments[0] if arguments else "+"
    if name == "+":
        return None
    return Condition((INTERFACE,), ((name[:-1] + "*" if name.endswith("+") else name,),))


def _source_range(arguments: Sequence[str], _: SetOf) -> Condition | None:
    one = intervals.parse(arguments[0]) if arguments else None
    return Condition((SOURCE,), ((one,),)) if one else _unread("src-range", arguments)


def _in_set(arguments: Sequence[str], set_of: SetOf) -> Condition | None:
    if not arguments:
        # The match recent notes the source, whoever it is.
        return None
    if len(arguments) < 2:
        return _unread("match-set", arguments)
    name, sides = arguments[0], arguments[1].split(",")
    fields = tuple(SOURCE if side == "src" else OTHER for side in sides)
    return Condition(fields, (), named=set_of(name))


def _flags(arguments: Sequence[str], _: SetOf) -> Condition | None:
    if len(arguments) == 2:
        mask = set(arguments[0].upper().split(","))
        needed = set(arguments[1].upper().split(",")) - {"NONE"}
        # The first packet of a connection has the flag SYN alone.
        matches = {"SYN"} & mask == needed if "ALL" not in mask else needed == {"SYN"}
        return Condition((SYN,), ((matches,),))
    return _unread("tcp-flags", arguments)


def _routing_header(_arguments: Sequence[str], _: SetOf) -> Condition | None:
    # Ordinary packets have none.
    return Condition((PACKET_TYPE,), (("with a routing header",),))


def _syn(_arguments: Sequence[str], _: SetOf) -> Condition | None:
    return Condition((SYN,), ((True,),))


_MATCHES: Mapping[str, Callable[[Sequence[str], SetOf], Condition | None]] = {
    "source": _source,
    "destination": _destination,
    "protocol": _protocol,
    "in-interface": _interface,
    "dport": _ports,
    "destination-port": _ports,
    "dports": _ports,
    "destination-ports": _ports,
    "ctorigdstport": _original_ports,
    "ctorigsrc": _source,
    "ctstate": _texts(STATE),
    "state": _texts(STATE),
    "ctstatus": _texts(STATUS),
    "ctdir": _texts(DIRECTION),
    "src-range": _source_range,
    "match-set": _in_set,
    "set": _in_set,
    "dst-type": _texts(DEST_TYPE),
    "pkt-type": _texts(PACKET_TYPE),
    "tcp-flags": _flags,
    "syn": _syn,
    "rt-type": _routing_header,
}


def chains_of(
    text: str,
    family: str,
    set_of: SetOf,
    place: Callable[[str, str, int], str],
    make: Callable[[str, str, int, int, str], Mapping[str, object]],
    interest: Interest | None = None,
) -> Chains:
    """
    Return the chains of a saved text.

    place
        Returns the name of a rule, from its table, chain and number in the chain.

    make
        Returns the rule's removal, from its table, chain, number, line and text.

    interest
        Leave out rules whose only source is not of interest.
    """
    counts: dict[ChainKey, int] = {}
    found: Chains = {}
    for table in tables(text):
        for name, policy in table.policies.items():
            found[family, table.name, name] = new_chain(family, table.name, name, policy)
        for chain_name, line, number in table.rules:
            if chain_name and interest and _names_others(line, interest):
                key = (family, table.name, chain_name)
                counts[key] = counts.get(key, 0) + 1
                continue
            parsed = parse(line)
            name = chain_name or parsed.chain
            if parsed.command == "policy" and parsed.chain:
                policy = parsed.strange[0] if parsed.strange else "-"
                found.setdefault(
                    (family, table.name, name), new_chain(family, table.name, name, policy)
                ).policy = VERDICTS.get(policy, ACCEPT)
            if parsed.command not in ("append", "insert", "replace") or not name:
                continue
            key = (family, table.name, name)
            if key not in found:
                found[key] = new_chain(family, table.name, name, "ACCEPT")
            chain = found[key]
            at = counts[key] = counts.get(key, 0) + 1
            one = rule(
                parsed,
                family,
                table.name,
                set_of,
                place(table.name, name, at),
                text=line,
                **make(table.name, name, at, number, line),
            )
            if parsed.command == "insert":
                chain.rules.insert(0, one)
            else:
                chain.rules.append(one)
    return found


_FIRST_SOURCE = re.compile(r"-A \S+ -s ([0-9a-fA-F.:/]+) ")


def _names_others(line: str, interest: Interest) -> bool:
    """Whether a rule matches only a source that is not of interest; the common case, and fast."""
    match = _FIRST_SOURCE.match(line)
    source = intervals.parse(match[1]) if match else None
    return source is not None and not interest.touches(source)


def new_chain(family: str, table: str, name: str, policy: str) -> Chain:
    """Return a chain without rules; one with a well-known name is called by the kernel."""
    hook = HOOKS.get(name, "")
    return Chain(
        (family, table, name),
        type="nat" if table == "nat" else "filter" if hook else "",
        hook=hook,
        priority=PRIORITIES.get(table, 0),
        policy=DROP if policy == "DROP" else ACCEPT,
    )


def family_condition(version: int) -> Condition:
    """Return the condition that a packet is of one IP version."""
    return Condition((FAMILY,), ((version,),))
