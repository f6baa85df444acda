"""
Our own nft table: rendered, read back, and the difference between the two; text in, text out.

The table has the sets and, where they are asked for, gates and rules. It is one transaction
whatever is changed: the kernel takes all of it or nothing, and no packet sees half of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from . import desired, gates, rules

TABLE = "k8s_firewall"
LIST = ["nft", "--stateless", "list", "table", "inet", TABLE]
LIST_ALL = ["nft", "--stateless", "--terse", "list", "ruleset"]
"""Everybody's tables without the elements of sets; of one table the elements are read always."""
APPLY = ["nft", "-f", "-"]
CHECK = ["nft", "-c", "-f", "-"]
DELETE = f"table inet {TABLE}\ndelete table inet {TABLE}\n"
"""Deletes the table, also where there is none."""

_TYPES = {"v4": "ipv4_addr", "v6": "ipv6_addr"}
_MATCH = {"v4": "ip saddr", "v6": "ip6 saddr"}
_IN_A_LINE = 8

Elements = Mapping[str, frozenset[str]]
"""The elements of the kernel's sets, by their names."""


@dataclass(frozen=True)
class Found:
    """The table as the kernel has it: without the elements of its sets, and these."""

    structure: str
    elements: Elements


def needed(this: desired.Wanted) -> bool:
    """Whether there has to be a table."""
    return bool(this.gates or this.rules) or (this.backend == "nft" and bool(this.sets))


def elements(this: desired.Wanted) -> dict[str, frozenset[str]]:
    """Return what the table's sets are to hold."""
    used = {name for gate in this.gates for name in gate.sets}
    used.update(name for rule in this.rules for name in rule.sets)
    if this.backend == "nft":
        used.update(this.sets)
    return {
        f"{name}_{part}": held
        for name, content in sorted(this.contents().items())
        if name in used or name == desired.KEEP
        for part, held in content.parts().items()
    }


def structure(this: desired.Wanted) -> str:
    """Return the table without the elements of its sets: it changes with the pillar's shape."""
    return _table(this, {})


def full(this: desired.Wanted) -> str:
    """Return what puts the whole table in the place of the one that is there, if one is."""
    return DELETE + (_table(this, elements(this)) if needed(this) else "")


def delta(found: Elements, meant: Elements) -> str:
    """Return what brings the elements of the sets from one state to another; empty if nothing."""
    lines: list[str] = []
    for name, new in meant.items():
        old = found.get(name, frozenset())
        added, gone = new - old, old - new
        if not added and not gone:
            continue
        # The kernel joins neighbouring networks, and then there is none of them to delete.
        if name.endswith("_net") or len(added) + len(gone) > len(new):
            lines.append(f"flush set inet {TABLE} {name}")
            added, gone = new, frozenset()
        lines += _change("delete", name, gone)
        lines += _change("add", name, added)
    return "".join(f"{line}\n" for line in lines)


def parse(listing: str) -> Found:
    """Read what nft lists of the table."""
    kept: list[str] = []
    held: dict[str, frozenset[str]] = {}
    name = ""
    rest = listing
    while (at := rest.find("elements = {")) >= 0:
        before, rest = rest[:at], rest[at + len("elements = {") :]
        inside, _, rest = rest.partition("}")
        name = before[before.rindex("set ") :].split(None, 2)[1]
        held[name] = frozenset("".join(inside.split()).split(","))
        kept.append(before)
    lines = "".join([*kept, rest]).splitlines()
    text = "\n".join(line for line in lines if line.strip())
    for line in lines:
        if line.startswith("\tset "):
            held.setdefault(line.split()[1], frozenset())
    return Found(text, held)


def ours(listing: str) -> str:
    """Return our table's structure of what nft lists of everybody's without elements."""
    begin = listing.find(f"table inet {TABLE} {{\n")
    if begin < 0 or (begin and listing[begin - 1] != "\n"):
        return ""
    return parse(listing[begin : listing.index("\n}\n", begin) + 3]).structure


def _change(what: str, name: str, these: frozenset[str]) -> Iterator[str]:
    if these:
        yield f"{what} element inet {TABLE} {name} {{ {_joined(these)} }}"


