"""The texts that the kernel's tools get for representative pillars, as golden files."""

from __future__ import annotations

from typing import Any

import pytest

from k8s_firewall_parts import desired, ipset, nft
from tests.golden import assert_golden

MEMBERS = ["192.0.2.1", "192.0.2.10", "2001:db8::1", "2001:db8::a"]
NETWORKS = ["198.51.100.0/24", "198.51.101.0/24", "2001:db8:1::/48"]
KEEP = ["192.0.2.250", "2001:db8:9::/64"]
SETS = {"prod": [*MEMBERS, *NETWORKS], "office": ["203.0.113.0/24"], "none": []}

PILLARS: dict[str, dict[str, Any]] = {
    "sets": {"sets": SETS},
    "many-elements": {"sets": {"prod": [f"192.0.2.{number}" for number in range(1, 20)]}},
    "gates": {
        "sets": SETS,
        "gates": {5432: "prod", "8080/tcp": ["prod", "office"], "6000-6010/udp": "none"},
        "keep": KEEP,
    },
    "rules": {
        "sets": SETS,
        "rules": [
            {"name": "ssh", "ports": [22], "sources": ["office"], "log": True},
            {"name": "db", "ports": [5432, "6000-6010"], "sources": ["prod", "192.0.2.200"]},
            {"name": "dns", "protocol": "udp", "ports": [53], "sources": "any", "comment": "all"},
            {"name": "bad", "sources": ["203.0.113.9"], "action": "reject", "log": "bad one "},
            {"name": "udp", "protocol": "udp", "sources": []},
        ],
        "keep": KEEP,
    },
    "forward": {
        "sets": SETS,
        "rules": [
            {"name": "smtp", "chain": "forward", "ports": [25], "sources": "any", "action": "drop"},
            {"name": "web", "ports": [80], "sources": ["prod"]},
        ],
        "policy": {"input": "accept", "forward": "drop"},
    },
    "gates-beside-ipsets": {"backend": "ipset", "sets": SETS, "gates": {5432: "prod"}},
}


def state(name: str) -> desired.Desired:
    return desired.parse({desired.PILLAR_KEY: PILLARS[name]}, {}, ["192.0.2.251"]).desired


@pytest.mark.parametrize("name", PILLARS)
def test_the_ruleset_of_a_pillar(name: str) -> None:
    assert_golden(f"nft/{name}.nft", nft.full(state(name)))


def test_a_change_of_elements() -> None:
    before = nft.elements(state("sets"))
    after = {
        **before,
        "prod_v4": before["prod_v4"] - {"192.0.2.1"} | {"192.0.2.3"},
        "prod_v4_net": frozenset({"198.51.100.0/24"}),
        "office_v4_net": frozenset(),
    }
    assert_golden("nft/change-of-elements.nft", nft.delta(before, after))


def test_the_ipsets_of_a_pillar() -> None:
    members = ipset.members({**state("sets").sets, "all": state("gates").keep})
    assert_golden("nft/sets.ipset", ipset.full(members))


def test_the_ipsets_of_a_pillar_at_boot() -> None:
    members = ipset.members(state("sets").sets)
    assert_golden("nft/boot-names.ipset", ipset.boot_names(members))
    assert_golden("nft/boot.ipset", ipset.boot(members))


def test_a_change_of_ipsets() -> None:
    before = ipset.members(state("sets").sets)
    current = ipset.parse(ipset.full(before))
    current["k8sfw-7"] = current["none_v4"]
    after = {
        **before,
        "prod_v4": before["prod_v4"] - {"192.0.2.1"} | {"192.0.2.3"},
        "office_v4": frozenset({"192.0.2.77", "192.0.2.78"}),
        "new_v6": frozenset({"2001:db8::77"}),
    }
    assert_golden("nft/change-of-sets.ipset", ipset.changes(current, after))
