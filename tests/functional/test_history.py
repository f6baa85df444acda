"""The history keeps what persons did and what changed, whatever machines and minions do."""

from __future__ import annotations

import itertools

import pytest

from salt_ext.admin.controls import By, pause, resume
from salt_ext.admin.history import history as shown
from salt_ext.core.config.config import read
from salt_ext.store import Store, history
from salt_ext.store.history import HistoryEntry

NOW = 1_700_000_000.0
KIM = By("kim as root", "new core switch until noon")


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "state"))


def changed(cluster: str, revision: int, *nodes: str, at: float = NOW) -> HistoryEntry:
    detail = {"revision": revision, "added": [f"192.0.2.{revision % 250}"], "removed": []}
    return HistoryEntry(at=at, cluster=cluster, what="changed", detail=detail, nodes=nodes)


def pillar(minion: str, n: int, at: float = NOW) -> HistoryEntry:
    detail = {"minion": minion, "refers_to": [f"k8s://prod?n={n}"], "no_longer_to": []}
    return HistoryEntry(at=at, cluster="", what="pillar", detail=detail)


def departed(cluster: str, n: int, *minions: str) -> HistoryEntry:
    detail = {"addresses": [f"192.0.2.{n % 250}"], "minions": list(minions), "causes": [str(n)]}
    return HistoryEntry(at=NOW, cluster=cluster, what="departed", detail=detail)


def kinds(store: Store, cluster: str = "", limit: int = 10**6) -> list[str]:
    return [entry.what for entry in store.history.newest(cluster, limit)]


def kinds_by_kim(store: Store, cluster: str) -> set[str]:
    newest = store.history.newest(cluster, 10**6)
    return {entry.what for entry in newest if entry.detail.get("by") == "kim"}


@pytest.fixture
def small(monkeypatch):
    """Bounds that a test fills in milliseconds."""
    for name, bound in (
        ("MAX_OF_ACTION", 20),
        ("MAX_OF_CLUSTER", 20),
        ("MAX_OF_MINION", 5),
        ("MAX_OF_MINIONS", 30),
    ):
        monkeypatch.setattr(history, name, bound)


@pytest.fixture
def words(store):
    """What persons did and what changed, before anything tries to push it out."""
    store.history.record_action("confirmed", "kim", NOW, cluster="prod", token="t1", reason="new")
    store.history.record_action("paused", "kim", NOW)
    store.history.record(changed("prod", 1, "n1"))
    store.history.record(departed("prod", 1, "web1", "web2"))


@pytest.mark.usefixtures("small", "words")
class TestWhatPushesNothingOut:
    @pytest.fixture(autouse=True)
    def _nothing_is_lost(self, store):
        yield
        assert {"changed", "departed"} <= set(kinds(store, "prod"))
        assert "confirmed" in kinds_by_kim(store, "prod")
        assert "paused" in kinds_by_kim(store, "")

    def test_a_minion_that_toggles_its_references(self, store):
        for n in range(300):
            store.history.record(pillar("web1", n, NOW + n))
            store.history.record(departed("prod", n, "web1"))
        assert kinds(store).count("pillar") + kinds(store, "prod").count("departed") <= 6

    def test_a_minion_that_does_it_slowly(self, store):
        for n in range(100):
            store.history.record(pillar("web1", n, NOW + 7200 * n))
            store.history.record(departed("prod", n, "web1"))
        store.history.record(pillar("web2", 1))
        assert kinds(store).count("pillar") <= 6

    def test_many_minions_that_do_it(self, store, monkeypatch):
        monkeypatch.setattr(history, "MINIONS_BURST", 100.0)
        for n, minion in itertools.product(range(3), range(100)):
            store.history.record(pillar(f"m{minion}", n, NOW + n))
        # The newest of them are kept, and those that came too fast are counted in one.
        found = store.history.newest("", 10**6)
        assert sum(entry.what == "pillar" for entry in found) == 31
        assert found[0].detail == {"omitted": history._OMITTED}
        assert found[0].times == 200

    def test_a_flapping_kubelet_of_another_cluster(self, store):
        for n in range(500):
            store.history.record(changed("test", n, f"n{n}"))

    def test_a_flapping_kubelet_of_the_same_cluster(self, store):
        for n in range(500):
            store.history.record(changed("prod", n, "n9", at=NOW + n * 3))

    def test_a_script_that_calls_other_actions(self, store):
        for n in range(100):
            store.history.record_action("refreshed", "kim", NOW + n * 7200, clusters=[str(n)])

    def test_a_machine_that_calls_the_same_actions(self, store):
        for n in range(100):
            who = "minion web1 (peer_run)"
            store.history.record_action("paused", who, NOW + n, automatic=True)
            store.history.record_action("confirmed", who, NOW, cluster="prod", automatic=True)


