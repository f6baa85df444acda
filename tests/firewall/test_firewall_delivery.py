"""Addresses that a publish carries along: in force without a pillar, or not taken at all."""

from __future__ import annotations

import contextlib
import copy
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from salt_ext.master.settings import settings
from salt_ext.rollout.apply import ApplyRun
from salt_ext.store import Store
from tests.core.build import member, snapshot
from tests.firewall.place import MEMBER, OTHER, PORT, Minion, Place
from tests.functional.pillars import Pillars
from tests.functional.returns import succeed
from tests.functional.test_apply import Published

pytestmark = pytest.mark.root

CLUSTER = {"in_cluster": True, "allowed_networks": ["10.77.2.0/24", "fd77:0:0:2::/64"]}
STATIC = ["192.0.2.200", "198.51.100.0/24"]
HOSTS = {"member": MEMBER, "other": OTHER}


class Office:
    """The master's side, without daemons: its store, its pillars and what it publishes."""

    def __init__(self, folder: Path, minion: Minion, **cluster: Any) -> None:
        self.minion = minion
        self.pillars = Pillars(folder, clusters={"prod": {**CLUSTER, **cluster}})
        self.pillars.opts["k8s_nodes"]["apply"] = {
            "function": "k8s_firewall.sync", "min_interval": 0, "sync": False,
        }  # fmt: skip
        self.store = Store(str(self.pillars.state_dir))
        self.published = Published()
        self.block: dict[str, Any] = {
            "sets": {"prod": ["k8s://prod", *STATIC]},
            "gates": {PORT: "prod"},
        }
        self.more: dict[str, Any] = {}

    def nodes(self, *hosts: str) -> None:
        """Let the cluster have these nodes."""
        old = self.store.snapshots.load("prod")
        members = [member(name, str(HOSTS[name].v4), str(HOSTS[name].v6)) for name in hosts]
        view = snapshot(*members)
        if old:
            view = replace(view, revision=old.revision + 1, observed_at=old.observed_at + 1)
        gone = old.members.keys() - view.members.keys() if old else ()
        self.store.snapshots.save(view, members, gone)

    def compile(self) -> dict[str, Any]:
        """Let the minion's next pull get the pillar as it is now."""
        self.pillars.write({"k8s_firewall": self.block, **self.more})
        # As it is on its way to a minion: plain mappings.
        pillar = json.loads(json.dumps(self.pillars.compile("minion")))
        self.minion.pillar(pillar)
        return dict(pillar)

    def publish(self) -> dict[str, Any]:
        """Publish to whoever is behind; the keywords of the call."""
        self.published.what.clear()
        done = ApplyRun(settings(self.pillars.opts), self.store, self.published).run(
            frozenset(["prod"])
        )
        for jid, minions in done["jobs"].items():
            for one in minions:
                succeed(self.store, jid, one, time.time())
        (what,) = self.published.what
        return dict(what.kwarg)

    def begin(self, *hosts: str) -> None:
        """The minion pulls for the first time; afterwards no pull would succeed."""
        self.nodes(*hosts)
        self.compile()
        assert self.publish() == {}
        assert self.minion.call("sync")["result"] is True
        self.minion.pillar({})


@pytest.fixture
def office(here: Place, minion: Minion, tmp_path: Path) -> Office:
    office = Office(tmp_path, minion)
    office.begin("member")
    return office


def test_a_join_and_a_leave_are_in_force_without_a_pillar(office: Office, here: Place) -> None:
    office.nodes("member", "other")
    done = office.minion.call("sync", **office.publish())
    assert (done["result"], done["delivered"]) == (True, True)
    assert done["changes"] == {
        "sets": {"prod": {"added": [str(OTHER.v4), str(OTHER.v6)], "removed": []}}
    }
    assert done["revision"] == {"prod": 2}
    for host in (here.member, here.other):
        assert host.gets_in(here.server.v4)
        assert host.gets_in(here.server.v6)
    office.nodes("other")
    done = office.minion.call("sync", **office.publish())
    assert done["delivered"] is True
    assert not here.member.gets_in(here.server.v4)
    assert here.other.gets_in(here.server.v4)
    assert set(STATIC) < set(office.minion.call("sets", "prod")["prod"])
    assert office.minion.call("status")["problems"] == []
    # And what a pull brings is the same.
    office.compile()
    assert office.minion.call("sync")["comment"] == "firewall up to date"


def test_who_leaves_with_a_connection_open_is_judged_by_the_pillar(
    office: Office, here: Place
) -> None:
    office.nodes("other")
    with contextlib.closing(here.member.connect(here.server.v4)) as one:
        assert one.answered()
        # The master does not answer: it is closed all the same, and remembered.
        done = office.minion.call("sync", **office.publish())
        assert (done["result"], done["delivered"]) == (
            False, "removed addresses have open connections",
        )  # fmt: skip
        assert done["changes"]["sets"]["prod"]["removed"] == [str(MEMBER.v4), str(MEMBER.v6)]
        assert not one.answered()
        office.compile()
        done = office.minion.call("sync")
        assert done["connections"] == {str(MEMBER.v4): {"ended": 1, "still_open": 0}}
        assert one.reset()
    assert "connections" not in office.minion.call("sync")


