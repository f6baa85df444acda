"""Rules of our own table: with packets, beside others, and whole or not at all."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from tests.firewall import place
from tests.firewall.place import MEMBER, OTHER, PORT, Host, Minion, Place

pytestmark = pytest.mark.root

MEMBERS = [str(MEMBER.v4), str(MEMBER.v6)]
OTHERS = [str(OTHER.v4), str(OTHER.v6)]
CONTAINER = "172.31.9.2"


def rule(name: str = "db", **more: Any) -> dict[str, Any]:
    return {"name": name, "ports": [PORT], "sources": ["prod"], **more}


def addresses(host: Host) -> list[str]:
    return [host.v4, host.v6]


def test_who_is_meant_gets_in_and_nothing_else_does(minion: Minion, here: Place) -> None:
    with place.service(here.server, 7100):
        rules = [rule(), rule("dns", protocol="udp", sources=["prod", *OTHERS])]
        minion.sync(sets={"prod": MEMBERS}, rules=rules)
        for to in addresses(here.server):
            assert here.member.gets_in(to)
            assert here.member.gets_in(to, udp=True)
            assert here.other.gets_in(to, udp=True)
            assert not here.other.gets_in(to)
            assert not here.stranger.gets_in(to)
            assert not here.member.gets_in(to, 7100)
        minion.sync(sets={"prod": MEMBERS}, rules=[rule()], policy={"input": "accept"})
        assert here.member.gets_in(here.server.v4, 7100)


def test_the_host_itself_goes_on_as_before(minion: Minion, here: Place) -> None:
    minion.sync(sets={"prod": []}, rules=[rule()])
    for host in (here.server, here.stranger):
        host.run("ip", "neigh", "flush", "all")
    with place.service(here.stranger, 7101):
        for to in addresses(here.stranger):
            for udp in (False, True):
                assert here.server.gets_in(to, 7101, udp=udp)
    for to in ("127.0.0.1", "::1", *addresses(here.server)):
        assert here.server.gets_in(to)


def test_who_has_left_is_shut_out_of_open_connections_too(minion: Minion, here: Place) -> None:
    minion.sync(rules=[rule(protocol="udp", sources=MEMBERS + OTHERS)])
    with contextlib.ExitStack() as stack:
        leaving, staying = (
            stack.enter_context(contextlib.closing(host.connect(here.server.v4, udp=True)))
            for host in (here.member, here.other)
        )
        assert leaving.answered()
        assert staying.answered()
        done = minion.sync(rules=[rule(protocol="udp", sources=OTHERS)])
        assert "table" not in done["changes"]
        assert not leaving.answered()
        assert staying.answered()


def test_rules_are_taken_in_their_order(minion: Minion, here: Place) -> None:
    refused = rule("not-him", sources=MEMBERS, action="reject", log=True, comment="left on bail")
    anyone = rule("all", sources="any")
    minion.sync(rules=[refused, anyone])
    with pytest.raises(ConnectionRefusedError):
        here.member.connect(here.server.v4)
    assert here.stranger.gets_in(here.server.v4)
    minion.sync(rules=[anyone, refused])
    assert here.member.gets_in(here.server.v4)


def test_an_address_that_changes_is_one_element(minion: Minion, here: Place) -> None:
    minion.sync(rules=[rule(sources=MEMBERS)])
    done = minion.sync(rules=[rule(sources=[*MEMBERS, "192.0.2.1"])])
    assert done["changes"] == {"sets": {"rule_db": {"added": ["192.0.2.1"], "removed": []}}}


def test_rules_that_left_the_pillar_are_gone(minion: Minion, here: Place) -> None:
    minion.sync(sets={"prod": MEMBERS}, rules=[rule(), rule("web", ports=[80, "8000-8010"])])
    done = minion.sync(sets={"prod": MEMBERS}, rules=[rule()])
    assert [one for one in done["changes"]["table_diff"] if "web" in one] == [
        "-chain rule_web {",
        "-tcp dport { 80, 8000-8010 } jump rule_web",
    ]
    assert "web" not in here.server.run("nft", "list", "ruleset")
    minion.sync(sets={})
    assert here.stranger.gets_in(here.server.v4)


def test_keep_is_let_in_to_every_port(minion: Minion, here: Place) -> None:
    minion.sync(keep=addresses(here.stranger), sets={"prod": []}, rules=[rule()])
    for to in addresses(here.server):
        assert here.stranger.gets_in(to)


def test_the_salt_master_is_kept_by_itself(minion: Minion, here: Place) -> None:
    master = str(place.address.MASTER.v4)
    minion.sync(sets={"prod": []}, rules=[rule()])
    here.stranger.run("ip", "address", "add", f"{master}/16", "dev", "eth0")
    try:
        here.stranger.run("ip", "route", "add", here.server.v4, "dev", "eth0", "src", master)
        assert here.stranger.gets_in(here.server.v4)
    finally:
        here.stranger.run("ip", "address", "del", f"{master}/16", "dev", "eth0")
        assert not here.stranger.gets_in(here.server.v4)


def test_forwarded_packets_have_rules_of_their_own(minion: Minion, here: Place) -> None:
    minion.sync(sets={"prod": []}, rules=[rule(chain="forward", action="drop")])
    listing = here.server.run("nft", "list", "table", "inet", "k8s_firewall")
    assert "hook forward priority filter; policy accept" in listing
    assert "hook input" not in listing


@pytest.fixture
def routed(here: Place, container: Host) -> list[Host]:
    """Those who reach the container through the server, by its own address."""
    hosts = [here.member, here.other, here.stranger]
    for host in hosts:
        host.run("ip", "route", "replace", "172.31.9.0/24", "via", here.server.v4)
        assert host.gets_in(CONTAINER)
    return hosts


@pytest.mark.parametrize("action", ["drop", "reject"])
def test_a_forward_rule_keeps_some_from_what_the_host_routes(
    minion: Minion, here: Place, routed: list[Host], action: str
) -> None:
    minion.sync(sets={"prod": MEMBERS}, rules=[rule(chain="forward", action=action)])
    # Who is refused hears so at once, or it would be a silence.
    with pytest.raises(OSError, match="refused" if action == "reject" else "timed out"):
        here.member.connect(CONTAINER)
    # The policy of the chain accepts, another protocol and another chain are not meant.
    assert here.stranger.gets_in(CONTAINER)
    assert here.member.gets_in(CONTAINER, udp=True)
    assert here.member.gets_in(here.server.v4)
    # What is published of the container is routed too.
    assert not here.member.gets_in(here.server.v4, 6001)


def test_a_forward_rule_lets_in_and_the_policy_drops_the_rest(
    minion: Minion, here: Place, container: Host, routed: list[Host]
) -> None:
    def wants(*members: str) -> None:
        minion.sync(
            sets={"prod": list(members)},
            rules=[
                rule(chain="forward", protocol="tcp"),
                rule("out", chain="forward", ports=[7102], sources=[CONTAINER]),
            ],
            policy={"forward": "drop"},
            keep=[],
        )

    wants(*MEMBERS, *OTHERS)
    assert here.member.gets_in(CONTAINER)
    assert here.member.gets_in(here.server.v4, 6001)
    assert not here.member.gets_in(CONTAINER, udp=True)
    assert not here.stranger.gets_in(CONTAINER)
    assert not here.stranger.gets_in(here.server.v4, 6001)
    # What is for the host itself has no rules.
    assert here.stranger.gets_in(here.server.v4)
    with contextlib.ExitStack() as stack:
        leaving, staying = (
            stack.enter_context(contextlib.closing(host.connect(CONTAINER)))
            for host in (here.member, here.other)
        )
        assert leaving.answered()
        wants(*OTHERS)
        assert not leaving.answered()
        assert staying.answered()
    assert not here.member.gets_in(CONTAINER)
    # Answers to what the container may begin come back, whoever gives them.
    with place.service(here.stranger, 7102), place.service(here.stranger, 7103):
        assert container.gets_in(here.stranger.v4, 7102)
        assert not container.gets_in(here.stranger.v4, 7103)


# A mistake


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ({"a": 1}, "k8s_firewall:rules is not a list"),
        ([{"ports": [1]}], "rule 1 has no valid name"),
        ([rule("a b")], "rule 1 has no valid name"),
        ([rule(), rule()], "db: another rule has the same name"),
        ([rule(port=1)], "db: unknown key port; known keys: name"),
        ([rule(chain="output")], "db: chain is 'output'"),
        ([rule(protocol="icmp")], "db: protocol is 'icmp'"),
        ([rule(action="ACCEPT")], "db: action is 'ACCEPT'"),
        ([rule(ports=5432)], "db: ports is not a list"),
        ([rule(ports=["5432/tcp"])], "db: ports: '5432/tcp' is not a port"),
        ([rule(ports=["ssh"])], "db: ports: 'ssh' is not a port"),
        ([rule(sources=None)], "db: sources is neither a list nor any"),
        ([rule(sources="prod")], "db: sources is neither a list nor any"),
        (
            [rule(sources=["prdo"])],
            "db: sources: 'prdo' is not an IP address, nor the name of a set",
        ),
        ([rule(sources=["k8s://prod"])], "db: sources: k8s://prod is not resolved"),
        ([rule(comment='x" drop; accept "')], "db: comment has characters"),
        ([rule(log="a\nb")], "db: log has characters"),
    ],
)
def test_a_mistake_in_one_rule_refuses_the_whole_change_by_its_name(
    minion: Minion, here: Place, rules: Any, says: str
) -> None:
    minion.sync(sets={"prod": MEMBERS}, rules=[rule("good")])
    before = here.server.run("nft", "-a", "list", "ruleset")
    minion.wants(sets={"prod": OTHERS}, rules=rules)
    done = minion.call("sync")
    assert done["result"] is False
    assert says in done["comment"]
    assert here.server.run("nft", "-a", "list", "ruleset") == before


def test_a_rule_whose_reference_is_lost_stays_as_it_is(minion: Minion, here: Place) -> None:
    minion.sync(rules=[rule(sources=MEMBERS), rule("udp", protocol="udp", sources=MEMBERS)])
    rules = [rule(sources=["k8s://prod"]), rule("udp", protocol="udp", sources=OTHERS)]
    minion.wants(rules=rules)
    assert "rule_db is unchanged" in minion.call("sync")["comment"]
    assert here.member.gets_in(here.server.v4)
    assert not here.member.gets_in(here.server.v4, udp=True)


# Others

DOCKER = """
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -j DOCKER
-A DOCKER-USER -j RETURN
-A DOCKER ! -i docker0 -o docker0 -j DROP
COMMIT
"""
KUBE_PROXY = """
*filter
:KUBE-FIREWALL - [0:0]
:KUBE-NODEPORTS - [0:0]
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -j DROP
COMMIT
"""
FAIL2BAN = """
*filter
:f2b-sshd - [0:0]
-A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd
-A f2b-sshd -s 192.0.2.66/32 -j REJECT
-A f2b-sshd -j RETURN
COMMIT
"""
STRICT = """
*filter
:INPUT DROP [0:0]
-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
COMMIT
"""
ENDS = """
*filter
:mine - [0:0]
-A INPUT -p tcp --dport 22 -j ACCEPT
-A INPUT -j mine
-A mine -j REJECT
COMMIT
"""
FIREWALLD = """
table inet firewalld {
    chain filter_INPUT {
        type filter hook input priority 10; policy accept;
        ct state { established, related } accept
        iifname "lo" accept
        jump filter_INPUT_ZONES
        ct state invalid drop
        reject with icmpx admin-prohibited
    }
    chain filter_INPUT_ZONES { tcp dport 22 accept
    }
}
"""


def load(host: Host, what: str) -> None:
    if "table inet" in what:
        host.run("nft", "-f", "-", text=what)
    else:
        host.run("iptables-restore", "--noflush", text=what)


@pytest.mark.parametrize("others", [DOCKER, KUBE_PROXY, FAIL2BAN], ids=["docker", "kube", "f2b"])
def test_rules_of_others_are_not_touched_and_not_in_the_way(
    minion: Minion, here: Place, others: str
) -> None:
    load(here.server, others)
    before = here.server.run("iptables-save").splitlines()
    minion.sync(sets={"prod": MEMBERS}, rules=[rule()])
    assert here.member.gets_in(here.server.v4)
    assert not here.stranger.gets_in(here.server.v4)
    minion.sync(sets={})
    rules = [line for line in before if line.startswith(("-", "*"))]
    after = here.server.run("iptables-save").splitlines()
    assert [line for line in after if line.startswith(("-", "*"))] == rules


@pytest.mark.parametrize(
    ("others", "chain", "named"),
    [
        (STRICT, "input", "ip filter INPUT"),
        (ENDS, "input", "ip filter INPUT"),
        (FIREWALLD, "input", "inet firewalld filter_INPUT"),
        (DOCKER, "forward", "ip filter FORWARD"),
    ],
    ids=["a policy", "the last rule", "firewalld", "docker's forward"],
)
def test_where_another_firewall_drops_rules_are_refused_by_its_name(
    minion: Minion, here: Place, others: str, chain: str, named: str
) -> None:
    load(here.server, others)
    minion.wants(sets={"prod": MEMBERS}, rules=[rule(chain=chain)])
    done = minion.call("sync")
    assert done["result"] is False
    assert named in done["comment"]
    assert "k8s_firewall" not in here.server.run("nft", "list", "tables")
    minion.sync(sets={"prod": MEMBERS}, rules=[rule(chain=chain, action="drop")])


def test_another_firewall_that_comes_later_is_a_problem(minion: Minion, here: Place) -> None:
    minion.sync(sets={"prod": MEMBERS}, rules=[rule()])
    load(here.server, STRICT)
    assert "ip filter INPUT" in minion.call("status")["comment"]


def test_a_legacy_table_that_drops_is_seen_too(minion: Minion, here: Place) -> None:
    place.variant(here.server, "-legacy")
    here.server.run("iptables-legacy", "-w", "-P", "INPUT", "DROP")
    try:
        minion.wants(sets={"prod": MEMBERS}, rules=[rule()])
        assert "iptables-legacy filter INPUT" in minion.call("sync")["comment"]
    finally:
        here.server.run("iptables-legacy", "-w", "-P", "INPUT", "ACCEPT")


def test_rules_and_gates_and_ipsets_live_side_by_side(minion: Minion, here: Place) -> None:
    block = {"backend": "ipset", "sets": {"prod": MEMBERS}, "gates": {PORT: "prod"}}
    minion.sync(**block, rules=[rule("open", sources="any"), rule("x", ports=[1], sources=OTHERS)])
    assert here.member.gets_in(here.server.v4)
    assert not here.stranger.gets_in(here.server.v4)
    done = minion.sync(**block, rules=[rule("open", sources="any"), rule("x", ports=[1],
                       sources=MEMBERS)])  # fmt: skip
    assert done["changes"]["sets"] == {"rule_x": {"added": MEMBERS, "removed": OTHERS}}
    assert minion.call("status")["problems"] == []
