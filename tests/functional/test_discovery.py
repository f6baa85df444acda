"""Subscriptions are rebuilt from keys and cached grains alone, in bounded time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
import salt.cache
import salt.loader
import salt.version

from salt_ext.core.rollout.drift import LedgerEntry, OutOfSync
from salt_ext.master.keys import accepted_minions
from salt_ext.rollout.event_listener import HintMailbox
from salt_ext.rollout.key_watcher import KeyWatcher
from salt_ext.store import Store
from salt_ext.store.control import ControlFlag
from salt_ext.store.jobs import Job
from salt_ext.store.subscriptions import Answer, Seen
from tests.core.build import member, snapshot
from tests.functional.pillars import Pillars

CLUSTER = {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]}
SEEN = Seen(cluster="prod", answer=Answer.SERVED, digest="x")


@pytest.fixture
def pillars(tmp_path):
    found = Pillars(tmp_path, clusters={"prod": CLUSTER})
    one = member("n1", "192.0.2.1")
    Store(str(found.state_dir)).snapshots.save(snapshot(one), [one], [])
    (found.roots / "top.sls").write_text("base: {'role:db': [{match: grain}, data]}\n")
    (found.roots / "data.sls").write_text("allow: ['k8s://prod']\n")
    return found


@pytest.fixture
def store(pillars):
    return Store(str(pillars.state_dir))


@pytest.fixture
def discover(pillars):
    def run(**arguments):
        return salt.loader.runner(pillars.opts)["k8s_nodes.discover"](**arguments)

    return run


def known(pillars: Pillars, minion: str, **grains: str) -> None:
    """Keep the grains of an accepted minion as the master does when it asks for its pillar."""
    pillars.accept(minion)
    cache = salt.cache.factory(pillars.opts)
    kept = {"id": minion, **grains}
    if salt.version.__saltstack_version__.major >= 3008:
        cache.store("grains", minion, kept)
    else:
        cache.store(f"minions/{minion}", "data", {"grains": kept, "pillar": {}})


def forget_grains(pillars: Pillars, minion: str) -> None:
    """Forget them as the master does when a key is deleted."""
    cache = salt.cache.factory(pillars.opts)
    if salt.version.__saltstack_version__.major >= 3008:
        cache.flush("grains", minion)
    else:
        cache.flush(f"minions/{minion}")


def references(store: Store) -> dict[str, str]:
    return {row.minion: row.reference for row in store.subscriptions.all() if not row.gone}


def test_every_accepted_minion_is_found_by_its_grains(pillars, store, discover):
    for name in ("db1", "db2"):
        known(pillars, name, role="db")
    known(pillars, "web1", role="web")
    pillars.accept("new")
    answer = discover()
    assert answer == {
        "compiled": 3,
        "referring": {"db1": ["k8s://prod"], "db2": ["k8s://prod"]},
        "failed": {},
        "without_grains": ["new"],
        "forgotten": [],
        "left": 0,
    }
    assert references(store) == {"db1": "k8s://prod", "db2": "k8s://prod"}


def test_after_the_store_was_set_aside_they_are_all_there_again(pillars, store, discover):
    known(pillars, "db1", role="db")
    discover()
    before = store.subscriptions.all()
    for path in pillars.state_dir.glob("store.sqlite3*"):
        path.rename(path.with_name(f"aside-{path.name}"))
    assert store.subscriptions.all() == []
    store.snapshots.save(snapshot(member("n1", "192.0.2.1")), [member("n1", "192.0.2.1")], [])
    discover()
    assert store.subscriptions.all() == before


def test_it_is_bounded_and_goes_on_where_it_stopped(pillars, store, discover):
    for name in ("db1", "db2", "db3"):
        known(pillars, name, role="db")
    answer = discover(within=0)
    assert (answer["compiled"], answer["left"], answer["go_on_after"]) == (1, 2, "db1")
    assert list(references(store)) == ["db1"]
    answer = discover(after="db1")
    assert (answer["compiled"], answer["left"]) == (2, 0)
    assert "go_on_after" not in answer
    assert list(references(store)) == ["db1", "db2", "db3"]


def test_a_minion_without_a_key_is_forgotten(pillars, store, discover):
    known(pillars, "db1", role="db")
    store.subscriptions.record("old", "", {"k8s://prod": SEEN}, 1.0)
    assert discover()["forgotten"] == ["old"]
    assert list(references(store)) == ["db1"]


def test_when_no_key_is_found_at_all_no_minion_is_forgotten(pillars, store, discover):
    store.subscriptions.record("m1", "", {"k8s://prod": SEEN}, 1.0)
    assert "no minion was forgotten" in discover()["error"]
    assert list(references(store)) == ["m1"]


def test_a_pillar_that_fails_is_named_and_forgets_nothing(pillars, store, discover):
    known(pillars, "db1", role="db")
    discover()
    (pillars.roots / "data.sls").write_text("{{ nothing.there }}\n")
    answer = discover()
    assert list(answer["failed"]) == ["db1"]
    assert "errors" in answer["failed"]["db1"]
    assert list(references(store)) == ["db1"]


def test_a_reference_that_went_meanwhile_is_gone(pillars, store, discover):
    known(pillars, "db1", role="db")
    discover()
    (pillars.roots / "data.sls").write_text("allow: []\n")
    assert discover()["referring"] == {}
    assert [row.gone for row in store.subscriptions.all()] == [True]


def test_every_environment_that_a_minion_uses_is_compiled(pillars, store, discover):
    dev = pillars.folder / "dev"
    dev.mkdir()
    (dev / "top.sls").write_text("dev: {'*': [data]}\n")
    (dev / "data.sls").write_text("allow: ['k8s://prod?family=ipv4']\n")
    pillars.opts["pillar_roots"]["dev"] = [str(dev)]
    known(pillars, "db1", role="db")
    pillars.compile("db1", pillarenv="dev")
    (dev / "data.sls").write_text("allow: []\n")
    discover()
    rows = {(row.pillarenv, row.reference): row.gone for row in store.subscriptions.all()}
    assert rows[("dev", "k8s://prod?family=ipv4")] is True


def test_without_the_ext_pillar_it_says_so(pillars, discover):
    known(pillars, "db1", role="db")
    pillars.opts["ext_pillar"] = []
    assert "`ext_pillar` has no `k8s_nodes`" in discover()["error"]


def test_the_engine_forgets_a_minion_when_its_key_goes(pillars, store, caplog):
    for name in ("db1", "db2"):
        known(pillars, name, role="db")
        store.subscriptions.record(name, "", {"k8s://prod": SEEN}, 1.0)
    job = Job(jid="1", at=1.0, class_="", function="state.apply")
    store.jobs.record_dispatch(job, [out_of_sync("db1")])
    stop = threading.Event()
    watcher = KeyWatcher(store, pillars.opts, stop, interval=0.02)
    thread = threading.Thread(target=watcher.run)
    thread.start()
    try:
        (pillars.folder / "pki" / "minions" / "db1").unlink()
        wait_for(lambda: list(references(store)) == ["db2"])
        assert store.applied.all() == {}
        # A folder of keys that is away is no reason to forget anybody.
        (pillars.folder / "pki" / "minions" / "db2").unlink()
        wait_for(lambda: "no minion was forgotten" in caplog.text)
        assert list(references(store)) == ["db2"]
    finally:
        stop.set()
        thread.join()


def test_an_event_makes_it_look_sooner_but_not_all_the_time(pillars, store, monkeypatch):
    known(pillars, "db1", role="db")
    for name in ("db1", "db2"):
        store.subscriptions.record(name, "", {"k8s://prod": SEEN}, 1.0)
    looks: list[float] = []
    monkeypatch.setattr(
        "salt_ext.rollout.key_watcher.accepted_minions",
        lambda opts: looks.append(time.monotonic()) or accepted_minions(opts),
    )
    stop, keys_changed = threading.Event(), threading.Event()
    watcher = KeyWatcher(
        store, pillars.opts, stop, interval=600, min_interval=0.6, keys_changed=keys_changed
    )
    thread = threading.Thread(target=watcher.run)
    thread.start()
    try:
        keys_changed.set()
        wait_for(lambda: list(references(store)) == ["db1"])
        wait_for(lambda: bool(keys_changed.set() or len(looks) >= 3))
        assert min(b - a for a, b in pairwise(looks)) >= 0.6
        assert store.history.newest("", 1)[0].detail == {"minion": "db2"}
    finally:
        stop.set()
        thread.join()


class TestAKeyThatIsAcceptedAgain:
    """A minion that was there all the time asks for no pillar because of it."""

    @pytest.fixture
    def look(self, pillars, store, monkeypatch):
        """Forget db1, accept its key again and look; whom that asks for a pillar."""
        asked: list[str] = []

        class Publisher:
            def __init__(self, _opts):
                pass

            def new_jid(self):
                return "1"

            def apply(self, _jid, minions, what):
                asked.append(f"{','.join(minions)} {what}")

        monkeypatch.setattr("salt_ext.rollout.key_watcher.Publisher", Publisher)
        for name in ("db1", "db2"):
            known(pillars, name, role="db")
            store.subscriptions.record(name, "", {"k8s://prod": SEEN}, 1.0)
        expected: list[frozenset[str]] = []
        keys_changed = threading.Event()
        watcher = KeyWatcher(
            store,
            pillars.opts,
            threading.Event(),
            min_interval=0.0,
            keys_changed=keys_changed,
            expect=expected.append,
        )
        key = pillars.folder / "pki" / "minions" / "db1"
        key.unlink()
        watcher.check()
        assert list(references(store)) == ["db2"]
        assert expected == [frozenset(["db1"])]
        key.write_text("a key")

        def look() -> list[str]:
            keys_changed.clear()
            watcher.check()
            # Whoever was asked is looked after soon.
            assert keys_changed.is_set() is bool(asked)
            minions = [*asked]
            asked.clear()
            return minions

        return look

    def test_is_learned_from_the_grains_that_are_kept(self, store, look):
        assert look() == []
        assert list(references(store)) == ["db1", "db2"]
        assert store.subscriptions.deleted() == frozenset()

    def test_or_asks_the_minion_until_it_is_known(self, pillars, store, look):
        forget_grains(pillars, "db1")
        assert look() == ["db1 saltutil.refresh_pillar"]
        assert look() == ["db1 saltutil.refresh_pillar"]
        known(pillars, "db1", role="db")
        assert look() == []
        assert list(references(store)) == ["db1", "db2"]
        forget_grains(pillars, "db1")
        assert look() == []

    def test_and_others_with_it_at_once(self, pillars, store, look):
        key = pillars.folder / "pki" / "minions" / "db2"
        key.unlink()
        assert look() == []
        key.write_text("a key")
        for name in ("db1", "db2"):
            forget_grains(pillars, name)
        store.subscriptions.delete("db1", 2.0)
        assert look() == ["db1,db2 saltutil.refresh_pillar"]

    def test_not_for_ever_and_not_during_a_pause(self, pillars, store, look):
        forget_grains(pillars, "db1")
        store.decisions.pause(ControlFlag("alice", 1.0))
        assert look() == []
        store.decisions.resume()
        assert [look() for _ in range(20)].count([]) >= 17

    def test_one_that_refers_to_nothing_any_more_is_left_alone(self, pillars, store, look):
        known(pillars, "db1", role="web")
        assert look() == []
        assert store.subscriptions.deleted() == frozenset()


def test_the_names_of_the_forgotten_are_bounded(store, monkeypatch):
    monkeypatch.setattr("salt_ext.store.subscriptions._MAX_DELETED", 2)
    for number in range(4):
        store.subscriptions.delete(f"m{number}", float(number))
    assert store.subscriptions.deleted() == {"m2", "m3"}


def test_an_authentication_is_news_of_a_key_only_from_who_is_expected():
    mailbox = HintMailbox()
    mailbox.post("salt/auth", "db1")
    assert not mailbox.keys_changed.is_set()
    mailbox.expect(frozenset(["db1"]))
    mailbox.post("salt/auth", "db2")
    assert not mailbox.keys_changed.is_set()
    mailbox.post("salt/auth", "db1")
    assert mailbox.keys_changed.is_set()


def out_of_sync(minion: str) -> OutOfSync:
    entry = LedgerEntry(minion=minion, cluster="prod")
    return OutOfSync(minion=minion, cluster="prod", desired="x", entry=entry)


def wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)