def _joined(these: frozenset[str]) -> str:
    # Short lines: nft repeats the line that it does not like.
    one = sorted(these)
    lines = (", ".join(one[at : at + _IN_A_LINE]) for at in range(0, len(one), _IN_A_LINE))
    return ",\n".join(lines)


def _table(this: desired.Wanted, held: Elements) -> str:
    lines = [f"table inet {TABLE} {{"]
    for name in elements(this):
        family = name.removesuffix("_net")[-2:]
        lines += [f"set {name} {{", f"type {_TYPES[family]}"]
        if name.endswith("_net"):
            lines.append("flags interval")
        if held.get(name):
            lines.append(f"elements = {{ {_joined(held[name])} }}")
        lines.append("}")
    if this.gates:
        lines += _gates(this.gates)
    for rule in this.rules:
        lines += _rule(rule)
    for chain in rules.POLICIES:
        asked = [rule for rule in this.rules if rule.chain == chain]
        if asked:
            lines += _rules(chain, asked, this.policy[chain])
    lines.append("}")
    return "\n".join(lines) + "\n"


def _gates(these: tuple[gates.Gate, ...]) -> Iterator[str]:
    """Yield the chains; each of the gate's conditions was found to be needed with packets."""
    for gate in these:
        yield f"chain {gate.chain} {{"
        for name in (*gate.sets, desired.KEEP):
            yield from _accept(name)
        yield "counter drop"
        yield "}"
    # Before the chains of others: their accept cannot open what is dropped here, and a drop here
    # ends established connections too.
    yield "chain gate_input {"
    yield "type filter hook input priority -10; policy accept;"
    yield 'iifname "lo" accept'
    for gate in these:
        yield _asked(gate, "")
        # Without an entry in connection tracking there is no direction and no original port.
        yield (
            f"ct state {{ invalid, untracked }} {gate.protocol} dport {gate.ports} "
            f"goto {gate.chain}"
        )
    yield "}"
    # Ports that are handed on to a container; what this host routes for others is not its own.
    yield "chain gate_forward {"
    yield "type filter hook forward priority -10; policy accept;"
    for gate in these:
        yield _asked(gate, "ct status dnat ")
    yield "}"


def _asked(gate: gates.Gate, further: str) -> str:
    # Not the replies to what this host began from that port; and the port as the client sent it,
    # before a redirect or a published container port changed it.
    return (
        f"{further}ct direction original meta l4proto {gate.protocol} "
        f"ct original proto-dst {gate.ports} goto {gate.chain}"
    )


def _rule(this: rules.Rule) -> Iterator[str]:
    """Yield the chain of one rule: what becomes of packets to its ports."""
    comment = f' comment "{this.comment}"' if this.comment else ""
    matches = [""] if this.anyone else [f"{one} " for name in this.sets for one in _members(name)]
    yield f"chain {rules.PREFIX}{this.name} {{"
    for match in matches:
        if this.log:
            yield f'{match}limit rate 5/second log prefix "{this.log}"'
        yield f"{match}counter {this.action}{comment}"
    yield "}"


def _rules(chain: str, these: Sequence[rules.Rule], policy: str) -> Iterator[str]:
    yield f"chain rules_{chain} {{"
    yield f"type filter hook {chain} priority 0; policy {policy};"
    if chain == "input":
        yield 'iifname "lo" accept'
    # Only answers: who has left is shut out of established connections too.
    yield "ct state established,related ct direction reply accept"
    yield "meta l4proto { icmp, ipv6-icmp } accept"
    if chain == "input":
        # A DHCPv6 server answers what was sent to all of them, which is no connection.
        yield "ip6 saddr fe80::/10 udp dport 546 accept"
    yield from _accept(desired.KEEP)
    for rule in these:
        match = f"meta l4proto {rule.protocol} " if rule.protocol else ""
        if rule.ports:
            match = f"{rule.protocol} dport {{ {', '.join(rule.ports)} }} "
        yield f"{match}jump {rules.PREFIX}{rule.name}"
    yield "}"


def _accept(name: str) -> Iterator[str]:
    return (f"{match} accept" for match in _members(name))


def _members(name: str) -> Iterator[str]:
    for part in ("v4", "v4_net", "v6", "v6_net"):
        yield f"{_MATCH[part[:2]]} @{name}_{part}"
