"""Whether an address can reach a port: the whole input path, and what is not known of it."""

from __future__ import annotations

from typing import Any

import pytest

from k8s_firewall_parts import (
    access,
    errors,
    nft,
    read_ipset,
    read_iptables,
    read_nft_file,
    reading,
)
from k8s_firewall_parts.intervals import parse
from tests.minion.build import state

SETS = {"prod": ["192.0.2.1", "2001:db8::1"], "net": ["198.51.100.0/24"]}
GATES = {5432: ["prod", "net"]}


def packet(address: str, port: int, protocol: str = "tcp", **more: Any) -> access.Packet:
    source = parse(address)
    assert source is not None
    return access.Packet(source, access.PROTOCOLS[protocol], port, **more)


def ours(**block: Any) -> str:
    return nft.full(state(sets=SETS, keep=["192.0.2.250"], **block))


def decide(text: str, *packet_of: Any, iptables: str = "", **more: Any) -> list[Any]:
    chains = dict(read_nft_file.Reader("x", text).chains)
    if iptables:
        chains |= read_iptables.chains_of(
            f"*filter\n{iptables}\nCOMMIT\n",
            "ip",
            lambda name: read_ipset.named_set(name, {}, name),
            lambda table, chain, at: f"iptables {table} {chain} rule {at}",
            lambda *_: {},
        )
    kernel = reading.Kernel(chains, unknown=more.pop("unknown", {}))
    return list(access.decide(kernel, packet(*packet_of, **more)).to_dict().values())


NO_RULE = [True, "no rule", "no rule drops it"]


@pytest.mark.parametrize(
    ("address", "port", "protocol", "answer"),
    [
        ("192.0.2.1", 5432, "tcp", [True, "the gate 5432/tcp", "192.0.2.1 is in prod"]),
        ("198.51.100.7", 5432, "tcp", [True, "the gate 5432/tcp", "198.51.100.7 is in net"]),
        ("192.0.2.250", 5432, "tcp", [True, "the gate 5432/tcp", "192.0.2.250 is in keep"]),
        ("192.0.2.2", 5432, "tcp",
         [False, "the gate 5432/tcp", "192.0.2.2 is in none of: prod, net"]),
        ("2001:db8::2", 5432, "tcp",
         [False, "the gate 5432/tcp", "2001:db8::2 is in none of: prod, net"]),
        ("192.0.2.2", 80, "tcp", NO_RULE),
        ("192.0.2.2", 5432, "udp", NO_RULE),
    ],
)  # fmt: skip
def test_a_gate_decides(address: str, port: int, protocol: str, answer: list[Any]) -> None:
    assert decide(ours(gates=GATES), address, port, protocol) == answer


RULES = [
    {"name": "out", "chain": "forward", "sources": "any", "action": "drop"},
    {"name": "no", "sources": ["192.0.2.1"], "action": "reject", "ports": [22]},
    {"name": "ssh", "ports": [22], "sources": ["prod"]},
    {"name": "dns", "protocol": "udp", "sources": "any"},
]
POLICY = "k8s_firewall:policy:input"


@pytest.mark.parametrize(
    ("address", "port", "protocol", "answer"),
    [
        ("192.0.2.1", 22, "tcp", [False, "the rule no", "192.0.2.1 is in rule_no"]),
        ("2001:db8::1", 22, "tcp", [True, "the rule ssh", "2001:db8::1 is in prod"]),
        ("192.0.2.9", 53, "udp", [True, "the rule dns", "counter accept"]),
        ("192.0.2.9", 22, "tcp", [False, POLICY, "no rule matches"]),
    ],
)
def test_a_rule_decides(address: str, port: int, protocol: str, answer: list[Any]) -> None:
    assert decide(ours(rules=RULES), address, port, protocol) == answer


def test_keep_is_let_in() -> None:
    assert decide(ours(rules=RULES), "192.0.2.250", 22)[::2] == [True, "192.0.2.250 is in keep"]


def test_a_gate_closes_before_a_rule_opens() -> None:
    text = ours(gates=GATES, rules=[{"name": "all", "sources": "any"}])
    assert decide(text, "192.0.2.9", 5432)[1] == "the gate 5432/tcp"
    assert decide(text, "192.0.2.1", 5432)[1] == "the rule all"


def test_a_later_packet_meets_the_gate_as_well() -> None:
    text = ours(gates=GATES)
    assert decide(text, "192.0.2.9", 5432, established=True)[0] is False


