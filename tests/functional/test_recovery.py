"""After a loss of the store nothing is published, until views agree with what minions have."""

from __future__ import annotations

import itertools
import json
import logging
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from salt_ext.admin import controls
from salt_ext.admin.check import configuration as check_configuration
from salt_ext.admin.controls import By
from salt_ext.admin.status import status
from salt_ext.core import metrics
from salt_ext.core.config import config
from salt_ext.core.config.apply import Action
from salt_ext.core.rollout.recovery import Report
from salt_ext.daemon.metrics import MetricsCollector
from salt_ext.rollout import recovery
from salt_ext.rollout.apply import ApplyRun
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.plan import plan
from salt_ext.rollout.publishing import NOT_COMPARED, publishing_stopped
from salt_ext.rollout.recovery import StoreRecovery
from salt_ext.rollout.selection import RECOVERING, ApplyRequest, BatchSelector
from salt_ext.store import Store, store_id
from salt_ext.store.control import ControlFlag
from tests.core.build import member, snapshot
from tests.functional.test_apply import CLUSTER, Published, refer

ALL = frozenset(["prod", "test"])


def damage(store: Store, content: bytes) -> None:
    """Replace the store's content; its journal could repair it."""
    folder = store.database.path.parent
    for part in folder.glob("store.sqlite3*"):
        part.unlink()
    (folder / "store.sqlite3").write_bytes(content)


def listed(*numbers: int, net: str = "192.0.2") -> list[str]:
    return [f"{net}.{number}" for number in numbers]


class Minions:
    """Accepted minions: their pillars, their answers, and the master's publisher and job cache."""

    has_ext_pillar = True

    def __init__(self, store: Store) -> None:
        self.store = store
        self.pillars: dict[str, tuple[str, ...]] = {}
        self.answers: dict[str, Any] = {}
        """What each returns; a minion that is not in it is silent."""
        self.asked: list[tuple[list[str], Action]] = []
        self.cache: dict[str, dict[str, dict[str, Any]]] = {}
        self._numbers = itertools.count(1)

    def accepted_minions(self) -> frozenset[str]:
        return frozenset(self.pillars)

    def compile(self, minion: str, pillarenv: str) -> None:
        assert pillarenv in ("", "base")
        if clusters := self.pillars[minion]:
            refer(Store(str(self.store.database.path.parent)), minion, *clusters)

    def new_jid(self) -> str:
        return f"q{next(self._numbers)}"

    def apply(self, jid: str, minions: Sequence[str], action: Action) -> None:
        self.asked.append((list(minions), action))
        self.cache[jid] = {
            name: {"return": self.answers[name]} for name in minions if name in self.answers
        }

    def returns(self, jid: str) -> Mapping[str, Mapping[str, Any]]:
        return self.cache.get(jid, {})


def answer(*numbers: int, clusters: tuple[str, ...] = ("prod",)) -> dict[str, Any]:
    addresses = listed(*numbers)
    return {
        "version": "v",
        "digest": str(addresses),
        "clusters": {name: {"revision": 7, "observed_at": 1.0} for name in clusters},
        "addresses": addresses,
    }


def pin(store: Store, cluster: str, identity: str) -> None:
    """Pin an identity, as the engine does for an accepted view."""
    store.decisions.update(cluster, lambda known: msgspec.structs.replace(known, identity=identity))


class Master:
    """A master whose engine runs step by step."""

    def __init__(self, folder: Path, clock: SimpleNamespace) -> None:
        self.folder = folder
        self.clock = clock
        self.config = config.read(
            {
                "state_dir": str(folder),
                "clusters": {"prod": CLUSTER, "test": CLUSTER},
                "apply": {"states": ["firewall"], "min_interval": 0, "batch": 3},
            }
        )
        assert not self.config.problems
        self.store = Store(str(folder))
        self.minions = Minions(self.store)
        self.published = Published()
        self.restart()

    def restart(self) -> None:
        """Start another engine."""
        self.store = Store(str(self.folder))
        self.engine = StoreRecovery(
            self.config,
            self.store,
            self.minions,
            self.minions,
            lambda: self.minions,
            threading.Event(),
        )

    def lists(self, cluster: str, *numbers: int) -> None:
        """Store a view, as the engine does."""
        known = self.store.snapshots.load(cluster)
        view = snapshot(
            *(member(f"n{number}", f"192.0.2.{number}") for number in numbers),
            cluster=cluster,
            revision=(known.revision if known else 0) + 1,
        )
        gone = [name for name in (known.members if known else ()) if name not in view.members]
        self.store.snapshots.save(view, view.members.values(), gone)
        pin(self.store, cluster, view.identity)

    def minion(self, name: str, *numbers: int, clusters: tuple[str, ...] = ("prod",)) -> None:
        self.minions.pillars[name] = clusters
        self.minions.answers[name] = answer(*numbers, clusters=clusters)
        if clusters:
            refer(self.store, name, *clusters)

    def steps(self, number: int = 1) -> None:
        for _ in range(number):
            self.engine.step()
            self.clock.now += 2.0

    def lose(self) -> None:
        """Delete the store."""
        for path in self.folder.glob("store.sqlite3*"):
            path.unlink()

    def applied(self, **more: Any) -> list[str]:
        """Apply, and return the minions that were published to."""
        run = ApplyRun(self.config, self.store, self.published)
        jobs = run.run(ALL, **more)["jobs"]
        return sorted(name for minions in jobs.values() for name in minions)

    def why(self) -> str | None:
        return publishing_stopped(self.config, self.store)