def _seal(told: dict[str, Any]) -> None:
    told["seals"]["minion"] = "0" * 64


def _another(told: dict[str, Any]) -> None:
    told["seals"] = {"other": told["seals"]["minion"]}


def _wider(told: dict[str, Any]) -> None:
    told["references"]["k8s://prod"].append("203.0.113.1")


def _newer(told: dict[str, Any]) -> None:
    told["clusters"]["prod"]["revision"] += 1


@pytest.mark.parametrize("harm", [_seal, _another, _wider, _newer, dict.clear])
def test_what_its_master_has_not_sealed_for_it_is_not_taken(
    office: Office, here: Place, harm: Any
) -> None:
    office.nodes("member", "other")
    told = copy.deepcopy(office.publish()["delivered"])
    harm(told)
    done = office.minion.call("sync", delivered=told)
    assert done["result"] is False
    assert "not signed" in done["delivered"] or "not made for this minion" in done["delivered"]
    # The pillar was asked for instead.
    assert "pillar is empty" in done["comment"]
    assert not here.other.gets_in(here.server.v4)
    assert here.member.gets_in(here.server.v4)
    office.compile()
    assert office.minion.call("sync", delivered=told)["result"] is True
    assert here.other.gets_in(here.server.v4)


def test_an_older_one_or_the_same_is_not_taken(office: Office, here: Place) -> None:
    office.nodes("member", "other")
    first = office.publish()
    assert office.minion.call("sync", **first)["delivered"] is True
    assert office.minion.call("sync", **first)["delivered"] == "already applied"
    office.nodes("other")
    assert office.minion.call("sync", **office.publish())["delivered"] is True
    told = office.minion.call("sync", **first)
    assert told["delivered"] == "cluster prod: delivered revision 2, applied 3"
    assert not here.member.gets_in(here.server.v4)


def test_one_about_other_references_than_the_pillars_is_not_taken(
    office: Office, here: Place
) -> None:
    office.block["sets"]["v4"] = ["k8s://prod?family=ipv4"]
    # Somebody has compiled the new pillar, and the minion has not had it yet.
    office.compile()
    office.minion.pillar({})
    office.nodes("member", "other")
    done = office.minion.call("sync", **office.publish())
    assert "other references" in done["delivered"]
    assert not here.other.gets_in(here.server.v4)


def test_a_minion_that_knows_nothing_takes_nothing(office: Office, here: Place) -> None:
    office.nodes("member", "other")
    told = office.publish()
    (office.minion.state_dir / "grant.json").unlink()
    assert "grants no deliveries" in office.minion.call("sync", **told)["delivered"]
    assert not here.other.gets_in(here.server.v4)


def test_with_test_a_delivery_changes_nothing(office: Office, here: Place) -> None:
    office.nodes("other")
    told = office.publish()
    done = office.minion.call("sync", **told, test=True)
    assert (done["result"], list(done["changes"]["sets"])) == (None, ["prod"])
    assert here.member.v4 in here.server.run("nft", "list set inet k8s_firewall prod_v4")
    assert office.minion.call("sync", **told)["delivered"] is True


def test_rules_with_references_are_delivered_too(office: Office, here: Place) -> None:
    office.block = {"rules": [{"name": "db", "ports": [PORT], "sources": ["k8s://prod", *STATIC]}]}
    office.compile()
    assert office.minion.call("sync")["result"] is True
    office.minion.pillar({})
    office.nodes("other")
    assert office.minion.call("sync", **office.publish())["delivered"] is True
    assert here.other.gets_in(here.server.v4)
    assert not here.member.gets_in(here.server.v4)


@pytest.mark.parametrize(
    ("block", "taken"),
    [
        ({}, True),
        # Somebody has changed it after the references were replaced.
        ({"gates": {}}, False),
        ({"sets": {"prod": [str(MEMBER.v4), str(MEMBER.v6), *STATIC, "203.0.113.1"]}}, False),
        ({"sets": {"prod": [str(MEMBER.v4), str(MEMBER.v6), STATIC[0]]}}, False),
        ({"keep": ["203.0.113.1"]}, False),
    ],
)
def test_a_block_that_another_ext_pillar_has_changed_takes_no_delivery(
    office: Office, block: dict[str, Any], taken: bool
) -> None:
    pillar = office.compile()
    pillar["k8s_firewall"] = {**pillar["k8s_firewall"], **block}
    office.minion.pillar(pillar)
    assert office.minion.call("sync")["result"] is True
    office.nodes("other")
    told = office.minion.call("sync", **office.publish())["delivered"]
    assert told is True if taken else "grants no deliveries" in told


def test_pruning_always_asks_for_the_pillar(office: Office) -> None:
    office.block["prune"] = {"saved": []}
    office.compile()
    office.minion.call("sync")
    office.nodes("other")
    assert "grants no deliveries" in office.minion.call("sync", **office.publish())["delivered"]
