"""
The nft table ``inet k8s_firewall``: render it, read it back, and write the difference as text.

The table holds the sets and, where the pillar has them, gates and rules. Each change is one
transaction: the kernel takes all of it or nothing, and no packet meets half a change.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from . import gates, reverse_flows, rules
from .addresses import Content
from .desired import KEEP, NFT, Desired

TABLE = "k8s_firewall"
LIST = ["nft", "--stateless", "list", "table", "inet", TABLE]
LIST_HANDLES = ["nft", "--stateless", "--terse", "--handle", "list", "table", "inet", TABLE]
"""
Without elements, where nft can do so for one table.

Only ever this one table by its name: a listing of all takes seconds where others have many rules,
and begins anew with each transaction of theirs.
"""
APPLY = ["nft", "-f", "-"]
CHECK = ["nft", "-c", "-f", "-"]
DELETE = f"table inet {TABLE}\ndelete table inet {TABLE}\n"
"""Deletes the table, and does not fail where there is none."""

_TYPES = {"v4": "ipv4_addr", "v6": "ipv6_addr"}
_ELEMENTS_PER_LINE = 8
_NOBODY = Content()

_SET = re.compile(r"^\tset (\S+) \{", re.MULTILINE)
_ELEMENTS = re.compile(r"^\t\telements = \{", re.MULTILINE)
_HANDLE = re.compile(r" # handle (\d+)$", re.MULTILINE)
_POLICY = re.compile(r"; policy (\w+);")

Elements = Mapping[str, frozenset[str]]
"""The elements of the kernel's sets, by their names."""


@dataclass(frozen=True)
class Table:
    """The table as the kernel has it: its listing without elements, and the elements."""

    structure: str
    elements: Elements


def needed(desired: Desired) -> bool:
    """Whether the desired state needs the table at all."""
    return bool(desired.gates or desired.rules or desired.sets_in(NFT))


def elements(desired: Desired, departed: Content = _NOBODY) -> dict[str, frozenset[str]]:
    """Return the desired elements of the table's sets."""
    used = {name for gate in desired.gates for name in gate.sets}
    used.update(name for rule in desired.rules for name in rule.sets)
    used.update(desired.sets_in(NFT))
    sets = {
        name: content
        for name, content in sorted(desired.all_sets().items())
        if name in used or name == KEEP
    }
    if reverse_flows.needed(desired):
        sets[reverse_flows.DEPARTED] = departed
    return {
        f"{name}_{suffix}": part
        for name, content in sets.items()
        for suffix, part in content.parts().items()
    }


def structure(desired: Desired) -> str:
    """Return the table without elements: it changes only with the shape of the pillar."""
    return _table(desired, {})


def full(desired: Desired, departed: Content = _NOBODY) -> str:
    """
    Return the text that replaces the whole table.

    departed
        The addresses and networks that no connection tracking may let in again.
    """
    return DELETE + (_table(desired, elements(desired, departed)) if needed(desired) else "")


def delta(current: Elements, desired: Elements) -> str:
    """Return the text that changes the elements of the sets; empty where none differ."""
    lines: list[str] = []
    for name, new in desired.items():
        old = current.get(name, frozenset())
        added, removed = new - old, old - new
        if not added and not removed:
            continue
        # The kernel joins neighbouring networks, so that one of them cannot be deleted.
        if name.endswith("_net") or len(added) + len(removed) > len(new):
            lines.append(f"flush set inet {TABLE} {name}")
            added, removed = new, frozenset()
        lines += _change("delete", name, removed)
        lines += _change("add", name, added)
    return "".join(f"{line}\n" for line in lines)


def parse(listing: str) -> Table:
    """Read what ``nft list table`` prints."""
    kept: list[str] = []
    found: dict[str, frozenset[str]] = {}
    rest = listing
    while match := _ELEMENTS.search(rest):
        before, after = rest[: match.start()], rest[match.end() :]
        inside, _, rest = after.partition("}")
        kept.append(before)
        if names := _SET.findall(before):
            found[names[-1]] = frozenset(filter(None, "".join(inside.split()).split(",")))
    text = "".join([*kept, rest])
    for name in _SET.findall(text):
        found.setdefault(name, frozenset())
    return Table("\n".join(line for line in text.splitlines() if line.strip()), found)


def structure_of(listing: str) -> str:
    """Return the structure out of a listing with handles."""
    return parse(_HANDLE.sub("", listing)).structure


def is_as_loaded(listing: str, text: str) -> bool:
    """
    Whether the table in a listing with handles is the one that a text has loaded, unchanged.

    The kernel gives the objects of a new table their handles in the order of the text, and never
    one twice: a rule that another program has added, replaced or deleted breaks the order.
    """
    return _shape(listing) == _shape(text) and _in_order(listing)


def _shape(table: str) -> list[object]:
    """Return the names of sets, the names of chains with their number of rules, the policies."""
    lines = [line.strip() for line in table.splitlines()]
    shape: list[object] = []
    for number, line in enumerate(lines):
        if line.startswith("set "):
            shape.append(line.split()[1])
        elif line.startswith("chain "):
            inside = itertools.takewhile("}".__ne__, lines[number + 1 :])
            rules_of = [rule for rule in inside if not rule.startswith("type filter")]
            shape.append((line.split()[1], len(rules_of)))
    return [*shape, _POLICY.findall(table)]


