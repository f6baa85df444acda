"""Whether an address can reach a port, and which gate or rule decides."""

from __future__ import annotations

from typing import Any

import pytest

from k8s_firewall_parts import access
from tests.minion.build import state

SETS = {"prod": ["192.0.2.1", "2001:db8::1"], "net": ["198.51.100.0/24"]}
GATES = {5432: ["prod", "net"]}


def decide(address: str, port: int = 5432, protocol: str = "tcp", **block: Any) -> list[Any]:
    found = access.decide(state(sets=SETS, keep=["192.0.2.250"], **block), address, protocol, port)
    return list(found.values())


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
        ("192.0.2.2", 80, "tcp",
         [None, "no gate or rule", "another firewall may have rules for it"]),
        ("192.0.2.2", 5432, "udp",
         [None, "no gate or rule", "another firewall may have rules for it"]),
    ],
)  # fmt: skip
def test_a_gate_decides(address: str, port: int, protocol: str, answer: list[Any]) -> None:
    assert decide(address, port, protocol, gates=GATES) == answer


RULES = [
    {"name": "out", "chain": "forward", "sources": "any", "action": "drop"},
    {"name": "no", "sources": ["192.0.2.1"], "action": "reject", "ports": [22]},
    {"name": "ssh", "ports": [22], "sources": ["prod"]},
    {"name": "dns", "protocol": "udp", "sources": "any"},
]


@pytest.mark.parametrize(
    ("address", "port", "protocol", "answer"),
    [
        ("192.0.2.250", 22, "tcp", [True, "k8s_firewall:keep", "192.0.2.250 is in it"]),
        ("192.0.2.1", 22, "tcp", [False, "the rule no", "192.0.2.1 is in rule_no"]),
        ("2001:db8::1", 22, "tcp", [True, "the rule ssh", "2001:db8::1 is in prod"]),
        ("192.0.2.9", 53, "udp", [True, "the rule dns", "it matches every source"]),
        ("192.0.2.9", 22, "tcp", [False, "k8s_firewall:policy:input", "no rule matches"]),
    ],
)
def test_a_rule_decides(address: str, port: int, protocol: str, answer: list[Any]) -> None:
    assert decide(address, port, protocol, rules=RULES) == answer


def test_the_policy_decides_last() -> None:
    assert decide("192.0.2.9", rules=RULES, policy={"input": "accept"})[0] is True


def test_a_gate_closes_before_a_rule_opens() -> None:
    rules = [{"name": "all", "sources": "any"}]
    assert decide("192.0.2.9", gates=GATES, rules=rules)[1] == "the gate 5432/tcp"
    assert decide("192.0.2.1", gates=GATES, rules=rules)[1] == "the rule all"
