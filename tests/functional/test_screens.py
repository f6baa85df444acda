"""The screens of the runner, as an operator sees them: golden files in ``tests/golden/screens``."""

from __future__ import annotations

import pytest

from salt_ext.admin import controls
from salt_ext.admin.address_history import address_history
from salt_ext.admin.check.report import check
from salt_ext.admin.confirm import confirm, reject
from salt_ext.admin.controls import By
from salt_ext.admin.history import history
from salt_ext.admin.observed import observed
from salt_ext.admin.setup import setup
from salt_ext.admin.status import status
from salt_ext.core.cluster.hold import Effect, Held, Kind
from salt_ext.master.settings import settings
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.observed import ObservedChanges
from salt_ext.rollout.plan import plan
from tests.functional.terminal import MINIONS, Master
from tests.golden import assert_golden

BOTH = frozenset(["prod", "test"])
KIM = By("kim as root", "new core switch until noon")


@pytest.fixture
def master(tmp_path, monkeypatch):
    return Master(tmp_path, monkeypatch)


@pytest.fixture
def healthy(master):
    master.healthy()
    return master


def assert_screen(master: Master, name: str, answer: object) -> None:
    assert_golden(f"screens/{name}.txt", master.screen(answer))


def assert_status(master: Master, name: str) -> None:
    config = settings(master.opts())
    assert_screen(master, name, status(config, master.store, master.match, brief=True))


def test_status_of_a_healthy_master(healthy):
    assert_status(healthy, "status-healthy")


def test_status_with_one_cluster_lost(healthy):
    healthy.now += 300
    healthy.watched(
        "test",
        state="waiting",
        heard_at=healthy.now - 290,
        lost_since=healthy.now - 290,
        error="https://192.0.2.251:6443: Connection refused",
        failures=14,
        errors=14,
        retry_at=healthy.now + 12,
    )
    healthy.watched("prod")
    assert_status(healthy, "status-cluster-lost")


def test_status_with_a_minion_out_of_date(healthy):
    healthy.save("prod", "192.0.2.1", "192.0.2.2", "192.0.2.3")
    answer = healthy.publish("web1", "web2", "web3")
    (jid,) = [jid for jid, names in answer["jobs"].items() if "db1" in names]
    error = "state.apply failed: firewall: nft: command not found"
    healthy.store.applied.record_failure(
        jid, "db1", error, counted=True, next_at=healthy.now + 20, now=healthy.now
    )
    healthy.now += 5
    healthy.watched("prod", nodes=3)
    healthy.watched("test")
    assert_status(healthy, "status-minion-out-of-date")


def departed(healthy) -> None:
    """Let a node leave, every minion prove a run without it, and a rule still let it in."""
    healthy.save("prod", "192.0.2.2", "192.0.2.3")
    healthy.now += 2
    healthy.publish(*MINIONS)
    healthy.close(open={"192.0.2.1": "iptables INPUT rule 7"})
    healthy.now += 70
    healthy.watched("prod")
    healthy.watched("test")


def test_status_with_an_address_that_left_and_is_still_open(healthy):
    departed(healthy)
    assert_status(healthy, "status-departure-open")


def test_check_with_an_address_that_left_and_is_still_open(healthy):
    departed(healthy)
    assert_screen(healthy, "check-departure-open", check(healthy.opts(), within=0, brief=True))


def test_plan_and_history_of_an_address_that_left(healthy):
    departed(healthy)
    config = settings(healthy.opts())
    assert_screen(
        healthy, "plan-departure-open", plan(config, healthy.store, healthy.match, BOTH, "db1")
    )
    healthy.close(closed={"192.0.2.1": "kernel and boot files read whole: nothing names it"})
    assert_screen(healthy, "history-departure-closed", history(config, healthy.store, "prod", 1))


def test_status_with_a_reactor_that_does_not_work(healthy):
    healthy.save("prod", "192.0.2.1", "192.0.2.2", "192.0.2.3")
    healthy.store.applied.mark_out_of_sync([(name, "prod") for name in MINIONS], healthy.now)
    healthy.store.health.raise_reactor_alarm(healthy.now)
    healthy.now += 25
    healthy.watched("prod", nodes=3)
    healthy.watched("test")
    assert_status(healthy, "status-reactor-silent")


def test_status_without_an_engine_and_with_a_mistake(healthy):
    healthy.engine_pid = None
    healthy.values["k8s_nodes"]["clusters"]["test"]["page_size"] = 0
    assert_status(healthy, "status-no-engine")


def test_check_of_a_healthy_master(healthy):
    assert_screen(healthy, "check-clean", check(healthy.opts(), within=0, brief=True))


def test_check_of_a_master_with_errors(healthy):
    del healthy.values["reactor"]
    prod = healthy.values["k8s_nodes"]["clusters"]["prod"]
    prod["page_size"] = 0
    healthy.values["k8s_nodes"]["clusters"]["test"]["mode"] = "observe"
    healthy.refer("db1", "k8s://prod", "k8s://stage", "k8s://test?labelSelector=pool=db")
    hold(healthy, "test")
    controls.pause(healthy.store, KIM)
    healthy.watched("test", refused={"outside allowed_networks": 2})
    assert_screen(healthy, "check-errors", check(healthy.opts(), within=0, brief=True))


