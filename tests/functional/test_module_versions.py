"""A minion with another version of the module is synced before its next run; status shows it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import salt.config

from salt_ext.admin.status import status
from salt_ext.core.config import config
from salt_ext.master import minion_module
from salt_ext.rollout.apply import ApplyRun
from salt_ext.rollout.controller import RolloutController
from salt_ext.rollout.event_listener import HintMailbox
from salt_ext.store import Store
from tests.core.build import member, snapshot
from tests.functional.test_apply import CLUSTER, Published, refer

ALL = frozenset(["prod"])


@pytest.fixture
def settings(tmp_path):
    block = {"state_dir": str(tmp_path / "state"), "clusters": {"prod": CLUSTER}}
    return config.read({**block, "apply": {"function": "k8s_firewall.sync", "min_interval": 0}})


@pytest.fixture
def store(settings):
    found = Store(settings.state_dir)
    first = snapshot(member("n1", "192.0.2.1"))
    found.snapshots.save(first, first.members.values(), [])
    refer(found, "m1", "prod")
    return found


@pytest.fixture
def returning(settings, store):
    opts = {**salt.config.DEFAULT_MASTER_OPTS, "__role": "master"}
    controller = RolloutController(settings, store, opts, HintMailbox(), threading.Event())

    def returning(jid: str, answer: Any, retcode: int = 0) -> None:
        """Judge m1's answer to a job as if the job cache had it."""
        job_return = {"return": answer, "retcode": retcode, "success": retcode == 0}
        entries = store.applied.outstanding()[jid]
        controller._judge(jid, store.jobs.get(jid), "m1", job_return, entries)

    return returning


def change(store: Store, revision: int) -> None:
    view = snapshot(member(f"n{revision}", f"192.0.2.{revision}"), revision=revision)
    store.snapshots.save(view, view.members.values(), [])


def test_a_minion_that_reports_another_version_is_synced_first(settings, store, returning):
    published = Published()
    shipped = minion_module.shipped_version()
    apply_run = ApplyRun(settings, store, published, module_version=shipped)

    def newest() -> str:
        return published.what[-1].function

    assert shipped
    apply_run.run(ALL)
    assert newest() == "saltutil.sync_all"
    returning("1", {"modules": ["modules.k8s_firewall"]})
    apply_run.run(ALL)
    assert newest() == "k8s_firewall.sync"
    returning("2", {"result": True, "version": shipped})
    assert status(settings, store)["minions"]["m1"]["prod"]["module"] == shipped
    change(store, 2)
    apply_run.run(ALL)
    assert newest() == "k8s_firewall.sync"
    returning("3", {"result": True, "version": "0.0.1+abc"})
    assert status(settings, store)["minions"]["m1"]["prod"]["module"] == "0.0.1+abc"
    change(store, 3)
    apply_run.run(ALL)
    assert newest() == "saltutil.sync_all"


def test_a_minion_that_has_lost_the_module_is_synced_again(settings, store, returning):
    published = Published()
    apply_run = ApplyRun(settings, store, published, module_version=minion_module.shipped_version())
    apply_run.run(ALL)
    returning("1", {"modules": []})
    apply_run.run(ALL, force=True)
    returning("2", "'k8s_firewall.sync' is not available.", retcode=254)
    shown = status(settings, store)["minions"]["m1"]["prod"]
    assert "is not available" in shown["why"]
    assert "module" not in shown
    apply_run.run(ALL, force=True)
    assert [what.function for what in published.what] == [
        "saltutil.sync_all",
        "k8s_firewall.sync",
        "saltutil.sync_all",
    ]
    # A module that reports its own failure is there.
    returning("3", {"modules": ["modules.k8s_firewall"]})
    apply_run.run(ALL, force=True)
    returning(
        "4",
        {"result": False, "comment": "no", "version": minion_module.shipped_version()},
        retcode=1,
    )
    apply_run.run(ALL, force=True)
    assert published.what[-1].function == "k8s_firewall.sync"


def test_a_minion_that_cannot_reset_connections_is_known_until_it_can_or_is_deleted(
    settings, store, returning
):
    published = Published()
    apply_run = ApplyRun(settings, store, published, module_version=minion_module.shipped_version())
    store.minion_facts.set_module_version("m1", minion_module.shipped_version())
    able = {"result": True, "version": minion_module.shipped_version()}
    unable = {**able, "ends_connections": False}
    known = []
    # A run with delivered addresses does not look.
    for number, answer in enumerate((unable, {**able, "delivered": True}, able, unable), 1):
        change(store, 1 + number)
        apply_run.run(ALL)
        returning(str(number), answer)
        known.append(store.minion_facts.cannot_reset())
    assert known == [{"m1"}, {"m1"}, frozenset(), {"m1"}]
    store.subscriptions.delete("m1", 1.0)
    assert store.minion_facts.cannot_reset() == frozenset()
