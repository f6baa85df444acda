"""Which ports of gates and rules are kept closed to packets in reverse, as nft gets them."""

from __future__ import annotations

from typing import Any

import pytest

from k8s_firewall_parts import nft, reverse_flows
from tests.minion.build import state

SETS = {"prod": ["192.0.2.1"]}


def chain(block: dict[str, Any], name: str) -> list[str]:
    """Return the lines of one chain of the table."""
    text = nft.full(state(sets=SETS, **block))
    found = text.partition(f"\nchain {name} {{\n")[2]
    return found.partition("\n}\n")[0].splitlines()


@pytest.mark.parametrize(
    ("block", "matches"),
    [
        ({"gates": {5432: "prod", "53/udp": "prod"}}, ["tcp sport { 5432 }", "udp sport { 53 }"]),
        ({"gates": {"6000-6010": "prod", 6011: "prod"}}, ["tcp sport { 6000-6011 }"]),
        (
            {
                "gates": {"80-90": "prod"},
                "rules": [{"name": "a", "ports": ["85-100"], "sources": ["prod"]}],
            },
            ["tcp sport { 80-100 }"],
        ),
        (
            {"rules": [{"name": "a", "protocol": "udp", "sources": ["prod"]}]},
            ["udp sport { 1-32767, 61000-65535 }"],
        ),
        (
            {"rules": [{"name": "a", "sources": ["prod"]}]},
            ["tcp sport { 1-32767, 61000-65535 }", "udp sport { 1-32767, 61000-65535 }"],
        ),
    ],
)
def test_new_packets_from_these_ports_are_dropped(
    block: dict[str, Any], matches: list[str]
) -> None:
    lines = chain(block, "new_departed_output")
    found = [line.removesuffix(" counter drop") for line in lines if "sport {" in line]
    assert found == matches


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [{"name": "a", "sources": "any"}],
        [{"name": "a", "sources": []}],
        [{"name": "a", "sources": ["prod"], "action": "drop"}],
    ],
)
def test_rules_that_let_in_no_set_need_no_departed_addresses(rules: list[dict[str, Any]]) -> None:
    desired = state(sets=SETS, rules=rules)
    assert not reverse_flows.needed(desired)
    assert reverse_flows.DEPARTED not in nft.full(desired)


def test_a_rule_of_one_hook_leaves_the_other_hook_as_it_is() -> None:
    block = {"rules": [{"name": "a", "chain": "forward", "ports": [80], "sources": ["prod"]}]}
    assert chain(block, "new_departed_output") == []
    assert chain(block, "departed_forward") == ["tcp dport { 80 } return", "accept"]
    assert "tcp sport { 80 } counter drop" in chain(block, "new_departed_forward")
