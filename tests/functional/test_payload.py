"""Which minions get the addresses with the publish: those that need nothing else, if public."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from typing import Any

import pytest

from salt_ext.core.config import config
from salt_ext.rollout.apply import ApplyRun
from salt_ext.store import Store
from salt_ext.store.subscriptions import Answer, Seen
from tests.core.build import member, snapshot
from tests.functional.pillars import Pillars
from tests.functional.returns import succeed
from tests.functional.test_apply import CLUSTER, Published

ALL = frozenset(["prod", "test"])


class Master:
    def __init__(self, folder: Any, **cluster: Any) -> None:
        self.block: dict[str, Any] = {
            "state_dir": str(folder / "state"),
            "apply": {
                "function": "k8s_firewall.sync",
                "sync": False,
                "min_interval": 0,
                "batch": 2,
            },
            "clusters": {"prod": {**CLUSTER, **cluster}, "test": CLUSTER},
        }
        self.store = Store(self.block["state_dir"])
        self.published = Published()
        for name in ALL:
            self.change(name, 1)

    def change(self, cluster: str, revision: int, *addresses: str) -> None:
        found = addresses or (f"192.0.2.{revision}",)
        nodes = [member(f"n{one}", one) for one in found]
        view = snapshot(*nodes, cluster=cluster, revision=revision)
        old = self.store.snapshots.load(cluster)
        gone = old.members.keys() - view.members.keys() if old else ()
        self.store.snapshots.save(view, nodes, gone)

    def refer(self, minion: str, *texts: str) -> None:
        seen = {
            text: Seen(cluster=text.split("/")[2].split("?")[0], answer=Answer.SERVED)
            for text in texts
        }
        self.store.subscriptions.record(minion, "", seen, time.time())

    def apply(self, *, prove: bool = True, **block: Any) -> list[tuple[list[str], Any]]:
        """Publish, and prove it; for each job its minions, and what it carries along."""
        self.published.jobs.clear()
        self.published.what.clear()
        self.block["apply"] |= block
        apply_run = ApplyRun(config.read(self.block), self.store, self.published)
        sent = []
        while apply_run.run(ALL)["jobs"]:
            for jid, minions in self.published.jobs.items():
                for minion in minions:
                    if prove:
                        succeed(self.store, jid, minion, time.time())
            sent += list(zip(self.published.jobs.values(), self.published.what, strict=True))
            self.published.jobs.clear()
            self.published.what.clear()
        return [
            (minions, what.kwarg.get("delivered"))
            for minions, what in sent
            # What is closed after the proof carries no addresses to open.
            if what.function not in ("k8s_firewall.close", "saltutil.sync_all")
        ]


@pytest.fixture
def master(tmp_path):
    return Master(tmp_path)


def test_minions_with_the_same_references_get_them_in_one_publish(master):
    for name in ("m1", "m2"):
        master.refer(name, "k8s://prod")
    master.refer("m3", "k8s://prod", "k8s://test")
    assert [payload for _, payload in master.apply()] == [None, None]
    master.change("prod", 2)
    jobs = {tuple(minions): payload for minions, payload in master.apply()}
    assert set(jobs) == {("m1", "m2"), ("m3",)}
    two, three = jobs["m1", "m2"], jobs["m3",]
    assert two["references"] == {"k8s://prod": ["192.0.2.2"]}
    assert set(two["seals"]) == {"m1", "m2"}
    # Also of the cluster that has not changed: a set may have addresses of both.
    assert three["references"] == {"k8s://prod": ["192.0.2.2"], "k8s://test": ["192.0.2.1"]}
    assert {name: one["revision"] for name, one in three["clusters"].items()} == {
        "prod": 2,
        "test": 1,
    }


def test_above_max_inline_addresses_the_minion_asks_for_its_pillar(master):
    master.refer("m1", "k8s://prod")
    master.apply()
    master.change("prod", 2, "192.0.2.1", "192.0.2.2", "192.0.2.3")
    assert master.apply(max_inline_addresses=2) == [(["m1"], None)]
    master.change("prod", 3, "192.0.2.1", "192.0.2.2")
    ((_, payload),) = master.apply()
    assert payload["references"] == {"k8s://prod": ["192.0.2.1", "192.0.2.2"]}
    master.change("prod", 4)
    assert master.apply(max_inline_addresses=0) == [(["m1"], None)]


@pytest.mark.parametrize(
    "ask",
    [
        {"function": "k8s_firewall.prune"},
        {"kwarg": {"fresh": True}},
        {"arg": [True]},
    ],
)
def test_an_action_with_other_arguments_carries_no_addresses(master, ask):
    master.refer("m1", "k8s://prod")
    master.apply(**ask)
    master.change("prod", 2)
    assert master.apply() == [(["m1"], None)]


def test_a_minion_that_failed_or_has_an_unresolved_reference_asks_for_its_pillar(master):
    master.refer("m1", "k8s://prod")
    master.apply()
    master.change("prod", 2)
    (job,) = master.apply(prove=False)
    assert job[1]
    jid = next(iter(master.store.applied.outstanding()))
    now = time.time()
    master.store.applied.record_failure(jid, "m1", "no", counted=True, next_at=now, now=now)
    assert master.apply() == [(["m1"], None)]
    seen = Seen(cluster="other", answer=Answer.UNRESOLVED)
    refs = {"k8s://prod": Seen(cluster="prod", answer=Answer.SERVED), "k8s://other": seen}
    master.store.subscriptions.record("m1", "", refs, now)
    master.change("prod", 3)
    assert master.apply() == [(["m1"], None)]


def test_lists_of_nodes_and_clusters_for_some_minions_are_not_published(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    some = Master(tmp_path / "a", serve_to="m*")
    some.refer("m1", "k8s://prod")
    lists = Master(tmp_path / "b", node_lists=[{"to": "m*"}])
    lists.refer("m1", "k8s://prod", "nodes://prod")
    for master in (some, lists):
        master.apply()
        master.change("prod", 2)
        assert master.apply() == [(["m1"], None)]


# What the pillar grants

SETS = {"k8s_firewall": {"sets": {"prod": ["k8s://prod", "192.0.2.200"]}}}


def compiled(
    folder: Any, pillar: dict[str, Any], override: dict[str, Any] | None = None, **cluster: Any
) -> dict[str, Any]:
    pillars = Pillars(folder, clusters={"prod": {**CLUSTER, **cluster}})
    nodes = [member("n1", "192.0.2.1")]
    Store(str(pillars.state_dir)).snapshots.save(snapshot(*nodes), nodes, [])
    pillars.write(pillar)
    return pillars.compile("m1", override=override)


def test_a_pillar_has_the_block_as_it_was_written_and_a_key(tmp_path):
    pillar = compiled(tmp_path, SETS)
    assert pillar["k8s_firewall"]["sets"]["prod"] == ["192.0.2.1", "192.0.2.200"]
    grant = pillar["k8s_nodes"]["delivery"]
    assert grant["block"] == SETS["k8s_firewall"]
    assert grant["references"] == ["k8s://prod"]
    assert len(bytes.fromhex(grant["key"])) == 32


@pytest.mark.parametrize(
    ("pillar", "cluster"),
    [
        ({"allow": ["k8s://prod"]}, {}),
        ({"k8s_firewall": {"sets": {"prod": ["192.0.2.1"]}}, "allow": ["k8s://prod"]}, {}),
        ({**SETS, "allow": ["k8s://prdo"]}, {}),
        (SETS, {"serve_to": "m*"}),
        (SETS, {"node_lists": [{"to": "m*"}]}),
    ],
)
def test_where_no_address_may_be_published_nothing_is_granted(tmp_path, pillar, cluster):
    block = compiled(tmp_path, pillar, **cluster)["k8s_nodes"]
    assert block["served"]
    assert "delivery" not in block


@pytest.mark.parametrize("override", [{"k8s_firewall": {"keep": ["203.0.113.9"]}}, {"x": 1}])
def test_an_override_is_not_granted_anything(tmp_path, override):
    pillar = compiled(tmp_path, SETS, override)
    assert pillar["k8s_firewall"]["sets"]["prod"] == ["192.0.2.1", "192.0.2.200"]
    assert pillar["k8s_nodes"]["served"] == ["192.0.2.1"]
    assert "delivery" not in pillar["k8s_nodes"]


def test_the_secret_is_made_once_and_only_root_reads_it(tmp_path):
    folder = str(tmp_path / "state")
    script = f"from salt_ext.store import Store; print(Store({folder!r}).signing_key.read().hex())"
    several = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    assert len({one.communicate()[0] for one in several}) == 1
    file = tmp_path / "state" / "signing_key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["signing_key"]
    before = Store(folder).signing_key.read()
    file.write_bytes(b"half")
    assert Store(folder).signing_key.read() not in (before, b"half")
