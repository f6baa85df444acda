"""The runner with minions: plan, status, pause, history, refresh."""

from __future__ import annotations

import json
import threading
import time

import pytest
import salt.config
import salt.loader

from salt_ext.admin import controls
from salt_ext.core.display import utc
from salt_ext.core.rollout.wave import RolloutState
from salt_ext.master.caller import caller
from salt_ext.master.settings import settings
from salt_ext.rollout.apply import ApplyRun
from salt_ext.store import Health, Store
from salt_ext.store.history import HistoryEntry
from salt_ext.store.locks import ENGINE, engine_lock
from salt_ext.store.subscriptions import Answer, Seen
from tests.core.build import member, snapshot
from tests.functional.returns import succeed

CLUSTER = {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]}


class Publisher:
    def __init__(self) -> None:
        self.jobs: dict[str, list[str]] = {}

    def new_jid(self) -> str:
        return str(len(self.jobs) + 1)

    def apply(self, jid: str, minions, _what) -> None:
        self.jobs[jid] = list(minions)


@pytest.fixture
def opts(tmp_path):
    found = salt.config.master_config(None)
    found.update(
        {
            "extension_modules": str(tmp_path / "extmods"),
            "cachedir": str(tmp_path / "cache"),
            "pki_dir": str(tmp_path / "pki"),
            "k8s_nodes": {
                "state_dir": str(tmp_path / "state"),
                "apply": {
                    "states": ["firewall"],
                    "min_interval": 0,
                    "classes": {"seen": {"target": "L@m3", "mode": "observe"}},
                },
                "clusters": {"prod": CLUSTER, "test": CLUSTER},
            },
        }
    )
    for kind in ("", "_pre", "_rejected", "_denied", "_autosign"):
        (tmp_path / "pki" / f"minions{kind}").mkdir(parents=True)
    for minion in ("m1", "m2", "m3"):
        (tmp_path / "pki" / "minions" / minion).write_text("a key")
    return found


@pytest.fixture
def run(opts):
    return salt.loader.runner(opts)


@pytest.fixture
def store(tmp_path):
    found = Store(str(tmp_path / "state"))
    save(found, "192.0.2.1", "192.0.2.2", at=time.time() - 100)
    for minion in ("m1", "m2", "m3"):
        seen = {"k8s://prod": Seen(cluster="prod", answer=Answer.SERVED)}
        found.subscriptions.record(minion, "base", seen, time.time())
    return found


def save(store: Store, *addresses: str, at: float | None = None) -> None:
    """Let these be the nodes of prod, and no others."""
    old = store.snapshots.load("prod")
    members = [member(f"n{address}", address) for address in addresses]
    revision = store.snapshots.revision("prod") + 1
    view = snapshot(*members, revision=revision)
    store.snapshots.save(view, members, list(old.members) if old else [])
    store.history.record(
        HistoryEntry(
            at=at if at is not None else time.time(),
            cluster="prod",
            what="changed",
            detail={"cluster": "prod", "revision": revision, "added": list(addresses)},
        )
    )


def apply(opts, store: Store, *proven: str) -> None:
    """Publish to all minions that are out of date, and let some prove it."""
    publisher = Publisher()
    applying = ApplyRun(settings(opts), store, publisher)
    applying.run(frozenset(["prod"]), force=True)
    for jid in publisher.jobs:
        for minion in proven:
            succeed(store, jid, minion, time.time())


