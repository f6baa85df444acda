"""No way back through connection tracking for an address that has left; the host's own goes on."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from k8s_firewall_parts import addresses, desired, nft
from tests.firewall import place
from tests.firewall.place import MEMBER, OTHER, PATIENCE, PORT, STRANGER, Host, Place

pytestmark = pytest.mark.root

MEMBERS = [str(MEMBER.v4), str(MEMBER.v6)]
OTHERS = [str(OTHER.v4), str(OTHER.v6)]
STRANGERS = [str(STRANGER.v4), str(STRANGER.v6)]
GONE = addresses.parse(MEMBERS)
SERVED = 7120
"""The port of the services that these tests hold themselves."""


def gate(protocol: str, members: list[str], port: int = SERVED) -> dict[str, Any]:
    return {"sets": {"prod": members}, "gates": {f"{port}/{protocol}": "prod"}}


def rule(protocol: str, members: list[str], port: int = SERVED) -> dict[str, Any]:
    db = {"name": "db", "protocol": protocol, "ports": [port], "sources": ["prod"]}
    return {"sets": {"prod": members}, "rules": [db]}


def rule_of_every_port(protocol: str, members: list[str], port: int = SERVED) -> dict[str, Any]:
    return {"sets": {"prod": members}, "rules": [{"name": "all", "sources": ["prod"]}]}


WAYS = [gate, rule, rule_of_every_port]


def load(here: Place, block: dict[str, Any], departed: addresses.Content | None = None) -> None:
    """Load the table as a first run does, or else change it as later runs do."""
    wish = desired.parse({desired.PILLAR_KEY: block}, {}, ()).desired
    gone = departed or addresses.Content()
    text = nft.full(wish, gone)
    if departed is not None:
        listed = here.server.run(*nft.LIST)
        text = nft.delta(nft.parse(listed).elements, nft.elements(wish, gone))
    here.server.run("nft", "-f", "-", text=text)


def bound(host: Host, port: int, *, udp: bool, v6: bool = False) -> socket.socket:
    """Return a socket of a service that sends only when a test says so."""
    family = socket.AF_INET6 if v6 else socket.AF_INET
    with host.namespace.entered():
        sock = socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("::" if v6 else "0.0.0.0", port))
    if not udp:
        sock.listen()
    sock.settimeout(PATIENCE)
    return sock


@dataclass
class Flow:
    """A client's flow to a service, both ends in hand."""

    client: socket.socket
    service: socket.socket
    """Connected to the client."""

    def reaches(self, text: bytes = b"in") -> bool:
        """Whether the service gets what the client sends."""
        with contextlib.suppress(OSError):
            self.client.send(text)
        return heard(self.service, text)

    def push(self) -> None:
        """Let the service send to the client by itself."""
        with contextlib.suppress(OSError):
            self.service.send(b"push")


def heard(sock: socket.socket, text: bytes) -> bool:
    got = b""
    try:
        while text not in got:
            more = sock.recv(4096)
            if not more:
                return False
            got += more
    except OSError:
        return False
    return True


@contextlib.contextmanager
def flow(
    client: Host, at: Host, to: str, port: int = SERVED, *, udp: bool, listens_on: int = SERVED
) -> Iterator[Flow]:
    """Let a client talk to a service, which answers once."""
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(bound(at, listens_on, udp=udp, v6=":" in to))
        one = stack.enter_context(contextlib.closing(client.connect(to, port, udp=udp)))
        one.sock.settimeout(PATIENCE)
        one.sock.send(b"hello")
        if udp:
            _, peer = service.recvfrom(100)
            service.connect(peer)
        else:
            listener, (service, _) = service, service.accept()
            stack.enter_context(service)
            listener.close()
            assert service.recv(100) == b"hello"
        service.settimeout(PATIENCE)
        service.send(b"welcome")
        assert heard(one.sock, b"welcome")
        yield Flow(one.sock, service)


def forget(here: Place) -> None:
    """As after a time-out, a reset or a restart of connection tracking."""
    here.server.run("conntrack", "-F")


