"""Connections and flows, as the kernel lists them: whose they are, and whether they go on."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_firewall_parts import netlink, traffic
from k8s_firewall_parts.intervals import parse
from tests.minion.test_minion_parsers import TEXT

SEEN_REPLY = 2
TCP, UDP = 6, 17


def attribute(number: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), number) + value + b"\0" * (-len(value) % 4)


def half(source: str, destination: str, protocol: int, sport: int, dport: int) -> bytes:
    ends = [ipaddress.ip_address(source).packed, ipaddress.ip_address(destination).packed]
    first = 1 if len(ends[0]) == 4 else 3
    addresses = attribute(first, ends[0]) + attribute(first + 1, ends[1])
    ports = (
        attribute(1, bytes([protocol]))
        + attribute(2, struct.pack("!H", sport))
        + attribute(3, struct.pack("!H", dport))
    )
    return attribute(1, addresses) + attribute(2, ports)


def flow(
    source: str, destination: str, protocol: int, *, status: int = SEEN_REPLY, tcp: int = 3
) -> bytes:
    return (
        attribute(1, half(source, destination, protocol, 40000, 5432))
        + attribute(2, half(destination, source, protocol, 5432, 40000))
        + attribute(3, struct.pack("!I", status))
        + attribute(4, attribute(1, attribute(1, bytes([tcp]))))
    )


@pytest.mark.parametrize("ends", [("192.0.2.1", "192.0.2.9"), ("2001:db8::1", "2001:db8::9")])
def test_an_entry_is_read(ends: tuple[str, str]) -> None:
    found = traffic.parse(netlink.attributes(flow(*ends, UDP)))
    assert found is not None
    assert (str(found.source), str(found.destination)) == ends
    assert str(found.answered_by) == ends[1]
    assert (found.protocol, found.port, found.source_port, found.goes_on) == (
        UDP,
        5432,
        40000,
        True,
    )


@pytest.mark.parametrize(
    ("protocol", "status", "tcp", "goes_on"),
    [
        (UDP, SEEN_REPLY, 0, True),
        (UDP, 0, 0, False),
        (TCP, SEEN_REPLY, 3, True),
        (TCP, SEEN_REPLY, 7, False),
        (TCP, SEEN_REPLY | 512, 3, False),
    ],
)
def test_an_entry_goes_on_while_later_packets_belong_to_it(
    protocol: int, status: int, tcp: int, goes_on: bool
) -> None:
    data = flow("192.0.2.1", "192.0.2.9", protocol, status=status, tcp=tcp)
    found = traffic.parse(netlink.attributes(data))
    assert found is not None
    assert found.goes_on is goes_on


def test_a_line_is_read_like_the_message() -> None:
    line = (
        "ipv4     2 udp      17 28 src=192.0.2.1 dst=192.0.2.9 sport=40000 dport=5432 "
        "src=192.0.2.9 dst=192.0.2.1 sport=5432 dport=40000 [ASSURED] mark=0 zone=0 use=2"
    )
    message = traffic.parse(netlink.attributes(flow("192.0.2.1", "192.0.2.9", UDP)))
    found = traffic.parse_line(line)
    assert found is not None
    assert message is not None
    assert (found.source, found.port, found.goes_on) == (message.source, 5432, True)
    unreplied = traffic.parse_line(line.replace(" src=192.0.2.9", " [UNREPLIED] src=192.0.2.9"))
    assert unreplied is not None
    assert not unreplied.goes_on


def message(kind: int, data: bytes, flags: int = 2) -> bytes:
    return struct.pack("=IHHII", 16 + len(data), kind, flags, 1, 0) + data


def test_a_dump_ends_with_its_last_message_or_an_error() -> None:
    one = message(256, b"\2\0\0\0" + attribute(1, b"x"))
    listed = (2, {1: b"x"})
    assert netlink.parse(one) == (False, True, [listed])
    assert netlink.parse(one + message(3, b"\0" * 4)) == (True, True, [listed])
    assert netlink.parse(one, pick=lambda *_: False) == (False, True, [])
    for kind in (2, 3):
        with pytest.raises(netlink.NotFound, match="the kernel does not list them"):
            netlink.parse(message(kind, struct.pack("=i", -95)))


def test_a_dump_during_which_something_changed_is_not_whole() -> None:
    one = message(256, b"\0" * 4)
    assert netlink.parse(one + message(256, b"\0" * 4, flags=2 | 16))[1] is False


def test_an_address_of_this_host_is_behind_a_longer_header() -> None:
    one = message(20, b"\2".ljust(8, b"\0") + attribute(2, b"\x7f\0\0\1"))
    assert netlink.parse(one, netlink.ROUTE) == (False, True, [(2, {2: b"\x7f\0\0\1"})])


@given(st.binary(max_size=200))
def test_any_message_is_read(junk: bytes) -> None:
    try:
        _, _, found = netlink.parse(junk)
    except OSError:
        return
    for _, one in found:
        traffic.parse(one)


@given(st.dictionaries(st.integers(1, 5), st.binary(max_size=40)))
def test_any_attributes_are_read(junk: dict[int, bytes]) -> None:
    traffic.parse(junk)


@given(TEXT)
def test_any_line_is_read(junk: str) -> None:
    traffic.parse_line(junk)
    traffic.parse_line(f"ipv4 2 udp 17 28 src={junk} dst={junk} src={junk} sport={junk}")


def test_an_address_is_its_own_interval() -> None:
    assert parse("192.0.2.1") == (4, 3221225985, 3221225985)
