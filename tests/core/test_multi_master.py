"""A minion with several masters needs all of them in k8s_firewall:keep."""

from __future__ import annotations

import pytest

from salt_ext.core.diagnosis.multi_master import known_masters, lockouts


@pytest.mark.parametrize(
    ("pillar", "grains", "masters"),
    [
        ({}, {"master": ["192.0.2.1", "192.0.2.2"]}, ("192.0.2.1", "192.0.2.2")),
        ({"salt": {"minion": {"master": ["a", "b"]}}}, {"master": "a"}, ("a", "b")),
        ({"salt": {"minion": {"master": "a"}}}, {"master": "a"}, ()),
        ({"salt": {"minion": {"master": ["a"]}}}, {}, ()),
        ({"salt": None}, {"master": ["a"]}, ()),
        ({"salt": {"minion": ["master"]}}, {}, ()),
    ],
)
def test_several_masters_are_known_from_the_pillar_or_the_grains(pillar, grains, masters):
    assert known_masters(pillar, grains) == masters


SETS = {"sets": {"prod": ["k8s://prod"]}}


@pytest.mark.parametrize(
    "block", [SETS, {"gates": {5432: "prod"}}, {"rules": [{"name": "db"}]}, {**SETS, "keep": []}]
)
def test_a_firewall_that_keeps_only_one_of_several_masters_is_found(block):
    (found,) = lockouts({"k8s_firewall": block}, ("a", "b"))
    assert (found.where, found.certain) == ("k8s_firewall", False)
    assert "several masters (a, b)" in found.what
    assert "k8s_firewall:keep" in found.fix
    assert list(lockouts({"k8s_firewall": block}, ())) == []


@pytest.mark.parametrize("block", [{**SETS, "keep": ["192.0.2.1"]}, {"prune": {}}, {}, None, "x"])
def test_a_firewall_that_keeps_its_masters_or_closes_nothing_is_fine(block):
    assert list(lockouts({"k8s_firewall": block}, ("a", "b"))) == []
