"""Gates, with packets: who is in the set gets in, nobody else, and the host is spared."""

from __future__ import annotations

import contextlib

import pytest

from tests.firewall import place
from tests.firewall.place import MEMBER, OTHER, PORT, Host, Minion, Place

pytestmark = pytest.mark.root

MEMBERS = [str(MEMBER.v4), str(MEMBER.v6)]
OTHERS = [str(OTHER.v4), str(OTHER.v6)]


def addresses(host: Host) -> list[str]:
    return [host.v4, host.v6]


@pytest.fixture(params=["plain", "formula"])
def gated(request: pytest.FixtureRequest, here: Place, minion: Minion) -> Minion:
    """A gate, alone and before a formula's firewall that accepts the port and drops the rest."""
    if request.param == "formula":
        for iptables, icmp in (("iptables", "icmp"), ("ip6tables", "ipv6-icmp")):
            for rule in (
                "-A INPUT -i lo -j ACCEPT",
                "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
                f"-A INPUT -p tcp --dport {PORT} -j ACCEPT",
                f"-A INPUT -p udp --dport {PORT} -j ACCEPT",
                f"-A INPUT -p {icmp} -j ACCEPT",
                "-A INPUT -j DROP",
            ):
                here.server.run(iptables, "-w", *rule.split())
    minion.sync(sets={"prod": MEMBERS}, gates={PORT: "prod", f"{PORT}/udp": "prod"})
    return minion


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_who_is_in_the_set_gets_in_and_nobody_else(gated: Minion, here: Place, udp: bool) -> None:
    for to in addresses(here.server):
        assert here.member.gets_in(to, udp=udp)
        assert not here.stranger.gets_in(to, udp=udp)


def test_the_host_itself_is_not_gated(gated: Minion, here: Place) -> None:
    for to in ("127.0.0.1", "::1", *addresses(here.server)):
        for udp in (False, True):
            assert here.server.gets_in(to, udp=udp), to


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_what_the_host_begins_is_answered(gated: Minion, here: Place, udp: bool) -> None:
    # The service holds the port itself; what goes out from it is a range's other port.
    gated.sync(sets={"prod": MEMBERS}, gates={f"{PORT}-{PORT + 5}/{kind(udp)}": "prod"})
    with place.service(here.stranger, PORT), place.service(here.stranger, 7000):
        for number, to in enumerate(addresses(here.stranger)):
            assert here.server.gets_in(to, PORT, udp=udp), "to a port of the gated number"
            source = PORT + 1 + number
            assert here.server.gets_in(to, 7000, udp=udp, source=source), "from a gated port"


def kind(udp: bool) -> str:
    return "udp" if udp else "tcp"


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_an_established_connection_dies_with_the_membership(
    gated: Minion, here: Place, udp: bool
) -> None:
    gates = {f"{PORT}/{kind(udp)}": "prod"}
    gated.sync(sets={"prod": MEMBERS + OTHERS}, gates=gates)
    with contextlib.ExitStack() as stack:
        leaving, staying = (
            [
                stack.enter_context(contextlib.closing(host.connect(to, udp=udp)))
                for to in addresses(here.server)
            ]
            for host in (here.member, here.other)
        )
        assert all(one.answered() for one in (*leaving, *staying))
        gated.sync(sets={"prod": OTHERS}, gates=gates)
        assert not any(one.answered() for one in leaving)
        assert all(one.answered() for one in staying)
        assert not here.member.gets_in(here.server.v4, udp=udp)


def test_a_connection_in_the_middle_that_nobody_tracks_does_not_pass(
    minion: Minion, here: Place
) -> None:
    minion.sync(sets={"prod": MEMBERS}, gates={PORT: "prod"})
    for iptables in ("iptables", "ip6tables"):
        here.server.run(
            iptables, "-w", "-t", "raw", "-A", "PREROUTING", "-p", "tcp", "-j", "NOTRACK"
        )
    for to in addresses(here.server):
        assert here.member.gets_in(to)
        assert not here.stranger.gets_in(to)


def test_an_address_that_is_used_again_gets_in_again(gated: Minion, here: Place) -> None:
    gates = {PORT: "prod"}
    for members, expected in ((OTHERS, False), (MEMBERS, True)):
        gated.sync(sets={"prod": members}, gates=gates)
        for to in addresses(here.server):
            assert here.member.gets_in(to) is expected


def test_an_empty_set_lets_nobody_in(gated: Minion, here: Place) -> None:
    gated.sync(sets={"prod": []}, gates={PORT: "prod"})
    for to in addresses(here.server):
        assert not here.member.gets_in(to)
    assert here.server.gets_in("127.0.0.1")