@pytest.mark.usefixtures("small")
def test_each_share_keeps_its_newest(store):
    for n in range(60):
        store.history.record(changed("prod", n, f"n{n}"))
        store.history.record(changed("test", n, f"n{n}"))
    kept = [entry.detail["revision"] for entry in store.history.newest("prod", 100)]
    assert kept == list(range(59, 39, -1))
    assert len(store.history.newest("test", 100)) == 20
    assert len(store.history.newest("test", 3)) == 3
    assert store.history.newest("other", 3) == []


class TestFolding:
    def test_frequent_changes_of_the_same_nodes_are_counted_in_the_newest(self, store):
        for n in range(612):
            store.history.record(changed("prod", n, "n1", at=NOW + 3 * n))
        newest, *others = store.history.newest("prod", 100)
        assert (newest.times, newest.detail["revision"]) == (603, 611)
        assert (newest.at, newest.first_at) == (NOW + 3 * 611, NOW + 27)
        assert [entry.detail["revision"] for entry in others] == list(range(8, -1, -1))

    def test_it_ends_after_an_hour_without_one(self, store):
        for n in range(20):
            store.history.record(changed("prod", n, "n1"))
        store.history.record(changed("prod", 99, "n1", at=NOW + 3601))
        newest = store.history.newest("prod", 1)[0]
        assert (newest.times, newest.first_at) == (1, None)

    def test_changes_of_other_nodes_are_kept_apart(self, store):
        for n in range(30):
            store.history.record(changed("prod", n, f"n{n}"))
        assert len(store.history.newest("prod", 100)) == 30

    def test_decisions_are_never_counted(self, store):
        for n in range(50):
            store.history.record_action("paused", "kim", NOW + n)
        assert len(store.history.newest("", 100)) == 50

    def test_the_answer_has_the_number_and_the_first_time(self, store):
        for n in range(20):
            store.history.record_action("refreshed", "kim", NOW + n, clusters=["prod"])
        entry = shown(read({"clusters": {}}, "m"), store, None, 1)["entries"][0]
        assert (entry["times"], entry["at"]) == (11, "2023-11-14T22:13:39Z")
        assert entry["first_at"] == "2023-11-14T22:13:29Z"


def test_a_confirmation_gets_the_revision_that_followed_once(store):
    for token in ("t1", "t2"):
        store.history.record_action("confirmed", "kim", NOW, cluster="prod", token=token)
    store.history.followed("prod", ["t1"], 7)
    store.history.followed("prod", ["t1"], 8)
    store.history.followed("test", ["t2"], 9)
    found = store.history.confirmations("prod", ["t1", "t2", "t3"])
    assert {token: entry.detail.get("revision") for token, entry in found.items()} == {
        "t1": 7,
        "t2": None,
    }


def test_a_pause_and_its_end_say_who_why_and_what_was_waiting(store):
    store.applied.mark_out_of_sync([("web1", "prod"), ("web1", "test"), ("db1", "prod")], NOW)
    assert pause(store, KIM)["reason"] == KIM.reason
    resume(store, By("lee"))
    resumed, paused = store.history.newest("", 9)
    assert paused.detail == {"by": KIM.name, "reason": KIM.reason, "out_of_date": 2}
    assert resumed.detail == {"by": "lee", "out_of_date": 2, "restarted_classes": []}


class TestTheAnswer:
    @pytest.fixture
    def config(self):
        return read({"clusters": {}}, "m")

    def test_it_can_be_limited_to_what_persons_did(self, store, config):
        store.history.record_action("paused", "kim", NOW)
        for n in range(300):
            store.history.record(pillar(f"m{n}", 1, NOW + 1))
        (entry,) = shown(config, store, None, 20, ["paused", "resumed"])["entries"]
        assert entry["by"] == "kim"

    def test_it_can_be_limited_to_one_minion(self, store, config):
        store.history.record(pillar("web1", 1))
        store.history.record(departed("prod", 1, "web1", "web2"))
        for n in range(100):
            store.history.record(pillar(f"m{n}", 1, NOW + 1))
            store.history.record(changed("prod", n, f"n{n}"))
        entries = shown(config, store, None, 20, (), "web1")["entries"]
        assert sorted(entry["what"] for entry in entries) == ["departed", "pillar"]


def test_a_record_does_not_take_longer_when_the_history_is_full(store, monkeypatch):
    monkeypatch.setattr(history, "MAX_OF_MINIONS", 5000)
    for n in range(5000):
        store.history.record(pillar(f"m{n}", 1))
    # A tenth of a millisecond each; a statement that reads all of them takes ten times as long.
    steps = [0]

    def count() -> None:
        steps[0] += 1

    store.database._local.connection.set_progress_handler(count, 100)
    for n in range(100):
        store.history.record(pillar(f"n{n}", 1))
    store.database._local.connection.set_progress_handler(None, 0)
    assert steps[0] * 100 / 100 < 1000
    assert len(store.history.newest("", 10**6)) == 5000