@pytest.fixture
def clock(monkeypatch):
    found = SimpleNamespace(now=1_700_000_000.0)
    monkeypatch.setattr(
        "salt_ext.rollout.recovery.time",
        SimpleNamespace(time=lambda: found.now, monotonic=lambda: found.now),
    )
    return found


@pytest.fixture
def master(tmp_path, clock):
    """A master with a few minions that are as the views are."""
    found = Master(tmp_path / "state", clock)
    found.lists("prod", 1, 2, 3, 4)
    found.lists("test", 8, 9)
    found.minion("web1", 1, 2, 3, 4)
    found.minion("web2", 1, 2, 3, 4)
    found.minion("db1", 8, 9, clusters=("test",))
    found.steps()
    return found


class TestNoLoss:
    def test_a_fresh_install_is_no_loss(self, tmp_path, clock):
        fresh = Master(tmp_path / "fresh", clock)
        assert fresh.why() is None
        fresh.steps(2)
        assert fresh.why() is None
        assert fresh.minions.asked == []

    def test_a_store_without_decisions_is_the_first_run_of_this_version(self, tmp_path, clock):
        found = Master(tmp_path / "old", clock)
        refer(found.store, "web1", "prod")
        view = snapshot(member("n1", "192.0.2.1"), cluster="prod")
        found.store.snapshots.save(view, view.members.values(), [])
        assert found.why() is None
        found.steps()
        assert found.why() is None
        assert found.store.decisions.read().store == found.store.continuity.mark()

    def test_a_restart_is_no_loss(self, master):
        master.restart()
        master.steps(2)
        assert master.why() is None
        assert master.minions.asked == []
        assert master.applied() == ["db1", "web1", "web2"]

    def test_a_loss_after_a_pause_is_noticed_although_no_engine_ran(self, tmp_path, clock):
        found = Master(tmp_path / "new", clock)
        controls.pause(found.store, By(name="kim"))
        found.lose()
        found.restart()
        assert found.why().startswith("paused by kim")
        found.store.decisions.resume()
        assert "the store was deleted" in found.why()

    def test_a_pause_before_the_first_engine_is_no_loss(self, tmp_path, clock):
        found = Master(tmp_path / "new", clock)
        controls.pause(found.store, By(name="kim"))
        found.steps()
        controls.resume(found.store, By(name="kim"))
        assert found.why() is None


