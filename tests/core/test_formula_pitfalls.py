"""Pitfalls of formulas with references, as described in docs/formulas.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from salt_ext.core.diagnosis.formula_pitfalls import Pitfall, pitfalls

BOTH = ("192.0.2.1", "2001:db8::1")
PRUNED = {"k8s_firewall": {"prune": {}}}
FORMULAS = Path(__file__).parents[2] / "docs" / "formulas.md"


def found_in(pillar: dict, resolve=lambda _: ("192.0.2.1",)) -> list[tuple[str, str, bool]]:
    return [
        (pitfall.where, pitfall.what, pitfall.certain)
        for pitfall in pitfalls({**PRUNED, **pillar}, resolve)
    ]


def test_the_examples_of_the_documentation_have_no_pitfalls():
    def resolve(text: str) -> tuple[str, ...]:
        separators = {"ipv4": (".",), "ipv6": (":",)}
        family = re.search(r"family=(\w+)", text)
        accepted = separators[family.group(1)] if family else (".", ":")
        return tuple(item for item in BOTH if any(separator in item for separator in accepted))

    blocks = re.findall(r"^```yaml\n(.*?)^```", FORMULAS.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 8
    for block in blocks:
        assert found_in(yaml.safe_load(block), resolve) == [], block


@pytest.mark.parametrize(
    ("pillar", "where", "message"),
    [
        (
            {"firewall": {"services": {"ssh": {"ips_allow": ["k8s://prod"]}}}},
            "firewall:services:ssh:ips_allow",
            "accepts only IPv4 here",
        ),
        (
            {"firewall": {"services_ipv6": {"ssh": {"ips_allow": ["k8s://prod"]}}}},
            "firewall:services_ipv6:ssh:ips_allow",
            "accepts only IPv6 here",
        ),
        (
            {"firewall": {"filter": {"INPUT": {"rules": {"x": {"source": "k8s://prod"}}}}}},
            "firewall:filter:INPUT:rules:x:source",
            "accepts only IPv4 here",
        ),
    ],
)
def test_a_family_that_a_formula_does_not_accept_fails(pillar, where, message):
    ((at, what, certain),) = found_in(pillar, lambda _: BOTH)
    assert (at, certain) == (where, True)
    assert message in what


RULE = {"source": "k8s://prod", "rule": "-s {address} -j ACCEPT"}
SALT_FORMULA_IPTABLES = {
    "iptables": {"tables": {"v4": {"filter": {"chains": {"INPUT": {"ruleset": {"020": RULE}}}}}}}
}


def test_one_ipv6_address_keeps_a_file_that_is_loaded_whole_from_loading():
    ((where, what, certain),) = found_in(SALT_FORMULA_IPTABLES, lambda _: BOTH)
    assert where == "iptables:tables:v4:filter:chains:INPUT:ruleset:020:source"
    assert what.startswith("salt-formula-iptables accepts only IPv4 here")
    assert "after a boot there is no rule and everyone gets in" in what
    assert certain


@pytest.mark.parametrize(
    "pillar",
    [SALT_FORMULA_IPTABLES, {"nftables": {"defines": {"x": ["k8s://prod", "192.0.2.9"]}}}],
)
def test_an_unresolved_reference_keeps_a_file_that_is_loaded_whole_from_loading(pillar):
    ((_, what, certain),) = found_in(pillar, lambda _: None)
    assert what.startswith("k8s://prod is not resolved, so its file does not load")
    assert certain


@pytest.mark.parametrize(
    ("pillar", "effect"),
    [
        ({"ufw": {"services": {"22": {"from_addr": ["k8s://prod"]}}}}, "any address"),
        ({"nftables": {"defines": {"prod": ["k8s://prod"]}}}, "a syntax error"),
        (
            {
                "nftables": {
                    "configuration": {"c": {"set_elements": [{"elements": ["k8s://prod"]}]}}
                }
            },
            "a syntax error",
        ),
    ],
)
def test_an_empty_list_with_another_meaning_needs_a_placeholder(pillar, effect):
    ((_, what, certain),) = found_in(pillar)
    assert f"treats an empty list as {effect}" in what
    assert not certain
    ((_, what, certain),) = found_in(pillar, lambda _: ())
    assert "matches no node now" in what
    assert certain


def test_a_list_with_an_address_in_it_never_becomes_empty():
    assert found_in({"nftables": {"defines": {"x": ["k8s://prod", "192.0.2.9"]}}}) == []


def test_a_reference_outside_of_a_list_repeats_a_service_of_ufw():
    ((_, what, _),) = found_in({"ufw": {"services": {"22": {"from_addr": "k8s://prod"}}}})
    assert "whose id is its port" in what


def test_an_address_that_begins_with_a_letter_fails_in_ufw():
    pillar = {"ufw": {"services": {"22": {"from_addr": ["k8s://prod?empty=placeholder"]}}}}
    ((_, what, _),) = found_in(pillar, lambda _: ("fd00::1",))
    assert "begins with a letter" in what


def test_a_formula_that_only_appends_keeps_removed_nodes_where_prune_is_false():
    pillar = {"firewall": {"services": {"ssh": {"ips_allow": ["k8s://prod"]}}}}

    def found(**block: object) -> list[Pitfall]:
        return list(pitfalls({**pillar, **block}, lambda _: ("192.0.2.1",)))

    assert found() == found(**PRUNED) == []
    (one,) = found(k8s_firewall={"prune": False})
    assert "k8s_firewall:prune is false: removed nodes keep their access" in one.what
    assert "prune: false" in one.fix


def test_many_rules_are_slow_and_strict_without_ipv6_filters_only_ipv4():
    pillar = {
        "firewall": {"strict": True, "services": {"ssh": {"ips_allow": ["k8s://prod"]}}},
    }
    messages = [what for _, what, _ in found_in(pillar, lambda _: ("192.0.2.1",) * 60)]
    assert messages[0].startswith("60 addresses become as many rules")
    assert messages[1] == "without ipv6: true, iptables-formula does not filter IPv6 at all"
    assert len(messages) == 2


def test_a_reference_within_a_longer_text_is_found():
    ((where, what, _),) = found_in({"rules": ["ip saddr k8s://prod accept"]})
    assert where == "rules"
    assert "within a longer text" in what


def test_similar_pillars_and_circular_ones_have_no_pitfalls():
    circle: dict = {"firewall": {"services": ["k8s://prod"]}}
    circle["again"] = circle
    assert found_in(circle) == []
    deep: dict = {}
    for _ in range(10_000):
        deep = {"x": deep}
    assert found_in(deep) == []
