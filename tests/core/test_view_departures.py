"""Which addresses a new view takes from minions, and what happened to the node."""

from __future__ import annotations

import pytest

from salt_ext.core.cluster.diff import Baseline
from salt_ext.core.config import config
from salt_ext.core.rollout.view_departures import departed
from tests.core.build import member, snapshot

CLUSTER = config.read(
    {
        "clusters": {
            "prod": {
                "in_cluster": True,
                "allowed_networks": ["192.0.2.0/24"],
                "groups": {"web": {"labelSelector": "pool=web"}},
                "node_lists": [{"to": "*", "group": "web"}],
            }
        }
    }
).clusters["prod"]

N1 = member("n1", "192.0.2.1", labels={"pool": "web"})
N2 = member("n2", "192.0.2.2", "192.0.2.3")


def departures(before, after, *texts: str) -> dict[str, str]:
    """Return what departs from a minion with these references."""
    old, new = snapshot(*before), snapshot(*after, revision=2)
    difference = Baseline(old.members).diff(new.members)
    found = [*departed({texts: ["m1"]}, old, new, difference, CLUSTER)]
    assert all(minions == ["m1"] for minions, _ in found)
    return {address: why for _, causes in found for address, why in causes.items()}


def test_a_node_that_left():
    assert departures([N1, N2], [N2], "k8s://prod") == {"192.0.2.1": "node n1 left"}


def test_a_node_that_was_relabelled_leaves_the_group_alone():
    other = member("n1", "192.0.2.1", labels={"pool": "db"})
    for text in ("k8s://prod/web", "nodes://prod/web", "k8s://prod?labelSelector=pool=web"):
        assert departures([N1], [other], text) == {"192.0.2.1": "node n1 no longer matches"}
    assert departures([N1], [other], "k8s://prod") == {}


def test_an_address_that_its_node_lost():
    less = member("n2", "192.0.2.2")
    assert departures([N2], [less], "k8s://prod") == {"192.0.2.3": "node n2 lost this address"}


def test_nothing_departs_that_another_reference_or_node_still_has():
    twin = member("n9", "192.0.2.1")
    assert departures([N1, twin], [twin], "k8s://prod") == {}
    other = member("n1", "192.0.2.1", labels={"pool": "db"})
    assert departures([N1], [other], "k8s://prod", "k8s://prod/web") == {}


@pytest.mark.parametrize("text", ["k8s://prod/unknown", "k8s://Prod", "nodes://prod/unknown"])
def test_a_reference_without_meaning_takes_nothing(text):
    assert departures([N1], [], text) == {}
