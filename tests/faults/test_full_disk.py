"""A full disk: the stored nodes stay in force and readable, and the engine recovers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from pathlib import Path

import pytest

from salt_ext.references.resolver import Resolver
from salt_ext.store import Store
from salt_ext.store.locks import ENGINE, engine_lock, lock_holder

pytestmark = pytest.mark.root

QUICK = {"timing": {"inactivity": 1, "debounce": 0, "max_delay": 0}}


class Disk:
    """A file system of half a megabyte."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave no room for another byte."""
        with self._filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid():
        pytest.skip("only root can mount")
    options = ["-t", "tmpfs", "-o", "size=512k,mode=0700", "tests"]
    mounted = subprocess.run(
        ["mount", *options, str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        # A thread may still have the store open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_an_engine_on_a_full_disk_logs_it_serves_its_stored_nodes_and_recovers(
    disk, emulator, watch, caplog
):
    watched = watch(emulator, str(disk.folder / "state"), **QUICK)
    for name in ("n1", "n2"):
        watched.nodes.create(name, internal=[f"10.0.0.{name[1]}"])
    watched.serves("10.0.0.1", "10.0.0.2")
    watched.watching()
    announced = len(watched.bus.named("changed"))
    disk.fill()
    watched.nodes.delete("n2")
    watched.nodes.create("n3", internal=["10.0.0.3"])
    watched.until(
        lambda: "disk is full; retrying in 1 s [store-unavailable]" in caplog.text,
        "an error of the store",
    )
    # No change is announced before it is stored.
    assert len(watched.bus.named("changed")) == announced
    assert watched.resolve("k8s://prod") == ("10.0.0.1", "10.0.0.2")
    opened_now = Resolver(Store(str(disk.folder / "state")))
    assert opened_now.addresses("k8s://prod", watched.config) == ("10.0.0.1", "10.0.0.2")
    disk.empty()
    watched.serves("10.0.0.1", "10.0.0.3")
    watched.watching()
    assert not list(disk.folder.glob("state/*.aside-*"))


def test_an_engine_starts_although_its_number_cannot_be_written(disk):
    lock = disk.folder / ENGINE
    disk.fill()
    with engine_lock(lock, threading.Event()):
        # The number is for messages only; the lock itself counts.
        assert lock_holder(lock) == 0
    assert lock_holder(lock) is None
