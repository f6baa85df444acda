"""One resolver per store serves all threads of a process, and never mixes configurations."""

from __future__ import annotations

import multiprocessing
import threading

import pytest

from salt_ext.core.config import config
from salt_ext.core.references.reference import parse
from salt_ext.core.references.resolution import Resolution
from salt_ext.references.pillar import PillarRenderer
from salt_ext.references.resolver import Resolver, shared_resolver
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.store import Store
from tests.core.build import member, snapshot

CLUSTER = {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]}
PROD = parse("k8s://prod")


@pytest.fixture
def store(tmp_path):
    found = Store(str(tmp_path / "state"))
    view = snapshot(member("n1", "192.0.2.1"), member("n2", "192.0.2.2"))
    found.snapshots.save(view, view.members.values(), [])
    return found


def settings(store, **cluster):
    clusters = {"prod": {**CLUSTER, **cluster}}
    return config.read({"state_dir": str(store.database.path.parent), "clusters": clusters})


def test_everybody_in_a_process_shares_it(store):
    other = Store(str(store.database.path.parent))
    resolver = shared_resolver(store)
    assert shared_resolver(other) is resolver
    assert DesiredState(other).resolver is resolver
    assert PillarRenderer(other)._resolver is resolver


def test_a_snapshot_is_read_once_until_there_is_a_newer_one(store, monkeypatch):
    resolver, wide = Resolver(store), settings(store)
    reads, load = [], store.snapshots.load
    monkeypatch.setattr(store.snapshots, "load", lambda name: reads.append(name) or load(name))
    first = resolver.resolve(PROD, wide)
    assert resolver.resolve(PROD, wide) is first
    assert first.addresses == ("192.0.2.1", "192.0.2.2")
    assert first.stamp.revision == 1
    view = snapshot(member("n1", "192.0.2.1"), revision=2)
    store.snapshots.save(view, [], ["n2"])
    assert resolver.resolve(PROD, wide) == Resolution(("192.0.2.1",), (2, view.observed_at))
    assert reads == ["prod", "prod"]


def test_threads_with_different_configurations_get_their_own_answers(store):
    resolver = Resolver(store)
    expected = {
        ("192.0.2.1", "192.0.2.2"): settings(store),
        ("192.0.2.2",): settings(store, allowed_networks=["192.0.2.2/32"]),
    }
    wrong: list[object] = []

    def ask(addresses, which) -> None:
        for _ in range(300):
            answer = resolver.resolve(PROD, which)
            if answer.addresses != addresses:
                wrong.append(answer)

    threads = [threading.Thread(target=ask, args=one) for one in expected.items() for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_fork_while_a_thread_resolves_does_not_block_the_child(store):
    resolver = Resolver(store)
    with resolver._exclusive():
        child = multiprocessing.get_context("fork").Process(
            target=resolver.resolve, args=(PROD, settings(store))
        )
        child.start()
        child.join(20)
        alive = child.is_alive()
        child.kill()
    assert (alive, child.exitcode) == (False, 0)
