"""Which base chains of other firewalls drop what a rule of this module accepts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from k8s_firewall_parts import foreign_firewalls, nft, programs
from tests.minion.build import state

DROP = {"drop": None}
REJECT = {"reject": {"type": "icmpx"}}
ACCEPT = {"accept": None}
COUNTER = {"counter": {"packets": 1, "bytes": 2}}
LOG = {"log": {"prefix": "x"}}
PORT = {
    "match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}
}


def chain(name: str = "input", **keys: Any) -> dict[str, Any]:
    base = {"hook": "input", "type": "filter", "policy": "accept"}
    return {"chain": {"family": "inet", "table": "filter", "name": name, **base, **keys}}


def plain(name: str) -> dict[str, Any]:
    return {"chain": {"family": "inet", "table": "filter", "name": name}}


def rule(*statements: Any, chain: str = "input") -> dict[str, Any]:
    return {"rule": {"family": "inet", "table": "filter", "chain": chain, "expr": list(statements)}}


@pytest.mark.parametrize(
    ("items", "drops"),
    [
        ([chain(policy="drop")], True),
        ([chain()], False),
        ([chain(), rule(DROP)], True),
        ([chain(), rule(COUNTER, LOG, REJECT)], True),
        ([chain(), rule(REJECT)], True),
        ([chain(), rule({"xt": {"type": "target", "name": "REJECT"}})], True),
        ([chain(), rule({"xt": {"type": "target", "name": "LOG"}})], False),
        ([chain(), rule(PORT, DROP)], False),
        ([chain(), rule(ACCEPT), rule(DROP)], False),
        ([chain(), rule({"return": None}), rule(DROP)], False),
        ([chain(), plain("end"), rule({"jump": {"target": "end"}}), rule(DROP, chain="end")], True),
        ([chain(), plain("end"), rule({"goto": {"target": "end"}}), rule(DROP, chain="end")], True),
        (
            [chain(), plain("end"), rule({"jump": {"target": "end"}}), rule(PORT, chain="end")],
            False,
        ),
        ([chain(), rule({"jump": {"target": "input"}})], False),
        ([chain(policy="drop", hook="forward")], False),
        ([chain(policy="drop", type="nat")], False),
        ([chain(policy="drop", family="bridge")], False),
        ([chain(policy="drop", table=nft.TABLE)], False),
    ],
)
def test_a_chain_that_drops_the_rest_is_found(items: list[Any], drops: bool) -> None:
    ruleset = {"nftables": [{"metainfo": {}}, *items]}
    found = foreign_firewalls.dropping_chains(ruleset, nft.TABLE, "input")
    assert found == (["inet filter input"] if drops else [])


@pytest.mark.parametrize(
    ("saved", "drops"),
    [
        ("*filter\n:INPUT DROP [0:0]\nCOMMIT\n", True),
        ("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\nCOMMIT\n", True),
        ("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j REJECT --reject-with x\nCOMMIT\n", True),
        ("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 192.0.2.1/32 -j DROP\nCOMMIT\n", False),
        ("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", False),
        ("*nat\n:INPUT DROP [0:0]\nCOMMIT\n", False),
        ("", False),
    ],
)
def test_a_legacy_chain_that_drops_the_rest_is_found(saved: str, drops: bool) -> None:
    assert foreign_firewalls.legacy_chain_drops(saved, "input") is drops


def test_only_rules_that_accept_can_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = json.dumps({"nftables": [chain(policy="drop")]})
    monkeypatch.setattr(programs, "run", lambda _: printed)
    accepts = state(rules=[{"name": "a", "sources": "any"}])
    assert foreign_firewalls.conflict(accepts) == (
        "rules that accept in input have no effect: inet filter input drops the packets "
        "afterwards; use sets or gates beside that firewall"
    )
    drops = state(rules=[{"name": "a", "sources": "any", "action": "drop"}])
    assert foreign_firewalls.conflict(drops) == ""
    forwards = state(rules=[{"name": "a", "chain": "forward", "sources": "any"}])
    assert foreign_firewalls.conflict(forwards) == ""
