"""Whether what another firewall does to the packets of a rule is said as the packets have it."""

from __future__ import annotations

import time

import pytest

from k8s_firewall_parts import foreign_firewalls
from tests.firewall import place
from tests.firewall.place import MEMBER, PORT, Minion, Place
from tests.minion.build import state

pytestmark = pytest.mark.root

MEMBERS = [str(MEMBER.v4), str(MEMBER.v6)]
RULES = [{"name": "db", "ports": [PORT], "sources": ["prod"]}]

XT = [
    "-j DROP",
    "-j REJECT",
    "-m comment --comment x -j DROP",
    "-m comment --comment x -j REJECT",
    "-p tcp -j DROP",
    "-p tcp -m comment --comment x -j REJECT --reject-with tcp-reset",
    "-p udp -j DROP",
    "-p icmp -j DROP",
    "! -p icmp -j DROP",
    "-m conntrack --ctstate NEW -j DROP",
    "-m state --state NEW -j DROP",
    "-m conntrack ! --ctstate ESTABLISHED,RELATED -j DROP",
    "-m conntrack --ctstate INVALID -j DROP",
    "-p tcp --syn -j DROP",
    "-p tcp --tcp-flags SYN,ACK SYN,ACK -j DROP",
    "! -i lo -j DROP",
    "-i nowhere0 -j DROP",
    "-s 192.0.2.1 -j DROP",
    "-s 0.0.0.0/0 -j DROP",
    "-p tcp --dport 22 -j DROP",
    "-m addrtype --dst-type LOCAL -j DROP",
    "-m pkttype --pkt-type unicast -j DROP",
    "-j LOG",
    "-j RETURN",
]
NFT = [
    "add @seen { ip saddr } drop",
    "add @seen { ip saddr limit rate over 1000/second } drop",
    "drop",
    "counter drop",
    'counter drop comment "x"',
    "reject",
    "meta nfproto ipv4 drop",
    "meta nfproto { ipv4, ipv6 } drop",
    "meta nfproto ipv6 drop",
    "ip protocol tcp drop",
    "ip protocol udp drop",
    "meta l4proto tcp reject with tcp reset",
    "meta l4proto { tcp, udp } drop",
    "meta l4proto { udp, icmp } drop",
    "meta l4proto != icmp drop",
    "ct state new drop",
    "ct state { new, invalid } drop",
    "ct state invalid drop",
    "ct state != { established, related } drop",
    "ct state vmap { established : accept, related : accept, invalid : drop }",
    "tcp flags & (fin | syn | rst | ack) == syn drop",
    "iifname != lo drop",
    "iifname nowhere0 drop",
    "ip saddr 192.0.2.1 drop",
    "tcp dport 22 drop",
    "meta mark set 1",
    "limit rate over 1000/second drop",
    "log",
]


def predicted(here: Place) -> bool:
    """Whether the member gets in, by what is said of the other firewall."""
    with here.server.namespace.entered():
        return not foreign_firewalls.conflict(
            state(sets={"prod": [str(MEMBER.v4)]}, rules=RULES), whole=True
        )


def observed(here: Place) -> bool:
    return here.member.gets_in(here.server.v4)


@pytest.mark.parametrize("rule", XT)
def test_a_rule_of_iptables_is_taken_as_the_packets_find_it(here: Place, rule: str) -> None:
    here.server.run("iptables", "-w", "-A", "INPUT", *rule.split())
    assert predicted(here) is observed(here)


@pytest.mark.parametrize("rule", XT)
def test_a_rule_of_legacy_iptables_is_taken_as_the_packets_find_it(here: Place, rule: str) -> None:
    place.variant(here.server, "-legacy")
    try:
        here.server.run("iptables-legacy", "-w", "-A", "INPUT", *rule.split())
        if "addrtype" not in rule and "pkttype" not in rule:
            assert predicted(here) is observed(here)
    finally:
        here.server.run("iptables-legacy", "-w", "-F", "INPUT")


@pytest.mark.parametrize("rule", NFT)
def test_a_rule_of_nft_is_taken_as_the_packets_find_it(here: Place, rule: str) -> None:
    text = "set seen { type ipv4_addr; flags dynamic; }\n" if "@seen" in rule else ""
    text = (
        f"table ip a {{\n{text}chain input {{ type filter hook input priority 5; {rule}; }}\n}}\n"
    )
    if "icmpx" in rule or "nfproto" in rule or "!= icmp" in rule:
        text = text.replace("table ip ", "table inet ")
    here.server.run("nft", "-f", "-", text=text)
    assert predicted(here) is (observed(here) and "nfproto ipv6" not in rule)


def test_an_accept_before_a_drop_is_taken_as_the_packets_find_it(here: Place) -> None:
    for accept in (
        "meta l4proto tcp accept",
        "ct state new,established accept",
        "udp dport 1 drop",
    ):
        here.server.run(
            "nft", "-f", "-", text="table ip a\ndelete table ip a\ntable ip a {\nchain input { "
            f"type filter hook input priority 5; {accept}; drop; }}\n}}\n",
        )  # fmt: skip
        assert predicted(here) is observed(here)


def test_rules_are_refused_where_a_comment_stands_before_the_drop(
    minion: Minion, here: Place
) -> None:
    here.server.run("iptables", "-A", "INPUT", *XT[2].split())
    minion.wants(sets={"prod": MEMBERS}, rules=RULES)
    done = minion.call("sync")
    assert done["result"] is False
    assert "ip filter INPUT drops the packets" in done["comment"]


def test_many_rules_of_others_cost_a_run_a_tenth_of_a_second(here: Place) -> None:
    rules = "".join(
        f"-A INPUT -s 10.{one // 65536}.{one // 256 % 256}.{one % 256} -j ACCEPT\n"
        for one in range(20_000)
    )
    text = f"*filter\n:INPUT ACCEPT [0:0]\n{rules}-A INPUT -j DROP\nCOMMIT\n"
    here.server.run("iptables-restore", text=text)
    wish = state(sets={"prod": [str(MEMBER.v4)]}, rules=RULES)
    with here.server.namespace.entered():
        began = time.process_time()
        foreign_firewalls.conflict(wish)
        assert time.process_time() - began < 0.5
        assert "ip filter INPUT drops" in foreign_firewalls.conflict(wish, whole=True)
