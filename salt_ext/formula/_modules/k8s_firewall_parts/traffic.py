"""Connections and flows of addresses that go on now, and that no rule stops."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import connections, errors, intervals, netlink, programs
from .intervals import Entries, Interest, Interval

_TCP, _UDP = 6, 17
_NAMES = {_TCP: "tcp", _UDP: "udp"}
_SEEN_REPLY, _DYING = 2, 512
_TCP_ESTABLISHED = 3
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
_LIST_UDP = ["ss", "-H", "-n", "-u", "-a"]

# In a message of the kernel's, behind its header: the addresses of the first packet.
_SOURCE_AT, _GAP = 32, 4
_SIZES = {4: 4, 6: 16}

Passes = Callable[[Interval, int, int, bool], bool]
"""Whether later packets of an address, by protocol, to a port are let through; or forwarded."""


@dataclass(frozen=True)
class Flow:
    """One entry of connection tracking."""

    protocol: int
    source: Interval
    destination: Interval
    port: int
    source_port: int
    answered_by: Interval
    replied: bool
    established: bool

    @property
    def goes_on(self) -> bool:
        """Whether later packets belong to it."""
        return self.replied and (self.protocol != _TCP or self.established)


def find(
    entries: Iterable[str], passes: Passes, unknown: dict[str, str]
) -> dict[str, tuple[str, ...]]:
    """Return the connections and flows of each address; what cannot be read is unknown."""
    wanted = list(entries)
    index, found = Entries(wanted), {entry: set[str]() for entry in wanted}

    def note(
        source: Interval, kind: str, protocol: int, port: int, *, forwarded: bool = False
    ) -> None:
        name = _NAMES.get(protocol)
        if name is None or not passes(source, protocol, port, forwarded):
            return
        for _, entry in index.overlapping(source):
            found[entry].add(f"{kind} {name} {port}")

    for peer, port in _connections(unknown, wanted):
        note(peer, "connection", _TCP, port)
    flows = [flow for flow in _flows(wanted, unknown) if flow.goes_on]
    if flows:
        interest, local = Interest(wanted), local_addresses()
        listening = listening_udp() if any(flow.protocol == _UDP for flow in flows) else set()
        for flow in flows:
            here = str(flow.answered_by) in local
            if interest.touches(flow.source) and (flow.protocol != _TCP or not here):
                note(flow.source, "flow", flow.protocol, flow.port, forwarded=not here)
            elif (
                interest.touches(flow.destination)
                and flow.protocol == _UDP
                and flow.source_port in listening
                and str(flow.source) in local
            ):
                # This host sent last: its answers come back to the same port.
                note(flow.destination, "flow", _UDP, flow.source_port)
    return {entry: tuple(sorted(texts)) for entry, texts in found.items()}


def _connections(unknown: dict[str, str], wanted: list[str]) -> Iterator[tuple[Interval, int]]:
    interest = Interest(wanted)
    try:
        connected = connections.connected()
        found = [
            (peer, one.local_port)
            for one in connected
            if (peer := intervals.parse(one.peer)) is not None and interest.touches(peer)
        ]
        if not found:
            return
        ports = connections.listening()
    except errors.FirewallError as exc:
        unknown["connections"] = str(exc)
        return
    yield from (one for one in found if one[1] in ports)


def listening_udp() -> set[int]:
    """Return the UDP ports that any peer may send to; empty where they cannot be read."""
    try:
        lines = programs.run(_LIST_UDP).splitlines()
    except errors.FirewallError:
        return set()
    found: set[int] = set()
    for words in (line.split() for line in lines):
        # A socket that is connected has one peer, and is the host's own.
        if len(words) > 4 and words[0] == "UNCONN":
            with contextlib.suppress(ValueError):
                found.add(int(words[3].rpartition(":")[2]))
    return found


def is_tracking() -> bool:
    """Whether this kernel tracks connections."""
    return _COUNT.exists()


def _flows(wanted: list[str], unknown: dict[str, str]) -> list[Flow]:
    versions = {one.version for entry in wanted if (one := intervals.parse(entry))}
    interest = Interest(wanted)
    if not is_tracking():
        return []
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    try:
        return [
            flow
            for version in sorted(versions)
            for _, data in netlink.dump(
                netlink.FLOW, family=families[version], pick=pick(version, interest)
            )
            if (flow := parse(data)) is not None
        ]
    except OSError as exc:
        problem = str(exc)
    try:
        text = Path("/proc/thread-self/net/nf_conntrack").read_text()
    except OSError:
        unknown["flows"] = f"connection tracking cannot be read: {problem}"
        return []
    return [
        flow
        for flow in map(parse_line, text.splitlines())
        if flow and (interest.touches(flow.source) or interest.touches(flow.destination))
    ]


def pick(version: int, interest: Interest) -> Callable[[bytes, int], bool]:
    """Return a test whether a message is about an address of interest, without reading it."""
    size = _SIZES[version]

    def pick(answer: bytes, at: int) -> bool:
        for begin in (at + _SOURCE_AT, at + _SOURCE_AT + size + _GAP):
            number = int.from_bytes(answer[begin : begin + size], "big")
            if interest.touches(Interval(version, number, number)):
                return True
        return False

    return pick


def parse(data: netlink.Attributes) -> Flow | None:
    """Read one entry of connection tracking as the kernel lists it."""
    try:
        original, reply = netlink.attributes(data[1]), netlink.attributes(data[2])
        source, destination = _ends(original)
        answered_by, _ = _ends(reply)
        protocol, source_port, port = _ports(original)
        (status,) = struct.unpack("!I", data[3])
    except (KeyError, struct.error):
        return None
    info = netlink.attributes(netlink.attributes(data.get(4, b"")).get(1, b""))
    return Flow(
        protocol,
        source,
        destination,
        port,
        source_port,
        answered_by,
        replied=bool(status & _SEEN_REPLY) and not status & _DYING,
        established=info.get(1, b"\0")[0] == _TCP_ESTABLISHED,
    )


def reply_port(data: netlink.Attributes) -> int:
    """Return the port that answers come from; 0 where the entry has none."""
    try:
        _, port, _ = _ports(netlink.attributes(data[2]))
    except (KeyError, struct.error):
        return 0
    return port


def _ends(half: netlink.Attributes) -> tuple[Interval, Interval]:
    found = netlink.attributes(half[1])
    version, first = (4, 1) if 1 in found else (6, 3)
    numbers = [int.from_bytes(found[at], "big") for at in (first, first + 1)]
    source, destination = (Interval(version, number, number) for number in numbers)
    return source, destination


def _ports(half: netlink.Attributes) -> tuple[int, int, int]:
    found = netlink.attributes(half[2])
    # Protocols without ports have none of the two.
    ports = [struct.unpack("!H", found.get(at, b"\0\0"))[0] for at in (2, 3)]
    return found[1][0], ports[0], ports[1]


def parse_line(line: str) -> Flow | None:
    """Read one line of ``/proc/net/nf_conntrack``, or of ``conntrack -L -o extended``."""
    words = line.split()
    if len(words) < 6 or not _PORT.fullmatch(words[3]):
        return None
    pairs = [word.partition("=") for word in words]
    values: Mapping[str, list[str]] = {
        key: [value for name, _, value in pairs if name == key]
        for key in ("src", "dst", "sport", "dport")
    }
    if len(values["src"]) < 2 or not values["dst"]:
        return None
    ends = [intervals.parse(values["src"][0]), intervals.parse(values["dst"][0])]
    answered = intervals.parse(values["src"][1])
    ports = [
        int(found[0]) if found and _PORT.fullmatch(found[0]) else 0
        for found in (values["sport"], values["dport"])
    ]
    if ends[0] is None or ends[1] is None or answered is None:
        return None
    return Flow(
        int(words[3]),
        ends[0],
        ends[1],
        ports[1],
        ports[0],
        answered,
        replied="[UNREPLIED]" not in words,
        established="ESTABLISHED" in words,
    )


def local_addresses() -> set[str]:
    """Return the addresses of this host; empty where they cannot be read."""
    try:
        return netlink.local_addresses()
    except OSError:
        return set()
