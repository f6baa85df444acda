"""From a node to a set in the kernel through a published k8s_firewall.sync, and back after harm."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from lab.polling import wait_until
from lab.world.world import World
from salt_ext.master import minion_module
from tests.integration.looking import WITHIN, Looking

pytestmark = pytest.mark.root

FORWARD = ["inet", "k8s_firewall", "gate_forward"]


class Sets(Looking):
    """The minion whose pillar has sets, and what it answered."""

    def jobs(self) -> int:
        return len(self.published())

    def answers(self, since: int) -> list[dict[str, Any]]:
        """What minion2 returned to every sync since so many jobs were published."""
        with self.store.database.reading() as connection:
            rows = connection.execute(
                "SELECT jid FROM job WHERE function = 'k8s_firewall.sync'"
                " ORDER BY at, jid LIMIT -1 OFFSET ?",
                (since,),
            ).fetchall()
        return [self.world.salt_run("jobs.lookup_jid", jid)["minion2"] for (jid,) in rows]

    def syncs(self) -> int:
        return sum(function == "k8s_firewall.sync" for _, function, _ in self.published())

    def harm(self) -> None:
        """Change the firewall's table, and open nothing: others watch who gets in."""
        self.world.hosts["minion2"].run(["nft", "add", "rule", *FORWARD, "counter"])

    def mended(self) -> None:
        """Wait until the change is gone."""

        def is_mended() -> bool:
            return (
                "counter"
                not in self.world.hosts["minion2"].run(["nft", "list", "chain", *FORWARD]).stdout
            )

        wait_until(is_mended, within=WITHIN, what="the gate as it was", every=0.05)

    def gets_in(self, name: str, since: float, what: str = "open") -> None:
        self.world.traffic[name].connect("minion2").wait(what, since=since, within=WITHIN)


@pytest.fixture
def sets(quiet: World) -> Iterator[Sets]:
    found = Sets(quiet)
    yield found
    # Whatever harm was done is mended.
    quiet.salt("minion2", "k8s_firewall.sync")


def test_a_node_that_joins_and_leaves_is_delivered_in_the_publish(sets: Sets) -> None:
    world, before = sets.world, sets.syncs()
    # After this the minion has had its pillar, and has proved it.
    world.salt("minion2", "k8s_firewall.sync")
    node = world.join("node1")
    sets.gets_in("node1", node.at)
    world.settle()
    at = world.leave("node1")
    sets.gets_in("node1", at, "closed")
    world.settle()
    joined, *others = sets.answers(before)
    assert joined["delivered"] is True
    assert joined["changes"]["sets"]["postgresql"]["added"] == [
        str(node.host.addresses.v4),
        str(node.host.addresses.v6),
    ]
    # Its lasting connection was open, and only the pillar tells whether that stays.
    ended = [one for one in others if one.get("connections")]
    assert [one["delivered"] for one in ended] == ["removed addresses have open connections"]
    assert {function for class_, function, _ in sets.published() if class_ == "sets"} <= {
        "k8s_firewall.sync",
        "saltutil.sync_all",
    }


def test_whoever_tells_an_older_module_is_brought_up_to_date(sets: Sets) -> None:
    world = sets.world
    (folder,) = world.hosts["minion2"].folder.glob("var/cache/salt/minion/extmods/modules")
    part = folder / "k8s_firewall_parts" / "errors.py"
    part.write_text(part.read_text() + "# old\n")
    world.nodes.create("x1", internal=["10.77.2.201"])
    wait_until(
        lambda: sets.minion("minion2").get("module") not in (None, minion_module.shipped_version()),
        within=WITHIN,
        what="an older module",
        every=0.05,
    )
    world.settle()
    before = sets.jobs()
    world.nodes.create("x2", internal=["10.77.2.202"])
    wait_until(
        lambda: (
            sets.minion("minion2").get("module") == minion_module.shipped_version()
            and sets.up_to_date("minion2")
        ),
        within=WITHIN,
        what="the master's module",
        every=0.05,
    )
    mine = [one[1] for one in sets.published()[before:] if one[0] == "sets"]
    assert mine[0] == "saltutil.sync_all"
    assert "# old" not in part.read_text()
    assert "10.77.2.202" in world.hosts["minion2"].run(["nft", "list", "ruleset"]).stdout


def test_whoever_has_lost_its_modules_gets_them_again(sets: Sets) -> None:
    world = sets.world
    (folder,) = world.hosts["minion2"].folder.glob("var/cache/salt/minion/extmods")
    shutil.rmtree(folder)
    world.nodes.create("x3", internal=["10.77.2.203"])
    wait_until(
        lambda: "10.77.2.203" in world.hosts["minion2"].run(["nft", "list", "ruleset"]).stdout,
        within=WITHIN,
        what="an address in the set",
        every=0.05,
    )
    assert (folder / "modules" / "k8s_firewall_parts").is_dir()


def test_a_change_that_a_minion_tells_of_is_repaired_by_the_engine(sets: Sets) -> None:
    world = sets.world
    sets.harm()
    told = world.salt("minion2", "k8s_firewall.drift")["minion2"]
    assert (told["result"], told["repaired"]) == (False, False)
    sets.mended()
    world.settle()
    assert world.salt("minion2", "k8s_firewall.status")["minion2"]["problems"] == []


def test_the_formulas_schedule_repairs_without_the_master(sets: Sets) -> None:
    world = sets.world
    pillar = world.srv / "pillar" / "firewall.sls"
    before = pillar.read_text()
    pillar.write_text(before.replace("  boot: false\n", "  boot: false\n  drift: 1\n"))
    try:
        done = world.salt("minion2", "state.apply", "k8s_firewall.drift")["minion2"]
        assert [one["result"] for one in done.values()] == [True], done
        before_it = sets.jobs()
        sets.harm()
        sets.mended()
        assert sets.jobs() == before_it
    finally:
        pillar.write_text(before)
        world.salt("minion2", "schedule.delete", "k8s_firewall")
