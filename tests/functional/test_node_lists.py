"""Lists of nodes reach the minions that the configuration names, and no others."""

from __future__ import annotations

import pytest

from salt_ext.core.config import config
from salt_ext.master.settings import settings
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.store import Store
from salt_ext.store.subscriptions import Answer
from tests.core.build import member, snapshot
from tests.functional.pillars import Pillars

CLUSTER = {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]}
N1 = member("n1", "192.0.2.1", labels={"zone": "a"})
N2 = member("n2", "192.0.2.2", labels={"zone": "b", "pool": "web"})
NODES = {
    "n1": {"addresses": ["192.0.2.1"], "labels": {"zone": "a"}},
    "n2": {"addresses": ["192.0.2.2"], "labels": {"zone": "b"}},
}
TO_LB = {"node_lists": [{"to": "lb*", "labels": ["zone"]}]}


@pytest.fixture
def listing(tmp_path):
    """Return pillars of a master whose cluster has this in its configuration."""

    def make(**cluster):
        pillars = Pillars(tmp_path, clusters={"prod": {**CLUSTER, **cluster}})
        snapshots = Store(str(pillars.state_dir)).snapshots
        if not snapshots.revision("prod"):
            snapshots.save(snapshot(N1, N2), [N1, N2], [])
        return pillars

    return make


def recorded(pillars):
    rows = Store(str(pillars.state_dir)).subscriptions.all()
    return {(row.minion, row.reference): row.gone for row in rows}


def digests(pillars):
    desired = DesiredState(Store(str(pillars.state_dir))).desired(settings(pillars.opts))
    return {minion: wanted.digest for (minion, _), wanted in desired.items()}


def test_a_minion_that_is_named_gets_the_nodes_without_a_reference(listing):
    pillars = listing(**TO_LB)
    pillar = pillars.compile("lb1")
    assert pillar["k8s_nodes"]["clusters"]["prod"]["nodes"] == NODES
    assert pillar["k8s_nodes"]["clusters"]["prod"]["revision"] == 1
    assert pillar["k8s_nodes"]["served"] == ["192.0.2.1", "192.0.2.2"]
    assert pillars.compile("web1") == {}
    assert recorded(pillars) == {("lb1", "nodes://prod?labels=zone"): False}


def test_targets_may_be_grains(listing):
    pillars = listing(node_lists=[{"to": "G@role:proxy"}])
    assert "k8s_nodes" in pillars.compile("m1", grains={"id": "m1", "role": "proxy"})
    assert pillars.compile("m2", grains={"id": "m2", "role": "db"}) == {}


def test_a_list_and_a_reference_stand_beside_each_other(listing):
    groups = {"web": {"labelSelector": "pool=web"}}
    pillars = listing(node_lists=[{"to": "lb*", "group": "web"}], groups=groups)
    pillars.write({"allow": ["k8s://prod"]})
    pillar = pillars.compile("lb1")
    assert pillar["allow"] == ["192.0.2.1", "192.0.2.2"]
    assert list(pillar["k8s_nodes"]["clusters"]["prod"]["nodes"]) == ["n2"]
    assert pillar["k8s_nodes"]["served"] == ["192.0.2.1", "192.0.2.2"]


def test_forty_clusters_with_node_lists(tmp_path):
    names = [f"c{n:02}" for n in range(40)]
    clusters = {name: {**CLUSTER, "node_lists": [{"to": "lb*"}]} for name in names}
    pillars = Pillars(tmp_path, clusters=clusters)
    store = Store(str(pillars.state_dir))
    for name in names:
        store.snapshots.save(snapshot(N1, cluster=name), [N1], [])
    pillars.write({"allow": ["k8s://c00"]})
    pillar = pillars.compile("lb1")
    assert pillar["allow"] == ["192.0.2.1"]
    assert list(pillar["k8s_nodes"]["clusters"]) == names
    assert len(recorded(pillars)) == 41


def test_a_bug_serves_nothing_that_is_not_recorded(listing, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    pillars = listing(**TO_LB)
    pillars.write({"allow": ["k8s://prod"]})
    monkeypatch.setattr("salt_ext.references.annotation.Annotator.annotate", broken)
    pillar = pillars.compile("lb1")
    assert pillar == {"allow": ["k8s://prod"]}


def test_each_pillar_gets_a_list_of_its_own(listing):
    pillars = listing(**TO_LB)
    pillars.compile("lb1")["k8s_nodes"]["clusters"]["prod"]["nodes"]["n1"]["addresses"].clear()
    assert pillars.compile("lb2")["k8s_nodes"]["clusters"]["prod"]["nodes"] == NODES


def test_a_label_that_is_shown_changes_what_the_minion_should_have(listing):
    pillars = listing(**TO_LB)
    pillars.compile("lb1")
    before = digests(pillars)
    moved = member("n1", "192.0.2.1", labels={"zone": "c"})
    Store(str(pillars.state_dir)).snapshots.save(snapshot(moved, N2, revision=2), [moved], [])
    assert digests(pillars)["lb1"] != before["lb1"]
    # One that is not shown changes nothing.
    before = digests(pillars)
    other = member("n2", "192.0.2.2", labels={"zone": "b", "pool": "db"})
    Store(str(pillars.state_dir)).snapshots.save(snapshot(moved, other, revision=3), [other], [])
    assert digests(pillars) == before


def test_serve_to_holds_for_lists_too(listing):
    pillars = listing(**TO_LB, serve_to="db*")
    pillar = pillars.compile("lb1")
    assert pillar["k8s_nodes"]["clusters"] == {}
    assert "serve_to" in pillar["k8s_nodes"]["unresolved"]["nodes://prod?labels=zone"]


def test_a_list_that_serve_to_refuses_is_not_what_the_minion_should_have(listing):
    pillars = listing(**TO_LB, serve_to="db*")
    pillars.compile("lb1")
    (row,) = Store(str(pillars.state_dir)).subscriptions.all()
    assert row.seen.answer is Answer.REFUSED
    (desired,) = (
        DesiredState(Store(str(pillars.state_dir))).desired(settings(pillars.opts)).values()
    )
    assert (desired.served, desired.unresolved) == ({}, ("nodes://prod?labels=zone",))


def test_an_entry_that_is_taken_out_is_gone_but_not_forgotten(listing, tmp_path):
    pillars = listing(**TO_LB)
    pillars.compile("lb1")
    pillars.opts["k8s_nodes"]["clusters"]["prod"].pop("node_lists")
    assert pillars.compile("lb1") == {}
    assert recorded(pillars) == {("lb1", "nodes://prod?labels=zone"): True}


@pytest.mark.parametrize("mistake", [{"node_lists": [{"too": "lb*"}]}, {"serve-to": "x"}])
def test_a_mistake_does_not_take_a_list_back(listing, mistake):
    pillars = listing(**TO_LB)
    pillars.compile("lb1")
    pillars.opts["k8s_nodes"]["clusters"]["prod"].update(mistake)
    pillar = pillars.compile("lb1")
    assert "has a mistake" in pillar["k8s_nodes"]["unresolved"]["nodes://prod?labels=zone"]
    assert recorded(pillars) == {("lb1", "nodes://prod?labels=zone"): False}


def test_a_cluster_that_was_never_listed_is_no_empty_list(tmp_path):
    pillars = Pillars(tmp_path, clusters={"prod": {**CLUSTER, **TO_LB}})
    block = pillars.compile("lb1")["k8s_nodes"]
    assert "never been listed" in block["unresolved"]["nodes://prod?labels=zone"]
    assert block["clusters"] == {}
    assert config.KEY in pillars.opts