class TestLoss:
    @pytest.fixture(params=["deleted", "emptied", "damaged", "newer"])
    def lost(self, request, master):
        if request.param == "deleted":
            master.lose()
        elif request.param == "emptied":
            damage(master.store, b"")
        elif request.param == "damaged":
            damage(master.store, b"x" * 4096)
        else:
            connection = master.store.database._connection()
            connection.execute("PRAGMA user_version = 99")
        master.restart()
        return master

    def test_nothing_is_published_until_the_views_agree(self, lost):
        assert lost.why().startswith("nothing is published for prod, test: the store was ")
        lost.steps(3)
        assert lost.applied() == lost.applied(force=True) == []
        lost.lists("prod", 1, 2, 3, 4)
        lost.lists("test", 8, 9)
        lost.steps(4)
        assert lost.why() is None
        assert lost.applied() == ["db1", "web1", "web2"]
        (recovered, begun) = lost.store.history.newest("", 2)
        assert (begun.what, recovered.what) == ("store lost", "recovered")

    def test_a_view_that_minions_do_not_know_is_never_published(self, lost):
        lost.lists("prod")
        lost.lists("test", 8, 9)
        lost.steps(20)
        assert lost.applied() == ["db1"]
        assert lost.applied(force=True, minions="web*") == []
        assert "nothing is published for prod:" in lost.why()
        shown = status(lost.config, lost.store)
        assert shown["recovery"]["clusters"] == {
            "prod": "4 of 4 addresses that minions have are in no view: "
            "192.0.2.1, 192.0.2.2, 192.0.2.3 and 1 more",
            "test": "agrees with 1 minions: 2 addresses are the same, 0 are gone, 0 are new",
        }
        assert "salt-run k8s_nodes.resume" in shown["publishing"]

    def test_a_person_ends_it_and_history_says_who(self, lost):
        lost.lists("prod")
        lost.lists("test", 8, 9)
        lost.steps(5)
        answered = controls.resume(lost.store, By(name="kim"))
        assert answered["recovered"].startswith("the store was ")
        assert lost.why() is None
        lost.steps(3)
        assert lost.why() is None
        entry = lost.store.history.newest("", 1)[0]
        assert (entry.what, entry.detail["by"]) == ("resumed", "kim")
        assert entry.detail["recovered"] == answered["recovered"]
        assert lost.applied() == ["db1", "web1", "web2"]

    def test_a_person_who_is_quicker_than_the_engine_is_not_overruled(self, lost, monkeypatch):
        lost.lists("prod", 1, 2, 3, 4)
        lost.steps(3)

        def judge(*_: Any) -> dict[str, Report]:
            controls.resume(lost.store, By(name="kim"))
            return {}

        monkeypatch.setattr(recovery, "judge", judge)
        lost.lists("test")
        lost.steps()
        assert lost.store.decisions.read().recovery is None
        assert lost.why() is None

    def test_minions_are_found_also_after_a_person_has_ended_it(self, lost, monkeypatch):
        monkeypatch.setattr(recovery, "_SLICE", 0.0)
        lost.steps(1)
        known = lost.store.subscriptions.known()
        assert known < lost.minions.accepted_minions()
        controls.resume(lost.store, By(name="kim"))
        lost.steps(10)
        assert lost.store.subscriptions.known() == lost.minions.accepted_minions()

    def test_a_pause_goes_on_and_no_minion_is_asked_meanwhile(self, lost):
        lost.store.decisions.pause(ControlFlag("kim", 1.0))
        lost.lists("prod", 1, 2, 3, 4)
        lost.lists("test", 8, 9)
        lost.steps(5)
        assert lost.minions.asked == []
        assert lost.why().startswith("paused by kim")
        # To find them asks none of them, and a person may end it all by `resume`.
        assert lost.store.subscriptions.known() == lost.minions.accepted_minions()
        lost.store.decisions.resume()
        lost.steps(5)
        assert lost.why() is None


@pytest.mark.parametrize("replaced", [True, False])
def test_a_store_that_was_set_aside_is_named(master, replaced):
    if replaced:
        damage(master.store, b"x" * 4096)
    else:
        master.store.database._connection().execute("PRAGMA user_version = 99")
    master.restart()
    master.steps()
    (aside,) = (
        path.name
        for path in master.folder.glob("store.sqlite3.aside-*")
        if not path.name.endswith(("-wal", "-shm"))
    )
    assert status(master.config, master.store)["recovery"]["set_aside"] == aside
    assert aside in master.why()


def test_check_and_the_metrics_say_it(master):
    master.lose()
    master.lists("prod")
    master.lists("test", 8, 9)
    master.steps(5)
    (found,) = check_configuration._stopped(master.config, master.store)
    assert (found.level.value, found.where) == ("error", "publishing")
    assert "prod: 4 of 4 addresses that minions have are in no view" in found.what
    assert "salt-run k8s_nodes.resume" in found.fix
    values = {
        (one.metric, one.labels): one.value
        for one in MetricsCollector(master.config, master.store).samples()
    }
    assert values[metrics.RECOVERING, (("cluster", "prod"),)] == 1
    assert values[metrics.RECOVERING, (("cluster", "test"),)] == 0
    assert values[metrics.STOPPED, ()] == 0


def test_a_minion_of_two_clusters_waits_for_both(master):
    master.minion("both", 1, 2, 3, 4, 8, 9, clusters=("prod", "test"))
    master.lose()
    master.lists("test", 8, 9)
    master.steps(6)
    assert master.applied() == ["db1"]
    planned = plan(master.config, master.store, lambda _: frozenset(), ALL)
    assert "nothing is published for prod" in planned["waiting"]
    master.lists("prod", 1, 2, 3, 4)
    master.steps(2)
    assert "both" in master.applied()