@pytest.mark.usefixtures("store")
class TestPlan:
    def test_it_shows_the_addresses_to_add_and_remove_and_publishes_nothing(self, opts, run, store):
        apply(opts, store, "m1", "m2")
        save(store, "192.0.2.2", "192.0.2.10", "192.0.2.9")
        for _ in range(2):
            answer = json.loads(json.dumps(run["k8s_nodes.plan"]()))
            assert answer["waiting"] is None
            assert answer["minions"]["m1"] == {
                "publishes": "state.apply firewall",
                "class": None,
                "when": "now",
                "clusters": {
                    "prod": {
                        "why": "addresses changed",
                        "added": ["192.0.2.9", "192.0.2.10"],
                        "removed": ["192.0.2.1"],
                        "desired": 3,
                    }
                },
            }
        assert store.jobs.minions_published_to(0.0, time.time()) == 3

    def test_the_present_addresses_are_not_guessed(self, run):
        change = run["k8s_nodes.plan"]()["minions"]["m1"]["clusters"]["prod"]
        assert (change["why"], change["added"], change["removed"]) == ("never applied", None, None)

    def test_it_shows_why_a_minion_waits(self, opts, run, store):
        apply(opts, store)
        store.applied.record_failure(
            "1", "m2", "no", counted=True, next_at=time.time() + 99, now=time.time()
        )
        minions = run["k8s_nodes.plan"]()["minions"]
        assert minions["m1"]["when"] == "job 1 is on its way"
        assert minions["m2"]["when"] in ("in 98 s", "in 99 s")
        assert minions["m2"]["clusters"]["prod"]["why"] == "no"

    def test_a_minion_that_is_only_observed_is_in_it(self, run):
        answer = run["k8s_nodes.plan"]()["minions"]["m3"]
        assert (answer["class"], answer["when"]) == ("seen", "observed only (mode: observe)")

    def test_it_can_be_limited_to_clusters_and_minions(self, run):
        assert set(run["k8s_nodes.plan"]("prod", minions="L@m2,m3")["minions"]) == {"m2", "m3"}
        assert run["k8s_nodes.plan"]("test")["minions"] == {}

    def test_a_long_list_is_cut(self, opts, run, store):
        apply(opts, store, "m1")
        save(store, *(f"192.0.2.{n}" for n in range(1, 151)))
        change = run["k8s_nodes.plan"]()["minions"]["m1"]["clusters"]["prod"]
        assert (len(change["added"]), change["added"][-1]) == (101, "and 48 more")


class TestStatus:
    def test_it_shows_since_when_minions_are_out_of_date_and_what_is_next(self, opts, run, store):
        apply(opts, store, "m1")
        answer = json.loads(json.dumps(run["k8s_nodes.status"]()))
        assert answer["summary"] == "1 of 3 minions are up to date, not: m2, m3"
        assert answer["publishing"] == "on"
        one, two = (answer["minions"][name]["prod"] for name in ("m1", "m2"))
        assert (one["up_to_date"], one["revision"]) == (True, 1)
        assert (two["why"], two["next"]) == (
            "job 1 has not returned yet",
            "job 1 is on its way",
        )
        assert two["behind_since"].endswith("Z")
        assert (two["published"]["jid"], two["published"]["revision"]) == ("1", 1)
        assert "published" not in one
        assert answer["classes"]["seen"] == {
            "publishes": "state.apply firewall",
            "mode": "observe",
            "target": "L@m3",
        }

    def test_the_last_error_stays_while_the_next_try_is_in_flight(self, opts, run, store):
        apply(opts, store)
        again = time.time() + 99
        store.applied.record_failure("1", "m2", "no", counted=True, next_at=again, now=time.time())
        answer = run["k8s_nodes.status"]()["minions"]["m2"]["prod"]
        assert (answer["last_error"], answer["why"]) == ("no", "no")
        assert answer["next_try_at"] == utc(again)
        apply(opts, store)
        answer = run["k8s_nodes.status"]()["minions"]["m2"]["prod"]
        assert (answer["last_error"], answer["failed_attempts"]) == ("no", 1)
        assert "has not returned yet" in answer["why"]

    def test_a_terminal_shows_minions_that_are_out_of_date_and_json_all(self, opts, store):
        apply(opts, store, "m1")
        for number in range(30):
            seen = {"k8s://prod": Seen(cluster="prod", answer=Answer.SERVED)}
            store.subscriptions.record(f"x{number:02}", "base", seen, time.time())
        answer = salt.loader.runner({**opts, "fun": "k8s_nodes.status"})["k8s_nodes.status"]()
        assert list(answer["minions"])[:3] == ["m2", "m3", "x00"]
        assert len(answer["minions"]) == 20
        assert answer["summary"].startswith("1 of 33 minions")
        asked = {**opts, "fun": "k8s_nodes.status", "output": "json"}
        assert len(salt.loader.runner(asked)["k8s_nodes.status"]()["minions"]) == 33

    def test_a_silent_minion_thread_of_the_engine_is_shown(self, run, store, monkeypatch):
        now = time.time()
        monkeypatch.setattr("salt_ext.master.processes.started_at", lambda _: now - 7200)
        store.health.report("prod", Health(state="watching", reported_at=now))
        store.health.minion_loop_seen(now)
        with engine_lock(store.database.path.parent / ENGINE, threading.Event()):
            assert run["k8s_nodes.status"]()["engine"] == "running"
            store.health.minion_loop_seen(now - 600)
            answer = run["k8s_nodes.status"]()["engine"]
        assert answer.startswith("running, but its minion thread has reported nothing for 60")

    def test_a_class_that_is_stopped_is_shown_with_its_next_try(self, run, store):
        wave = RolloutState(
            started_at=1.0, stopped="stopped: x", retry_at=time.time() + 600, consecutive_stops=1
        )
        store.rollouts.save("", wave)
        answer = run["k8s_nodes.status"]()
        assert answer["classes"]["(none)"]["stopped"] == "stopped: x"
        assert 300 < answer["classes"]["(none)"]["next_try_seconds"] <= 600
        assert answer["minions"]["m1"]["prod"]["next"] == "stopped: x"

    def test_a_mistake_that_stops_publishing_is_shown(self, opts):
        opts["k8s_nodes"]["apply"]["stats"] = ["x"]
        answer = salt.loader.runner(opts)["k8s_nodes.status"]()
        assert "k8s_nodes:apply:stats" in answer["publishing"]


