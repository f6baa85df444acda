"""Departures are written by what changes the addresses: a stored view, and a compiled pillar."""

from __future__ import annotations

import queue
import threading

import pytest

from salt_ext.core.config import config
from salt_ext.core.errors import Overtaken
from salt_ext.store import Store
from salt_ext.store.subscriptions import Answer, Seen
from salt_ext.watch.reconciler import ClusterReconciler
from salt_ext.watch.updates import Replaced, WatchCounters
from tests.core.build import node
from tests.functional.pillars import Pillars

CLUSTER = {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"], "guards": {"grace": 0}}


class Watch:
    """Nothing that lists or fires."""

    counters = WatchCounters()

    def request_list(self) -> None:
        """Do nothing."""

    def accept_older_state(self) -> None:
        """Do nothing."""

    def fire(self, *_: object) -> None:
        """Do nothing."""


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "state"))


@pytest.fixture
def reconciler(store):
    cluster = config.read({"clusters": {"prod": CLUSTER}}).clusters["prod"]
    watch = Watch()
    return ClusterReconciler(cluster, store, watch, queue.Queue(), threading.Event(), watch)


def view(reconciler: ClusterReconciler, revision: int, **nodes: str) -> None:
    """Let a LIST find these nodes."""
    listed = [node(name, address) for name, address in nodes.items()]
    reconciler.apply_now(Replaced(nodes=listed, resource_version=str(revision), identity="uid"))


def refer(store: Store, minion: str, *texts: str) -> None:
    seen = {text: Seen(cluster="prod", answer=Answer.SERVED) for text in texts}
    store.subscriptions.record(minion, "", seen, 1.0)


def test_a_view_writes_what_it_takes_from_each_minion_with_the_cause(store, reconciler):
    view(reconciler, 1, n1="192.0.2.1", n2="192.0.2.2")
    refer(store, "m1", "k8s://prod")
    refer(store, "m2", "k8s://prod", "k8s://prod?family=ipv6")
    refer(store, "m3", "k8s://prod?family=ipv6")
    view(reconciler, 2, n2="192.0.2.2")
    found = store.departures.open()
    assert {(one.minion, one.address, one.cause) for one in found} == {
        ("m1", "192.0.2.1", "node n1 left"),
        ("m2", "192.0.2.1", "node n1 left"),
    }
    # The history's entry of the change finds them by its time.
    (entry,) = store.history.newest("prod", 1)
    assert {one.since for one in found} == {entry.at}


def test_a_view_that_is_not_stored_writes_nothing(store, reconciler, monkeypatch):
    view(reconciler, 1, n1="192.0.2.1", n2="192.0.2.2")
    refer(store, "m1", "k8s://prod")
    monkeypatch.setattr(store.snapshots, "revision", lambda _: 1)
    with store.database.writing() as connection:
        connection.execute("UPDATE cluster SET revision = 7")
    with pytest.raises(Overtaken):
        view(reconciler, 2, n2="192.0.2.2")
    assert store.departures.open() == []


class TestThePillarWithoutAnyCluster:
    @pytest.fixture
    def pillars(self, tmp_path, reconciler):
        lists = [{"to": "*"}]
        found = Pillars(tmp_path, clusters={"prod": {**CLUSTER, "node_lists": lists}})
        view(reconciler, 1, n1="192.0.2.1")
        found.write({"allow": ["k8s://prod"]})
        assert found.compile("m1")["allow"] == ["192.0.2.1"]
        return found

    def rows(self, store: Store) -> dict[str, tuple[str, bool]]:
        return {
            row.reference: (row.seen.answer.value, row.gone) for row in store.subscriptions.all()
        }

    def test_references_that_are_gone_are_recorded(self, pillars, store):
        pillars.opts["k8s_nodes"]["clusters"] = {}
        pillars.write({"allow": []})
        pillars.compile("m1")
        assert self.rows(store) == {
            "k8s://prod": ("served", True),
            "nodes://prod": ("served", True),
        }

    def test_one_that_is_still_there_is_unresolved_and_not_gone(self, pillars, store):
        pillars.opts["k8s_nodes"]["clusters"] = {}
        assert pillars.compile("m1")["allow"] == ["k8s://prod"]
        assert self.rows(store)["k8s://prod"] == ("unresolved", False)

    def test_a_mistake_takes_nothing_away(self, pillars, store):
        pillars.opts["k8s_nodes"]["clusters"] = ["prod"]
        pillars.write({"allow": []})
        pillars.compile("m1")
        assert self.rows(store) == {
            "k8s://prod": ("served", False),
            "nodes://prod": ("served", False),
        }