def test_an_engine_that_restarts_meanwhile_goes_on(master):
    master.lose()
    master.lists("test", 8, 9)
    master.steps(6)
    since = status(master.config, master.store)["recovery"]["since"]
    master.restart()
    assert master.applied() == ["db1"]
    master.clock.now += 100
    master.lists("prod", 1, 2, 3, 4)
    assert status(master.config, master.store)["recovery"]["since"] == since
    master.steps(6)
    assert master.why() is None


def test_a_loss_during_the_recovery_begins_it_anew(master):
    master.lose()
    master.lists("test", 8, 9)
    master.steps(6)
    master.lose()
    assert master.applied() == []
    assert status(master.config, master.store)["recovery"]["clusters"]["test"] == NOT_COMPARED


class TestQuestions:
    def test_all_accepted_minions_are_asked_in_batches_with_time_between(self, master):
        master.minion("other", clusters=())
        master.lose()
        master.engine.step()
        assert [minions for minions, _ in master.minions.asked] == [["db1", "other", "web1"]]
        master.engine.step()
        assert len(master.minions.asked) == 1
        master.steps(3)
        assert [minions for minions, _ in master.minions.asked] == [
            ["db1", "other", "web1"],
            ["web2"],
        ]
        assert {action.function for _, action in master.minions.asked} == {"k8s_firewall.served"}

    def test_lists_that_the_master_has_are_not_sent_again(self, master):
        for n in range(3, 9):
            master.minion(f"web{n}", 1, 2, 3, 4)
        master.lose()
        master.steps(3)
        known = master.minions.asked[-1][1].kwarg["known"]
        assert str(listed(1, 2, 3, 4)) in known
        for n in range(3, 9):
            del master.minions.answers[f"web{n}"]["addresses"]
        master.lists("prod", 1, 2, 3, 4)
        master.lists("test", 8, 9)
        master.steps(6)
        assert master.why() is None

    def test_silent_minions_do_not_count_and_are_asked_again(self, master):
        for name in ("web1", "web2"):
            del master.minions.answers[name]
        master.lose()
        master.lists("prod", 1, 2, 3, 4)
        master.lists("test", 8, 9)
        master.steps(12)
        assert status(master.config, master.store)["recovery"]["clusters"]["prod"] == (
            "none of its 2 minions knows what it was served"
        )
        master.clock.now += 300
        master.steps(2)
        # While they are asked again, the answer is still the old one.
        assert (
            "none of its 2" in status(master.config, master.store)["recovery"]["clusters"]["prod"]
        )
        master.minions.answers["web1"] = answer(1, 2, 3, 4)
        master.clock.now += 300
        master.steps(12)
        assert master.why() is None

    def test_minions_without_the_module_do_not_count(self, master):
        master.minions.answers["web1"] = "'k8s_firewall.served' is not available."
        master.lose()
        master.lists("prod", 1, 2, 3, 4)
        master.lists("test", 8, 9)
        master.steps(5)
        assert master.why() is None

    def test_another_identity_than_the_pinned_one_is_not_published(self, master):
        master.lose()
        pin(master.store, "prod", "another")
        view = snapshot(member("n1", "192.0.2.1"), cluster="prod")
        master.store.snapshots.save(view, view.members.values(), [])
        master.lists("test", 8, 9)
        master.steps(5)
        text = status(master.config, master.store)["recovery"]["clusters"]["prod"]
        assert text.startswith("another cluster answers")

    def test_pillars_are_discovered_by_itself(self, master):
        master.lose()
        assert master.store.subscriptions.all() == []
        master.steps()
        assert {row.minion for row in master.store.subscriptions.all()} == {"web1", "web2", "db1"}

    def test_a_step_that_fails_is_logged_once_and_tried_again(self, master, monkeypatch, caplog):
        monkeypatch.setattr(recovery, "_TICK", 0.0)
        rounds = itertools.count()
        (master.folder / "decisions.json").unlink()

        def step() -> None:
            if next(rounds) == 3:
                master.engine._stop.set()
            StoreRecovery.step(master.engine)

        monkeypatch.setattr(master.engine, "step", step)
        with caplog.at_level(logging.ERROR):
            master.engine.run()
        assert caplog.text.count("[recovery-failed]") == 1