class TestPause:
    def test_it_stops_all_publishing_and_names_the_user(self, run, store):
        answer = run["k8s_nodes.pause"]()
        assert answer["paused"]
        assert run["k8s_nodes.apply"]()["waiting"].startswith(f"paused by {answer['by']}")
        assert run["k8s_nodes.status"]()["publishing"].startswith(f"paused by {answer['by']}")
        assert run["k8s_nodes.plan"]()["waiting"].startswith("paused by")
        assert run["k8s_nodes.pause"]()["since"] == answer["since"]
        store.rollouts.save(
            "", RolloutState(started_at=1.0, stopped="x", retry_at=1e12, consecutive_stops=9)
        )
        assert run["k8s_nodes.resume"]() == {
            "paused": False,
            "was_paused": True,
            "restarted_classes": ["(none)"],
        }
        assert run["k8s_nodes.resume"]()["was_paused"] is False
        assert store.rollouts.all() == {}
        assert [entry.what for entry in store.history.newest("", 9)] == ["resumed", "paused"]


class TestHistory:
    def test_it_shows_changes_and_how_long_each_minion_took(self, opts, run, store):
        now = time.time()
        save(store, "192.0.2.3", at=now - 30)
        save(store, "192.0.2.4", at=now - 2)
        apply(opts, store, "m1", "m2")
        store.history.record(
            HistoryEntry(at=now + 1, cluster="", what="paused", detail={"by": "a"})
        )
        answer = json.loads(json.dumps(run["k8s_nodes.history"](count=3)))["entries"]
        assert [entry["what"] for entry in answer] == ["paused", "changed", "changed"]
        assert answer[0]["by"] == "a"
        assert (answer[1]["revision"], answer[1]["added"]) == (3, ["192.0.2.4"])
        assert 2 <= answer[1]["seconds"]["m1"] < 29
        # Both were out of date only after that change.
        assert answer[2]["seconds"] == {}
        assert len(run["k8s_nodes.history"]("prod", count="1")["entries"]) == 1

    def test_it_names_the_user_of_an_apply_by_hand(self, run, store, monkeypatch):
        publisher = Publisher()
        monkeypatch.setattr("salt_ext.master.publisher.Publisher", lambda _: publisher)
        with monkeypatch.context() as patched:
            # As Salt's client of the reactor puts it there.
            globals_ = run["k8s_nodes.apply"].__globals__
            patched.setitem(globals_, "__user__", "Reactor")
            run["k8s_nodes.apply"]("prod")
        assert publisher.jobs
        assert store.history.newest("", 9) == []
        run["k8s_nodes.apply"](minions="m3", force=True, reason="a new\nrack\x1b[2J")
        (answer,) = run["k8s_nodes.history"](count=1)["entries"]
        assert answer.pop("by") == caller({}, None).name
        del answer["at"]
        assert answer == {
            "what": "applied",
            "reason": "a new rack\\x1b[2J",
            "force": True,
            "minions": "m3",
            "jobs": ["2"],
        }

    def test_it_has_an_apply_by_hand_without_arguments(self, run, store, monkeypatch):
        publisher = Publisher()
        monkeypatch.setattr("salt_ext.master.publisher.Publisher", lambda _: publisher)
        run["k8s_nodes.apply"]()
        assert [entry.what for entry in store.history.newest("", 9)] == ["applied"]

    def test_one_run_of_a_minion_proves_several_changes(self, opts, run, store):
        apply(opts, store, "m1")
        now = time.time() - 1
        save(store, "192.0.2.3", at=now)
        store.applied.mark_out_of_sync([("m1", "prod")], now)
        save(store, "192.0.2.4", at=now + 0.5)
        apply(opts, store, "m1")
        entries = run["k8s_nodes.history"]("prod")["entries"]
        first, second, *_ = [entry for entry in entries if entry["what"] == "changed"]
        assert set(first["seconds"]) == set(second["seconds"]) == {"m1"}