@pytest.mark.parametrize("family", ["v4", "v6"])
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("way", WAYS)
def test_a_packet_of_the_service_does_not_let_a_departed_client_in_again(
    here: Place, way: Any, protocol: str, family: str
) -> None:
    load(here, way(protocol, MEMBERS + OTHERS))
    to, udp = getattr(here.server, family), protocol == "udp"
    with flow(here.member, here.server, to, udp=udp) as leaving:
        load(here, way(protocol, OTHERS), GONE)
        assert not leaving.reaches()
        forget(here)
        leaving.push()
        assert not leaving.reaches()
        assert not leaving.reaches(b"again")
    with flow(here.other, here.server, to, udp=udp) as staying:
        forget(here)
        staying.push()
        assert staying.reaches()


@pytest.mark.parametrize("family", ["v4", "v6"])
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("way", WAYS)
def test_a_flow_that_was_picked_up_in_reverse_before_the_leave_is_closed(
    here: Place, way: Any, protocol: str, family: str
) -> None:
    load(here, way(protocol, MEMBERS + OTHERS))
    to, udp = getattr(here.server, family), protocol == "udp"
    with flow(here.member, here.server, to, udp=udp) as leaving:
        forget(here)
        leaving.push()
        assert leaving.reaches()
        load(here, way(protocol, OTHERS), GONE)
        assert not leaving.reaches(b"again")


@pytest.fixture
def masqueraded(here: Place, container: Host) -> Host:
    """A container whose packets leave with the server's address, as Docker has it."""
    here.server.run(
        "iptables", "-w", "-t", "nat", "-A", "POSTROUTING", "-s", "172.31.9.0/24",
        "!", "-o", "inside", "-j", "MASQUERADE",
    )  # fmt: skip
    return container


def publish(here: Place, port: int, protocol: str) -> None:
    """Publish the container's port under a port of the server."""
    here.server.run(
        "iptables", "-w", "-t", "nat", "-A", "PREROUTING", "-p", protocol, "-d", here.server.v4,
        "--dport", str(port), "-j", "DNAT", "--to", f"172.31.9.2:{SERVED}",
    )  # fmt: skip


def forward_rule(protocol: str, members: list[str], port: int = SERVED) -> dict[str, Any]:
    block = rule(protocol, members, SERVED)
    block["rules"][0]["chain"] = "forward"
    inside = {"name": "out", "chain": "forward", "sources": ["172.31.9.0/24"]}
    return block | {"rules": [*block["rules"], inside], "policy": {"forward": "drop"}}


@pytest.mark.parametrize("reverse", [False, True], ids=["after", "before"])
@pytest.mark.parametrize("port", [SERVED, SERVED + 1])
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("way", [gate, forward_rule])
def test_a_packet_of_a_published_container_does_not_let_a_departed_client_in_again(
    here: Place, masqueraded: Host, way: Any, protocol: str, port: int, reverse: bool
) -> None:
    publish(here, port, protocol)
    load(here, way(protocol, MEMBERS + OTHERS, port))
    udp, to = protocol == "udp", here.server.v4
    with flow(here.member, masqueraded, to, port, udp=udp) as leaving:
        if reverse:
            forget(here)
            leaving.push()
        load(here, way(protocol, OTHERS, port), GONE)
        assert not leaving.reaches()
        forget(here)
        leaving.push()
        assert not leaving.reaches(b"again")
        if udp:
            # Where the container's packets come from now.
            with contextlib.closing(again(here.member, to, leaving)) as back:
                back.send(b"back")
                assert not heard(leaving.service, b"back")


def again(host: Host, to: str, leaving: Flow) -> socket.socket:
    """Return a second socket of the client's port, connected to the port inside."""
    with host.namespace.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("0.0.0.0", leaving.client.getsockname()[1]))
    sock.connect((to, SERVED))
    return sock


# What must go on

EVERY = [*WAYS, forward_rule]
NTP = 123


@pytest.mark.parametrize("family", ["v4", "v6"])
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("way", EVERY)
def test_the_host_begins_what_it_likes_also_to_a_departed_address(
    here: Place, way: Any, protocol: str, family: str
) -> None:
    load(here, way(protocol, OTHERS))
    load(here, way(protocol, OTHERS), GONE)
    for host in (here.member, here.other, here.stranger):
        with place.service(host, 53):
            # As DNS does, from a port that the kernel chooses.
            assert here.server.gets_in(getattr(host, family), 53, udp=protocol == "udp")


