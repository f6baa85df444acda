"""Which ports an address could reach by gates and rules, out of the pillar alone."""

from __future__ import annotations

from typing import Any

import pytest

from k8s_firewall_parts import service_ports
from tests.minion.build import state

PROD = {"prod": ["192.0.2.1", "198.51.100.0/24"], "web": ["192.0.2.1"], "none": []}


@pytest.mark.parametrize(
    ("block", "ports"),
    [
        ({"sets": PROD}, set()),
        ({"sets": PROD, "gates": {5432: "prod", "53/udp": "none"}}, {("tcp", 5432, 5432)}),
        (
            {"sets": PROD, "gates": {"1-9": "prod", "53/udp": "web"}},
            {("tcp", 1, 9), ("udp", 53, 53)},
        ),
        (
            {"sets": PROD, "rules": [{"name": "a", "ports": [22, "80-81"], "sources": ["web"]}]},
            {("tcp", 22, 22), ("tcp", 80, 81)},
        ),
        ({"rules": [{"name": "a", "sources": ["192.0.2.1"]}]}, {("", 1, 65535)}),
        ({"rules": [{"name": "a", "sources": ["192.0.2.1"], "action": "drop"}]}, set()),
        ({"rules": [{"name": "a", "sources": "any"}]}, set()),
        ({"backend": "ipset", "sets": PROD, "gates": {5432: "prod"}}, None),
        ({"sets": PROD, "keep": ["192.0.2.1"], "gates": {5432: "prod"}}, None),
    ],
)
def test_the_ports_that_were_open_for_an_address(block: dict[str, Any], ports: Any) -> None:
    assert service_ports.opened_for(state(**block), "192.0.2.1") == ports


def test_a_network_has_ports_as_an_address_has() -> None:
    desired = state(sets=PROD, gates={5432: "prod", 80: "web"})
    assert service_ports.opened_for(desired, "198.51.100.0/24") == {("tcp", 5432, 5432)}


def test_ranges_that_overlap_or_touch_are_one() -> None:
    assert service_ports.merged([(5, 9), (1, 2), (3, 3), (8, 12), (20, 20)]) == [
        (1, 3), (5, 12), (20, 20),
    ]  # fmt: skip