class TestOlder:
    """The folder, or the store alone, was restored from a backup."""

    @pytest.fixture(params=["store", "folder"])
    def restored(self, request, master):
        assert master.applied() == ["db1", "web1", "web2"]
        backup = master.folder.with_name("backup")
        shutil.copytree(master.folder, backup)
        master.lists("prod", 1, 2, 3, 4, 5)
        if request.param == "folder":
            shutil.rmtree(master.folder)
            shutil.copytree(backup, master.folder)
        else:
            master.lose()
            for path in backup.glob("store.sqlite3*"):
                shutil.copy(path, master.folder)
        master.restart()
        return master

    def test_its_identity_stays_and_it_is_compared_with_minions(self, restored):
        assert "the file of the store was replaced" in restored.why()
        identity = restored.store.snapshots.store_id()
        restored.lists("prod", 1, 2, 3, 4, 5)
        restored.steps(4)
        assert restored.why() is None
        assert restored.store.snapshots.store_id() == identity

    def test_what_it_takes_for_proven_is_applied_again(self, restored):
        restored.lists("prod", 1, 2, 3, 4)
        restored.steps(4)
        assert restored.applied() == ["db1", "web1", "web2"]

    def test_no_departed_address_is_closed_on_a_minion_that_waits(self, master):
        departed = [(["web1", "db1"], {"192.0.2.77": "node n77 left"})]
        for name in ("web1", "web2", "db1"):
            master.store.subscriptions.record(name, "base", {}, 5.0)
        known = master.store.snapshots.load("prod")
        master.store.snapshots.save(replace(known, revision=2), [], [], departed)
        master.store.decisions.change(
            lambda old: msgspec.structs.replace(
                old, store=msgspec.structs.replace(old.store, inode=1)
            )
        )
        for name, cluster in (("web1", "prod"), ("db1", "test")):
            refer(master.store, name, cluster)
        selector = BatchSelector(
            master.config, master.store, DesiredState(master.store), lambda _: frozenset()
        )
        request = ApplyRequest(clusters=ALL, force=True)
        assert selector.select(request, 1e9).closing.batches == []
        assert selector.select(request, 1e9).closing.reasons["web1"] == RECOVERING
        controls.resume(master.store, By(name="kim"))
        assert selector.select(request, 1e9).closing.reasons.get("web1") != RECOVERING


class TestLostDecisions:
    @pytest.fixture
    def deleted(self, master):
        master.store.decisions.pause(ControlFlag("kim", 1.0))
        (master.folder / "decisions.json").unlink()
        return master

    def test_nothing_is_published_for_a_pause_may_be_lost(self, deleted):
        assert "decisions.json cannot be used: it was deleted" in deleted.why()
        assert deleted.applied() == []
        (found,) = check_configuration._stopped(deleted.config, deleted.store)
        assert found.level.value == "error"

    def test_a_pin_that_begins_a_new_file_hides_nothing(self, deleted):
        deleted.lists("prod", 1, 2, 3, 4, 5)
        assert "it was deleted" in deleted.why()

    def test_resume_begins_a_new_file_and_says_so(self, deleted):
        answered = controls.resume(deleted.store, By(name="kim"))
        assert "it was deleted" in answered["recovered"]
        assert deleted.why() is None
        deleted.steps(2)
        assert deleted.why() is None


class TestCopies:
    def test_a_copy_on_another_machine_gets_an_identity_of_its_own(
        self, master, monkeypatch, caplog
    ):
        original = master.store.snapshots.store_id()
        monkeypatch.setattr(store_id.socket, "gethostname", lambda: "master2")
        store_id.place_of.cache_clear()
        copy = master.folder.with_name("copy")
        shutil.copytree(master.folder, copy)
        twin = Store(str(copy))
        with caplog.at_level(logging.WARNING):
            assert twin.snapshots.store_id() != original
        assert "[store-copied]" in caplog.text
        assert twin.snapshots.store_id() == Store(str(copy)).snapshots.store_id()
        store_id.place_of.cache_clear()

    def test_a_copy_of_the_folder_on_the_same_machine_too(self, master):
        copy = master.folder.with_name("copy")
        shutil.copytree(master.folder, copy)
        twin = Store(str(copy))
        assert twin.snapshots.store_id() != master.store.snapshots.store_id()
        assert "copied from another machine or folder" in publishing_stopped(master.config, twin)

    def test_in_a_container_another_host_name_is_no_copy(self, master, monkeypatch, tmp_path):
        (tmp_path / "sign").touch()
        monkeypatch.setattr(store_id, "_IN_CONTAINER", (tmp_path / "sign",))
        places = set()
        for host in ("pod-a", "pod-b"):
            monkeypatch.setattr(store_id.socket, "gethostname", lambda host=host: host)
            store_id.place_of.cache_clear()
            places.add(store_id.place_of(master.store.database.path))
        store_id.place_of.cache_clear()
        assert len(places) == 1


def test_the_file_says_to_which_store_it_belongs(master):
    file = json.loads((master.folder / "decisions.json").read_text())
    assert file["decisions"]["store"]["id"] == master.store.snapshots.store_id()