@pytest.mark.parametrize("family", ["v4", "v6"])
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("way", WAYS)
def test_the_host_begins_from_a_closed_port_to_all_others(
    here: Place, way: Any, protocol: str, family: str
) -> None:
    load(here, way(protocol, OTHERS, NTP))
    load(here, way(protocol, OTHERS, NTP), GONE)
    for host in (here.other, here.stranger):
        with place.service(host, NTP):
            assert here.server.gets_in(
                getattr(host, family), NTP, udp=protocol == "udp", source=NTP
            )
            # As after a restart of connection tracking, in the middle of a connection.
            forget(here)
    with place.service(here.member, NTP):
        assert not here.server.gets_in(here.member.v4, NTP, udp=protocol == "udp", source=NTP)


@pytest.mark.parametrize("family", ["v4", "v6"])
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("way", WAYS)
def test_connections_of_the_host_go_on_after_connection_tracking_has_begun_anew(
    here: Place, way: Any, protocol: str, family: str
) -> None:
    load(here, way(protocol, OTHERS))
    load(here, way(protocol, OTHERS), GONE)
    to, udp = getattr(here.stranger, family), protocol == "udp"
    with (
        place.service(here.stranger, 7121),
        contextlib.closing(here.server.connect(to, 7121, udp=udp, source=SERVED)) as one,
    ):
        assert one.answered()
        forget(here)
        assert one.answered()


def test_an_error_of_a_departed_address_arrives(here: Place) -> None:
    for way in WAYS:
        load(here, way("udp", OTHERS))
        load(here, way("udp", OTHERS), GONE)
        for to in MEMBERS:
            with contextlib.closing(here.server.connect(to, 7130, udp=True)) as one:
                one.sock.send(b"x")
                with pytest.raises(ConnectionRefusedError):
                    one.sock.recv(10)


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("way", [gate, forward_rule])
def test_a_container_begins_what_it_likes_also_to_a_departed_address(
    here: Place, masqueraded: Host, way: Any, protocol: str
) -> None:
    publish(here, SERVED + 1, protocol)
    load(here, way(protocol, OTHERS, SERVED + 1))
    udp = protocol == "udp"
    with flow(here.other, masqueraded, here.server.v4, SERVED + 1, udp=udp) as staying:
        load(here, way(protocol, OTHERS, SERVED + 1), GONE)
        for host in (here.member, here.stranger):
            with place.service(host, 53):
                assert masqueraded.gets_in(host.v4, 53, udp=udp)
        assert staying.reaches()


def test_what_the_host_routes_for_others_is_let_through(here: Place, container: Host) -> None:
    here.member.run("ip", "route", "replace", "172.31.9.0/24", "via", here.server.v4)
    for protocol in ("udp", "tcp"):
        load(here, gate(protocol, OTHERS, PORT))
        load(here, gate(protocol, OTHERS, PORT), GONE)
        udp = protocol == "udp"
        with flow(here.member, container, "172.31.9.2", udp=udp) as routed:
            forget(here)
            routed.push()
            assert routed.reaches()


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("way", WAYS)
def test_a_departed_address_within_a_network_that_is_let_in_stays_in(
    here: Place, way: Any, protocol: str
) -> None:
    networks = ["10.77.2.0/24", "fd77:0:0:2::/64"]
    load(here, way(protocol, networks))
    load(here, way(protocol, networks), GONE)
    for to in (here.server.v4, here.server.v6):
        with flow(here.member, here.server, to, udp=protocol == "udp") as staying:
            forget(here)
            staying.push()
            assert staying.reaches()


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("way", WAYS)
def test_a_departed_network_is_closed_and_a_member_within_it_is_not(
    here: Place, way: Any, protocol: str
) -> None:
    networks = addresses.parse(["10.77.2.0/24", "fd77:0:0:2::/64"])
    load(here, way(protocol, ["10.77.2.0/24", "fd77:0:0:2::/64"]))
    udp = protocol == "udp"
    for to in (here.server.v4, here.server.v6):
        with (
            flow(here.member, here.server, to, udp=udp) as leaving,
            flow(here.other, here.server, to, udp=udp, listens_on=SERVED) as staying,
        ):
            load(here, way(protocol, OTHERS), networks)
            forget(here)
            for one in (leaving, staying):
                one.push()
            assert not leaving.reaches()
            assert staying.reaches()
        load(here, way(protocol, ["10.77.2.0/24", "fd77:0:0:2::/64"]), addresses.Content())


