"""Which entries of connection tracking belong to a removed address, and how they are ended."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from k8s_firewall_parts import flows, netlink, traffic
from k8s_firewall_parts.connections import Scope

HERE = "192.0.2.100"
GONE = "192.0.2.1"
EVERYTHING = Scope(None)


def half(source: str, to: str, protocol: int, sport: int, dport: int) -> bytes:
    """One direction of an entry, as the kernel writes it."""
    ends = [ip_address(one).packed for one in (source, to)]
    first = 1 if len(ends[0]) == 4 else 3
    addresses = b"".join(netlink.attribute(first + at, end) for at, end in enumerate(ends))
    ports = netlink.attribute(1, bytes([protocol]))
    ports += netlink.attribute(2, struct.pack("!H", sport))
    ports += netlink.attribute(3, struct.pack("!H", dport))
    return netlink.attribute(1, addresses) + netlink.attribute(2, ports)


def entry(
    source: str, to: str, port: int, *, protocol: int = 17, sport: int = 40000, by: str = "",
    behind: int = 0,
) -> dict[int, bytes]:  # fmt: skip
    """A flow, answered by another address and port where they are given."""
    return {
        1: half(source, to, protocol, sport, port),
        2: half(by or to, source, protocol, behind or port, sport),
        3: struct.pack("!I", 2),
        12: b"\0\0\0\7",
    }


class Tracking:
    """Stands for the kernel: its entries, and what it was asked to delete."""

    def __init__(self) -> None:
        self.entries: list[dict[int, bytes]] = []
        self.deleted: list[bytes] = []
        self.code = 0
        self.keeps = False

    def dump(self, *_: Any, **__: Any) -> list[tuple[int, dict[int, bytes]]]:
        return [(2, one) for one in self.entries]

    def send(self, message: bytes) -> None:
        self.deleted.append(message)
        if not self.keeps:
            self.entries = [one for one in self.entries if one[1] not in message]

    def recv(self, _: int) -> bytes:
        return struct.pack("=IHHIIi", 20, 2, 0, 1, 0, self.code)

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.fixture
def tracking(monkeypatch: pytest.MonkeyPatch) -> Tracking:
    tracking = Tracking()
    monkeypatch.setattr(netlink, "dump", tracking.dump)
    monkeypatch.setattr(netlink, "connect", lambda: tracking)
    monkeypatch.setattr(traffic, "is_tracking", lambda: True)
    monkeypatch.setattr(traffic, "local_addresses", lambda: {HERE})
    monkeypatch.setattr(traffic, "listening_udp", lambda: frozenset({53}))
    return tracking


@pytest.mark.parametrize(
    ("one", "scope", "ends"),
    [
        (entry(GONE, HERE, 53), EVERYTHING, True),
        (entry(GONE, HERE, 53), Scope(frozenset({("udp", 50, 60)})), True),
        (entry(GONE, HERE, 53), Scope(frozenset({("", 53, 53)})), True),
        (entry(GONE, HERE, 53), Scope(frozenset({("tcp", 53, 53)})), False),
        (entry(GONE, HERE, 53), Scope(frozenset({("udp", 54, 60)})), False),
        (entry("192.0.2.2", HERE, 53), EVERYTHING, False),
        # The socket of a connection to this host is ended by itself.
        (entry(GONE, HERE, 5432, protocol=6), EVERYTHING, False),
        (entry(GONE, HERE, 6001, protocol=6, by="172.31.9.2", behind=5432), EVERYTHING, True),
        (
            entry(GONE, HERE, 6001, protocol=6, by="172.31.9.2", behind=5432),
            Scope(frozenset({("tcp", 5432, 5432)})),
            True,
        ),
        # The service has sent last, and then what the host began by itself.
        (entry(HERE, GONE, 40000, sport=53), EVERYTHING, True),
        (entry(HERE, GONE, 123, sport=40000), EVERYTHING, False),
        (entry(HERE, GONE, 5432, sport=53, protocol=6), EVERYTHING, False),
        (entry(GONE, HERE, 0, protocol=1), EVERYTHING, False),
        ({1: b"", 2: b"", 3: b""}, EVERYTHING, False),
    ],
)
def test_only_flows_to_a_service_of_this_host_end(
    tracking: Tracking, one: dict[int, bytes], scope: Scope, ends: bool
) -> None:
    tracking.entries = [one]
    assert flows.end({GONE: scope}) == {}
    assert [one[1] in message for message in tracking.deleted] == [True] * ends


def test_a_flow_that_goes_on_is_named(tracking: Tracking) -> None:
    tracking.keeps = True
    tracking.entries = [entry(GONE, HERE, 53)]
    assert flows.end({"192.0.2.0/24": EVERYTHING}) == {"192.0.2.0/24": "flow udp 53"}


@pytest.mark.parametrize(("code", "fails"), [(0, False), (-2, False), (-1, True)])
def test_an_entry_may_have_ended_by_itself(tracking: Tracking, code: int, fails: bool) -> None:
    tracking.entries, tracking.code = [entry(GONE, HERE, 53)], code
    if fails:
        with pytest.raises(OSError, match="does not end it"):
            flows.end({GONE: EVERYTHING})
    else:
        assert flows.end({GONE: EVERYTHING}) == {}


def test_nothing_is_asked_without_an_address_or_without_tracking(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    ask: Callable[..., list[Any]] = lambda *_, **__: asked.append(1) or []  # noqa: E731
    monkeypatch.setattr(netlink, "dump", ask)
    assert flows.end({}) == {}
    monkeypatch.setattr(traffic, "is_tracking", lambda: False)
    assert flows.end({GONE: EVERYTHING}) == {}
    assert not asked
