"""A node list has the addresses that a reference means, and the configured labels."""

from __future__ import annotations

import pytest

from salt_ext.core.errors import BadReference
from salt_ext.core.references.node_lists import (
    NodeListRule,
    addresses_of,
    as_pillar,
    node_list,
    parse,
)
from salt_ext.core.references.resolve import Defaults, NodeGroup
from salt_ext.core.references.selector import parse as selector
from tests.core.build import EXTERNAL, limits, member, snapshot

PROD = snapshot(
    member("n2", "192.0.2.10", "192.0.2.9", labels={"pool": "app", "zone": "a"}),
    member("n1", "192.0.2.11", "2001:db8::1", external=("198.51.100.1",), labels={"pool": "db"}),
    member("n3", labels={"pool": "app"}),
)
ALL_NODES = NodeListRule(to="*")


def listed(rule=ALL_NODES, **more):
    given = {"defaults": Defaults(), "limits": limits(), "group": NodeGroup(), **more}
    return as_pillar([node_list(PROD, rule, **given)])


def test_each_node_with_an_address_is_listed_in_order():
    assert listed() == {
        "n1": {"addresses": ["192.0.2.11", "2001:db8::1"], "labels": {}},
        "n2": {"addresses": ["192.0.2.9", "192.0.2.10"], "labels": {}},
    }
    assert list(listed()) == ["n1", "n2"]


def test_a_list_has_the_configured_labels_that_the_node_has():
    found = listed(NodeListRule(to="*", labels=("zone", "pool")))
    assert found["n2"]["labels"] == {"pool": "app", "zone": "a"}
    assert found["n1"]["labels"] == {"pool": "db"}


def test_a_group_chooses_nodes_and_addresses():
    group = NodeGroup(labels=selector("pool=db"), types=(EXTERNAL,))
    assert list(listed(group=group)) == ["n1"]
    assert listed(group=group)["n1"]["addresses"] == ["198.51.100.1"]


def test_a_list_has_only_allowed_addresses():
    assert listed(limits=limits("192.0.2.10/32")) == {
        "n2": {"addresses": ["192.0.2.10"], "labels": {}}
    }


@pytest.mark.parametrize("value", ["a b", "a\n", "{{ x }}", "-a", "a" * 64, "a;b"])
def test_an_invalid_label_value_is_left_out(value):
    odd = snapshot(member("n1", "192.0.2.1", labels={"zone": value, "ok": "A-1_b.c"}))
    rule = NodeListRule(to="*", labels=("zone", "ok"))
    (node,) = node_list(odd, rule, Defaults(), limits(), NodeGroup())
    assert node.labels == (("ok", "A-1_b.c"),)


@pytest.mark.parametrize("name", ["N1", "n1\n", "{{ x }}", "../n1", ""])
def test_a_node_with_an_invalid_name_is_left_out(name):
    odd = snapshot(member(name, "192.0.2.1"))
    assert node_list(odd, ALL_NODES, Defaults(), limits(), NodeGroup()) == ()


def test_two_lists_of_one_cluster_become_one():
    both = [
        node_list(PROD, NodeListRule(to="*", labels=("zone",)), Defaults(), limits(), NodeGroup()),
        node_list(
            PROD, NodeListRule(to="*", labels=("pool",)), Defaults(), limits(), NodeGroup(family=6)
        ),
    ]
    found = as_pillar(both)
    assert found["n1"] == {"addresses": ["192.0.2.11", "2001:db8::1"], "labels": {"pool": "db"}}
    assert found["n2"]["labels"] == {"zone": "a"}
    assert addresses_of(found) == {"192.0.2.9", "192.0.2.10", "192.0.2.11", "2001:db8::1"}


@pytest.mark.parametrize(
    "rule",
    [
        NodeListRule(to=""),
        NodeListRule(to="", group="workers"),
        NodeListRule(to="", labels=("topology.kubernetes.io/zone", "pool")),
        NodeListRule(to="", group="workers", labels=("pool",)),
    ],
)
def test_the_recorded_text_of_a_list_can_be_parsed(rule):
    assert parse(rule.text("prod")) == ("prod", rule)


def test_a_reference_is_refused_as_a_list():
    with pytest.raises(BadReference, match="is not a node list"):
        parse("k8s://prod")
