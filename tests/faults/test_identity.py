"""Another cluster, or an older state of the same one, behind the watched address."""

from __future__ import annotations

import logging

import pytest

from lab.kubernetes.emulator import actions
from salt_ext.admin import controls
from salt_ext.rollout.publishing import publishing_stopped

QUICK = {
    "timing": {"inactivity": 1, "debounce": 0, "max_delay": 0},
    "guards": {"shrink_percent": 100, "shrink_nodes": 100},
}


def write(watched, times: int) -> None:
    """Move the versions forward; a heartbeat within the same second would change nothing."""
    for turn in range(times):
        watched.nodes.label("n1", {"turn": str(turn)})


@pytest.fixture
def prod(kube, watch):
    watched = watch(kube, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.serves("10.0.0.1", "10.0.0.2")
    watched.watching()
    watched.before = watched.revision()
    return watched


def test_a_rebuilt_cluster_changes_nothing_until_it_is_confirmed(prod, kube):
    kube.wipe()
    prod.holds("identity")
    prod.nodes.create("other", internal=["10.0.0.9"])
    prod.request_list()
    prod.until(lambda: prod.health().nodes == 1, "the new cluster's node")
    assert prod.addresses() == {"10.0.0.1", "10.0.0.2"}
    released = prod.confirm()["released"]
    assert [one["what"] for one in released] == ["identity"]
    prod.serves("10.0.0.9")
    prod.holds()
    # Written down a moment after the addresses are.
    prod.until(
        lambda: (
            [one.what for one in prod.store.history.newest("prod", 2)] == ["changed", "confirmed"]
        ),
        "the history",
    )


def test_a_wiped_cluster_closes_nothing_in_a_hundred_lists_and_recovers_by_a_restore(prod, kube):
    kube.save()
    kube.wipe()
    prod.holds("identity")
    for _ in range(100):
        lists = prod.health().lists
        prod.request_list()
        prod.until(lambda lists=lists: prod.health().lists > lists, "another list")
    assert prod.addresses() == {"10.0.0.1", "10.0.0.2"}
    (held,) = prod.status()["held"]
    assert held["why"].startswith("another cluster answers: kube-system has the uid ")
    assert (prod.revision(), prod.bus.named("node/left")) == (prod.before, [])
    kube.restore()
    prod.request_list()
    prod.holds()
    prod.watching()
    prod.nodes.create("n3", internal=["10.0.0.3"])
    prod.serves("10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert prod.bus.named("node/left") == []


def test_another_cluster_whose_versions_are_beyond_ours_is_seen_before_its_watch(
    kube, watch, network
):
    watched = watch(kube, server=network.url, **QUICK)
    for name in ("n1", "n2"):
        watched.nodes.create(name, internal=[f"10.0.0.{name[1]}"])
    watched.serves("10.0.0.1", "10.0.0.2")
    watched.watching()
    version, revision = int(watched.watcher.counters.position.resource_version), watched.revision()
    network.refuse()
    kube.wipe()
    watched.nodes.create("n1", internal=["10.0.0.9"])
    made = watched.nodes.label("n1", {"turn": "0"})
    while int(made["metadata"]["resourceVersion"]) <= version:
        made = watched.nodes.label("n1", {"turn": made["metadata"]["resourceVersion"]})
    network.listen()
    watched.holds("identity")
    assert watched.addresses() == {"10.0.0.1", "10.0.0.2"}
    assert watched.revision() == revision


def test_a_late_confirmation_does_not_release_the_next_change_of_its_kind(emulator, watch):
    watched = watch(emulator, **QUICK | {"guards": {"shrink_percent": 1, "shrink_nodes": 1}})
    for name in ("n1", "n2"):
        watched.nodes.create(name, internal=[f"10.0.0.{name[1]}"])
    watched.serves("10.0.0.1", "10.0.0.2")
    watched.nodes.delete("n1")
    watched.holds("shrink")
    watched.stop()
    assert [one["what"] for one in watched.confirm()["released"]] == ["shrink"]
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.start()
    watched.holds()
    watched.nodes.delete("n1")
    watched.holds("shrink")
    watched.until(
        lambda: not watched.store.decisions.of("prod").confirmations, "the confirmation read"
    )
    lists = watched.health().lists
    watched.request_list()
    watched.until(lambda: watched.health().lists > lists, "another look")
    watched.holds("shrink")
    assert watched.addresses() == {"10.0.0.1", "10.0.0.2"}


def test_a_held_change_stays_held_over_a_restart_of_the_engine(prod, kube):
    kube.wipe()
    prod.holds("identity")
    prod.stop()
    prod.start()
    prod.until(lambda: prod.health().state == "watching", "watching")
    prod.holds("identity")
    assert prod.addresses() == {"10.0.0.1", "10.0.0.2"}
    prod.confirm()
    # The other cluster is empty, of which its identity says nothing.
    prod.holds("shrink")
    assert prod.addresses() == {"10.0.0.1", "10.0.0.2"}
    prod.stop()
    prod.start()
    prod.holds("shrink")
    prod.confirm()
    prod.serves()


def test_a_restored_state_is_noticed_by_silence_and_changes_nothing_until_it_is_confirmed(
    prod, kube, caplog
):
    kube.save()
    prod.nodes.create("n3", internal=["10.0.0.3"])
    prod.serves("10.0.0.1", "10.0.0.2", "10.0.0.3")
    write(prod, 30)
    with caplog.at_level(logging.INFO):
        kube.restore()
        # No LIST is requested: the watch continues from a version that is yet to come.
        prod.holds("rollback")
    assert (
        "cluster prod: WATCH nodes: no data for 1 s; probing the server [watch-idle]" in caplog.text
    )
    assert prod.addresses() == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
    assert [one["what"] for one in prod.confirm()["released"]] == ["rollback"]
    prod.serves("10.0.0.1", "10.0.0.2")
    prod.holds()


def test_a_watch_that_waits_for_versions_long_gone_is_noticed_by_its_silence(emulator, watch):
    watched = watch(emulator, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    watched.watching()
    emulator.control.save("old")
    write(watched, 20)
    watched.until(
        lambda: int(watched.watcher.counters.position.resource_version or 0) >= 20, "heartbeats"
    )
    emulator.control.restore("old", quietly=True)
    watched.holds("rollback")
    assert watched.addresses() == {"10.0.0.1"}


def test_a_node_that_an_older_state_lacks_stays_when_its_versions_have_caught_up(emulator, watch):
    watched = watch(emulator, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    emulator.control.save("old")
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.serves("10.0.0.1", "10.0.0.2")
    emulator.control.restore("old")
    watched.request_list()
    watched.holds("rollback")
    write(watched, 5)
    watched.holds("vanished")
    watched.nodes.create("n3", internal=["10.0.0.3"])
    watched.serves("10.0.0.1", "10.0.0.2", "10.0.0.3")
    watched.stop()
    watched.start()
    watched.until(lambda: watched.health().lists, "a list after the restart")
    watched.nodes.create("n4", internal=["10.0.0.4"])
    watched.serves("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
    assert watched.held() == ["vanished"]
    assert [one["what"] for one in watched.confirm()["released"]] == ["vanished"]
    watched.serves("10.0.0.1", "10.0.0.3", "10.0.0.4")
    watched.holds()


def test_a_node_that_had_left_does_not_come_back_with_an_older_state(emulator, watch):
    watched = watch(emulator, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.serves("10.0.0.1", "10.0.0.2")
    emulator.control.save("old")
    watched.nodes.delete("n2")
    watched.serves("10.0.0.1")
    emulator.control.restore("old")
    watched.request_list()
    watched.holds("rollback")
    write(watched, 5)
    watched.holds("returned")
    watched.stop()
    watched.start()
    watched.until(lambda: watched.health().state == "watching", "watching")
    watched.nodes.create("n3", internal=["10.0.0.3"])
    watched.serves("10.0.0.1", "10.0.0.3")
    assert watched.held() == ["returned"]
    assert [one["what"] for one in watched.confirm()["released"]] == ["returned"]
    watched.serves("10.0.0.1", "10.0.0.2", "10.0.0.3")
    watched.holds()


def test_an_older_state_that_catches_up_by_its_own_events_needs_no_confirmation(
    emulator, watch, caplog
):
    watched = watch(emulator, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    emulator.control.save("old")
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.nodes.delete("n1")
    watched.serves("10.0.0.2")
    emulator.control.on("list", do=actions.from_state("old"))
    watched.request_list()
    # The watch continues from the old version and delivers the events that the server lacked.
    watched.until(lambda: "cluster prod: change held (rollback)" in caplog.text, "a rollback")
    watched.holds()
    assert watched.addresses() == {"10.0.0.2"}
    assert {str(one) for data in watched.bus.named("changed") for one in data["removed"]} == {
        "10.0.0.1"
    }


def test_doubts_of_an_older_state_outlive_a_restart_while_another_cluster_answers(emulator, watch):
    watched = watch(emulator, **QUICK)
    for name in ("n1", "n2"):
        watched.nodes.create(name, internal=[f"10.0.0.{name[1]}"])
    watched.serves("10.0.0.1", "10.0.0.2")
    emulator.save()
    watched.nodes.create("n3", internal=["10.0.0.3"])
    watched.serves("10.0.0.1", "10.0.0.2", "10.0.0.3")
    write(watched, 30)
    emulator.restore()
    watched.request_list()
    watched.holds("rollback")
    emulator.save()
    emulator.wipe()
    watched.request_list()
    watched.holds("identity")
    watched.stop()
    watched.start()
    watched.holds("identity")
    emulator.restore()
    write(watched, 60)
    watched.request_list()
    # The versions have caught up, and n3 is missing without a deletion.
    watched.holds("vanished")
    assert watched.addresses() == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}


def test_a_confirmation_does_not_reach_the_next_cluster(emulator, watch):
    watched = watch(emulator, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    emulator.wipe()
    watched.holds("identity")
    watched.confirm()
    watched.holds("shrink")
    watched.confirm()
    watched.serves()
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.serves("10.0.0.2")
    emulator.wipe()
    watched.holds("identity")
    assert watched.addresses() == {"10.0.0.2"}


def test_another_cluster_after_a_loss_of_the_store_is_held_and_nothing_is_published(
    emulator, watch
):
    watched = watch(emulator, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    watched.watching()
    watched.stop()
    for path in watched.store.database.path.parent.glob("store.sqlite3*"):
        path.unlink()
    emulator.control.wipe()
    watched.start()
    watched.holds("identity")
    assert watched.addresses() == set()
    assert watched.revision() == 0
    stopped = publishing_stopped(watched.config, watched.store)
    assert stopped.startswith("nothing is published for prod: the store was deleted or emptied")


def test_the_decisions_know_the_identity_again_after_a_person_began_a_new_file(emulator, watch):
    watched = watch(emulator, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    pinned = watched.store.snapshots.load("prod").identity
    # Written a moment after the addresses are.
    watched.until(lambda: watched.store.decisions.of("prod").identity == pinned, "the pin")
    watched.store.decisions.path.write_text("damage")
    assert "cannot be used" in publishing_stopped(watched.config, watched.store)
    controls.resume(watched.store, controls.By(name="kim"))
    watched.until(lambda: watched.store.decisions.of("prod").identity == pinned, "the pin")
    assert publishing_stopped(watched.config, watched.store) is None
