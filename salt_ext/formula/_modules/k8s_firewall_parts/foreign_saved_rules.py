"""Read rules of other programs as iptables-legacy-save prints them."""

from __future__ import annotations

import re

from .foreign_rules import (
    ACCEPT,
    CONTINUING,
    DROP,
    GOTO,
    JUMP,
    NEW,
    RETURN,
    TCP,
    UDP,
    UNCLEAR,
    Condition,
    ForeignRule,
)

_PROTOCOLS = {"tcp": TCP, "udp": UDP, "6": TCP, "17": UDP}
_FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ALL": 63, "NONE": 0}
_OPTION = re.compile(r'"(?:\\.|[^"\\])*"|\S+')


def parse(saved: str, table: str) -> tuple[dict[str, str], dict[str, list[ForeignRule]]]:
    """Read the policies and the rules of a table out of the text of iptables-save."""
    policies: dict[str, str] = {}
    chains: dict[str, list[ForeignRule]] = {}
    for line in saved.partition(f"*{table}\n")[2].partition("COMMIT")[0].splitlines():
        words = line.split(maxsplit=2)
        if line.startswith(":") and len(words) > 1:
            policies[words[0][1:]] = words[1]
        elif line.startswith("-A ") and len(words) == 3 and (rule := _parse_saved_rule(words[2])):
            chains.setdefault(words[1], []).append(rule)
    return policies, chains


def _parse_saved_rule(text: str) -> ForeignRule | None:
    # Most rules have a source or a destination.
    if text.startswith(("-s ", "-d ")):
        return None
    words = iter(_OPTION.findall(text))
    conditions: list[Condition] = []
    negated = False
    for word in words:
        if word == "!":
            negated = True
            continue
        if word in ("-j", "-g"):
            return _saved_verdict(word, next(words, ""), tuple(conditions))
        value = next(words, "")
        if word == "--tcp-flags":
            mask, flags = _flags(value), _flags(next(words, ""))
            conditions.append(Condition("flags", frozenset({flags}), negated, mask))
            negated = False
            continue
        condition = _saved_condition(word, value, negated)
        if condition is None:
            return None
        conditions += condition
        negated = False
    return None


def _flags(names: str) -> int:
    """Return the bits of TCP flags such as SYN,ACK."""
    return sum(_FLAGS.get(name, 0) for name in names.split(","))


def _saved_condition(word: str, value: str, negated: bool) -> list[Condition] | None:
    if word == "-p":
        protocol = _PROTOCOLS.get(value)
        # Of another protocol: never a probe's.
        return [Condition("protocol", frozenset({protocol or -1}), negated)]
    if word in ("-i", "-o") and negated:
        return []
    if word == "-m" and value in ("comment", "conntrack", "state", "tcp", "udp"):
        return []
    if word == "--comment":
        return []
    if word in ("--ctstate", "--state"):
        return [Condition("state", frozenset({NEW if "NEW" in value.split(",") else 0}), negated)]
    return None


def _saved_verdict(word: str, target: str, conditions: tuple[Condition, ...]) -> ForeignRule | None:
    if target in CONTINUING:
        return None
    known = {"ACCEPT": ACCEPT, "DROP": DROP, "REJECT": DROP, "RETURN": RETURN, "QUEUE": UNCLEAR}
    if target in known:
        return ForeignRule(known[target], "", conditions)
    return ForeignRule(GOTO if word == "-g" else JUMP, target, conditions)
