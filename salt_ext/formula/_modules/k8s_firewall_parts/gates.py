"""Gates: who may reach a port at all, whatever other firewalls say."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

# No zero before a number: nft would take it for an octal one.
_PORTS = re.compile(r"([1-9]\d{0,4})(?:-([1-9]\d{0,4}))?(?:/(tcp|udp))?", re.ASCII)


@dataclass(frozen=True)
class Gate:
    """One port, or range of ports, and the sets of those who may reach it."""

    protocol: str
    first: int
    last: int
    sets: tuple[str, ...]

    @property
    def ports(self) -> str:
        """The ports as nft writes them."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def chain(self) -> str:
        """The name of the chain that decides."""
        return f"gate_{self.protocol}_{self.ports.replace('-', '_')}"

    def __str__(self) -> str:
        return f"{self.ports}/{self.protocol}"

    def covers(self, protocol: str, port: int) -> bool:
        """Whether a port is behind this gate."""
        return self.protocol == protocol and self.first <= port <= self.last

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "protocol": self.protocol,
            "first": self.first,
            "last": self.last,
            "sets": list(self.sets),
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Gate:
        """Read what to_dict has given."""
        return cls(told["protocol"], told["first"], told["last"], tuple(told["sets"]))


def ports(value: object) -> tuple[str | None, int, int] | None:
    """Read 5432, '5432/tcp' or '6000-6010/udp': protocol if it is told, first and last port."""
    found = None if isinstance(value, bool) else _PORTS.fullmatch(str(value))
    if found is None:
        return None
    first = int(found[1])
    last = int(found[2] or first)
    return (found[3], first, last) if 0 < first <= last <= 65535 else None


def read(told: object, sets: Collection[str], problems: list[str]) -> tuple[Gate, ...]:
    """Read the pillar k8s_firewall:gates; what is wrong with it is added to the problems."""
    if not isinstance(told, Mapping):
        problems.append("k8s_firewall:gates is no mapping of ports to sets")
        return ()
    found: list[Gate] = []
    for port, allowed in told.items():
        where = f"k8s_firewall:gates:{port}"
        meant = ports(port)
        names = [allowed] if isinstance(allowed, str) else allowed
        if meant is None:
            problems.append(f"{where} is no port such as 5432, 53/udp or 6000-6010/tcp")
        elif not isinstance(names, (list, tuple)) or not names:
            problems.append(f"{where} is not the name of a set, or a list of names")
        elif unknown := [name for name in names if name not in sets]:
            known = ", ".join(sorted(sets)) or "none"
            problems.append(f"{where} names the set {unknown[0]!r}; k8s_firewall:sets has: {known}")
        else:
            gate = Gate(meant[0] or "tcp", meant[1], meant[2], tuple(dict.fromkeys(names)))
            problems.extend(
                f"{where} has ports of the gate {other} too"
                for other in found
                if other.protocol == gate.protocol
                and other.first <= gate.last
                and gate.first <= other.last
            )
            found.append(gate)
    return tuple(sorted(found, key=lambda gate: (gate.protocol, gate.first)))
