"""
End the open TCP connections of removed addresses, and count what was ended.

Only connections to a port that this host listens on are ended; connections that the host opened
itself are not. conntrack is left alone: the kernel picks up a flow that was deleted there from the
middle, and in reverse even behind a gate.
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

from . import addresses, errors, programs
from .state_dir import StateDir

LIST_LISTENING = ["ss", "-H", "-n", "-t", "-l"]
LIST_CONNECTED = ["ss", "-H", "-n", "-t"]
KILL = ["ss", "-H", "-n", "-t", "-K"]

ABILITY_FILE = "ends_connections"
"""Whether connections can be ended here, under this name in the state folder."""

UNABLE = "the kernel lacks CONFIG_INET_DIAG_DESTROY"

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MAX_ADDRESSES = 50
"""In one call: the kernel takes a filter of limited length."""
_END = re.compile(r"\[?([^\]%]*?)(?:%[^\]]*)?\]?:(\d{1,5})", re.ASCII)

Counts = Mapping[str, Mapping[str, int]]
"""For each address: ``ended`` and ``still_open``."""


@dataclass(frozen=True)
class Connection:
    """One connection: its local port, and the peer as an address and as ss writes it."""

    local_port: int
    peer_in_ss: str
    peer: str


def parse(output: str) -> list[Connection]:
    """Read the output of ``ss -Hnt``."""
    found: list[Connection] = []
    for line in output.splitlines():
        words = line.split()
        if len(words) < 5:
            continue
        local, peer = _END.fullmatch(words[3]), _END.fullmatch(words[4])
        if local and peer:
            # A listener for both families has IPv4 clients as ::ffff:192.0.2.1.
            plain = peer[1].removeprefix("::ffff:") if "." in peer[1] else peer[1]
            with contextlib.suppress(addresses.InvalidAddress):
                found.append(Connection(int(local[2]), peer[1], addresses.canonical(plain)[1]))
    return found


def parse_listening(output: str) -> frozenset[int]:
    """Read the ports in the output of ``ss -Hntl``."""
    lines = (line.split() for line in output.splitlines())
    ends = (_END.fullmatch(words[3]) for words in lines if len(words) > 3)
    return frozenset(int(end[2]) for end in ends if end)


def owned_by(
    connections: Iterable[Connection],
    ports: frozenset[int],
    removed: frozenset[str],
    still_allowed: Callable[[str], bool],
) -> list[Connection]:
    """Return the connections of removed addresses to these ports, but of those still allowed."""
    return [
        one
        for one in _of(connections, removed)
        if one.local_port in ports and not still_allowed(one.peer)
    ]


def any_open(removed: frozenset[str]) -> bool:
    """Whether any of the addresses has a connection open, in whatever direction."""
    return bool(removed) and any(_of(parse(programs.run(LIST_CONNECTED)), removed))


def end(removed: frozenset[str], still_allowed: Callable[[str], bool]) -> Counts:
    """End the connections of the addresses; count for each what was ended and is still open."""
    if not removed:
        return {}
    connections = parse(programs.run(LIST_CONNECTED))
    # The common case: none is open, and the ports need not be read.
    if not any(_of(connections, removed)):
        return {}
    ports = parse_listening(programs.run(LIST_LISTENING))
    found = owned_by(connections, ports, removed, still_allowed)
    if not found:
        return {}
    for kill_filter in kill_filters(found):
        programs.run([*KILL, kill_filter])
    after = parse(programs.run(LIST_CONNECTED))
    return count(found, owned_by(after, ports, removed, still_allowed))


def kill_filters(connections: Iterable[Connection]) -> Iterator[str]:
    """Yield the filters for ``ss -K`` that match the connections, some addresses in each."""
    found = list(connections)
    peers = sorted({one.peer_in_ss for one in found})
    for at in range(0, len(peers), _MAX_ADDRESSES):
        some = peers[at : at + _MAX_ADDRESSES]
        ports = sorted({one.local_port for one in found if one.peer_in_ss in some})
        from_peers = " or ".join(f"dst {_bracketed(peer)}" for peer in some)
        to_ports = " or ".join(f"sport = :{port}" for port in ports)
        yield f"( {from_peers} ) and ( {to_ports} )"


def count(before: Iterable[Connection], after: Iterable[Connection]) -> Counts:
    """Return for each address how many connections were ended and how many are still open."""
    counts: dict[str, dict[str, int]] = {}
    for one in before:
        counts.setdefault(one.peer, {"ended": 0, "still_open": 0})["ended"] += 1
    for one in after:
        # A kernel without CONFIG_INET_DIAG_DESTROY ends none.
        found = counts.setdefault(one.peer, {"ended": 0, "still_open": 0})
        found["ended"] = max(0, found["ended"] - 1)
        found["still_open"] += 1
    return counts


def can_end() -> bool | None:
    """Whether this kernel ends connections, tried on one of our own; None where unknown."""
    try:
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            to = listener.getsockname()
            client = stack.enter_context(socket.create_connection(to, timeout=1))
            port = client.getsockname()[1]
            programs.run([*KILL, f"src 127.0.0.1 and sport = :{port}"])
            error = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            return error == errno.ECONNABORTED
    except (OSError, errors.FirewallError):
        return None


def blocker(state_dir: StateDir) -> str:
    """Return why connections cannot be ended here; empty where they can, or it is unknown."""
    program = programs.path_of(KILL[0])
    if program is None:
        return str(errors.MissingProgram(KILL[0]))
    # Another kernel needs another boot: it is tried once for each, and for each `ss`.
    tried = [_BOOT_ID.read_text().strip(), str(Path(program).stat().st_mtime_ns), *KILL]
    known = state_dir.read(ABILITY_FILE)
    if known.get("tried") != tried:
        able = can_end()
        if able is None:
            return ""
        known = {"tried": tried, "able": able}
        state_dir.write(ABILITY_FILE, known)
    return "" if known["able"] else UNABLE


def still_open(counts: Counts) -> str:
    """Return one sentence on the connections that are still open; empty where there are none."""
    found = sorted(address for address, one in counts.items() if one["still_open"])
    return f"connections of {', '.join(found)} are still open: {UNABLE}" if found else ""


def _of(connections: Iterable[Connection], removed: frozenset[str]) -> Iterator[Connection]:
    networks = [ipaddress.ip_network(entry) for entry in removed if "/" in entry]
    for one in connections:
        if one.peer in removed or (
            networks and any(ipaddress.ip_address(one.peer) in network for network in networks)
        ):
            yield one


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