def test_a_port_that_a_rule_opens_for_everyone_stays_open_for_a_departed_address(
    here: Place,
) -> None:
    everyone = {"name": "web", "protocol": "udp", "ports": [SERVED + 1], "sources": "any"}
    block = rule("udp", OTHERS)
    block["rules"].append(everyone)
    load(here, block)
    load(here, block, GONE)
    with flow(
        here.member, here.server, here.server.v4, SERVED + 1, udp=True, listens_on=SERVED + 1
    ) as one:
        forget(here)
        one.push()
        assert one.reaches()


def test_the_host_itself_is_not_closed_where_its_own_address_has_departed(here: Place) -> None:
    own = addresses.parse([here.server.v4, here.server.v6])
    for way in WAYS:
        for protocol in ("udp", "tcp"):
            load(here, way(protocol, OTHERS))
            load(here, way(protocol, OTHERS), own)
            for to in (here.server.v4, here.server.v6):
                with flow(here.server, here.server, to, udp=protocol == "udp") as one:
                    forget(here)
                    one.push()
                    assert one.reaches()


def test_departed_addresses_come_and_go_as_elements(here: Place) -> None:
    for way in WAYS:
        load(here, way("udp", OTHERS))
        before = here.server.run("nft", "-a", "-t", "list", "table", "inet", nft.TABLE)
        for gone in (GONE, addresses.parse(["198.51.100.0/24"]), addresses.Content()):
            load(here, way("udp", OTHERS), gone)
            assert here.server.run("nft", "-a", "-t", "list", "table", "inet", nft.TABLE) == before


@pytest.fixture
def soon_forgotten(here: Place) -> Iterator[None]:
    """Entries of connections that were reset end after one second, not ten."""
    key = "net.netfilter.nf_conntrack_tcp_timeout_close"
    before = here.server.run("sysctl", "-n", key).strip()
    here.server.run("sysctl", "-qw", f"{key}=1")
    yield
    here.server.run("sysctl", "-qw", f"{key}={before}")


@pytest.mark.usefixtures("soon_forgotten")
@pytest.mark.parametrize("way", [gate, forward_rule])
def test_after_a_reset_of_a_departed_client_its_container_makes_no_new_entry(
    here: Place, masqueraded: Host, way: Any
) -> None:
    """A reset that the firewall drops ends the entry all the same: conntrack sees it before."""
    publish(here, SERVED, "tcp")
    load(here, way("tcp", MEMBERS + OTHERS, SERVED))
    with flow(here.member, masqueraded, here.server.v4, udp=False) as leaving:
        load(here, way("tcp", OTHERS, SERVED), GONE)
        leaving.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        leaving.client.close()
        until = time.monotonic() + 10
        while entries(here) and time.monotonic() < until:
            pass
        with deaf(here.member):
            leaving.push()
            assert entries(here) == []


@contextlib.contextmanager
def deaf(host: Host) -> Iterator[None]:
    """Let a host not answer with a reset, which would end the new entry: it knows better."""
    chain = "chain input { type filter hook input priority 0; policy drop; }"
    host.run("nft", "-f", "-", text=f"table ip deaf {{\n{chain}\n}}\n")
    try:
        yield
    finally:
        host.run("nft", "delete", "table", "ip", "deaf")


def entries(here: Place) -> list[str]:
    """Return the entries of connection tracking for the member."""
    listed = here.server.run("conntrack", "-L", "-p", "tcp").splitlines()
    return [line for line in listed if f"{here.member.v4} " in line]
