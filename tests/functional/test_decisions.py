"""The file of decisions survives SIGKILL, a full disk and other writers; damage is never silent."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from salt_ext.admin import controls
from salt_ext.core.config.config import read
from salt_ext.core.errors import StoreError
from salt_ext.rollout.publishing import publishing_stopped
from salt_ext.store import Store, decisions
from salt_ext.store.control import ControlFlag
from salt_ext.store.decisions import ClusterDecisions, Decided, UnusableDecisions
from salt_ext.store.locks import DECISIONS, exclusive

KIM = ControlFlag("kim", 1.0, "change freeze")
SHRINK = Decided(
    kind="shrink",
    subjects={"n1": "f1"},
    token="t0ken",
    by="kim",
    at=2.0,
    reason="racks are moved",
    why="1 of 2 nodes is gone at once",
)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def store(folder):
    return Store(str(folder))


@pytest.fixture
def path(folder):
    return folder / decisions.FILE


def pin(store: Store, cluster: str, identity: str) -> None:
    store.decisions.update(cluster, lambda old: msgspec.structs.replace(old, identity=identity))


def names(folder: Path) -> list[str]:
    """Return the files of a folder that are not locks."""
    return sorted(one.name for one in folder.iterdir() if not one.name.endswith(".lock"))


class TestDecisions:
    def test_without_a_file_nothing_was_decided(self, store):
        assert store.decisions.paused() is None
        assert store.decisions.of("prod") == ClusterDecisions()
        assert store.decisions.resume() is False

    def test_another_process_reads_each_decision_as_it_was_made(self, store, folder):
        store.decisions.pause(KIM)
        made = ClusterDecisions(
            identity="u1",
            confirmations=[SHRINK],
            released={"shrink": {"n1": "f1"}},
            rejected={"growth": {"n2": "f2"}},
        )
        store.decisions.update("prod", lambda _: made)
        other = Store(str(folder)).decisions
        assert other.paused() == KIM
        assert other.of("prod") == made
        assert other.of("stage") == ClusterDecisions()

    def test_a_store_that_is_deleted_or_damaged_takes_no_decision_with_it(self, store, folder):
        store.decisions.pause(KIM)
        pin(store, "prod", "u1")
        store.snapshots.store_id()
        (folder / "store.sqlite3").write_bytes(b"damage" * 100)
        fresh = Store(str(folder))
        fresh.snapshots.store_id()
        assert fresh.decisions.paused() == KIM
        assert fresh.decisions.of("prod").identity == "u1"

    def test_a_reader_sees_the_decision_that_another_process_made_since(self, store, folder):
        other = Store(str(folder))
        for n in range(50):
            assert other.decisions.pause(ControlFlag("kim", float(n)))
            assert store.decisions.paused() == ControlFlag("kim", float(n))
            assert other.decisions.resume()
            assert store.decisions.paused() is None

    def test_a_file_that_has_not_changed_is_not_read_again(self, store, monkeypatch):
        store.decisions.pause(KIM)
        monkeypatch.setattr(decisions, "_RACY", -1)
        assert store.decisions.paused() == KIM
        monkeypatch.setattr(decisions, "_read_all", None)
        assert store.decisions.paused() == KIM

    def test_a_change_that_changes_nothing_writes_nothing(self, store, path):
        pin(store, "prod", "u1")
        before = path.stat()
        pin(store, "prod", "u1")
        assert path.stat() == before

    def test_a_cluster_without_decisions_takes_no_room(self, store, path):
        pin(store, "prod", "u1")
        pin(store, "prod", "")
        assert "prod" not in path.read_text()

    def test_a_change_that_fails_leaves_the_old_decisions(self, store):
        pin(store, "prod", "u1")
        with pytest.raises(ZeroDivisionError):
            store.decisions.update("prod", lambda _: 1 // 0)
        assert store.decisions.of("prod").identity == "u1"

    def test_only_the_master_may_read_the_file(self, store, path):
        store.decisions.pause(KIM)
        assert path.stat().st_mode & 0o777 == 0o600


class TestWriting:
    def test_a_writer_killed_at_any_step_leaves_the_old_or_the_new_file(self, folder):
        script = textwrap.dedent(
            """
            import itertools, os, signal, sys
            from salt_ext.store.control import ControlFlag
            from salt_ext.store.decisions import DecisionFile

            STEPS = ("open", "write", "fsync", "close", "replace")
            decisions = DecisionFile(sys.argv[1])

            def die_before(step):
                count = itertools.count()
                for name in STEPS:
                    def call(*args, real=getattr(os, name)):
                        if next(count) == step:
                            os.kill(os.getpid(), signal.SIGKILL)
                        return real(*args)
                    setattr(os, name, call)

            decisions.pause(ControlFlag("old", 1.0))
            for step in itertools.count():
                child = os.fork()
                if not child:
                    die_before(step)
                    decisions.change(lambda old: type(old)(paused=ControlFlag("new", 2.0)))
                    os._exit(0)
                _, status = os.waitpid(child, 0)
                print(decisions.paused().by, flush=True)
                if not status:
                    break
                decisions.change(lambda old: type(old)(paused=ControlFlag("old", 1.0)))
            """
        )
        ended = subprocess.run(
            [sys.executable, "-c", script, str(folder)],
            capture_output=True,
            text=True,
            check=True,
        )
        seen = ended.stdout.split()
        assert len(seen) > 10
        assert seen == sorted(seen, reverse=True)  # old, old, …, new, new
        assert {*seen} == {"old", "new"}
        assert names(folder) == [decisions.FILE]

    @pytest.mark.parametrize("step", ["write", "fsync", "replace"])
    def test_a_full_disk_keeps_the_old_decisions_and_says_so(
        self, store, folder, monkeypatch, step
    ):
        store.decisions.pause(KIM)

        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr(os, step, full)
            with pytest.raises(StoreError, match=r"decisions.json: No space left"):
                pin(store, "prod", "u1")
        assert store.decisions.paused() == KIM
        assert store.decisions.of("prod").identity == ""
        assert names(folder) == [decisions.FILE]

    def test_two_processes_lose_no_update_of_each_other(self, store, folder):
        script = textwrap.dedent(
            """
            import sys
            from salt_ext.store.decisions import ClusterDecisions, DecisionFile

            decisions = DecisionFile(sys.argv[1])
            for n in range(50):
                decisions.update(f"{sys.argv[2]}{n}", lambda _: ClusterDecisions(identity="u"))
            """
        )

        def run(name: str) -> None:
            subprocess.run([sys.executable, "-c", script, str(folder), name], check=True)

        with ThreadPoolExecutor() as pool:
            list(pool.map(run, ("a", "b")))
        assert len(store.decisions.read().clusters) == 100

    def test_a_lock_that_another_process_keeps_is_an_error_and_no_endless_wait(
        self, store, folder, monkeypatch
    ):
        monkeypatch.setattr(decisions, "_BUSY", 0.01)
        with exclusive(folder / DECISIONS) as locked:
            assert locked
            with pytest.raises(StoreError, match=r"decisions.lock: another process"):
                store.decisions.pause(KIM)

    def test_more_than_the_file_may_hold_is_refused_and_the_old_stays(self, store):
        pin(store, "prod", "u1")
        many = {"growth": {f"n{n}": "f" * 100 for n in range(50_000)}}
        with pytest.raises(StoreError, match="nothing was recorded"):
            store.decisions.update("prod", lambda _: ClusterDecisions(rejected=many))
        assert store.decisions.of("prod").identity == "u1"


def flipped(path: Path) -> None:
    path.write_text(path.read_text().replace('"kim"', '"ham"'))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def without_pause(path: Path) -> None:
    file = json.loads(path.read_text())
    del file["decisions"]["paused"]
    path.write_text(json.dumps(file))


def without_checksum(path: Path) -> None:
    path.write_text('{"version":1,"decisions":{}}')


def of_another_kind(path: Path) -> None:
    path.write_text('["a"]')


def nested(path: Path) -> None:
    path.write_text('{"version":1,"decisions":' + "[" * 100_000 + "]" * 100_000 + "}")


def newer(path: Path) -> None:
    path.write_text('{"version":2,"decisions":{"paused":{"by":"kim","until":1}}}')


def too_big(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b" " * decisions.MAX_BYTES)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def writable(path: Path) -> None:
    path.chmod(0o620)


def with_another_type(path: Path) -> None:
    body = b'{"paused":{"by":1,"at":"x"}}'
    path.write_bytes(decisions._sealed(msgspec.Raw(body)))


def with_an_unknown_key(path: Path) -> None:
    path.write_bytes(decisions._sealed(msgspec.Raw(b'{"frozen":true}')))


DAMAGES = {
    flipped: "its checksum does not fit",
    cut: "it cannot be read",
    emptied: "it cannot be read",
    without_pause: "its checksum does not fit",
    without_checksum: "its checksum does not fit",
    of_another_kind: "it cannot be read",
    nested: "it cannot be read",
    newer: "its version is 2",
    too_big: "at most",
    a_folder: "not a regular file",
    a_pipe: "not a regular file",
    a_link: "a symbolic link",
    writable: "others may write to it",
    with_another_type: "it cannot be read",
    with_an_unknown_key: "it cannot be read",
}


@pytest.fixture(params=DAMAGES, ids=lambda damage: damage.__name__)
def damage(request, store, path):
    """Damage a file that has a pause; return what is said about it."""
    store.decisions.pause(KIM)
    request.param(path)
    return DAMAGES[request.param]


class TestDamage:
    def test_nothing_is_published_and_the_reason_names_file_and_cure(self, store, path, damage):
        stopped = publishing_stopped(read({"clusters": {}}, "m"), store)
        assert stopped.startswith(f"{path} cannot be used: ")
        assert damage in stopped
        assert "resume" in stopped or "chmod" in stopped

    @pytest.mark.usefixtures("damage")
    def test_a_decision_is_refused_while_the_old_ones_are_unknown(self, store, path):
        before = path.lstat()
        for decide in (
            lambda: store.decisions.pause(KIM),
            store.decisions.resume,
            lambda: pin(store, "prod", "u1"),
        ):
            with pytest.raises(UnusableDecisions):
                decide()
        assert path.lstat().st_ino == before.st_ino

    @pytest.mark.usefixtures("damage")
    def test_resume_sets_it_aside_says_so_and_begins_a_new_file(self, store, folder, caplog):
        with caplog.at_level(logging.WARNING):
            answer = controls.resume(store, controls.By(name="kim"))
        assert answer["was_paused"] is True
        assert (folder / answer["set_aside"]).exists() or (
            folder / answer["set_aside"]
        ).is_symlink()
        assert answer["set_aside"].startswith("decisions.json.aside-")
        assert "[decisions-set-aside]" in caplog.text
        (entry,) = store.history.newest("", 1)
        assert entry.detail["set_aside"] == answer["set_aside"]
        assert store.decisions.paused() is None
        assert store.decisions.pause(KIM)

    def test_resume_sets_nothing_aside_that_can_be_used(self, store, folder):
        pin(store, "prod", "u1")
        store.decisions.pause(KIM)
        assert "set_aside" not in controls.resume(store, controls.By(name="kim"))
        assert store.decisions.of("prod").identity == "u1"
        assert not list(folder.glob("*.aside-*"))


@pytest.mark.root
def test_a_file_of_another_user_is_not_used(store, path):
    store.decisions.pause(KIM)
    os.chown(path, 65534, -1)
    with pytest.raises(UnusableDecisions, match="user id 65534 owns it"):
        store.decisions.paused()
    os.chown(path.parent, 65534, -1)
    assert store.decisions.paused() == KIM


def test_a_folder_that_cannot_be_read_is_unknown_and_not_undecided(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UnusableDecisions, match="Not a directory"):
        Store(str(tmp_path / "file")).decisions.paused()


def test_times_of_a_file_from_the_future_harm_nothing(store, path):
    store.decisions.pause(KIM)
    os.utime(path, (time.time() + 1e6, time.time() + 1e6))
    assert store.decisions.paused() == KIM
