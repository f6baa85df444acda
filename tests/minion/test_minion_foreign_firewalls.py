"""Which base chains of other firewalls drop what a rule of this module accepts."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from k8s_firewall_parts import (
    errors,
    foreign_firewalls,
    foreign_nft_rules,
    foreign_rules,
    netlink,
    nft,
)
from k8s_firewall_parts.foreign_rules import ACCEPT, DROP, GOTO, JUMP, RETURN, TCP, UDP, UNCLEAR
from tests.minion.build import state

NOTHING: Any = lambda _: None  # noqa: E731


def rule(verdict: str, target: str = "", **conditions: int) -> foreign_rules.ForeignRule:
    """Return a rule that holds for these values of fields."""
    return foreign_rules.ForeignRule(
        verdict,
        target,
        tuple(
            foreign_rules.Condition(field, frozenset({value}))
            for field, value in conditions.items()
        ),
    )


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        ([], ""),
        ([rule(DROP)], DROP),
        ([rule(ACCEPT), rule(DROP)], ""),
        ([rule(RETURN), rule(DROP)], ""),
        ([rule(DROP, protocol=TCP)], DROP),
        ([rule(DROP, protocol=UDP)], ""),
        ([rule(ACCEPT, protocol=TCP), rule(DROP)], ""),
        ([rule(ACCEPT, protocol=UDP), rule(DROP)], DROP),
        ([rule(DROP, family=netlink.IPV6)], DROP),
        ([rule(DROP, state=8)], DROP),
        ([rule(DROP, state=2)], ""),
        ([rule(ACCEPT, state=2), rule(DROP)], DROP),
        ([rule(DROP, flags=2)], DROP),
        ([rule(UNCLEAR)], UNCLEAR),
        ([rule(JUMP, "ends")], DROP),
        ([rule(GOTO, "ends")], DROP),
        ([rule(JUMP, "empty"), rule(DROP)], DROP),
        ([rule(GOTO, "empty"), rule(DROP)], ""),
        ([rule(JUMP, "lets in"), rule(DROP)], ""),
        ([rule(JUMP, "round")], ""),
        ([rule(JUMP, "absent")], ""),
    ],
)
def test_what_a_chain_does_to_the_first_packet_of_a_connection(
    rules: list[foreign_rules.ForeignRule], verdict: str
) -> None:
    chains = {
        "input": rules,
        "ends": [rule(DROP)],
        "empty": [],
        "lets in": [rule(ACCEPT)],
        "round": [rule(JUMP, "round")],
    }
    found = foreign_firewalls.judge(
        lambda name: chains.get(name, []), "input", False, {netlink.IPV4, netlink.IPV6}, {TCP}
    )
    assert found == verdict


def test_a_policy_counts_where_no_rule_decides() -> None:
    for rules, verdict in (([], DROP), ([rule(ACCEPT)], ""), ([rule(UNCLEAR)], UNCLEAR)):
        assert foreign_firewalls.judge(
            lambda _, rules=rules: rules, "input", True, {netlink.IPV4}, {TCP}
        ) == verdict  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        (":INPUT DROP [0:0]", DROP),
        (":INPUT ACCEPT [0:0]\n-A INPUT -j DROP", DROP),
        ("-A INPUT -j REJECT --reject-with x", DROP),
        ("-A INPUT -m comment --comment x -j DROP", DROP),
        ('-A INPUT -m comment --comment "-j ACCEPT, or not" -j DROP', DROP),
        ("-A INPUT -p tcp -j DROP", DROP),
        ("-A INPUT -p tcp -m tcp -j DROP", DROP),
        ("-A INPUT -p udp -j DROP", ""),
        ("-A INPUT ! -p icmp -j DROP", DROP),
        ("-A INPUT -p icmp -j DROP", ""),
        ("-A INPUT -m conntrack --ctstate NEW -j DROP", DROP),
        ("-A INPUT -m state --state INVALID,NEW -j DROP", DROP),
        ("-A INPUT -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP", DROP),
        ("-A INPUT -m conntrack --ctstate INVALID -j DROP", ""),
        ("-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -j DROP", DROP),
        ("-A INPUT -m conntrack --ctstate NEW -j ACCEPT\n-A INPUT -j DROP", ""),
        ("-A INPUT ! -i lo -j DROP", DROP),
        ("-A INPUT -i eth1 -j DROP", ""),
        ("-A INPUT -s 192.0.2.1/32 -j DROP", ""),
        ("-A INPUT -p tcp -m tcp --dport 22 -j DROP", ""),
        ("-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", DROP),
        ("-A INPUT -p tcp -m tcp --tcp-flags SYN,ACK SYN,ACK -j DROP", ""),
        ("-A INPUT -j LOG\n-A INPUT -j DROP", DROP),
        (":mine - [0:0]\n-A INPUT -j mine\n-A mine -j DROP", DROP),
        (":mine - [0:0]\n-A INPUT -g mine\n-A INPUT -j DROP", ""),
        ("-A INPUT -j NFQUEUE --queue-num 1", UNCLEAR),
        (":FORWARD DROP [0:0]", ""),
        ("COMMIT\n*nat\n:INPUT DROP [0:0]", ""),
        ("", ""),
    ],
)
def test_a_legacy_chain_that_drops_the_rest_is_found(lines: str, verdict: str) -> None:
    saved = f"*filter\n{lines}\nCOMMIT\n"
    found = foreign_firewalls.legacy_verdict(saved, "INPUT", netlink.IPV4, {TCP})
    assert found == verdict


def expression(kind: str, **attributes: Any) -> bytes:
    """Return an expression as the kernel has it: ``a1`` to ``a9`` are its attributes."""
    data = b"".join(
        netlink.attribute(
            int(number[1:]), struct.pack("!I", value) if isinstance(value, int) else value
        )
        for number, value in attributes.items()
    )
    return netlink.attribute(1, netlink.name(1, kind) + netlink.attribute(2, data))


def value(content: bytes) -> bytes:
    return netlink.attribute(1, content)


def decides(code: int, chain: str = "") -> bytes:
    inside = netlink.attribute(1, struct.pack("!i", code))
    inside += netlink.name(2, chain) if chain else b""
    return expression("immediate", a1=0, a2=netlink.attribute(2, inside))


L4PROTO = expression("meta", a2=16, a1=1)
STATE = expression("ct", a1=1, a2=0)
NEW = struct.pack("=I", 8)


@pytest.mark.parametrize(
    ("expressions", "found"),
    [
        (decides(0), rule(DROP)),
        (expression("counter") + decides(0), rule(DROP)),
        (decides(1), rule(ACCEPT)),
        (decides(-5), rule(RETURN)),
        (decides(-3, "mine"), rule(JUMP, "mine")),
        (decides(-4, "mine"), rule(GOTO, "mine")),
        (decides(-1), None),
        (expression("counter"), None),
        (expression("reject", a1=0), rule(DROP)),
        (expression("target", a1=b"REJECT\0"), rule(DROP)),
        (expression("target", a1=b"LOG\0") + decides(0), rule(DROP)),
        (expression("target", a1=b"NFQUEUE\0"), rule(UNCLEAR)),
        (expression("queue"), rule(UNCLEAR)),
        (expression("from-tomorrow") + decides(0), rule(UNCLEAR)),
        (expression("match", a1=b"comment\0", a3=b"x") + decides(0), rule(DROP)),
        (expression("match", a1=b"recent\0", a3=b"x") + decides(0), None),
        (expression("limit") + decides(0), None),
        (L4PROTO + expression("cmp", a1=1, a2=0, a3=value(b"\x06")) + decides(0),
         rule(DROP, protocol=TCP)),
        (expression("meta", a2=6, a1=1) + expression("cmp", a1=1, a2=1, a3=value(b"lo"))
         + decides(0), rule(DROP)),
        (expression("meta", a2=6, a1=1) + expression("cmp", a1=1, a2=0, a3=value(b"eth0"))
         + decides(0), None),
        (expression("payload", a1=1, a2=1, a3=12, a4=4)
         + expression("cmp", a1=1, a2=0, a3=value(b"\xc0\0\2\1")) + decides(0), None),
        (b"\x03", None),
        (expression("cmp", a1=1), None),
        (expression("immediate"), None),
    ],
)  # fmt: skip
def test_a_rule_of_nftables_is_read(
    expressions: bytes, found: foreign_rules.ForeignRule | None
) -> None:
    assert foreign_nft_rules.parse_rule(expressions, NOTHING) == found


def test_a_rule_about_new_connections_is_read() -> None:
    masked = expression("bitwise", a1=1, a2=1, a4=value(NEW), a5=value(bytes(4)))
    compared = expression("cmp", a1=1, a2=1, a3=value(bytes(4)))
    found = foreign_nft_rules.parse_rule(STATE + masked + compared + decides(0), NOTHING)
    assert found is not None
    assert found.holds(foreign_rules.Probe(netlink.IPV4, TCP))
    other = expression("bitwise", a1=1, a2=1, a4=value(b"\2\0\0\0"), a5=value(bytes(4)))
    found = foreign_nft_rules.parse_rule(STATE + other + compared + decides(0), NOTHING)
    assert found is not None
    assert not found.holds(foreign_rules.Probe(netlink.IPV4, TCP))


def base_chain(
    table: str = "filter", policy: int = 0, hook: int = 1, kind: str = "filter"
) -> dict[int, bytes]:
    return {
        1: table.encode() + b"\0",
        3: b"input\0",
        4: netlink.attribute(1, struct.pack("!I", hook)),
        5: struct.pack("!I", policy),
        7: kind.encode() + b"\0",
    }


@pytest.mark.parametrize(
    ("family", "chain", "found"),
    [
        (netlink.INET, base_chain(), ["inet filter input"]),
        (netlink.IPV4, base_chain(), ["ip filter input"]),
        (7, base_chain(), []),
        (netlink.INET, base_chain(nft.TABLE), []),
        (netlink.INET, base_chain(hook=2), []),
        (netlink.INET, base_chain(kind="nat"), []),
        (netlink.INET, {1: b"filter\0", 3: b"plain\0"}, []),
    ],
)
def test_base_chains_of_others_are_found(
    family: int, chain: dict[int, bytes], found: list[str]
) -> None:
    chains = foreign_firewalls.parse_chains([(family, chain)], "input")
    assert [str(one) for one in chains] == found


def test_only_rules_that_accept_can_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "dump", dumping([(netlink.INET, base_chain())], []))
    accepts = state(rules=[{"name": "a", "sources": "any"}])
    assert foreign_firewalls.conflict(accepts) == (
        "rules that accept in input have no effect: inet filter input drops the packets "
        "afterwards; use sets or gates beside that firewall"
    )
    drops = state(rules=[{"name": "a", "sources": "any", "action": "drop"}])
    assert foreign_firewalls.conflict(drops) == ""
    forwards = state(rules=[{"name": "a", "chain": "forward", "sources": "any"}])
    assert foreign_firewalls.conflict(forwards) == ""


def dumping(chains: Any, rules: Any) -> Any:
    """Return what stands for the kernel: its chains, and the rules of each."""

    def dump(message: int, *_: Any, **__: Any) -> Any:
        found = chains if message == netlink.CHAIN else rules
        if isinstance(found, Exception):
            raise found
        return found

    return dump


def test_what_is_not_known_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    queued = [(netlink.INET, {4: expression("queue")})]
    chains = [(netlink.INET, base_chain(policy=1))]
    monkeypatch.setattr(netlink, "dump", dumping(chains, queued))
    rules = state(rules=[{"name": "a", "sources": "any"}])
    assert foreign_firewalls.conflict(rules) == (
        "rules that accept in input may have no effect: what inet filter input does with the "
        "packets afterwards is not known; use sets or gates beside that firewall"
    )
    # More rules than there is time for: the policy counts.
    monkeypatch.setattr(netlink, "dump", dumping(chains, netlink.TooSlow()))
    assert foreign_firewalls.conflict(rules) == ""
    monkeypatch.setattr(netlink, "dump", dumping(OSError("no"), []))
    with pytest.raises(errors.FirewallError, match="chains of nftables cannot be read: no"):
        foreign_firewalls.conflict(rules)
