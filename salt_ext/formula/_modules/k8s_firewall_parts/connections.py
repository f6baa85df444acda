"""
End TCP connections of those who have left, and tell of each whether that is so.

A connection counts as theirs when its local end is a port that this host listens on: what the host
began itself, to a service of theirs, is not touched. conntrack is left alone: a flow that is
deleted there is picked up again from the middle, in reverse even behind a gate.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import errors, programs
from .state_dir import StateDir

LISTENING = ["ss", "-H", "-n", "-t", "-l"]
CONNECTED = ["ss", "-H", "-n", "-t"]
KILL = ["ss", "-H", "-n", "-t", "-K"]

ABILITY = "ability"
"""Whether connections can be ended here, under this name in the record."""

NONE_ENDED = "this kernel ends none on demand (CONFIG_INET_DIAG_DESTROY)"

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_AT_ONCE = 50
"""Addresses in one call: the kernel takes a filter of limited length."""
_END = re.compile(r"^\[?([^\]%]*?)(?:%[^\]]*)?\]?:(\d+)$")


@dataclass(frozen=True)
class Connection:
    """One connection: the local port, and the other side as ss writes it and as it is."""

    port: int
    written: str
    peer: str


def parse(printed: str) -> list[Connection]:
    """Read what ``ss -Hnt`` prints."""
    found: list[Connection] = []
    for line in printed.splitlines():
        words = line.split()
        if len(words) < 5:
            continue
        local, peer = _END.match(words[3]), _END.match(words[4])
        if local and peer:
            # A listener for both families has IPv4 clients as ::ffff:192.0.2.1.
            plain = peer[1].removeprefix("::ffff:") if "." in peer[1] else peer[1]
            found.append(Connection(int(local[2]), peer[1], plain))
    return found


def listening(printed: str) -> frozenset[int]:
    """Read the ports of what ``ss -Hntl`` prints."""
    ends = (_END.match(words[3]) for words in map(str.split, printed.splitlines()) if words[3:])
    return frozenset(int(end[2]) for end in ends if end)


def theirs(
    connections: Iterable[Connection],
    ports: frozenset[int],
    gone: frozenset[str],
    stays: Callable[[str], bool],
) -> list[Connection]:
    """Return the connections of those who have left and are let in for no other reason."""
    return [one for one in _left(connections, gone) if one.port in ports and not stays(one.peer)]


def open_of(gone: frozenset[str]) -> bool:
    """Whether any of them has a connection open, in whatever direction."""
    return bool(gone) and any(_left(parse(programs.run(CONNECTED)), gone))


def end(gone: frozenset[str], stays: Callable[[str], bool]) -> dict[str, dict[str, int]]:
    """End what they have open; for each address, how many were ended and how many are left."""
    if not gone:
        return {}
    connections = parse(programs.run(CONNECTED))
    # Most often there is none, and then nobody need be asked what else there is.
    if not any(_left(connections, gone)):
        return {}
    ports = listening(programs.run(LISTENING))
    found = theirs(connections, ports, gone, stays)
    for written in _chunks(sorted({one.written for one in found})):
        peers = " or ".join(f"dst {_bracketed(one)}" for one in written)
        used = " or ".join(
            f"sport = :{port}"
            for port in sorted({one.port for one in found if one.written in written})
        )
        programs.run([*KILL, f"( {peers} ) and ( {used} )"])
    left = theirs(parse(programs.run(CONNECTED)), ports, gone, stays) if found else []
    told: dict[str, dict[str, int]] = {}
    for one in found:
        told.setdefault(one.peer, {"ended": 0, "left": 0})["ended"] += 1
    for one in left:
        # A kernel without CONFIG_INET_DIAG_DESTROY ends none.
        count = told.setdefault(one.peer, {"ended": 0, "left": 0})
        count["ended"], count["left"] = max(0, count["ended"] - 1), count["left"] + 1
    return told


def can_end() -> bool | None:
    """Whether this kernel ends connections on demand, tried on one of our own; None if unknown."""
    try:
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            to = listener.getsockname()
            one = stack.enter_context(socket.create_connection(to, timeout=1))
            port = one.getsockname()[1]
            programs.run([*KILL, f"src 127.0.0.1 and sport = :{port}"])
            return one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNABORTED
    except (OSError, errors.FirewallError):
        return None


def hindrance(record: StateDir) -> str:
    """Say why connections cannot be ended here; empty where they can, or nobody knows."""
    program = programs.found(KILL[0])
    if program is None:
        return str(errors.Missing(KILL[0]))
    # Another kernel needs another boot: it is tried once for each, and for each `ss`.
    tried = [_BOOT.read_text().strip(), str(Path(program).stat().st_mtime_ns), *KILL]
    known = record.read(ABILITY)
    if known.get("tried") != tried:
        able = can_end()
        if able is None:
            return ""
        known = {"tried": tried, "able": able}
        record.write(ABILITY, known)
    return "" if known["able"] else NONE_ENDED


def problem(told: Mapping[str, Mapping[str, int]]) -> str:
    """Return one sentence on what could not be ended; empty when all was."""
    left = sorted(address for address, count in told.items() if count["left"])
    if not left:
        return ""
    return f"connections of {', '.join(left)} are still open: {NONE_ENDED}"


def _left(connections: Iterable[Connection], gone: frozenset[str]) -> Iterator[Connection]:
    networks = [ipaddress.ip_network(one) for one in gone if "/" in one]
    for one in connections:
        if one.peer in gone or (
            networks and any(ipaddress.ip_address(one.peer) in network for network in networks)
        ):
            yield one


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _chunks(these: list[str]) -> Iterable[list[str]]:
    return (these[at : at + _AT_ONCE] for at in range(0, len(these), _AT_ONCE))
