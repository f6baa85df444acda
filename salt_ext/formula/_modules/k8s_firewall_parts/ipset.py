"""
Sets for rules of iptables, anybody's; text in, text out.

Each named set becomes two of type hash:net, ``<name>_v4`` and ``<name>_v6``: that type holds
addresses and networks, which may overlap. (hash:ip would take a network apart into addresses.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from . import addresses, errors

READ = ["ipset", "save"]
APPLY = ["ipset", "restore"]
SCRATCH = "k8sfw-"
"""How the names of the sets begin that are filled before they take another's place."""

_FAMILIES = {"v4": "inet", "v6": "inet6"}
# It has no network of length 0.
_EVERYONE = {"0.0.0.0/0": ("0.0.0.0/1", "128.0.0.0/1"), "::/0": ("::/1", "8000::/1")}
_SMALLEST = 65536


@dataclass(frozen=True)
class Found:
    """One set as the kernel has it."""

    kind: str
    family: str
    limit: int
    members: frozenset[str]


def members(sets: Mapping[str, addresses.Content]) -> dict[str, frozenset[str]]:
    """Return what the kernel's sets are to hold, by their names."""
    held: dict[str, frozenset[str]] = {}
    for name, content in sets.items():
        parts = content.parts()
        for family in _FAMILIES:
            these = parts[family] | parts[f"{family}_net"]
            for everyone in these & _EVERYONE.keys():
                these = (these - {everyone}).union(_EVERYONE[everyone])
            held[f"{name}_{family}"] = these
    return held


def parse(saved: str) -> dict[str, Found]:
    """Read what ``ipset save`` prints."""
    made: dict[str, list[str]] = {}
    added: dict[str, list[str]] = {}
    for line in saved.splitlines():
        if line.startswith("add "):
            _, name, member = line.split(" ", 2)
            added[name].append(member)
        elif line.startswith("create "):
            _, name, *rest = line.split()
            made[name] = rest
            added[name] = []
    return {
        name: Found(
            kind=rest[0],
            family=rest[rest.index("family") + 1] if "family" in rest else "",
            limit=int(rest[rest.index("maxelem") + 1]) if "maxelem" in rest else 0,
            members=frozenset(added[name]),
        )
        for name, rest in made.items()
    }


def changes(found: Mapping[str, Found], meant: Mapping[str, frozenset[str]]) -> str:
    """Return what brings the sets to what they are to hold, for one ``ipset restore``."""
    filled: list[str] = []
    swapped: list[str] = []
    lines = [f"destroy {name}" for name in found if name.startswith(SCRATCH)]
    for number, (name, new) in enumerate(sorted(meant.items())):
        family = _FAMILIES[name[-2:]]
        old = found.get(name)
        if old is None:
            filled += _made(name, family, new)
            continue
        if (old.kind, old.family) != ("hash:net", family):
            raise errors.Refused(
                f"there is an ipset {name} of another type ({old.kind} {old.family}), which is not "
                f"ours: name the set in k8s_firewall:sets differently"
            )
        added, gone = new - old.members, old.members - new
        if not added and not gone:
            continue
        if len(new) <= old.limit and len(added) + len(gone) <= len(new):
            # Out before in: a set that is full takes nothing.
            swapped += [f"del {name} {one}" for one in sorted(gone)]
            swapped += [f"add {name} {one}" for one in sorted(added)]
        else:
            scratch = f"{SCRATCH}{number}"
            filled += _made(scratch, family, new)
            swapped += [f"swap {scratch} {name}", f"destroy {scratch}"]
    # All of what can fail for want of memory before the first change.
    return "".join(f"{line}\n" for line in [*lines, *filled, *swapped])


def full(meant: Mapping[str, frozenset[str]]) -> str:
    """Return what makes the sets where there are none, as at boot."""
    return changes({}, meant)


def _made(name: str, family: str, new: frozenset[str]) -> Iterator[str]:
    # Room to grow by as much again; the kernel makes the table larger by itself.
    limit = max(_SMALLEST, 1 << (2 * len(new)).bit_length())
    yield f"create {name} hash:net family {family} hashsize 1024 maxelem {limit}"
    for one in sorted(new):
        yield f"add {name} {one}"
