"""States that succeed on a pillar without our ext_pillar prove nothing."""

from __future__ import annotations

import time

import pytest

from salt_ext.master.settings import settings
from salt_ext.rollout.apply import ApplyRun
from salt_ext.rollout.settlement import JobSettlement
from salt_ext.store import Store
from tests.core.build import member, snapshot
from tests.functional.pillars import Pillars
from tests.functional.test_apply import Published

CLUSTER = {"in_cluster": True, "allowed_networks": ["192.0.2.0/24", "2001:db8::/32"]}
GROUPS = {"web": {"labelSelector": "pool=web"}}
DONE = {"return": {"a_|-b_|-b_|-c": {"result": True}}, "retcode": 0, "success": True}
N1 = member("n1", "192.0.2.1", labels={"pool": "web"})
N2 = member("n2", "192.0.2.2", "2001:db8::2", labels={"pool": "web"})
EVERY = [
    "k8s://prod",
    "k8s://prod?family=ipv6",
    "k8s://prod?format=cidr&family=ipv4",
    "k8s://prod?labelSelector=pool=nobody",
    "k8s://prod?labelSelector=pool=nobody&empty=placeholder",
    "k8s://prod/web",
]


class Master:
    """One minion whose pillar refers to a cluster."""

    def __init__(self, folder, **apply) -> None:
        cluster = {**CLUSTER, "groups": GROUPS, "node_lists": [{"to": "m1", "group": "web"}]}
        self.pillars = Pillars(folder, clusters={"prod": cluster})
        block = self.pillars.opts["k8s_nodes"]
        block["apply"] = {"min_interval": 0, **(apply or {"states": ["firewall"]})}
        self.store = Store(str(self.pillars.state_dir))
        self.store.snapshots.save(snapshot(N1), [N1], [])
        self.pillars.write({"allow": EVERY})
        self.compile()
        self.turns = 0

    def compile(self, **how) -> dict:
        return self.pillars.compile("m1", **how)

    def change(self) -> None:
        self.store.snapshots.save(snapshot(N1, N2, revision=2), [N2], [])

    def publish(self, *, force: bool = False) -> str:
        self.turns += 1
        published = Published()
        published._jids = iter([self.turns])
        config = settings(self.pillars.opts)
        apply_run = ApplyRun(config, self.store, published)
        (jid,) = apply_run.run(frozenset(["prod"]), force=force)["jobs"]
        return jid

    def returns(self, jid: str, returned=DONE, **opts):
        """Settle the minion's return as the job cache has it; return the ledger's entry."""
        config, opts = settings(self.pillars.opts), {**self.pillars.opts, **opts}
        entries = self.store.applied.outstanding()[jid]
        JobSettlement(config, self.store, opts).settle_return(
            jid, self.store.jobs.get(jid), "m1", returned, entries
        )
        return self.store.applied.all().get(("m1", "prod"))


@pytest.fixture
def make(tmp_path):
    def make(**apply) -> Master:
        found = Master(tmp_path, **apply)
        # It has everything, and then a node joins.
        assert found.returns(found.publish()).applied
        found.change()
        return found

    return make


def test_a_run_whose_pillar_was_served_every_kind_of_reference_is_proof(make):
    master = make()
    jid = master.publish()
    master.compile()
    entry = master.returns(jid)
    assert (entry.error, entry.applied) == (None, entry.dispatched)


def test_a_run_without_our_ext_pillar_is_none_and_is_tried_again(make, monkeypatch):
    master = make()
    jid = master.publish()
    with monkeypatch.context() as broken:
        broken.setattr("salt_ext.references.annotation.Annotator.annotate", lambda *_: 1 / 0)
        assert master.compile()["allow"] == EVERY
    entry = master.returns(jid)
    assert entry.error.startswith("the pillar of this run was not served k8s://prod as it is now")
    assert (entry.attempts, entry.applied == entry.dispatched) == (1, False)
    assert entry.next_at > time.time()
    jid = master.publish(force=True)
    master.compile()
    assert master.returns(jid).applied == entry.dispatched


@pytest.mark.parametrize(
    "apply",
    [
        {"function": "k8s_firewall.sync", "sync": False},
        {"states": ["firewall"], "kwarg": {"pillar": {"a": 1}}},
        {"function": "state.sls", "arg": ["firewall", "pillar={a: 1}"]},
    ],
)
def test_a_run_that_compiles_no_pillar_or_one_of_its_own_proves_by_itself(make, apply):
    master = make(**apply)
    assert master.returns(master.publish()).error is None


def test_one_that_another_master_of_the_cluster_may_have_compiled_proves_by_itself(make):
    master = make()
    assert master.returns(master.publish(), cluster_id="masters").error is None


def test_it_is_enough_that_the_pillar_of_one_environment_is_right(make):
    master = make()
    master.pillars.opts["pillar_roots"]["dev"] = master.pillars.opts["pillar_roots"]["base"]
    master.compile(pillarenv="dev")
    jid = master.publish()
    assert master.returns(jid).error is None


def test_a_reference_that_is_gone_needs_no_compile(make):
    master = make()
    master.pillars.write({"allow": []})
    master.pillars.opts["k8s_nodes"]["clusters"]["prod"].pop("node_lists")
    master.compile()
    jid = master.publish()
    master.returns(jid)
    assert master.store.applied.all() == {}