def test_setup_of_a_new_master(master):
    answer = setup(master.opts(), {"states": ["firewall"]}, brief=True)
    assert_screen(master, "setup-new", answer)


def test_setup_of_a_master_with_lists_in_two_files(master):
    (master.folder / "master.d" / "git.conf").write_text(
        "ext_pillar: [{git: [https://git.example.com/pillar]}]\nengines: [{slack: {}}]\n"
    )
    answer = setup(master.opts(), {"server": "https://192.0.2.250:6443"}, brief=True)
    assert_screen(master, "setup-merged", answer)


def test_plan(healthy):
    healthy.save("prod", "192.0.2.2", "192.0.2.3")
    answer = plan(settings(healthy.opts()), healthy.store, healthy.match, BOTH)
    assert_screen(healthy, "plan", answer)


def test_history(healthy):
    healthy.save("prod", "192.0.2.2", "192.0.2.3")
    healthy.now += 4
    healthy.publish("web1", "web2", "db1")
    hold(healthy, "prod")
    healthy.now += 30
    (token, _) = (change.token for change in healthy.store.holds.of("prod"))
    confirm(
        settings(healthy.opts()),
        healthy.store,
        "prod",
        By(name="kim", reason="two are rebuilt"),
        [token],
    )
    controls.pause(healthy.store, KIM)
    healthy.now += 30
    controls.resume(healthy.store, KIM)
    controls.record_apply(
        healthy.store, By(name="kim"), force=True, minions="web3", jobs={"20231114221550000007": []}
    )
    answer = history(settings(healthy.opts()), healthy.store, None, 20)
    assert_screen(healthy, "history", answer)


def test_history_of_an_address_that_left(healthy):
    departed(healthy)
    config = settings(healthy.opts())
    answer = address_history(
        config, healthy.store, "192.0.2.1", minion="db1", at="2023-11-14T22:14"
    )
    assert_screen(healthy, "history-address", answer)


def test_status_of_a_pause(healthy):
    controls.pause(healthy.store, KIM)
    assert_status(healthy, "status-paused")


def test_confirm(healthy):
    hold(healthy, "prod")
    opts = settings(healthy.opts())
    picture = confirm(opts, healthy.store, "prod", By(name="kim"))
    assert_screen(healthy, "confirm-picture", picture)
    (token, _) = (change.token for change in healthy.store.holds.of("prod"))
    answer = confirm(opts, healthy.store, "prod", By(name="kim"), [token])
    assert_screen(healthy, "confirm", answer)


def test_reject(healthy):
    growth = Held(
        kind=Kind.GROWTH,
        why="2 nodes joined a cluster of 1 nodes within 600 s",
        subjects={"n8": "a", "n9": "b"},
        effect=Effect(join=2, open=2),
    )
    healthy.store.holds.replace("prod", [growth], healthy.now - 10)
    answer = reject(settings(healthy.opts()), healthy.store, "prod", By(name="kim"), [growth.token])
    assert_screen(healthy, "reject", answer)


def test_pause_and_resume(healthy):
    screens = [
        controls.pause(healthy.store, KIM),
        controls.resume(healthy.store, KIM),
    ]
    text = "\n".join(healthy.screen(answer) for answer in screens)
    assert_golden("screens/pause-resume.txt", text)


def hold(master: Master, cluster: str) -> None:
    """Let guards hold a change that can be confirmed, and one that cannot."""
    held = [
        Held(
            kind=Kind.SHRINK,
            why="2 of 3 nodes are gone at once",
            subjects=dict.fromkeys(["prod-1", "prod-2"], ""),
            effect=Effect(leave=2, close=2),
        ),
        Held(
            kind=Kind.NODE,
            why="40 addresses, at most 16 are allowed",
            subjects=dict.fromkeys(["n3"], ""),
        ),
    ]
    master.store.holds.replace(cluster, held, master.now - 10)


def test_observed_and_status_and_check_with_mode_observe(healthy):
    for cluster in ("prod", "test"):
        healthy.values["k8s_nodes"]["clusters"][cluster]["mode"] = "observe"
    config = settings(healthy.opts())
    engine = ObservedChanges(healthy.store, healthy.match)

    def look() -> None:
        desired = DesiredState(healthy.store).desired(config)
        engine.update(config, desired, healthy.store.applied.all(), healthy.now)

    look()
    healthy.now += 3600
    healthy.save("prod", "192.0.2.2", "192.0.2.3")
    look()
    healthy.now += 86_400
    hold(healthy, "prod")
    healthy.refer("web2")
    look()
    healthy.now += 3600
    healthy.watched("prod")
    healthy.watched("test")
    assert_screen(healthy, "observed", observed(config, healthy.store))
    assert_status(healthy, "status-observe")
    assert_screen(healthy, "check-observe", check(healthy.opts(), within=0, brief=True))
