"""
The nodes that the emulator has when it starts.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address

from lab.kubernetes import sample
from lab.kubernetes.emulator.store import Object

_FIRST = IPv4Address("10.0.0.1")


def numbered(count: int) -> list[Object]:
    """node1, node2, ... with the addresses 10.0.0.1, 10.0.0.2, ..."""
    return [_node(f"node{n}", [str(_FIRST + n - 1)]) for n in range(1, count + 1)]


def named(text: str) -> Object:
    """A node from ``NAME=ADDRESS[,ADDRESS...]``; raises ValueError."""
    name, equals, addresses = text.partition("=")
    if not (name and equals):
        raise ValueError(f"{text!r} is not NAME=ADDRESS[,ADDRESS...]")
    return _node(name, [str(ip_address(one)) for one in addresses.split(",")])


def _node(name: str, addresses: Iterable[str]) -> Object:
    internal = [{"type": "InternalIP", "address": one} for one in addresses]
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "addresses": [*internal, {"type": "Hostname", "address": name}],
            "conditions": sample.conditions(ready=True),
        },
    }