def test_networks_of_both_families_are_members(gated: Minion, here: Place) -> None:
    gated.sync(sets={"prod": ["10.77.2.0/24", "fd77:0:0:2::/64"]}, gates={PORT: "prod"})
    for to in addresses(here.server):
        assert here.member.gets_in(to)
        assert not here.stranger.gets_in(to)


def test_a_set_of_one_family_leaves_the_other_closed(gated: Minion, here: Place) -> None:
    gated.sync(sets={"prod": [str(MEMBER.v4)]}, gates={PORT: "prod"})
    assert here.member.gets_in(here.server.v4)
    assert not here.member.gets_in(here.server.v6)


def test_neighbour_discovery_goes_through(gated: Minion, here: Place) -> None:
    for host in (here.server, here.member):
        host.run("ip", "-6", "neigh", "flush", "all")
    assert here.member.gets_in(here.server.v6)


def test_ports_without_a_gate_are_nobody_elses_business(minion: Minion, here: Place) -> None:
    minion.sync(sets={"prod": MEMBERS}, gates={9999: "prod"})
    assert here.stranger.gets_in(here.server.v4)


def test_several_sets_open_one_gate(minion: Minion, here: Place) -> None:
    sets = {"prod": MEMBERS, "office": addresses(here.stranger)}
    minion.sync(sets=sets, gates={PORT: ["prod", "office"]})
    for to in addresses(here.server):
        assert here.member.gets_in(to)
        assert here.stranger.gets_in(to)
        assert not here.other.gets_in(to)


def test_who_is_to_be_kept_is_let_in_always(minion: Minion, here: Place) -> None:
    minion.sync(sets={"prod": []}, gates={PORT: "prod"}, keep=addresses(here.stranger))
    for to in addresses(here.server):
        assert here.stranger.gets_in(to)
        assert not here.member.gets_in(to)


# The port as the client sent it


@pytest.mark.parametrize("iptables", ["iptables", "ip6tables"])
def test_a_redirect_to_another_port_is_gated(minion: Minion, here: Place, iptables: str) -> None:
    to = here.server.v4 if iptables == "iptables" else here.server.v6
    here.server.run(
        iptables, "-w", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "6000",
        "-j", "REDIRECT", "--to-ports", str(PORT),
    )  # fmt: skip
    assert here.stranger.gets_in(to, 6000)
    minion.sync(sets={"prod": MEMBERS}, gates={6000: "prod"})
    assert here.member.gets_in(to, 6000)
    assert not here.stranger.gets_in(to, 6000)


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_a_published_container_port_is_gated(
    minion: Minion, here: Place, container: Host, udp: bool
) -> None:
    assert here.stranger.gets_in(here.server.v4, 6001, udp=udp)
    minion.sync(sets={"prod": MEMBERS}, gates={f"6001/{kind(udp)}": "prod"})
    assert here.member.gets_in(here.server.v4, 6001, udp=udp)
    assert not here.stranger.gets_in(here.server.v4, 6001, udp=udp)


def test_what_the_host_routes_for_others_is_not_gated(
    minion: Minion, here: Place, container: Host
) -> None:
    minion.sync(sets={"prod": MEMBERS}, gates={PORT: "prod"})
    here.stranger.run("ip", "route", "add", "172.31.9.0/24", "via", here.server.v4)
    assert not here.stranger.gets_in(here.server.v4)
    assert here.stranger.gets_in("172.31.9.2")


def test_a_container_connection_dies_with_the_membership(
    minion: Minion, here: Place, container: Host
) -> None:
    minion.sync(sets={"prod": MEMBERS}, gates={6001: "prod"})
    with contextlib.closing(here.member.connect(here.server.v4, 6001)) as one:
        assert one.answered()
        minion.sync(sets={"prod": OTHERS}, gates={6001: "prod"})
        assert not one.answered()


# Others


def test_a_flush_of_everything_is_a_problem_until_the_next_sync(gated: Minion, here: Place) -> None:
    assert gated.call("status")["result"] is True
    here.server.run("nft", "flush", "ruleset")
    told = gated.call("status")
    assert told["result"] is False
    assert f"{PORT}/tcp" in told["comment"]
    assert "is missing" in told["comment"]
    assert here.stranger.gets_in(here.server.v4)
    assert gated.call("sync")["changes"]["table"] == "replaced"
    assert gated.call("status")["result"] is True
    assert not here.stranger.gets_in(here.server.v4)


def test_a_rule_that_somebody_puts_into_a_gate_is_taken_out(gated: Minion, here: Place) -> None:
    chain = f"inet k8s_firewall gate_tcp_{PORT}"
    here.server.run("nft", "insert", "rule", *chain.split(), "accept")
    assert here.stranger.gets_in(here.server.v4)
    assert "was changed by another program" in gated.call("status")["comment"]
    gated.call("sync")
    assert not here.stranger.gets_in(here.server.v4)
