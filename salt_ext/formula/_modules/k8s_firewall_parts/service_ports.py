"""The ports that gates and rules open: for one address, and all that a removed address loses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from . import connections, gates
from .desired import IPSET, KEEP, Desired
from .rules import Rule

ALL = (1, 65535)


def opened_for(desired: Desired, entry: str) -> connections.Ports | None:
    """
    Return the ports that gates and rules of a desired state open for an address or network.

    None where that is unknown: a rule of another program names the ipset, or it is in ``keep``.
    """
    names = {
        name
        for name, content in desired.all_sets().items()
        if any(entry in part for part in content.parts().values())
    }
    if KEEP in names or names & desired.sets_in(IPSET).keys():
        return None
    found = {
        (gate.protocol, gate.first_port, gate.last_port)
        for gate in desired.gates
        if names.intersection(gate.sets)
    }
    for rule in desired.rules:
        if rule.action == "accept" and names.intersection(rule.sets):
            found.update((rule.protocol, *ports) for ports in of_rule(rule))
    return frozenset(found)


def of_rule(rule: Rule) -> Iterator[tuple[int, int]]:
    """Yield the first and last port of each range of a rule; all ports where it names none."""
    if not rule.ports:
        yield ALL
    for text in rule.ports:
        if parsed := gates.parse_ports(text):
            yield parsed[1:]


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges in order, those that overlap or touch as one: nft refuses an overlap."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found