def test_apply_takes_a_cluster_that_was_removed_and_refuses_one_that_was_never_there(
    opts, store, monkeypatch
):
    apply(opts, store, "m1", "m2")
    del opts["k8s_nodes"]["clusters"]["prod"]
    publisher = Publisher()
    monkeypatch.setattr("salt_ext.master.publisher.Publisher", lambda _: publisher)
    run = salt.loader.runner(opts)
    # Asked for its pillar, which tells whether the reference is gone too; m3 has a job in flight.
    assert run["k8s_nodes.apply"]("prod")["jobs"] == {"1": ["m1", "m2"]}
    assert "other" in run["k8s_nodes.apply"]("other")["error"]


class TestRefresh:
    def test_without_an_engine_it_lists_nothing_and_says_so(self, run, store):
        answer = run["k8s_nodes.refresh"]("prod")
        assert answer == {"prod": "not listed: the engine is not running"}
        assert store.control.take_refreshes() == []

    def test_it_asks_the_engine_and_waits_for_the_list(self, opts, store):
        config = settings(opts)
        stop = threading.Event()
        answer: dict = {}
        with engine_lock(store.database.path.parent / ENGINE, stop):
            thread = threading.Thread(
                target=lambda: answer.update(
                    controls.refresh(
                        config, store, frozenset(["prod", "test"]), controls.By("kim"), 2.0
                    )
                )
            )
            thread.start()
            taken: list[str] = []
            while len(taken) < 2:
                taken += store.control.take_refreshes()
            store.health.report(
                "prod", Health(state="watching", reported_at=1.0, listed_at=time.time(), nodes=2)
            )
            store.health.report("test", Health(state="waiting", reported_at=1.0, error="refused"))
            thread.join()
        assert sorted(taken) == ["prod", "test"]
        assert (answer["prod"]["nodes"], answer["prod"]["revision"]) == (2, 1)
        assert answer["test"] == "not listed within 2 s: refused"


@pytest.mark.parametrize("function", ["plan", "apply", "refresh", "history"])
def test_a_cluster_that_is_not_configured_is_refused_by_name(run, function):
    assert "'other' is not configured" in run[f"k8s_nodes.{function}"]("other")["error"]
