"""The store survives other processes, SIGKILL, damage and files of other programs."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from salt_ext.core.cluster.hold import Doubts, Held, Kind
from salt_ext.core.cluster.sizes import Sample
from salt_ext.core.config import config
from salt_ext.core.config.apply import ApplyConfig
from salt_ext.core.config.clusters import Timing
from salt_ext.core.errors import Overtaken, StoreError
from salt_ext.core.references.resolution import Unresolved
from salt_ext.core.rollout.drift import LedgerEntry, OutOfSync
from salt_ext.references.resolver import Resolver
from salt_ext.store import Health, Store, schema
from salt_ext.store.jobs import Job
from salt_ext.store.subscriptions import Answer, Seen
from tests.core.build import member, snapshot
from tests.functional.returns import succeed

SEEN = Seen(cluster="prod", answer=Answer.SERVED, digest="d")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def store(folder):
    return Store(str(folder))


def save(store: Store, *found, cluster: str = "prod", drop: tuple = ()) -> None:
    """Save these members as the next revision of a cluster."""
    revision = store.snapshots.revision(cluster) + 1
    store.snapshots.save(snapshot(*found, cluster=cluster, revision=revision), found, drop)


def aside(folder: Path) -> list[Path]:
    """Return the files that were set aside."""
    return [path for path in folder.glob("*.aside-*") if not path.name.endswith(("-wal", "-shm"))]


def job(jid: str, at: float) -> Job:
    return Job(jid=jid, at=at, class_="", function="state.apply")


def closed_file(store: Store, folder: Path) -> Path:
    """Return the file with everything in it, and no process that has it open."""
    store.database._local.connection.close()
    assert [path.name for path in folder.glob("store.sqlite3*")] == ["store.sqlite3"]
    return folder / "store.sqlite3"


class TestSnapshots:
    def test_what_is_saved_is_loaded(self, store, folder):
        one = member(
            "n1",
            "192.0.2.1",
            "2001:db8::1",
            external=("198.51.100.1",),
            pod_cidrs=("10.244.0.0/24",),
            labels={"pool": "app"},
            ready=False,
        )
        save(store, one, member("n2"))
        assert Store(str(folder)).snapshots.load("prod") == snapshot(one, member("n2"))
        assert store.snapshots.revision("prod") == 1

    def test_a_cluster_that_was_never_saved_is_none_and_not_empty(self, store):
        save(store, cluster="other")
        assert store.snapshots.load("prod") is None
        assert store.snapshots.revision("prod") == 0
        assert store.snapshots.load("other").members == {}

    def test_clusters_do_not_mix(self, store):
        save(store, member("n1", "192.0.2.1"), cluster="a")
        save(store, member("n1", "192.0.2.2"), cluster="b")
        save(store, cluster="b", drop=("n1",))
        assert store.snapshots.load("a").members == {"n1": member("n1", "192.0.2.1")}
        assert store.snapshots.load("b").members == {}

    def test_a_newer_version_is_no_new_revision(self, store):
        save(store, member("n1", "192.0.2.1"))
        store.snapshots.save_version("prod", "999")
        loaded = store.snapshots.load("prod")
        assert (loaded.resource_version, loaded.revision) == ("999", 1)

    def test_a_writer_that_was_overtaken_or_has_lost_its_file_is_refused(self, store):
        save(store, member("n1", "192.0.2.1"))
        for revision in (1, 3):
            with pytest.raises(Overtaken):
                store.snapshots.save(snapshot(revision=revision), [], ["n1"])
        with pytest.raises(Overtaken):
            store.snapshots.save_version("unknown", "999")
        assert list(store.snapshots.load("prod").members) == ["n1"]

    def test_a_save_that_fails_in_the_middle_changes_nothing(self, store):
        save(store, member("n1", "192.0.2.1"))

        def broken():
            yield member("n2", "192.0.2.2")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.snapshots.save(snapshot(revision=2), broken(), ["n1"])
        assert store.snapshots.load("prod") == snapshot(member("n1", "192.0.2.1"))


class TestSubscriptions:
    def test_a_compile_that_sees_the_same_writes_nothing(self, store):
        assert store.subscriptions.record("m1", "base", {"k8s://prod": SEEN}, 1.0) is True
        assert store.subscriptions.record("m1", "base", {"k8s://prod": SEEN}, 2.0) is False

    def test_another_environment_deletes_nothing(self, store):
        store.subscriptions.record("m1", "base", {"k8s://prod": SEEN}, 1.0)
        store.subscriptions.record("m1", "dev", {}, 2.0)
        (row,) = store.subscriptions.all()
        assert (row.pillarenv, row.gone) == ("base", False)

    def test_a_minion_without_references_writes_nothing(self, store):
        assert store.subscriptions.record("m1", "base", {}, 1.0) is False

    def test_a_minion_whose_key_is_gone_is_deleted(self, store):
        for minion in ("m1", "m2"):
            store.subscriptions.record(minion, "base", {"k8s://prod": SEEN}, 1.0)
            store.jobs.record_dispatch(job("7", 1.0), [out_of_sync(minion)])
        store.subscriptions.delete("m1", 1.0)
        assert [row.minion for row in store.subscriptions.all()] == ["m2"]
        assert [minion for minion, _ in store.applied.all()] == ["m2"]


def out_of_sync(minion: str, cluster: str = "prod", desired: str = "new") -> OutOfSync:
    return OutOfSync(
        minion=minion,
        cluster=cluster,
        desired=desired,
        entry=LedgerEntry(minion=minion, cluster=cluster),
    )


def test_each_store_has_an_id_of_its_own_and_keeps_it(folder, tmp_path):
    store_id = Store(str(folder)).snapshots.store_id()
    assert len(store_id) == 16
    assert Store(str(folder)).snapshots.store_id() == store_id
    assert Store(str(tmp_path / "other")).snapshots.store_id() != store_id


class TestApplied:
    def test_a_proof_acknowledges_what_was_current_when_it_was_published(self, store):
        store.subscriptions.record("m1", "base", {"k8s://prod": SEEN}, 1.0)
        store.jobs.record_dispatch(job("7", 10.0), [out_of_sync("m1", desired="then")])
        assert store.applied.outstanding()["7"][0].dispatched == "then"
        succeed(store, "7", "m1", 20.0)
        entry = store.applied.all()["m1", "prod"]
        assert (entry.applied, entry.applied_at, entry.jid) == ("then", 20.0, None)
        assert store.applied.outstanding() == {}

    def test_an_older_job_proves_nothing(self, store):
        store.jobs.record_dispatch(job("7", 10.0), [out_of_sync("m1", desired="then")])
        store.jobs.record_dispatch(job("8", 20.0), [out_of_sync("m1", desired="now")])
        succeed(store, "7", "m1", 30.0)
        store.applied.record_failure("7", "m1", "late", counted=True, next_at=99.0, now=30.0)
        entry = store.applied.all()["m1", "prod"]
        assert (entry.applied, entry.jid, entry.attempts) == (None, "8", 0)

    def test_a_proof_is_of_one_minion_and_all_its_clusters(self, store):
        for name in ("a", "b"):
            for minion in ("m1", "m2"):
                seen = Seen(cluster=name, answer=Answer.SERVED)
                store.subscriptions.record(minion, name, {f"k8s://{name}": seen}, 1.0)
        both = [out_of_sync(minion, name) for minion in ("m1", "m2") for name in ("a", "b")]
        store.jobs.record_dispatch(job("7", 10.0), both)
        succeed(store, "7", "m1", 20.0)
        applied = {pair for pair, entry in store.applied.all().items() if entry.applied}
        assert applied == {("m1", "a"), ("m1", "b")}

    def test_failures_are_counted_until_a_proof(self, store):
        store.subscriptions.record("m1", "base", {"k8s://prod": SEEN}, 1.0)
        for jid in ("7", "8"):
            store.jobs.record_dispatch(job(jid, 10.0), [out_of_sync("m1")])
            store.applied.record_failure(jid, "m1", "no", counted=True, next_at=50.0, now=30.0)
        store.jobs.record_dispatch(job("9", 10.0), [out_of_sync("m1")])
        store.applied.record_failure("9", "m1", "busy", counted=False, next_at=60.0, now=30.0)
        entry = store.applied.all()["m1", "prod"]
        assert (entry.attempts, entry.next_at, entry.error, entry.jid) == (2, 60.0, "busy", None)
        store.jobs.record_dispatch(job("10", 10.0), [out_of_sync("m1")])
        succeed(store, "10", "m1", 70.0)
        entry = store.applied.all()["m1", "prod"]
        assert (entry.attempts, entry.next_at, entry.error) == (0, 0.0, None)

    def test_a_gone_reference_is_dropped_by_a_proof_of_a_job_after_it(self, store):
        store.subscriptions.record("m1", "base", {"k8s://prod": SEEN}, 1.0)
        store.jobs.record_dispatch(job("7", 10.0), [out_of_sync("m1")])
        store.subscriptions.record("m1", "base", {}, 15.0)
        succeed(store, "7", "m1", 20.0)
        # That job compiled the pillar with the reference, or may have.
        assert [row.gone for row in store.subscriptions.all()] == [True]
        store.jobs.record_dispatch(job("8", 25.0), [out_of_sync("m1", desired="nothing")])
        succeed(store, "8", "m1", 30.0)
        assert store.subscriptions.all() == []
        assert store.applied.all() == {}

    def test_runs_have_a_burst_and_are_spread_after_it(self, store):
        apply, runs = ApplyConfig(min_interval=2.5, burst=3), [-100.0]
        for tenth in range(600):
            now = tenth / 10
            if now >= apply.next_run(runs[-1], store.minion_facts.full_burst_at().get("m1", 0.0)):
                store.jobs.record_dispatch(
                    job(str(tenth), now), [out_of_sync("m1"), out_of_sync("m1", "other")]
                )
                succeed(store, str(tenth), "m1", now + 0.5, min_interval=apply.min_interval)
                runs.append(now)
        assert runs[1:6] == [0.0, 0.1, 0.2, 2.5, 5.0]
        assert len(runs[1:]) == 3 + 23
        # Fewer than one at once and one for each maximum delay of a change.
        assert len(runs[1:]) <= 1 + 60 / Timing().max_delay

    def test_a_minion_that_rests_has_another_burst_and_a_deleted_one_has_no_pacing(self, store):
        apply = ApplyConfig(min_interval=2.5, burst=3)
        for jid, at in (("1", 10.0), ("2", 10.1), ("3", 10.2)):
            store.jobs.record_dispatch(job(jid, at), [out_of_sync("m1")])
            succeed(store, jid, "m1", at, min_interval=apply.min_interval)
        assert apply.next_run(10.2, store.minion_facts.full_burst_at()["m1"]) == pytest.approx(12.5)
        store.jobs.record_dispatch(job("4", 20.0), [out_of_sync("m1")])
        succeed(store, "4", "m1", 20.0, min_interval=apply.min_interval)
        assert apply.next_run(20.0, store.minion_facts.full_burst_at()["m1"]) < 20.0
        # More runs by force, or an interval that was longer before, lengthen no wait.
        assert apply.next_run(20.0, 99.0) == 22.5
        store.subscriptions.delete("m1", 1.0)
        assert store.minion_facts.full_burst_at() == {}


class TestHolds:
    def test_a_kind_that_is_held_on_keeps_its_time(self, store):
        held = Held(kind=Kind.SHRINK, why="gone", subjects=dict.fromkeys(["n2", "n1"], ""))
        store.holds.replace("prod", [held], 1.0)
        store.holds.replace("prod", [held], 9.0)
        (change,) = store.holds.of("prod")
        assert (change.since, change.keys) == (1.0, ["n1", "n2"])
        store.holds.replace("prod", [], 10.0)
        assert store.holds.of("prod") == []

    def test_what_an_older_state_left_behind_is_kept(self, store):
        doubts = Doubts(older=True, missing=True, returned=frozenset(["n2", "n1"]))
        assert store.holds.doubts("prod") == Doubts()
        store.holds.save_doubts("prod", doubts)
        assert store.holds.doubts("prod") == doubts
        assert store.holds.doubts("other") == Doubts()
        store.holds.save_doubts("prod", Doubts())
        assert store.holds.doubts("prod") == Doubts()


class TestSizes:
    def test_they_grow_older_while_the_engine_is_down(self, store):
        samples = [Sample(100.0, 10, 20), Sample(0.5, 11, 22)]
        assert store.sizes.load("prod", 1000.0) == []
        store.sizes.save("prod", samples, 1000.0)
        assert store.sizes.load("prod", 1060.0) == [Sample(160.0, 10, 20), Sample(60.5, 11, 22)]

    def test_a_clock_that_was_set_back_makes_none_of_them_younger(self, store):
        store.sizes.save("prod", [Sample(100.0, 10, 20)], 1000.0)
        assert store.sizes.load("prod", 10.0) == [Sample(100.0, 10, 20)]


class TestFileModes:
    def test_only_its_owner_can_read_it(self, store, folder):
        before = os.umask(0)
        try:
            save(store)
            assert folder.stat().st_mode & 0o777 == 0o700
            modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
        finally:
            os.umask(before)
        assert modes["store.sqlite3"] == 0o600
        assert set(modes.values()) == {0o600}

    def test_nor_can_others_read_the_new_file_after_a_damaged_one(self, folder):
        folder.mkdir()
        (folder / "store.sqlite3").write_bytes(b"junk" * 1000)
        before = os.umask(0)
        try:
            save(Store(str(folder)))
            modes = {path.stat().st_mode & 0o777 for path in folder.glob("store.sqlite3*")}
        finally:
            os.umask(before)
        assert (folder / "store.sqlite3").stat().st_mode & 0o777 == 0o600
        assert aside(folder)
        assert 0o600 in modes


class TestDamage:
    """A file with any damage is set aside, the log says so, and a new one works."""

    def assert_begins_anew(self, folder: Path, caplog, why: str) -> None:
        with caplog.at_level(logging.ERROR):
            store = Store(str(folder))
            assert store.snapshots.load("prod") is None
        save(store, member("n1", "192.0.2.1"))
        assert Store(str(folder)).snapshots.load("prod") is not None
        (kept,) = aside(folder)
        (record,) = [one for one in caplog.records if "[store-set-aside]" in one.getMessage()]
        message = record.getMessage()
        assert message.startswith(f"store: cannot use {folder / 'store.sqlite3'} (")
        assert why in message
        assert f"set aside as {kept.name}" in message
        assert "Lost: " in message
        assert "Kept in decisions.json: a pause" in message
        assert "salt-run k8s_nodes.status" in message

    def test_random_bytes(self, folder, caplog):
        folder.mkdir()
        (folder / "store.sqlite3").write_bytes(random.Random(7).randbytes(20_000))
        self.assert_begins_anew(folder, caplog, "not a database")

    def test_a_newer_version(self, store, folder, caplog):
        save(store)
        with sqlite3.connect(folder / "store.sqlite3") as raw:
            raw.execute("PRAGMA user_version = 999")
        raw.close()
        self.assert_begins_anew(folder, caplog, "its version is 999")

    def test_a_version_of_the_time_before_a_release(self, store, folder, caplog):
        save(store)
        with sqlite3.connect(folder / "store.sqlite3") as raw:
            raw.execute("PRAGMA user_version = 4")
        raw.close()
        self.assert_begins_anew(folder, caplog, "its version is 4, this release uses 1")

    def test_the_database_of_another_program(self, folder, caplog):
        folder.mkdir()
        with sqlite3.connect(folder / "store.sqlite3") as raw:
            raw.execute("CREATE TABLE foreign_table (x)")
        raw.close()
        self.assert_begins_anew(folder, caplog, "not a k8s_nodes store")

    def test_the_database_of_another_program_of_the_same_version(self, folder, caplog):
        folder.mkdir()
        with sqlite3.connect(folder / "store.sqlite3") as raw:
            raw.execute("CREATE TABLE foreign_table (x)")
            raw.execute(f"PRAGMA user_version = {schema.VERSION}")
        raw.close()
        self.assert_begins_anew(folder, caplog, "not a k8s_nodes store")

    def test_a_file_that_was_cut(self, store, folder, caplog):
        save(store, *(member(f"n{n}", f"10.0.0.{n}", labels={"a": "b" * 500}) for n in range(200)))
        path = closed_file(store, folder)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2 // 4096 * 4096)
        with contextlib.suppress(StoreError):
            Store(str(folder)).snapshots.load("prod")
        assert "set aside" in caplog.text
        self.assert_usable_again(folder)

    @pytest.mark.parametrize("seed", range(8))
    def test_bytes_that_were_flipped(self, store, folder, seed):
        many = [member(f"n{n}", f"10.0.0.{n}", labels={"a": "b" * 500}) for n in range(200)]
        save(store, *many)
        path = closed_file(store, folder)
        data = bytearray(path.read_bytes())
        dice = random.Random(seed)
        for at in (dice.randrange(len(data)) for _ in range(len(data) // 50)):
            data[at] ^= 0xFF
        path.write_bytes(data)
        with contextlib.suppress(StoreError):
            Store(str(folder)).snapshots.load("prod")
        self.assert_usable_again(folder)

    def test_a_row_that_cannot_be_decoded(self, store, folder, caplog):
        save(store, member("n1", "192.0.2.1"))
        store.health.report("prod", Health(state="watching", reported_at=1.0))
        for change, read in (
            ("UPDATE node SET member = x'93a1'", lambda: store.snapshots.load("prod")),
            ("UPDATE health SET report = x'7b'", lambda: store.health.of("prod")),
        ):
            save(store, member("n1", "192.0.2.1"))
            store.health.report("prod", Health(state="watching", reported_at=1.0))
            with sqlite3.connect(folder / "store.sqlite3") as raw:
                raw.execute(change)
            raw.close()
            with pytest.raises(StoreError, match="cannot be read"):
                read()
            assert read() is None
        assert "set aside" in caplog.text

    def assert_usable_again(self, folder: Path) -> None:
        again = Store(str(folder))
        save(again, member("n1", "192.0.2.1"), cluster="again")
        assert again.snapshots.load("again").members == {"n1": member("n1", "192.0.2.1")}
        assert aside(folder)

    def test_a_process_that_has_it_open_goes_on_with_the_new_file(self, store, folder):
        save(store, member("n1", "192.0.2.1"))
        for path in folder.glob("store.sqlite3*"):
            path.rename(path.with_name(f"old-{path.name}"))
        save(Store(str(folder)), member("n2", "192.0.2.2"))
        assert list(store.snapshots.load("prod").members) == ["n2"]

    def test_a_file_that_was_removed_is_made_anew(self, store, folder):
        save(store, member("n1", "192.0.2.1"))
        for path in folder.glob("store.sqlite3*"):
            path.unlink()
        assert store.snapshots.load("prod") is None
        save(store, member("n2", "192.0.2.2"))
        assert list(Store(str(folder)).snapshots.load("prod").members) == ["n2"]

    def test_threads_that_find_the_damage_at_once_lose_nothing_of_the_new_file(self, folder):
        for turn in range(10):
            (folder / "store.sqlite3").parent.mkdir(exist_ok=True)
            for path in folder.glob("*"):
                path.unlink()
            (folder / "store.sqlite3").write_bytes(b"junk" * 5000)
            barrier = threading.Barrier(4)
            failed = []

            def work(n: int, turn=turn, barrier=barrier, failed=failed) -> None:
                barrier.wait()
                try:
                    save(Store(str(folder)), member("n", f"10.0.{turn}.{n}"), cluster=f"c{n}")
                except StoreError as exc:
                    failed.append(exc)

            threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert failed == []
            found = Store(str(folder))
            assert [found.snapshots.revision(f"c{n}") for n in range(4)] == [1, 1, 1, 1]
            assert len(aside(folder)) == 1

    def test_what_was_read_of_the_old_file_does_not_count_for_the_new(self, store, folder):
        settings = config.read(
            {"clusters": {"prod": {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]}}}
        )
        resolver = Resolver(store)
        save(store, member("n1", "192.0.2.1"))
        assert resolver.addresses("k8s://prod", settings) == ("192.0.2.1",)
        for path in folder.glob("store.sqlite3*"):
            path.unlink()
        assert isinstance(resolver.addresses("k8s://prod", settings), Unresolved)
        # The new file counts revisions from 1 again.
        other = replace(snapshot(member("n2", "192.0.2.2")), observed_at=2_000_000_000.0)
        store.snapshots.save(other, other.members.values(), [])
        assert resolver.addresses("k8s://prod", settings) == ("192.0.2.2",)


class TestOutOfReach:
    """A file that cannot be opened is an error with its path, and is not set aside."""

    @pytest.mark.parametrize("what", ["a file", "a dangling link", "nothing"])
    def test_a_path_that_is_not_a_folder(self, tmp_path, what):
        folder = tmp_path / "state"
        if what == "a file":
            folder.write_text("x")
        elif what == "a dangling link":
            folder.symlink_to(tmp_path / "absent" / "absent")
        else:
            folder = Path("/proc/nowhere/state")
        with pytest.raises(StoreError, match=str(folder)):
            Store(str(folder)).snapshots.load("prod")

    def test_a_folder_in_the_place_of_the_file(self, folder):
        (folder / "store.sqlite3").mkdir(parents=True)
        with pytest.raises(StoreError):
            Store(str(folder)).snapshots.load("prod")
        assert aside(folder) == []

    def test_a_file_that_another_process_keeps_locked(self, store, folder, monkeypatch):
        monkeypatch.setattr("salt_ext.store.database._BUSY", 0.1)
        save(store, member("n1", "192.0.2.1"))
        other = sqlite3.connect(folder / "store.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            blocked = Store(str(folder))
            with pytest.raises(StoreError, match="locked"):
                save(blocked, member("n2", "192.0.2.2"))
            # A reader does not wait.
            assert list(blocked.snapshots.load("prod").members) == ["n1"]
        finally:
            other.close()
        save(blocked, member("n2", "192.0.2.2"))
        assert aside(folder) == []


WRITER = textwrap.dedent(
    """
    import itertools, sys
    from salt_ext.store import Store
    from salt_ext.store.subscriptions import Answer, Seen
    from tests.core.build import member, snapshot

    name, folder, most = sys.argv[1], sys.argv[2], int(sys.argv[3])
    store = Store(folder)
    print("ready", flush=True)
    for n in itertools.count(1) if most == 0 else range(1, most + 1):
        # Two nodes that must always be seen with the address of the same revision.
        pair = [member(who, f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}") for who in "ab"]
        store.snapshots.save(snapshot(*pair, cluster=name, revision=n), pair, [])
        seen = Seen(cluster=name, answer=Answer.SERVED, digest=str(n))
        store.subscriptions.record(name, "base", {"k8s://" + name: seen}, float(n))
    """
)


def writer(folder: Path, name: str, most: int = 0) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, name, str(folder), str(most)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def assert_whole(store: Store, name: str) -> int:
    """Check that what is read is one revision and not a mix; return it."""
    found = store.snapshots.load(name)
    if found is None:
        return 0
    n = found.revision
    address = f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"
    assert {str(a) for one in found.members.values() for a in one.all_addresses()} == {address}
    assert set(found.members) == {"a", "b"}
    return n


def test_a_second_thread_leaves_the_journal_of_the_first_alone(folder):
    store = Store(str(folder))
    path = folder / "store.sqlite3"
    look = f"import sqlite3; c = sqlite3.connect({str(path)!r}); print(*c.execute("
    look += "'SELECT revision FROM cluster').fetchall()); c.close()"

    def in_another_process() -> str:
        """The revision that another process reads; it closes the file after it."""
        return subprocess.run(
            [sys.executable, "-c", look], capture_output=True, text=True, check=True
        ).stdout.strip()

    one = member("n1", "192.0.2.1")
    store.snapshots.save(snapshot(one, revision=1), [one], [])
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(store.snapshots.revision, "prod").result() == 1
        assert in_another_process() == "(1,)"
        store.snapshots.save(snapshot(one, revision=2), [one], [])
        assert in_another_process() == "(2,)"
    store.snapshots.save(snapshot(one, revision=3), [one], [])
    assert in_another_process() == "(3,)"


def test_threads_that_begin_at_once_wait_for_each_other(folder, monkeypatch):
    monkeypatch.setattr("salt_ext.store.database._BUSY", 0.01)
    store = Store(str(folder))
    together = threading.Barrier(50)

    def begin(_turn: int) -> int:
        together.wait(60)
        return store.snapshots.revision("prod")

    with ThreadPoolExecutor(50) as threads:
        assert list(threads.map(begin, range(50))) == [0] * 50


def test_processes_that_write_at_once_lose_nothing(folder):
    writers = [writer(folder, f"c{n}", 300) for n in range(3)]
    store = Store(str(folder))
    while any(process.poll() is None for process in writers):
        for n in range(3):
            assert_whole(store, f"c{n}")
    assert [process.wait() for process in writers] == [0, 0, 0]
    assert [assert_whole(store, f"c{n}") for n in range(3)] == [300, 300, 300]
    digests = {row.minion: row.seen.digest for row in store.subscriptions.all()}
    assert digests == {"c0": "300", "c1": "300", "c2": "300"}


def test_a_process_that_is_killed_at_any_instant_leaves_a_whole_store(folder):
    dice = random.Random(7)
    reached = 0
    store = Store(str(folder))
    for _ in range(8):
        process = writer(folder, "prod")
        # Not a wait: the instant varies.
        time.sleep(dice.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        revision = assert_whole(Store(str(folder)), "prod")
        assert assert_whole(store, "prod") == revision
        reached = max(reached, revision)
    assert reached > 0
    assert aside(folder) == []


def test_a_connection_is_not_used_on_both_sides_of_a_fork(store, folder):
    save(store, member("n1", "192.0.2.1"))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            save(store, member("n2", "192.0.2.2"))
            code = 0 if len(store.snapshots.load("prod").members) == 2 else 2
        finally:
            os._exit(code)
    for _ in range(50):
        store.health.report("prod", Health(state="watching", reported_at=1.0))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert len(store.snapshots.load("prod").members) == 2


def test_threads_share_a_store(store):
    failed = []

    def work(name: str) -> None:
        try:
            for n in range(1, 60):
                save(store, member("a", f"10.0.0.{n}"), cluster=name)
        except StoreError as exc:
            failed.append(exc)

    threads = [threading.Thread(target=work, args=(f"c{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [store.snapshots.revision(f"c{n}") for n in range(4)] == [59] * 4
