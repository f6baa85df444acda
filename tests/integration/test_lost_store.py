"""The store of a running master is lost: what persons decided stays, and no address is closed."""

from __future__ import annotations

import pytest

from lab.polling import wait_until
from tests.integration.looking import BOTH, WITHIN, Looking, node, rules

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def world(ruled):
    """The rules of every minion can be read in one way."""
    return ruled


def lose_the_store(looking: Looking) -> None:
    for path in looking.folder.glob("store.sqlite3*"):
        path.unlink()


def leave_once(looking: Looking) -> None:
    """Minions whose firewall is a formula learn what they were served when an address leaves."""
    node(looking, "w1", "10.77.2.200")
    looking.wait(*BOTH)
    revision = looking.revision()
    looking.world.nodes.delete("w1")
    looking.changed(revision)
    looking.wait(*BOTH)


def recovered(looking: Looking) -> bool:
    return "recovery" not in looking.status()


def test_it_goes_on_by_itself_once_the_view_agrees_with_what_minions_were_served(looking) -> None:
    world = looking.world
    leave_once(looking)
    node(looking, "x1", "10.77.2.201")
    looking.wait(*BOTH)
    world.master.kill()
    lose_the_store(looking)
    world.master.start()
    world.master.wait(len(BOTH))
    wait_until(
        lambda: looking.revision() > 0 and recovered(looking),
        within=WITHIN,
        what="an end of the recovery",
        every=0.2,
    )
    looking.wait(*BOTH)
    for name in BOTH:
        assert "10.77.2.201/" in rules(world, name)
    node(looking, "x2", "10.77.2.202")
    looking.wait(*BOTH)
    for name in BOTH:
        assert "10.77.2.202/" in rules(world, name)


def test_a_pause_and_every_address_outlive_it_until_a_person_resumes(looking) -> None:
    world = looking.world
    for number in range(1, 7):
        node(looking, f"y{number}", f"10.77.2.{220 + number}")
    looking.wait(*BOTH)
    world.salt_run("k8s_nodes.pause")
    world.master.kill()
    lose_the_store(looking)
    for number in range(1, 7):
        world.nodes.delete(f"y{number}")
    world.master.start()
    world.master.wait(len(BOTH))
    wait_until(
        lambda: looking.revision() > 0 and looking.status()["publishing"].startswith("paused"),
        within=WITHIN,
        what="the pause",
        every=0.2,
    )
    world.salt_run("k8s_nodes.apply")
    for name in BOTH:
        assert "10.77.2.226/" in rules(world, name)
    world.salt_run("k8s_nodes.resume")
    wait_until(
        # The formula of the other minion only appends, and what has left was lost with the store.
        lambda: "10.77.2.226/" not in rules(world, "minion2"),
        within=WITHIN,
        what="closed after the person resumed",
        every=0.2,
    )