def _in_order(listing: str) -> bool:
    """Whether the handles of rules follow each other, as those of a table just loaded."""
    last = 0
    for line in listing.splitlines():
        match = _HANDLE.search(line)
        # Those of sets and chains are given out before.
        if match is None or line.endswith(f"{{{match[0]}"):
            continue
        handle = int(match[1])
        # A set without a name, within the rule, has a handle of its own.
        if last and not last < handle <= last + 1 + line.count("{"):
            return False
        last = handle
    return True


def _change(verb: str, name: str, entries: frozenset[str]) -> Iterator[str]:
    if entries:
        yield f"{verb} element inet {TABLE} {name} {{ {_joined(entries)} }}"


def _joined(entries: frozenset[str]) -> str:
    # Short lines: nft repeats a line that it refuses.
    ordered = sorted(entries)
    step = _ELEMENTS_PER_LINE
    lines = (", ".join(ordered[at : at + step]) for at in range(0, len(ordered), step))
    return ",\n".join(lines)


def _table(desired: Desired, contents: Elements) -> str:
    lines = [f"table inet {TABLE} {{"]
    for name in elements(desired):
        family = name.removesuffix("_net")[-2:]
        lines += [f"set {name} {{", f"type {_TYPES[family]}"]
        if name.endswith("_net"):
            lines.append("flags interval")
        if contents.get(name):
            lines.append(f"elements = {{ {_joined(contents[name])} }}")
        lines.append("}")
    if desired.gates:
        lines += _gate_chains(desired.gates)
    for rule in desired.rules:
        lines += _rule_chain(rule)
    for chain in rules.POLICIES:
        chain_rules = [rule for rule in desired.rules if rule.chain == chain]
        if chain_rules:
            lines += reverse_flows.rule_chains(chain, chain_rules)
            lines += _base_chain(chain, chain_rules, desired.policy[chain])
    lines += reverse_flows.output_chains(desired)
    lines.append("}")
    return "\n".join(lines) + "\n"


def _gate_chains(these: tuple[gates.Gate, ...]) -> Iterator[str]:
    """Yield the chains; packets were sent to prove that each condition of a gate is needed."""
    yield from reverse_flows.PUBLISHED_SET
    for gate in these:
        yield f"chain {gate.chain} {{"
        for name in (*gate.sets, KEEP):
            yield from _accept(name)
        yield "counter drop"
        yield "}"
    yield from reverse_flows.gate_chains(these)
    # Before the chains of other firewalls: their accept cannot open what is dropped here, and a
    # drop here cuts established connections too.
    yield "chain gate_input {"
    yield "type filter hook input priority -10; policy accept;"
    yield 'iifname "lo" accept'
    for gate in these:
        yield reverse_flows.published(f"ct status dnat {_tracked(gate)}")
        yield f"{_tracked(gate)} goto {gate.chain}"
        # Without an entry in connection tracking there is no direction and no original port.
        yield (
            f"ct state {{ invalid, untracked }} {gate.protocol} dport {gate.ports} "
            f"goto {gate.chain}"
        )
    yield "ct direction reply jump gate_replies"
    yield "}"
    yield from reverse_flows.forward_chains(these)
    # Ports that are forwarded to a container; other routed traffic does not belong to this host.
    yield "chain gate_forward {"
    yield "type filter hook forward priority -10; policy accept;"
    for gate in these:
        yield reverse_flows.published(f"ct status dnat {_tracked(gate)}")
        yield f"ct status dnat {_tracked(gate)} goto {gate.chain}"
    yield "ct status snat ct direction reply jump gate_replies"
    yield "ct state new jump gate_new"
    yield "}"


def _tracked(gate: gates.Gate) -> str:
    # Not the replies to connections that this host opened from that port; and the port as the
    # client sent it, before a redirect or a published container port changed it.
    return f"ct direction original meta l4proto {gate.protocol} ct original proto-dst {gate.ports}"


def _rule_chain(rule: rules.Rule) -> Iterator[str]:
    """Yield the chain of one rule: the verdict on packets to its ports."""
    comment = f' comment "{rule.comment}"' if rule.comment else ""
    matches = [f"{match} " for name in rule.sets for match in reverse_flows.members(name)]
    if rule.any_source:
        matches = [""]
    yield f"chain {rules.PREFIX}{rule.name} {{"
    for match in matches:
        if rule.log:
            yield f'{match}limit rate 5/second log prefix "{rule.log}"'
        yield f"{match}counter {rule.action}{comment}"
    yield "}"


def _base_chain(chain: str, chain_rules: Sequence[rules.Rule], policy: str) -> Iterator[str]:
    yield f"chain rules_{chain} {{"
    yield f"type filter hook {chain} priority 0; policy {policy};"
    if chain == "input":
        yield 'iifname "lo" accept'
    yield reverse_flows.answers(chain, chain_rules)
    if chain == "forward" and reverse_flows.closes(chain_rules):
        yield "ct state new jump new_forward"
    yield "meta l4proto { icmp, ipv6-icmp } accept"
    if chain == "input":
        # DHCPv6: the client asks a multicast group, so that no connection matches the answer.
        yield "ip6 saddr fe80::/10 udp dport 546 accept"
    yield from _accept(KEEP)
    for rule in chain_rules:
        match = f"meta l4proto {rule.protocol} " if rule.protocol else ""
        if rule.ports:
            match = f"{rule.protocol} dport {{ {', '.join(rule.ports)} }} "
        yield f"{match}jump {rules.PREFIX}{rule.name}"
    yield "}"


def _accept(name: str) -> Iterator[str]:
    return (f"{match} accept" for match in reverse_flows.members(name))
