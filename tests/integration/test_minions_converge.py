"""Whatever happens between engine and firewall, every minion gets there, and it is known."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator

import pytest

from lab.polling import wait_until
from lab.world.world import World
from tests.integration.looking import BOTH, FORGE, WITHIN, Looking, freeze, minion, node, rules

pytestmark = pytest.mark.root

COMES_BACK_WITHIN = 60.0
"""Most of it is the start of a minion on a machine that is busy."""


@pytest.fixture(scope="module")
def world(ruled: World) -> World:
    """The rules of every minion can be read in one way."""
    return ruled


@pytest.fixture(scope="module")
def forging(world: World) -> World:
    """The world whose minions can forge events."""
    modules = world.srv / "salt" / "_modules"
    modules.mkdir()
    (modules / "forge.py").write_text(FORGE)
    # The fileserver remembers for 20 s which files there are.
    world.salt_run("fileserver.clear_file_list_cache")
    synced = world.salt("*", "saltutil.sync_modules")
    assert list(synced.values()) == [["modules.forge"]] * 2
    return world


def forge(world: World, tag: str, data: object, count: int = 1) -> None:
    """Let minion1 fire events."""
    done = world.salt("minion1", "forge.events", tag, json.dumps(data), count=count)
    assert done["minion1"] == count


def test_a_lag_that_no_event_told_of_is_found(looking: Looking) -> None:
    node(looking, "x1", "10.77.2.201")
    looking.wait(*BOTH)
    pillar = looking.world.srv / "pillar" / "firewall.sls"
    pillar.write_text(pillar.read_text().replace("k8s://prod", "k8s://prod?family=ipv4"))
    # Nothing but a compile, as anybody may ask for one; it subscribes.
    looking.world.salt("*", "pillar.items")
    wait_until(lambda: not looking.up_to_date(*BOTH), within=WITHIN, what="a lag", every=0.02)
    looking.wait(*BOTH)


def test_forged_and_doubled_events_publish_nothing(looking: Looking, forging: World) -> None:
    node(looking, "x1", "10.77.2.201")
    looking.wait(*BOTH)
    before = looking.published()
    for data in (
        {"cluster": "prod", "added": ["10.77.3.2"], "tgt": "*"},
        {"x": "{{ salt['cmd.run']('touch /tmp/forged') }}"},
    ):
        forge(forging, "salt/k8s_nodes/prod/changed", data, 50)
    forge(forging, "salt/k8s_nodes/other/lagging", {}, 20)
    forge(forging, "salt/k8s_nodes/prod\n- x: y/changed", {}, 20)
    # What comes after them is acted on, once: so they were read.
    node(looking, "x2", "10.77.2.202")
    looking.wait(*BOTH)
    assert looking.published() == [*before, ("", "state.apply", 2)]
    assert "10.77.2.202" in rules(looking.world)
    assert "10.77.3.2/" not in rules(looking.world)


def test_a_forged_return_proves_nothing(looking: Looking, forging: World) -> None:
    frozen = minion(looking.world, "minion2")
    freeze(frozen)
    try:
        node(looking, "x1", "10.77.2.201")
        looking.wait("minion1")
        jid = looking.store.applied.all()["minion2", "prod"].jid
        assert jid
        done = {"return": {"a_|-b_|-b_|-c": {"result": True}}, "retcode": 0, "success": True}
        told = {**done, "id": "minion2", "jid": jid, "fun": "state.apply"}
        forge(forging, f"salt/job/{jid}/ret/minion2", told, 5)
        # Had it been believed, it would be long before what comes after it is.
        node(looking, "x2", "10.77.2.202")
        looking.wait("minion1")
        assert looking.minion("minion2")["why"] in (
            f"job {jid} has not returned yet",
            f"did not return to job {jid}",  # where all this took longer than the deadline
        )
    finally:
        freeze(frozen, signal.SIGCONT)
    looking.wait(*BOTH)
    assert "10.77.2.202" in rules(looking.world, "minion2")


def test_a_forged_start_costs_a_few_runs(looking: Looking, forging: World) -> None:
    node(looking, "x1", "10.77.2.201")
    looking.wait(*BOTH)
    before = looking.runs()
    forge(forging, "salt/minion/minion2/start", {"id": "minion2"}, 30)
    forge(forging, "salt/minion/nobody/start", {"id": "nobody"}, 30)
    wait_until(lambda: looking.runs() > before, within=WITHIN, what="a run", every=0.05)
    looking.wait(*BOTH)
    node(looking, "x2", "10.77.2.202")
    looking.wait(*BOTH)
    # Five in an hour count at once, five seconds apart; one run on each minion is for the node.
    assert before + 1 + 2 <= looking.runs() <= before + 5 + 2


@pytest.fixture
def queues(looking: Looking) -> Iterator[None]:
    """minion1 is configured to queue the state runs that meet another."""
    conf = minion(looking.world, "minion1").host.folder / "salt" / "minion"
    before = conf.read_text()

    def restart(text: str) -> None:
        conf.write_text(text)
        one = minion(looking.world, "minion1")
        one.stop()
        one.start()
        looking.world.master.wait(2)

    restart(f"{before}\nstate_queue: true\n")
    looking.wait(*BOTH)
    yield
    restart(before)


def test_a_minion_that_is_busy_is_tried_until_it_is_not(looking: Looking, queues: None) -> None:
    world = looking.world
    over = world.folder / "over"
    work = f"name=until test -e {over}; do sleep 0.1; done"
    world.master.call("salt", "--async", "minion1", "state.single", "cmd.run", work)
    try:
        wait_until(
            lambda: world.salt("minion1", "saltutil.is_running", "state.*")["minion1"],
            within=WITHIN,
            what="a state run",
        )
        node(looking, "x1", "10.77.2.201")
        looking.wait("minion2")
        told = looking.wait_for("minion1", "state run in progress")
        assert "failed_attempts" not in told
    finally:
        over.touch()
    looking.wait("minion1")
    assert "10.77.2.201" in rules(world)


def test_a_minion_that_fails_is_named_and_delays_nobody(looking: Looking) -> None:
    pillar = looking.world.srv / "pillar" / "firewall.sls"
    broken = "{% if grains['id'] == 'minion2' %}['oops', 'k8s://prod']{% else %}"
    before = pillar.read_text()
    text = before.replace("ips_allow:\n", f"ips_allow: {broken}\n") + "{% endif %}\n"
    pillar.write_text(text)
    looking.world.salt("*", "saltutil.refresh_pillar")
    node(looking, "x1", "10.77.2.201")
    looking.wait("minion1")
    told = looking.wait_for("minion2", "states failed: firewall (test.configurable_test_state): ")
    assert "oops, which is no address" in told["why"]
    assert told["failed_attempts"] >= 1
    node(looking, "x2", "10.77.2.202")
    looking.wait("minion1")
    pillar.write_text(before)
    looking.wait("minion2")
    assert "failed_attempts" not in looking.minion("minion2")


def test_a_minion_that_is_off_is_told_when_it_is_back(looking: Looking) -> None:
    off = minion(looking.world, "minion2")
    off.stop()
    node(looking, "x1", "10.77.2.201")
    looking.wait("minion1")
    # By its deadline, which the lab has set to 20 s.
    looking.wait_for("minion2", "did not return")
    node(looking, "x2", "10.77.2.202")
    looking.wait("minion1")
    begin = time.monotonic()
    off.start()
    looking.wait("minion2", within=COMES_BACK_WITHIN)
    assert "10.77.2.202" in rules(looking.world, "minion2")
    assert time.monotonic() - begin < COMES_BACK_WITHIN


def test_a_minion_that_is_killed_during_its_job_is_applied_after_its_start(
    looking: Looking,
) -> None:
    killed = minion(looking.world, "minion2")
    node(looking, "x0", "10.77.2.200")
    looking.wait(*BOTH)
    freeze(killed)
    node(looking, "x1", "10.77.2.201")
    looking.wait_for("minion2", "has not returned yet")
    killed.kill()
    # As a reboot does: what is loaded is what was saved at some time.
    loaded = rules(looking.world, "minion2").splitlines()
    rule = next(line for line in loaded if "10.77.2.200/" in line)
    looking.world.hosts["minion2"].run(["iptables", *rule.replace("-A", "-D", 1).split()])
    killed.start()
    # Long before the job is given up.
    looking.wait("minion2", within=COMES_BACK_WITHIN)
    assert "10.77.2.201" in rules(looking.world, "minion2")
    assert "10.77.2.200/" in rules(looking.world, "minion2")


def test_a_minion_whose_key_is_deleted_is_forgotten_and_may_come_again(looking: Looking) -> None:
    gone = minion(looking.world, "minion2")
    gone.kill()
    looking.world.master.call("salt-key", "-y", "-d", "minion2")
    wait_until(
        lambda: looking.minion("minion2") == {}, within=WITHIN, what="a forgotten minion", every=0.1
    )
    node(looking, "x1", "10.77.2.201")
    looking.wait("minion1")
    assert looking.minion("minion2") == {}
    gone.start()
    wait_until(lambda: looking.minion("minion2"), within=WITHIN, what="a minion", every=0.1)
    looking.wait("minion2", within=COMES_BACK_WITHIN)
    assert "10.77.2.201" in rules(looking.world, "minion2")


def test_a_node_that_flaps_costs_few_runs_and_delays_nobody(looking: Looking) -> None:
    world, before, begin = looking.world, looking.runs(), time.monotonic()
    for turn in range(12):
        world.nodes.create("flapping", internal=["10.77.2.210"])
        if turn == 3:
            world.nodes.create("x1", internal=["10.77.2.201"])
        if turn == 8:
            wait_until(
                lambda: "10.77.2.201" in rules(world), within=WITHIN, what="a node that is let in"
            )
        time.sleep(0.25)
        world.nodes.delete("flapping")
        time.sleep(0.25)
    # The last leave may not have been announced yet, so that all look up to date.
    wait_until(lambda: "10.77.2.210" not in rules(world), within=WITHIN, what="a closed address")
    looking.wait(*BOTH)
    took = time.monotonic() - begin
    # A burst of three, and then one in 2.5 s; on each of two minions.
    assert looking.runs() - before <= 2 * (3 + took / 2.5)


def test_a_pause_holds_and_resume_catches_up(looking: Looking) -> None:
    world = looking.world
    assert world.salt_run("k8s_nodes.pause")["paused"]
    before = looking.published()
    node(looking, "x1", "10.77.2.201")
    told = world.salt_run("k8s_nodes.apply", "prod", force=True)
    assert told["jobs"] == {}
    assert set(world.salt_run("k8s_nodes.plan")["minions"]) == set(BOTH)
    assert looking.published() == before
    world.salt_run("k8s_nodes.resume")
    looking.wait(*BOTH)
    plan = world.salt_run("k8s_nodes.plan")
    assert (plan["minions"], plan["waiting"]) == ({}, None)
    newest = world.salt_run("k8s_nodes.history", count=3)["entries"]
    assert [one["what"] for one in newest] == ["resumed", "changed", "paused"]
    assert set(newest[1]["seconds"]) == set(BOTH)
    assert newest[1]["added"] == ["10.77.2.201"]


def test_refresh_lists_anew(looking: Looking) -> None:
    health = looking.store.health.of("prod")
    assert health is not None
    told = looking.world.salt_run("k8s_nodes.refresh", "prod")
    again = looking.store.health.of("prod")
    assert again is not None
    assert told["prod"]["nodes"] == 0
    assert again.listed_at > health.listed_at
