"""What the engine sees of minions that nobody took up, and how soon it says so."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest
import salt.config

from salt_ext.commands.apply import Applying
from salt_ext.core import config
from salt_ext.service.converge import Convergence
from salt_ext.service.listen import Board
from salt_ext.store import Store
from tests.core.build import member, snapshot
from tests.functional.test_apply import CLUSTER, Published, refer

ALL = frozenset(["prod"])


class Bus:
    def __init__(self) -> None:
        self.fired: list[str] = []

    def fire(self, tag: str, _data: dict[str, Any]) -> None:
        self.fired.append(tag)


@pytest.fixture
def settings(tmp_path):
    block = {"state_dir": str(tmp_path / "state"), "clusters": {"prod": CLUSTER}}
    return config.read({**block, "apply": {"states": ["firewall"], "pace": 0.2, "burst": 1}})


@pytest.fixture
def store(settings):
    found = Store(settings.state_dir)
    first = snapshot(member("n1", "192.0.2.1"))
    found.snapshots.save(first, first.members.values(), [])
    refer(found, "m1", "prod")
    return found


def test_a_change_within_a_minions_pace_is_told_of_as_soon_as_that_ends(settings, store):
    published, bus = Published(), Bus()
    applying = Applying(settings, store, published)
    applying.run(ALL)
    store.ledger.proven("1", "m1", time.time(), pace=settings.apply.pace)
    second = snapshot(member("n2", "192.0.2.2"), revision=2)
    store.snapshots.save(second, second.members.values(), ["n1"])
    assert applying.run(ALL)["jobs"] == {}
    opts = {**salt.config.DEFAULT_MASTER_OPTS, "__role": "master"}
    convergence = Convergence(settings, store, opts, Board(), threading.Event())
    # Not long ago it spoke of something else, and it looks only now that the pace is over.
    convergence._reminded["prod"] = time.monotonic()
    sent = store.ledger.all()["m1", "prod"].dispatched_at
    while time.time() < sent + settings.apply.pace:
        time.sleep(0.01)
    convergence._remind(bus, frozenset())
    convergence._remind(bus, frozenset())
    assert bus.fired == ["salt/k8s_nodes/prod/lagging"]


def test_a_minion_that_may_run_at_once_is_left_to_the_event_of_its_change(settings, store):
    settings = replace(settings, apply=replace(settings.apply, burst=3))
    Applying(settings, store, Published()).run(ALL)
    store.ledger.proven("1", "m1", time.time(), pace=settings.apply.pace)
    second = snapshot(member("n2", "192.0.2.2"), revision=2)
    store.snapshots.save(second, second.members.values(), ["n1"])
    bus, opts = Bus(), {**salt.config.DEFAULT_MASTER_OPTS, "__role": "master"}
    Convergence(settings, store, opts, Board(), threading.Event())._remind(bus, frozenset())
    assert bus.fired == []
