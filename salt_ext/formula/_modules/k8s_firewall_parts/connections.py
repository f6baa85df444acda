"""
End the open TCP connections of removed addresses, and count what was ended.

Only connections to a port that this host listens on are ended, and only where a ``Scope`` has the
port; connections that the host opened itself are not. conntrack is left alone: the kernel picks up
a flow that was deleted there from the middle, and in reverse even behind a gate.

The kernel does not tell when a connection began: not ss, not /proc, and conntrack only where its
timestamps are turned on. So the connections that an address has before it is let in are recorded
then (``existing``), by the number that the kernel gives each socket, and are never ended.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from . import addresses, errors, programs, sock_diag
from .state_dir import StateDir

LIST_LISTENING = ["ss", "-H", "-n", "-t", "-l"]
LIST_CONNECTED = ["ss", "-H", "-n", "-t", "-e"]
KILL = ["ss", "-H", "-n", "-t", "-K"]

ABILITY_FILE = "ends_connections"
"""Whether connections can be ended here, under this name in the state folder."""

UNABLE = "the kernel lacks CONFIG_INET_DIAG_DESTROY"

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MAX_CLAUSES = 50
"""In one call: the kernel takes a filter of limited length."""
_MAX_EXISTING = 1000
"""Of one address, so that the record stays small."""
_END = re.compile(r"\[?([^\]%]*?)(?:%[^\]]*)?\]?:(\d{1,5})", re.ASCII)
_COOKIE = re.compile(r"sk:([0-9a-f]{1,16})")

Counts = Mapping[str, Mapping[str, int]]
"""For each address: ``ended`` and ``still_open``."""
Ports = frozenset[tuple[str, int, int]]
"""Protocol (empty for every one), first and last port."""


@dataclass(frozen=True)
class Scope:
    """Which connections of a removed address are ended."""

    ports: Ports | None = None
    """The ports that were open for it; None where they are unknown: every one listened on."""
    existing: frozenset[str] = frozenset()
    """The connections that it had before it was let in, as ``existing`` returned them."""

    def covers(self, connection: Connection, boot: str) -> bool:
        """Whether a connection is to a port that was open for the address, and not older."""
        if self.existing and connection.identity_in(boot) in self.existing:
            return False
        return self.ports is None or any(
            protocol in ("", "tcp") and first <= connection.local_port <= last
            for protocol, first, last in self.ports
        )


Removed = Mapping[str, Scope] | Set[str]
"""The removed addresses and networks; in a set each has the widest scope."""


@dataclass(frozen=True)
class Connection:
    """One connection: its local port, and the peer as an address and as ss writes it."""

    local_port: int
    peer_in_ss: str
    peer: str
    peer_port: int = 0
    identity: str = ""
    """Of its socket, never used twice in one boot; empty where ss does not print one."""

    def identity_in(self, boot: str) -> str:
        """Return an identity that another boot does not use again; empty where there is none."""
        return f"{boot}:{self.identity}" if self.identity else ""


def parse(output: str) -> list[Connection]:
    """Read the output of ``ss -Hnt``."""
    found: list[Connection] = []
    for line in output.splitlines():
        words = line.split()
        if len(words) < 5:
            continue
        local, peer = _END.fullmatch(words[3]), _END.fullmatch(words[4])
        if local and peer:
            cookie = _COOKIE.search(line)
            with contextlib.suppress(addresses.InvalidAddress):
                found.append(
                    Connection(
                        int(local[2]),
                        peer[1],
                        plain_address(peer[1]),
                        int(peer[2]),
                        cookie[1] if cookie else "",
                    )
                )
    return found


def parse_listening(output: str) -> frozenset[int]:
    """Read the ports in the output of ``ss -Hntl``."""
    lines = (line.split() for line in output.splitlines())
    ends = (_END.fullmatch(words[3]) for words in lines if len(words) > 3)
    return frozenset(int(end[2]) for end in ends if end)


def connected() -> list[Connection]:
    """Return the TCP connections of this host; raise FirewallError where they are unknown."""
    try:
        sockets = sock_diag.tcp(sock_diag.CONNECTED)
    except OSError:
        # Such as in a container that may not load the kernel module: ss has other ways too.
        return parse(programs.run(LIST_CONNECTED))
    return [
        Connection(one.local_port, one.peer, plain_address(one.peer), one.peer_port, one.identity)
        for one in sockets
    ]


def listening() -> frozenset[int]:
    """Return the ports that this host listens on; raise FirewallError where they are unknown."""
    try:
        return frozenset(one.local_port for one in sock_diag.tcp(sock_diag.LISTENING))
    except OSError:
        return parse_listening(programs.run(LIST_LISTENING))


def plain_address(peer: str) -> str:
    """Return the canonical address of a peer, as ss writes it."""
    # A listener for both families has IPv4 clients as ::ffff:192.0.2.1.
    plain = peer.removeprefix("::ffff:") if "." in peer else peer
    return addresses.canonical(plain)[1]


def owned_by(
    connections: Iterable[Connection],
    ports: frozenset[int],
    removed: Removed,
    still_allowed: Callable[[str], bool],
) -> list[Connection]:
    """Return the connections of removed addresses to these ports, but of those still allowed."""
    return [
        one
        for one in _of(connections, removed)
        if one.local_port in ports and not still_allowed(one.peer)
    ]


def any_open(removed: Removed) -> bool:
    """Whether any of the addresses has a connection open, in whatever direction."""
    return bool(removed) and any(_of(connected(), removed))


def existing(added: Set[str]) -> dict[str, frozenset[str]]:
    """
    Return the connections that addresses have to this host before they are let in.

    An address without any is left out. Empty where ss is not installed or prints no identity:
    then each connection counts as younger.
    """
    if not added:
        return {}
    boot = _boot()
    found: dict[str, set[str]] = {}
    try:
        connections = connected()
    except errors.FirewallError:
        return {}
    scopes = _scopes(added)
    for one in connections:
        for entry in scopes.entries(one.peer) if one.identity else ():
            of_entry = found.setdefault(entry, set())
            if len(of_entry) < _MAX_EXISTING:
                of_entry.add(one.identity_in(boot))
    return {entry: frozenset(identities) for entry, identities in found.items()}


def end(removed: Removed, still_allowed: Callable[[str], bool]) -> Counts:
    """End the connections of the addresses; count for each what was ended and is still open."""
    if not removed:
        return {}
    connections = connected()
    # The common case: none is open, and the ports need not be read.
    if not any(_of(connections, removed)):
        return {}
    ports = listening()
    found = owned_by(connections, ports, removed, still_allowed)
    if not found:
        return {}
    for kill_filter in kill_filters(found, connections):
        programs.run([*KILL, kill_filter])
    after = connected()
    return count(found, owned_by(after, ports, removed, still_allowed))


def kill_filters(
    connections: Iterable[Connection], listed: Iterable[Connection] = ()
) -> Iterator[str]:
    """
    Yield the filters for ``ss -K`` that match the connections, some of them in each.

    listed
        Every connection: a peer is named without its port only where none of its others, to the
        same port, would be ended too.
    """
    found = list(connections)
    spared = {(one.local_port, one.peer_in_ss) for one in set(listed) - set(found)}
    by_port: dict[int, set[str]] = {}
    for one in found:
        clause = f"dst {_bracketed(one.peer_in_ss)}"
        if (one.local_port, one.peer_in_ss) in spared:
            clause = f"( {clause} and dport = :{one.peer_port} )"
        by_port.setdefault(one.local_port, set()).add(clause)
    for port, clauses in sorted(by_port.items()):
        ordered = sorted(clauses)
        for at in range(0, len(ordered), _MAX_CLAUSES):
            yield f"sport = :{port} and ( {' or '.join(ordered[at : at + _MAX_CLAUSES])} )"


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


@dataclass(frozen=True)
class _Scopes:
    """Removed addresses and networks, prepared for many connections."""

    by_entry: Mapping[str, Scope]
    networks: Sequence[tuple[str, ipaddress.IPv4Network | ipaddress.IPv6Network]]

    def entries(self, peer: str) -> Iterator[str]:
        """Yield the entries that a peer belongs to."""
        if peer in self.by_entry:
            yield peer
        if self.networks:
            address = ipaddress.ip_address(peer)
            yield from (entry for entry, network in self.networks if address in network)


def _scopes(removed: Removed) -> _Scopes:
    by_entry = removed if isinstance(removed, Mapping) else dict.fromkeys(removed, Scope())
    return _Scopes(
        by_entry, [(entry, ipaddress.ip_network(entry)) for entry in by_entry if "/" in entry]
    )


def _of(connections: Iterable[Connection], removed: Removed) -> Iterator[Connection]:
    scopes, boot = _scopes(removed), _boot()
    for one in connections:
        if any(scopes.by_entry[entry].covers(one, boot) for entry in scopes.entries(one.peer)):
            yield one


def _boot() -> str:
    """Return a text for this boot: socket numbers begin anew with the next one."""
    return _BOOT_ID.read_text().strip()[:8]


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
