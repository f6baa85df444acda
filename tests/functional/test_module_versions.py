"""Who has an older module is brought up to date before its next run, and status tells."""

from __future__ import annotations

from typing import Any

import pytest
import salt.config

from salt_ext.admin.status import status
from salt_ext.core.config import config
from salt_ext.master import minion_module
from salt_ext.rollout.apply import ApplyRun
from salt_ext.rollout.settlement import JobSettlement
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
    settlement = JobSettlement(settings, store, opts)

    def returning(jid: str, answer: Any, retcode: int = 0) -> None:
        """Let the job cache have m1's answer to a job."""
        told = {"return": answer, "retcode": retcode, "success": retcode == 0}
        mine = store.applied.outstanding()[jid]
        settlement.settle_return(jid, store.jobs.get(jid), "m1", told, mine)

    return returning


def change(store: Store, revision: int) -> None:
    view = snapshot(member(f"n{revision}", f"192.0.2.{revision}"), revision=revision)
    store.snapshots.save(view, view.members.values(), [])


def test_whoever_tells_another_version_is_brought_up_to_date_first(settings, store, returning):
    published = Published()
    ours = minion_module.shipped_version()
    applying = ApplyRun(settings, store, published, module_version=ours)

    def told() -> str:
        return published.what[-1].function

    assert ours
    applying.run(ALL)
    assert told() == "saltutil.sync_all"
    returning("1", {"modules": ["modules.k8s_firewall"]})
    applying.run(ALL)
    assert told() == "k8s_firewall.sync"
    returning("2", {"result": True, "version": ours})
    assert status(settings, store)["minions"]["m1"]["prod"]["module"] == ours
    change(store, 2)
    applying.run(ALL)
    assert told() == "k8s_firewall.sync"
    returning("3", {"result": True, "version": "0.0.1+abc"})
    assert status(settings, store)["minions"]["m1"]["prod"]["module"] == "0.0.1+abc"
    change(store, 3)
    applying.run(ALL)
    assert told() == "saltutil.sync_all"


def test_whoever_has_lost_it_is_brought_it_again(settings, store, returning):
    published = Published()
    applying = ApplyRun(settings, store, published, module_version=minion_module.shipped_version())
    applying.run(ALL)
    returning("1", {"modules": []})
    applying.run(ALL, force=True)
    returning("2", "'k8s_firewall.sync' is not available.", retcode=254)
    told = status(settings, store)["minions"]["m1"]["prod"]
    assert "is not available" in told["why"]
    assert "module" not in told
    applying.run(ALL, force=True)
    assert [what.function for what in published.what] == [
        "saltutil.sync_all",
        "k8s_firewall.sync",
        "saltutil.sync_all",
    ]
    # What says itself that it has failed is there.
    returning("3", {"modules": ["modules.k8s_firewall"]})
    applying.run(ALL, force=True)
    returning(
        "4",
        {"result": False, "comment": "no", "version": minion_module.shipped_version()},
        retcode=1,
    )
    applying.run(ALL, force=True)
    assert published.what[-1].function == "k8s_firewall.sync"


def test_whoever_cannot_end_connections_is_known_until_it_can_or_is_gone(
    settings, store, returning
):
    published = Published()
    applying = ApplyRun(settings, store, published, module_version=minion_module.shipped_version())
    store.minion_facts.set_module_version("m1", minion_module.shipped_version())
    able = {"result": True, "version": minion_module.shipped_version()}
    unable = {**able, "ends_connections": False}
    known = []
    # A delivery does not look.
    for number, answer in enumerate((unable, {**able, "delivered": True}, able, unable), 1):
        change(store, 1 + number)
        applying.run(ALL)
        returning(str(number), answer)
        known.append(store.minion_facts.cannot_reset())
    assert known == [{"m1"}, {"m1"}, frozenset(), {"m1"}]
    store.subscriptions.delete("m1", 1.0)
    assert store.minion_facts.cannot_reset() == frozenset()
