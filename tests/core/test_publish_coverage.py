"""Whether the published function of a class updates the firewall of a minion."""

from __future__ import annotations

import pytest

from salt_ext.core.config.apply import Action
from salt_ext.core.diagnosis.publish_coverage import uncovered

SETS = {"sets": {"prod": ["k8s://prod"]}}
PRUNE = {"prune": {"iptables": {}}}

TEXTS = {"plain": "x:\n  test.nop: []\n", "ours": "include: [k8s_firewall]\n"}
TEXTS |= {"more": "include: [other]\n", "python": "#!py\ndef run(): ...\n"}


def found(block: object, **published) -> list:
    return list(uncovered({"k8s_firewall": block}, Action(**published), TEXTS.get))


@pytest.mark.parametrize(
    ("block", "published"),
    [
        (SETS, {"function": "k8s_firewall.sync"}),
        (PRUNE, {"function": "k8s_firewall.prune"}),
        (SETS, {"function": "state.highstate"}),
        (SETS, {"function": "state.apply"}),
        (SETS, {"function": "state.apply", "arg": ("ours",)}),
        (SETS, {"function": "state.apply", "arg": ("plain,ours",)}),
        (SETS, {"function": "state.apply", "arg": ("absent,k8s_firewall.prune",)}),
        (SETS, {"function": "state.sls", "arg": (["absent", "k8s_firewall"],)}),
        (SETS, {"function": "state.apply", "kwarg": {"mods": "k8s_firewall"}}),
        (SETS, {"function": "state.single", "arg": ("k8s_firewall.applied", "x")}),
        ({"sets": {"office": ["192.0.2.1"]}}, {"function": "test.ping"}),
        ({"prune": None}, {"function": "test.ping"}),
        (None, {"function": "test.ping"}),
    ],
)
def test_a_function_that_updates_the_firewall_has_no_finding(block, published):
    assert found(block, **published) == []


@pytest.mark.parametrize(
    ("block", "published", "hint"),
    [
        (SETS, {"function": "test.ping"}, False),
        (SETS, {"function": "k8s_firewall.drift"}, False),
        ({**SETS, **PRUNE}, {"function": "k8s_firewall.prune"}, False),
        ({"rules": [{"sources": ["k8s://prod"]}]}, {"function": "fw.sync"}, False),
        (SETS, {"function": "state.apply", "arg": ("plain",)}, False),
        (SETS, {"function": "state.apply", "kwarg": {"mods": ["plain"]}}, False),
        (SETS, {"function": "state.apply", "arg": ("plain,more",)}, True),
        (SETS, {"function": "state.apply", "arg": ("python",)}, True),
        (PRUNE, {"function": "state.apply", "arg": ("absent",)}, True),
    ],
)
def test_a_function_that_does_not_update_the_firewall_is_found_and_a_doubtful_one_is_a_hint(
    block, published, hint
):
    (one,) = found(block, **published)
    assert (one.where, one.hint) == ("k8s_firewall", hint)
    assert published["function"] in one.what
    assert "function: k8s_firewall.sync" in one.fix


def test_the_sls_to_include_is_named():
    (one,) = found(SETS, function="state.apply", arg=("plain",))
    assert one.fix.endswith("or include the SLS k8s_firewall in plain")
    (one,) = found(PRUNE, function="state.apply", arg=("absent",))
    assert one.fix.endswith("or include the SLS k8s_firewall.prune in absent")
