"""
Read files of nft, in the whole language that ``nft -f`` takes, into chains.

A rule that names an address in a way that is not understood becomes one with a strange verdict:
it is reported, and never left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import intervals, read_iptables
from .chains import (
    ACCEPT,
    DEST,
    DIRECTION,
    DROP,
    GOTO,
    INTERFACE,
    JUMP,
    NOTHING,
    ORIGINAL_PORT,
    OTHER,
    PORT,
    PROTOCOL,
    RETURN,
    SOURCE,
    STATE,
    STRANGE,
    Chain,
    ChainKey,
    Chains,
    Condition,
    NamedSet,
    Rule,
)
from .intervals import Interval
from .openings import FileLines
from .read_nft import STATEMENTS

Include = Callable[[str], Sequence[tuple[str, str]]]
"""Returns the path and the text of every file that an include names."""

_TOKEN = re.compile(
    r'(?P<skip>[ \t\r\f\v]+|\\\n|\#[^\n]*)|(?P<text>"[^"\n]*"?)|(?P<end>[\n;])'
    r"|(?P<sign>[{},]|==|!=|<=|>=|<<|>>|[=<>&|^!()])|(?P<word>[^\s{},;\"#=<>&|^!()]+)"
)
_V4_COLON = re.compile(r"(\d{1,3}(?:\.\d{1,3}){3}(?:[/-][\d.]+)?|\d+|[a-z]+):(.*)", re.ASCII)
_FAMILIES = ("ip", "ip6", "inet", "arp", "bridge", "netdev")
_PROTOCOLS = ("tcp", "udp", "th", "sctp", "dccp", "udplite", "icmp", "icmpv6", "ether", "vlan",
              "esp", "ah", "comp", "igmp", "gre", "vxlan", "rt", "hbh", "frag", "mh", "dst",
              "exthdr", "arp")  # fmt: skip
_SINGLE = {"iif": INTERFACE, "iifname": INTERFACE}
_OTHER_SINGLE = ("oif", "oifname", "mark", "pkttype", "iiftype", "oiftype", "skuid", "skgid",
                 "rtclassid", "iifgroup", "oifgroup", "cgroup", "protocol", "nfproto", "l4proto",
                 "cpu", "priority", "length")  # fmt: skip
_META = {"l4proto": PROTOCOL, "iif": INTERFACE, "iifname": INTERFACE}
_CT = {"state": STATE, "direction": DIRECTION, "proto-dst": ORIGINAL_PORT}
_SIGNS = ("==", "!=", "<", ">", "<=", ">=", "eq", "ne", "lt", "gt", "le", "ge")
_NEGATED = ("!=", "ne", "!")
_STRANGE = {**STATEMENTS, "add": "it adds to a set", "update": "it adds to a set"}
_NARROWING = ("limit", "quota", "fib", "socket", "osf", "ipsec", "rt", "numgen", "jhash")
_ELEMENT_OPTIONS = ("timeout", "expires", "comment", "counter", "limit", "quota", "last", "ct")
NOT_UNDERSTOOD = "it names this address in a way that is not understood"


class Token(NamedTuple):
    """One word or sign, and where it stands."""

    text: str
    path: str
    line: int
    end: bool = False
    """Whether it ends a statement."""


@dataclass
class _Set:
    key: ChainKey
    intervals: bool = False
    elements: list[tuple[Any, ...]] = field(default_factory=list)
    verdicts: list[tuple[tuple[Any, ...], list[str]]] = field(default_factory=list)


def tokens(path: str, text: str) -> list[Token]:
    """Return the words and signs of a file."""
    found: list[Token] = []
    line = 0
    for match in _TOKEN.finditer(text):
        kind, value = match.lastgroup, match[0]
        if kind == "end":
            found.append(Token(value, path, line, end=True))
        elif kind == "word":
            found += [Token(part, path, line) for part in _without_colons(value)]
        elif kind != "skip":
            found.append(Token(value, path, line))
        line += value.count("\n")
    return found


def _without_colons(word: str) -> list[str]:
    parts: list[str] = []
    while (match := _V4_COLON.fullmatch(word)) and intervals.parse(word) is None:
        parts += [match[1], ":"]
        word = match[2]
        if not word:
            return parts
    return (
        [*parts, word]
        if word[-1] != ":" or word == ":" or intervals.parse(word)
        else [
            *parts,
            word[:-1],
            ":",
        ]
    )


class Reader:
    """Reads one file with everything that it includes."""

    def __init__(self, path: str, text: str, include: Include = lambda _: ()) -> None:
        self.chains: Chains = {}
        self._path = path
        self._include = include
        self._lines: dict[str, list[str]] = {}
        self._used: dict[str, dict[int, list[Token]]] = {}
        self._sets: dict[ChainKey, _Set] = {}
        self._named: dict[ChainKey, NamedSet] = {}
        self._defined: dict[str, list[Token]] = {}
        self._pending: list[tuple[ChainKey, list[Token], bool]] = []
        self._opened: set[str] = set()
        self._read(path, text)
        # A rule may name a set that is filled further below.
        for key, words, first in self._pending:
            made = self._rules(key, words) if words else []
            chain = self._chain(key)
            chain.rules = [*made, *chain.rules] if first else [*chain.rules, *made]

    @property
    def incomplete(self) -> bool:
        """Whether the file has no chain that the kernel calls: another file has them."""
        return not any(chain.hook for chain in self.chains.values())

    def _read(self, path: str, text: str) -> None:
        if path in self._opened:
            return
        self._opened.add(path)
        self._lines[path] = (
            text.splitlines(keepends=True)
            if "\r" not in text
            else [f"{line}\n" for line in text.split("\n")]
        )
        listed = tokens(path, text)
        by_line: dict[int, list[Token]] = {}
        for token in listed:
            if token.text != "\n":
                by_line.setdefault(token.line, []).append(token)
        self._used[path] = by_line
        for words, body in _statements(listed):
            self._command(words, body)

    def _chain(self, key: ChainKey) -> Chain:
        return self.chains.setdefault(key, Chain(key))

    def _command(self, words: list[Token], body: list[Token] | None) -> None:
        texts = [word.text for word in words]
        if not texts:
            return
        if texts[0] in ("define", "redefine") and len(texts) > 2:
            self._defined[texts[1]] = self._expanded([*words[3:], *(body or [])])
            return
        if texts[0] == "include" and len(texts) > 1:
            for path, text in self._include(texts[1].strip('"')):
                self._read(path, text)
            return
        verb = texts[0] if texts[0] in ("add", "create", "insert", "replace") else ""
        rest = words[1:] if verb else words
        if texts[0] in ("delete", "flush", "list", "destroy", "reset", "rename") or not rest:
            return
        kind = rest[0].text
        if kind not in ("table", "chain", "rule", "set", "map", "element"):
            # "add ip filter input ..." is a rule, too.
            kind, rest = "rule", [Token("rule", "", 0), *rest]
        family, names = _family(rest[1:])
        if not names:
            return
        table = names[0].text
        if kind == "table":
            self._table(family, table, body or [])
        elif len(names) > 1:
            key = (family, table, names[1].text)
            if kind == "chain":
                self._chain_body(key, body or [])
            elif kind == "rule":
                at = 4 if names[2:3] and names[2].text in ("handle", "position", "index") else 2
                braces = body or []
                self._pending.append((key, [*names[at:], *braces], verb == "insert"))
            else:
                self._set_body(key, body or [], direct=kind == "element")

    def _table(self, family: str, table: str, body: list[Token]) -> None:
        for words, inner in _statements(body):
            texts = [word.text for word in words]
            if len(texts) < 2:
                continue
            key = (family, table, texts[1])
            if texts[0] == "chain":
                self._chain_body(key, inner or [])
            elif texts[0] in ("set", "map"):
                self._set_body(key, inner or [], direct=False)
            elif texts[0] in ("define", "redefine", "include"):
                self._command(words, inner)

    def _chain_body(self, key: ChainKey, body: list[Token]) -> None:
        chain = self._chain(key)
        for words in _split(body):
            texts = [word.text for word in words]
            if texts[0] == "type" and "hook" in texts[:-1]:
                chain.type, chain.hook = texts[1], texts[texts.index("hook") + 1]
            elif texts[0] == "policy":
                chain.policy = DROP if texts[1:2] == ["drop"] else ACCEPT
            elif texts[0] in ("define", "redefine", "include"):
                self._command(words, None)
            elif texts[0] not in ("comment", "flags", "devices"):
                self._pending.append((key, words, False))

    def _set_body(self, key: ChainKey, body: list[Token], *, direct: bool) -> None:
        one = self._sets.setdefault(key, _Set(key))
        if direct:
            self._fill(one, body)
            return
        for words in _split(body):
            texts = [word.text for word in words]
            if texts[0] == "elements":
                self._fill(one, words[2:])
            elif texts[0] == "flags":
                one.intervals = one.intervals or "interval" in texts

    def _fill(self, one: _Set, words: Sequence[Token]) -> None:
        for element, verdict in _elements(self._expanded(words)):
            one.elements.append(element)
            if verdict:
                one.verdicts.append((element, verdict))

    def _expanded(self, words: Sequence[Token]) -> list[Token]:
        """Put in what was defined for each ``$NAME``."""
        found: list[Token] = []
        for word in words:
            if word.text.startswith("$") and word.text[1:] in self._defined:
                found += [
                    Token(one.text, word.path, word.line) for one in self._defined[word.text[1:]]
                ]
            else:
                found.append(word)
        return found

    def _named_set(self, key: ChainKey) -> NamedSet:
        if key not in self._named:
            one = self._sets.get(key, _Set(key))
            self._named[key] = NamedSet(
                f"{self._path} set {' '.join(key)}", one.elements, intervals=one.intervals
            )
        return self._named[key]

    def _rules(self, key: ChainKey, words: list[Token]) -> list[Rule]:
        path, first, last = words[0].path, words[0].line, words[-1].line
        lines = self._lines.get(path, [])
        text = "".join(lines[first : last + 1])
        on_lines = [
            token
            for number in range(first, last + 1)
            for token in self._used.get(path, {}).get(number, ())
            if not token.end
        ]
        removal = None
        own = len(on_lines) - len(words)
        # The command in front, "add rule inet filter input", belongs to the rule.
        command = [token.text for token in on_lines[: max(own, 0)]]
        if on_lines[own:] == words and (not command or _is_command(command)):
            removal = FileLines(path, first, last + 1, text)
        made = _Statement(
            key,
            self._expanded(words),
            self._named_set,
            lambda one: self._sets.get(one, _Set(one)).verdicts,
        )
        return [
            rule._replace(
                place=f"{path} line {first + 1}",
                text=text,
                removal=removal if len(made.rules) == 1 else None,
            )
            for rule in made.rules
        ]


def _is_command(words: Sequence[str]) -> bool:
    return words[0] in ("add", "insert", "create", "rule") and "{" not in words


def _family(words: list[Token]) -> tuple[str, list[Token]]:
    if words and words[0].text in _FAMILIES and len(words) > 1:
        return words[0].text, words[1:]
    return "ip", words


def _statements(words: Sequence[Token]) -> Iterator[tuple[list[Token], list[Token] | None]]:
    """Yield each statement: its words, and what stands between its braces."""
    for statement in _split(words):
        texts = [word.text for word in statement]
        if "{" in texts and statement[-1].text == "}":
            at = texts.index("{")
            yield statement[:at], statement[at + 1 : -1]
        else:
            yield statement, None


_BLOCKS = ("table", "chain", "set", "map")


def _split(words: Sequence[Token]) -> Iterator[list[Token]]:
    """Yield the statements of one level, with everything in braces."""
    one: list[Token] = []
    depth = 0
    for word in words:
        if word.text == "{":
            depth += 1
        elif word.text == "}":
            depth = max(0, depth - 1)
        if word.end and depth == 0:
            if one:
                yield one
            one = []
            continue
        one.append(word)
        # A block ends its statement, without a semicolon.
        if word.text == "}" and depth == 0 and _is_block(one):
            yield one
            one = []
    if one:
        yield one


def _is_block(words: Sequence[Token]) -> bool:
    texts = [word.text for word in words[:2]]
    return texts[0] in _BLOCKS or (texts[0] in ("add", "create") and texts[1:2] != ["rule"])


def _elements(words: Sequence[Token]) -> Iterator[tuple[tuple[Any, ...], list[str]]]:
    """Yield the elements between braces, each with its verdict."""
    one: list[str] = []
    for word in [*words, Token(",", "", 0)]:
        if word.text in ("{", "}") or word.end:
            continue
        if word.text != ",":
            one.append(word.text)
            continue
        if one:
            yield _element(one)
        one = []


def _element(texts: list[str]) -> tuple[tuple[Any, ...], list[str]]:
    verdict: list[str] = []
    if ":" in texts:
        at = texts.index(":")
        texts, verdict = texts[:at], texts[at + 1 :]
    for at, text in enumerate(texts):
        if at and text in _ELEMENT_OPTIONS:
            texts = texts[:at]
            break
    parts: list[list[str]] = [[]]
    for text in texts:
        if text == ".":
            parts.append([])
        else:
            parts[-1].append(text)
    return tuple(_value("".join(part)) for part in parts), verdict


def _value(text: str) -> Any:
    text = text.strip('"')
    found = intervals.parse(text)
    if found is not None:
        return found
    first, dash, last = text.partition("-")
    if first.isdecimal() and (not dash or last.isdecimal()) and len(text) < 12:
        return (int(first), int(last or first))
    return text


class _Statement:
    """The words of one rule, read from left to right."""

    def __init__(
        self,
        key: ChainKey,
        words: list[Token],
        named: Callable[[ChainKey], NamedSet],
        verdicts: Callable[[ChainKey], list[tuple[tuple[Any, ...], list[str]]]],
    ) -> None:
        self.rules: list[Rule] = []
        self._key = key
        self._texts = [word.text for word in words if not word.end]
        self._named = named
        self._verdicts = verdicts
        self._conditions: list[Condition] = []
        self._strange = ""
        self._at = 0
        self._missed: list[Interval] = []
        self._ended = False
        while self._at < len(self._texts):
            self._next()
        if self._missed and not self._drops_only():
            self._conditions.append(Condition((SOURCE,), tuple((one,) for one in self._missed)))
            self._strange, self.rules = NOT_UNDERSTOOD, []
            self._emit(NOTHING)
        elif not self._ended:
            self._emit(NOTHING)

    def _drops_only(self) -> bool:
        return bool(self.rules) and all(rule.verdict == DROP for rule in self.rules)

    def _emit(
        self,
        verdict: str,
        target: str = "",
        more: tuple[Condition, ...] = (),
        element_of: NamedSet | None = None,
    ) -> None:
        why = ""
        if self._strange and verdict in (NOTHING, RETURN):
            verdict, why = STRANGE, self._strange
        self.rules.append(
            Rule(
                "",
                (*self._conditions, *more),
                verdict,
                (*self._key[:2], target) if target else None,
                why,
                element_of=element_of,
            )
        )

    def _peek(self, more: int = 0) -> str:
        at = self._at + more
        return self._texts[at] if at < len(self._texts) else ""

    def _next(self) -> None:
        text = self._peek()
        if (field_ := self._primary()) is not None:
            self._match(field_)
            return
        self._at += 1
        if text in ("accept", "drop", "return", "reject"):
            self._emit({"accept": ACCEPT, "return": RETURN}.get(text, DROP))
            self._ended = True
            if text == "reject":
                self._at = len(self._texts)
        elif text in ("jump", "goto"):
            self._emit(JUMP if text == "jump" else GOTO, self._peek())
            self._ended, self._at = True, self._at + 1
        elif text in _STRANGE:
            self._strange = self._strange or _STRANGE[text]
            # The address that a packet is sent to, or the set that is added to.
            while self._at < len(self._texts) and self._peek() not in ("accept", "drop"):
                self._at += 1
        elif text == "comment":
            self._at += 1
        elif text in _NARROWING:
            self._conditions.append(Condition((OTHER,), ((text,),)))
        elif (found := intervals.parse(text.strip('"'))) is not None:
            self._missed.append(found)

    def _primary(self) -> str | None:
        """Take one thing that a rule looks at; None where there is none."""
        text, after = self._peek(), self._peek(1)
        if text in ("ip", "ip6") and after:
            self._at += 2
            kinds = {"saddr": SOURCE, "daddr": DEST, "protocol": PROTOCOL, "nexthdr": PROTOCOL}
            return kinds.get(after, OTHER)
        if text == "@nh,96,32":
            self._at += 1
            return SOURCE
        if text in _PROTOCOLS and after:
            self._at += 2
            if text in ("tcp", "udp"):
                number = read_iptables.protocol_number(text)
                self._conditions.append(Condition((PROTOCOL,), ((number,),)))
            return PORT if after == "dport" else OTHER
        if text == "meta" and after:
            self._at += 2
            return _META.get(after, OTHER)
        if text == "ct" and after:
            return self._tracked()
        if text in _SINGLE or (text in _OTHER_SINGLE and after != ""):
            self._at += 1
            return _SINGLE.get(text, OTHER)
        return None

    def _tracked(self) -> str:
        self._at += 1
        reply = self._peek() == "reply"
        if self._peek() in ("original", "reply"):
            self._at += 1
        if self._peek() in ("ip", "ip6"):
            self._at += 1
        name = self._peek()
        self._at += 1
        if reply:
            return OTHER
        return SOURCE if name == "saddr" else _CT.get(name, OTHER)

    def _match(self, first: str) -> None:
        fields = [first]
        while self._peek() == ".":
            self._at += 1
            more = self._primary()
            if more is None:
                break
            fields.append(more)
        if self._peek() == "set":
            self._at += 1
            self._strange = self._strange or "it marks the packet"
            self._value_words()
            return
        mask: Interval | None = None
        if self._peek() in ("&", "and"):
            mask = intervals.parse(self._peek(1))
            self._at += 2
        sign = ""
        if self._peek() in (*_SIGNS, "!", "in", "vmap", "map"):
            sign = self._peek()
            self._at += 1
        kinds = tuple(fields)
        if sign == "vmap":
            self._vmap(kinds)
            return
        words = self._value_words()
        if len(words) == 1 and words[0].startswith("@"):
            named = self._named((*self._key[:2], words[0][1:]))
            self._conditions.append(Condition(kinds, (), sign in _NEGATED, named))
            return
        listed = [Token(word, "", 0) for word in words]
        elements = tuple(element for element, _ in _elements(listed))
        if kinds == (SOURCE,) and sign in ("<", ">", "<=", ">=", "lt", "gt", "le", "ge"):
            elements = tuple(
                (_compared(element[0], sign),) if isinstance(element[0], Interval) else element
                for element in elements
            )
        if mask is not None and elements and isinstance(elements[0][0], Interval):
            elements = ((intervals.masked(elements[0][0], mask.first),),)
        if SOURCE in kinds and not any(
            isinstance(part, Interval) for element in elements for part in element
        ):
            # A host name or an unknown variable: it narrows, and names no address here.
            kinds = (OTHER,)
        self._conditions.append(Condition(kinds, elements, sign in _NEGATED))

    def _vmap(self, fields: tuple[str, ...]) -> None:
        words = self._value_words()
        named: NamedSet | None = None
        if len(words) == 1 and words[0].startswith("@"):
            key: ChainKey = (*self._key[:2], words[0][1:])
            named, items = self._named(key), self._verdicts(key)
        else:
            items = list(_elements([Token(word, "", 0) for word in words]))
        for element, verdict in items:
            condition = Condition(fields, (element,))
            name = verdict[0] if verdict else ""
            kinds = {"accept": ACCEPT, "drop": DROP, "return": RETURN, "jump": JUMP, "goto": GOTO}
            target = verdict[1] if name in ("jump", "goto") and len(verdict) > 1 else ""
            self._emit(kinds.get(name, NOTHING), target, (condition,), named)
        self._ended = self._ended or bool(items)

    def _value_words(self) -> list[str]:
        """Take a value: a set in braces, or words that commas or dots join."""
        if self._peek() == "{":
            depth, begin = 0, self._at
            while self._at < len(self._texts):
                depth += {"{": 1, "}": -1}.get(self._peek(), 0)
                self._at += 1
                if depth == 0:
                    break
            return self._texts[begin : self._at]
        words = [self._peek()] if self._peek() else []
        self._at += 1
        while self._peek() in (",", ".", "-", "|") and self._peek(1):
            words += [self._peek(), self._peek(1)]
            self._at += 2
        return words


def _compared(one: Interval, sign: str) -> Interval:
    everything = intervals.ALL_V4 if one.version == 4 else intervals.ALL_V6
    if sign in ("<", "<=", "lt", "le"):
        return Interval(one.version, 0, one.last)
    return Interval(one.version, one.first, everything.last)