def foreign(*rules: str, policy: str = "drop", more: str = "") -> str:
    return (
        f"table inet f {{\n{more}\nchain i {{\ntype filter hook input priority 0; policy {policy}\n"
        + "\n".join(rules)
        + "\n}\n}\n"
    )


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        (["tcp dport 22 accept"], True),
        (["tcp dport 23 accept"], False),
        (["tcp dport { 20-22, 80 } accept"], True),
        (["udp dport 22 accept"], False),
        (["ct state established,related accept"], False),
        (["ct state new accept"], True),
        (['iifname "lo" accept'], False),
        (['iifname "eth*" accept'], True),
        (['iifname "wlan0" accept'], False),
        (["ip saddr 192.0.2.0/24 accept"], True),
        (["ip saddr != 192.0.2.0/24 accept"], False),
        (["tcp dport 22 jump more", "accept"], True),
        (["goto dropping", "accept"], False),
        (["tcp dport 22 jump returning", "tcp dport 22 accept"], True),
        (["limit rate 3/minute accept"], None),
        (["limit rate 3/minute accept", "accept"], True),
        (["limit rate 3/minute drop", "drop"], False),
        (["limit rate 3/minute log", "accept"], True),
        (["ip daddr 192.0.2.99 accept"], None),
        (["ip daddr 224.0.0.251 accept"], False),
        (["queue num 3", "accept"], None),
        (["meta mark set 3", "accept"], True),
        (["meta mark 3 accept"], None),
        (["jump missing", "accept"], None),
        (["return", "accept"], False),
        (["tcp dport vmap { 22 : accept, 23 : drop }"], True),
        (["ip saddr . tcp dport vmap { 192.0.2.1 . 22 : accept }"], True),
        (["ip saddr . tcp dport { 192.0.2.1 . 23 } accept"], False),
    ],
)
def test_a_foreign_chain_decides(rules: list[str], allowed: bool | None) -> None:
    more = (
        "chain more {\ntcp dport 23 drop\n}\nchain dropping {\ndrop\n}\n"
        "chain returning {\nreturn\ndrop\n}"
    )
    text = foreign(*rules, more=more)
    assert decide(text, "192.0.2.1", 22, interface="eth0")[0] is allowed


def test_many_chains_that_call_each_other_are_walked_in_no_time() -> None:
    more = "\n".join(f"chain c{at} {{\njump c{at + 1}\njump c{at + 1}\n}}" for at in range(60))
    text = foreign("jump c0", "accept", more=f"{more}\nchain c60 {{\ncounter\n}}")
    assert decide(text, "192.0.2.1", 22)[0] is True


def test_what_is_not_known_names_the_rule() -> None:
    allowed, _, reason = decide(foreign("limit rate 3/minute accept"), "192.0.2.1", 22)
    assert allowed is None
    assert reason == "it depends on x line 5: limit rate 3/minute accept"


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ("-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT", True),
        ("-A INPUT -p tcp -m multiport --dports 20:23,80 -j ACCEPT", True),
        ("-A INPUT -p udp -j ACCEPT", False),
        ("-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", False),
        ("-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT", True),
        (
            "-A INPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP\n-A INPUT -j ACCEPT",
            True,
        ),
        ("-A INPUT -m addrtype --dst-type LOCAL -j ACCEPT", True),
        ("-A INPUT -m addrtype --dst-type MULTICAST -j ACCEPT", False),
        ("-A INPUT -i lo -j ACCEPT", False),
        ("-A INPUT -i eth+ -j ACCEPT", True),
        ("-A INPUT -m comment --comment x -j ACCEPT", True),
        ("-A INPUT -m limit --limit 3/min -j ACCEPT", None),
        ("-A INPUT -j UNHEARD", None),
        ("-A INPUT -p tcp -j REJECT --reject-with tcp-reset\n-A INPUT -j ACCEPT", False),
        ("-A INPUT -m rt --rt-type 0 -j DROP\n-A INPUT -j ACCEPT", True),
        ("-A INPUT -m recent --set --name x --mask 255.255.255.255 --rsource -j ACCEPT", True),
        ("-A INPUT -j LOG\n-A INPUT -j ACCEPT", True),
    ],
)
def test_rules_of_iptables_decide(rules: str, allowed: bool | None) -> None:
    iptables = f":INPUT DROP [0:0]\n{rules}"
    assert decide("", "192.0.2.1", 22, iptables=iptables, interface="eth0")[0] is allowed


def test_every_base_chain_must_let_it_in() -> None:
    iptables = ":INPUT DROP [0:0]"
    assert decide(foreign("accept"), "192.0.2.1", 22, iptables=iptables)[0] is False
    assert decide(foreign("accept"), "2001:db8::1", 22, iptables=iptables)[0] is True


def test_what_could_not_be_read_is_not_known_unless_another_chain_drops() -> None:
    unknown = {"iptables-legacy": "the program is not installed"}
    assert decide("", "192.0.2.1", 22, unknown=unknown)[0] is None
    assert decide("", "2001:db8::1", 22, unknown=unknown)[0] is True
    assert decide(foreign("drop"), "192.0.2.1", 22, unknown=unknown)[0] is False


@pytest.mark.parametrize(
    ("address", "port", "protocol", "message"),
    [
        (10.77, 22, "tcp", "10.77 is not an IP address"),
        (None, 22, "tcp", "None is not an IP address"),
        (["192.0.2.1"], 22, "tcp", "is not an IP address"),
        ("192.0.2.0/24", 22, "tcp", "is not an IP address"),
        ("192.0.2.1", 99999, "tcp", "99999 is not a port"),
        ("192.0.2.1", 0, "tcp", "0 is not a port"),
        ("192.0.2.1", 22.5, "tcp", "22.5 is not a port"),
        ("192.0.2.1", True, "tcp", "True is not a port"),
        ("192.0.2.1", "ssh", "tcp", "'ssh' is not a port"),
        ("192.0.2.1", 22, "icmp", "'icmp' is not tcp or udp"),
        ("192.0.2.1", 22, ["tcp"], "is not tcp or udp"),
    ],
)
def test_a_wrong_argument_is_one_line(address: Any, port: Any, protocol: Any, message: str) -> None:
    with pytest.raises(errors.Refused, match=message):
        access.parse(address, port, protocol)
