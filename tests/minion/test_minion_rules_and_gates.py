"""Gates and rules are read, and a mistake in one is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_firewall_parts import gates, rules


@pytest.mark.parametrize(
    ("value", "ports"),
    [
        (5432, (None, 5432, 5432)),
        ("5432", (None, 5432, 5432)),
        ("53/udp", ("udp", 53, 53)),
        ("6000-6010/tcp", ("tcp", 6000, 6010)),
        ("1-65535", (None, 1, 65535)),
        ("6010-6000", None),
        (0, None),
        (65536, None),
        ("0022", None),
        ("２２", None),
        (True, None),
        ("53/icmp", None),
        ("ssh", None),
        (None, None),
        ("22\n", None),
    ],
)
def test_ports(value: object, ports: object) -> None:
    assert gates.parse_ports(value) == ports


def test_gates_are_sorted_and_have_unique_sets() -> None:
    problems: list[str] = []
    found = gates.parse({"80/udp": "a", 8080: ["a", "b", "a"], 80: ["b"]}, {"a", "b"}, problems)
    assert [str(gate) for gate in found] == ["80/tcp", "8080/tcp", "80/udp"]
    assert found[1].sets == ("a", "b")
    assert not problems


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "gates is not a mapping of ports to sets"),
        ({"http": "a"}, "gates:http is not a port; examples: 5432, 53/udp"),
        ({80: []}, "gates:80 is not the name of a set, or a list of names"),
        ({80: {"a": 1}}, "gates:80 is not the name of a set, or a list of names"),
        ({80: [["a"]]}, "gates:80 is not the name of a set, or a list of names"),
        ({80: ["a", "c"]}, "names the unknown set 'c'; k8s_firewall:sets has: a, b"),
        ({80: "a", "70-90": "a"}, "gates:70-90 overlaps the gate 80/tcp"),
    ],
)
def test_a_mistake_in_a_gate_is_named(value: object, message: str) -> None:
    problems: list[str] = []
    gates.parse(value, {"a", "b"}, problems)
    assert len(problems) == 1
    assert message in problems[0]


def test_without_sets_the_message_says_none() -> None:
    problems: list[str] = []
    gates.parse({80: "a"}, {}, problems)
    assert problems == [
        "k8s_firewall:gates:80 names the unknown set 'a'; k8s_firewall:sets has: none"
    ]


def test_a_gate_covers_its_ports_of_its_protocol() -> None:
    gate = gates.Gate("tcp", 6000, 6010, ("a",))
    assert (gate.ports, gate.chain) == ("6000-6010", "gate_tcp_6000_6010")
    assert [gate.covers("tcp", port) for port in (5999, 6000, 6010, 6011)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert not gate.covers("udp", 6000)
    assert not gate.overlaps(gates.Gate("udp", 6000, 6010, ("a",)))
    assert gates.Gate.from_dict(gate.to_dict()) == gate


def rule(**keys: Any) -> dict[str, Any]:
    return {"name": "db", "ports": [5432], "sources": ["a"], **keys}


def read(*items: Any) -> tuple[tuple[rules.Rule, ...], dict[str, list[object]], list[str]]:
    problems: list[str] = []
    return (*rules.parse(list(items), {"a", "b"}, problems), problems)


def test_a_rule_has_defaults() -> None:
    (found,), written, problems = read(rule())
    assert found == rules.Rule(
        name="db", chain="input", protocol="tcp", ports=("5432",), sets=("a",), any_source=False,
        action="accept", log="", comment="",
    )  # fmt: skip
    assert (written, problems) == ({}, [])
    assert rules.Rule.from_dict(found.to_dict()) == found


def test_addresses_in_a_rule_get_a_set_of_their_own() -> None:
    (found,), written, _ = read(rule(sources=["b", "192.0.2.1", "k8s://x"]))
    assert found.sets == ("b", "rule_db")
    assert written == {"rule_db": ["192.0.2.1", "k8s://x"]}


def test_a_rule_without_ports_is_about_every_port_and_protocol() -> None:
    (found,), _, _ = read({"name": "x", "sources": "any", "log": "x says "})
    assert (found.protocol, found.ports, found.any_source, found.log) == ("", (), True, "x says ")
    assert found.covers("udp", 1)
    (found,), _, _ = read(rule(ports=["6000-6010", 22], log=True))
    assert found.log == "db: "
    assert [found.covers("tcp", port) for port in (22, 6005, 23)] == [True, True, False]
    assert not found.covers("udp", 22)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("x", "rules: rule 1 has no valid name"),
        ({"sources": []}, "rules: rule 1 has no valid name"),
        (rule(name="a b"), "rules: rule 1 has no valid name"),
        (rule(name=5), "rules: rule 1 has no valid name"),
        (rule(port=1), "db: unknown key port; known keys: name, chain"),
        (rule(chain="output"), "db: chain is 'output', not one of input, forward"),
        (rule(protocol="icmp"), "db: protocol is 'icmp', not one of tcp, udp"),
        (rule(action="ACCEPT"), "db: action is 'ACCEPT', not one of accept, drop, reject"),
        (rule(ports=5432), "db: ports is not a list of ports"),
        (rule(ports=[]), "db: ports is not a list of ports"),
        (rule(ports=["5432/tcp"]), "db: ports: '5432/tcp' is not a port; examples: 5432"),
        (rule(sources=None), "db: sources is neither a list nor any (every source)"),
        (rule(sources=["c"]), "not an IP address, nor the name of a set; known sets: a, b"),
        (rule(comment='x" drop'), "db: comment has characters other than"),
        (rule(comment=True), "db: comment is not a text"),
        (rule(comment="x" * 101), "db: comment has characters other than"),
        (rule(log="a\nb"), "db: log has characters other than"),
    ],
)
def test_a_mistake_in_a_rule_is_named(item: object, message: str) -> None:
    found, _, problems = read(item)
    assert not found
    assert len(problems) == 1
    assert message in problems[0]


def test_rules_that_are_not_a_list_are_refused() -> None:
    problems: list[str] = []
    assert rules.parse({"a": 1}, {}, problems) == ((), {})
    assert problems == ["k8s_firewall:rules is not a list of rules"]


def test_two_rules_of_a_name_are_refused() -> None:
    _, _, problems = read(rule(), rule())
    assert problems == ["k8s_firewall:rules: db: another rule has the same name"]


@pytest.mark.parametrize(
    ("value", "policy", "message"),
    [
        (None, {"input": "drop", "forward": "accept"}, ""),
        ({"forward": "drop"}, {"input": "drop", "forward": "drop"}, ""),
        ([], {"input": "drop", "forward": "accept"}, "is not a mapping of input and forward"),
        ({"output": "drop"}, {"input": "drop", "forward": "accept"}, "is not a mapping of"),
        ({"input": "x"}, {"input": "x", "forward": "accept"}, "policy:input is 'x', not accept or"),
    ],
)
def test_policy(value: object, policy: dict[str, str], message: str) -> None:
    problems: list[str] = []
    assert rules.parse_policy(value, problems) == policy
    assert [message in problem for problem in problems] == ([True] if message else [])


@given(st.text())
def test_no_text_of_a_rule_can_end_its_quotes_or_its_line(text: str) -> None:
    found, _, _ = read(rule(comment=text, log=text))
    for one in found:
        assert not set('"\n\\{}') & set(one.comment + one.log)
