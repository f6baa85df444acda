"""What formulas make of references, as docs/formulas.md has it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from salt_ext.core.diagnosis.formula_pitfalls import locks_out, masters, traps

BOTH = ("192.0.2.1", "2001:db8::1")
PRUNED = {"k8s_firewall": {"prune": {}}}
FORMULAS = Path(__file__).parents[2] / "docs" / "formulas.md"


def told(pillar: dict, lines=lambda _: ("192.0.2.1",)) -> list[tuple[str, str, bool]]:
    return [(one.where, one.what, one.certain) for one in traps({**PRUNED, **pillar}, lines)]


def test_nothing_is_said_of_the_examples_of_the_documentation():
    def lines(text: str) -> tuple[str, ...]:
        wanted = {"ipv4": (".",), "ipv6": (":",)}
        asked = re.search(r"family=(\w+)", text)
        signs = wanted[asked.group(1)] if asked else (".", ":")
        return tuple(line for line in BOTH if any(sign in line for sign in signs))

    blocks = re.findall(r"^```yaml\n(.*?)^```", FORMULAS.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 8
    for block in blocks:
        assert told(yaml.safe_load(block), lines) == [], block


@pytest.mark.parametrize(
    ("pillar", "where", "said"),
    [
        (
            {"firewall": {"services": {"ssh": {"ips_allow": ["k8s://prod"]}}}},
            "firewall:services:ssh:ips_allow",
            "takes only IPv4 there",
        ),
        (
            {"firewall": {"services_ipv6": {"ssh": {"ips_allow": ["k8s://prod"]}}}},
            "firewall:services_ipv6:ssh:ips_allow",
            "takes only IPv6 there",
        ),
        (
            {"firewall": {"filter": {"INPUT": {"rules": {"x": {"source": "k8s://prod"}}}}}},
            "firewall:filter:INPUT:rules:x:source",
            "takes only IPv4 there",
        ),
    ],
)
def test_a_family_that_a_formula_does_not_take_fails(pillar, where, said):
    ((at, what, certain),) = told(pillar, lambda _: BOTH)
    assert (at, certain) == (where, True)
    assert said in what


@pytest.mark.parametrize(
    ("pillar", "said"),
    [
        ({"ufw": {"services": {"22": {"from_addr": ["k8s://prod"]}}}}, "everyone"),
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
def test_an_empty_list_that_means_something_else_needs_a_placeholder(pillar, said):
    ((_, what, certain),) = told(pillar)
    assert f"takes an empty list for {said}" in what
    assert not certain
    ((_, what, certain),) = told(pillar, lambda _: ())
    assert "means no node now" in what
    assert certain


def test_a_list_with_an_address_in_it_never_becomes_empty():
    assert told({"nftables": {"defines": {"x": ["k8s://prod", "192.0.2.9"]}}}) == []


def test_a_reference_alone_repeats_a_service_of_ufw():
    ((_, what, _),) = told({"ufw": {"services": {"22": {"from_addr": "k8s://prod"}}}})
    assert "whose id is its port" in what


def test_an_address_that_begins_with_a_letter_fails_in_ufw():
    pillar = {"ufw": {"services": {"22": {"from_addr": ["k8s://prod?empty=placeholder"]}}}}
    ((_, what, _),) = told(pillar, lambda _: ("fd00::1",))
    assert "begins with a letter" in what


def test_a_formula_that_only_appends_needs_prune():
    pillar = {"firewall": {"services": {"ssh": {"ips_allow": ["k8s://prod"]}}}}
    (found,) = traps(pillar, lambda _: ("192.0.2.1",))
    assert "a node that has left stays open" in found.what
    assert "k8s_firewall:prune" in found.mend


def test_many_rules_are_slow_and_strict_without_ipv6_filters_half():
    pillar = {
        "firewall": {"strict": True, "services": {"ssh": {"ips_allow": ["k8s://prod"]}}},
    }
    words = [what for _, what, _ in told(pillar, lambda _: ("192.0.2.1",) * 60)]
    assert words[0].startswith("60 addresses are as many rules")
    assert words[1] == "without ipv6: true this formula does not filter IPv6 at all"
    assert len(words) == 2


def test_a_reference_inside_a_text_is_none():
    ((where, what, _),) = told({"rules": ["ip saddr k8s://prod accept"]})
    assert where == "rules"
    assert "inside another text" in what


def test_what_only_looks_like_a_formula_and_what_goes_in_circles_ends():
    circle: dict = {"firewall": {"services": ["k8s://prod"]}}
    circle["again"] = circle
    assert told(circle) == []
    deep: dict = {}
    for _ in range(10_000):
        deep = {"x": deep}
    assert told(deep) == []


@pytest.mark.parametrize(
    ("pillar", "grains", "found"),
    [
        ({}, {"master": ["192.0.2.1", "192.0.2.2"]}, ("192.0.2.1", "192.0.2.2")),
        ({"salt": {"minion": {"master": ["a", "b"]}}}, {"master": "a"}, ("a", "b")),
        ({"salt": {"minion": {"master": "a"}}}, {"master": "a"}, ()),
        ({"salt": {"minion": {"master": ["a"]}}}, {}, ()),
        ({"salt": None}, {"master": ["a"]}, ()),
        ({"salt": {"minion": ["master"]}}, {}, ()),
    ],
)
def test_several_masters_are_known_where_they_are_written(pillar, grains, found):
    assert masters(pillar, grains) == found


SETS = {"sets": {"prod": ["k8s://prod"]}}


@pytest.mark.parametrize(
    "block", [SETS, {"gates": {5432: "prod"}}, {"rules": [{"name": "db"}]}, {**SETS, "keep": []}]
)
def test_a_firewall_that_keeps_only_one_of_several_masters_is_told(block):
    (found,) = locks_out({"k8s_firewall": block}, ("a", "b"))
    assert (found.where, found.certain) == ("k8s_firewall", False)
    assert "several masters (a, b)" in found.what
    assert "k8s_firewall:keep" in found.mend
    assert list(locks_out({"k8s_firewall": block}, ())) == []


@pytest.mark.parametrize("block", [{**SETS, "keep": ["192.0.2.1"]}, {"prune": {}}, {}, None, "x"])
def test_a_firewall_that_keeps_masters_or_closes_nothing_to_them_is_not_told(block):
    assert list(locks_out({"k8s_firewall": block}, ("a", "b"))) == []
