"""Gates: a gate drops packets to a port from every source outside its sets."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

# No zero before a number: nft would read an octal one.
_PORTS = re.compile(r"([1-9]\d{0,4})(?:-([1-9]\d{0,4}))?(?:/(tcp|udp))?", re.ASCII)


@dataclass(frozen=True)
class Gate:
    """One port, or range of ports, and the sets of addresses that may reach it."""

    protocol: str
    first_port: int
    last_port: int
    sets: tuple[str, ...]

    @property
    def ports(self) -> str:
        """The ports as nft writes them."""
        if self.first_port == self.last_port:
            return str(self.first_port)
        return f"{self.first_port}-{self.last_port}"

    @property
    def chain(self) -> str:
        """The name of the chain that decides."""
        return f"gate_{self.protocol}_{self.ports.replace('-', '_')}"

    def __str__(self) -> str:
        return f"{self.ports}/{self.protocol}"

    def covers(self, protocol: str, port: int) -> bool:
        """Whether a port is behind this gate."""
        return self.protocol == protocol and self.first_port <= port <= self.last_port

    def overlaps(self, other: Gate) -> bool:
        """Whether some port is behind both gates."""
        return (
            self.protocol == other.protocol
            and self.first_port <= other.last_port
            and other.first_port <= self.last_port
        )

    def to_dict(self) -> dict[str, object]:
        """Return the gate as JSON can hold it."""
        return {
            "protocol": self.protocol,
            "first_port": self.first_port,
            "last_port": self.last_port,
            "sets": list(self.sets),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Gate:
        """Read what ``to_dict`` returned."""
        return cls(data["protocol"], data["first_port"], data["last_port"], tuple(data["sets"]))


def parse_ports(value: object) -> tuple[str | None, int, int] | None:
    """
    Read 5432, '5432/tcp' or '6000-6010/udp'.

    Returns the protocol (None where it is not given), the first and the last port; None for
    anything else.
    """
    match = None if isinstance(value, bool) else _PORTS.fullmatch(str(value))
    if match is None:
        return None
    first = int(match[1])
    last = int(match[2] or first)
    return (match[3], first, last) if 0 < first <= last <= 65535 else None


def parse(value: object, sets: Collection[str], problems: list[str]) -> tuple[Gate, ...]:
    """Read the pillar ``k8s_firewall:gates``; mistakes are added to the problems."""
    if not isinstance(value, Mapping):
        problems.append("k8s_firewall:gates is not a mapping of ports to sets")
        return ()
    gates: list[Gate] = []
    for port, allowed in value.items():
        where = f"k8s_firewall:gates:{port}"
        ports = parse_ports(port)
        names: Any = [allowed] if isinstance(allowed, str) else allowed
        if ports is None:
            problems.append(f"{where} is not a port; examples: 5432, 53/udp, 6000-6010/tcp")
        elif not _are_names(names):
            problems.append(f"{where} is not the name of a set, or a list of names")
        elif unknown := [name for name in names if name not in sets]:
            known = ", ".join(sorted(sets)) or "none"
            problems.append(
                f"{where} names the unknown set {unknown[0]!r}; k8s_firewall:sets has: {known}"
            )
        else:
            gate = Gate(ports[0] or "tcp", ports[1], ports[2], tuple(dict.fromkeys(names)))
            problems.extend(
                f"{where} overlaps the gate {other}" for other in gates if other.overlaps(gate)
            )
            gates.append(gate)
    return tuple(sorted(gates, key=lambda gate: (gate.protocol, gate.first_port)))


def _are_names(value: object) -> bool:
    if not isinstance(value, (list, tuple)) or not value:
        return False
    return all(isinstance(name, str) for name in value)
