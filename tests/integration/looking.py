"""A look at what the master of a world knows of its minions, without a call of Salt's tools."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from lab.polling import wait_until
from lab.process import in_group
from lab.salt.master import Master
from lab.salt.minion import Minion
from lab.world.world import World
from salt_ext.admin.status import status
from salt_ext.core.config import config
from salt_ext.store import Store

WITHIN = 180.0
BOTH = ("minion1", "minion2")

FORGE = '''
import os
import signal

def events(tag, data, count=1):
    """What any minion can do: fire any event, with any tag, in anybody's name."""
    for _ in range(count):
        __salt__["event.fire_master"](data, tag)
    return count
'''


class Looking:
    """One world, as the store of its master, or of one of several, tells it."""

    def __init__(self, world: World, master: Master | None = None) -> None:
        self.world = world
        self.master = master or world.master
        self.folder = Path(self.master.host.folder) / "state"
        self.store = Store(str(self.folder))

    def status(self) -> dict[str, Any]:
        conf = self.master.host.folder / "salt" / "master.d" / "k8s_nodes.conf"
        return status(config.read(yaml.safe_load(conf.read_text())["k8s_nodes"]), self.store)

    def minion(self, name: str, cluster: str = "prod") -> dict[str, Any]:
        """What status says of a minion, empty when it does not know it."""
        found: dict[str, Any] = self.status()["minions"].get(name, {}).get(cluster, {})
        return found

    def up_to_date(self, *minions: str) -> bool:
        """Whether minions have the view, and nothing that left is open there."""
        found = [self.minion(name) for name in minions]
        return all(one.get("up_to_date") and not one.get("open_departures") for one in found)

    def wait(self, *minions: str, within: float = WITHIN) -> None:
        """Wait until minions are up to date and closed."""
        what = f"{minions} up to date, but {[self.minion(name) for name in minions]}"
        wait_until(lambda: self.up_to_date(*minions), within=within, what=what, every=0.05)

    def wait_for(self, minion: str, why: str, *, within: float = WITHIN) -> dict[str, Any]:
        """Wait until status says of a minion why it is behind."""
        wait_until(
            lambda: why in self.minion(minion).get("why", ""),
            within=within,
            what=f"{why!r} of {minion}",
            every=0.05,
        )
        return self.minion(minion)

    def revision(self) -> int:
        return self.store.snapshots.revision("prod")

    def changed(self, revision: int, *, within: float = WITHIN) -> None:
        """Wait until there is a later revision."""
        wait_until(lambda: self.revision() > revision, within=within, what="a change", every=0.02)

    def published(self) -> list[tuple[str, str, int]]:
        """Every job: its class, function and how many minions, oldest first."""
        with closing(sqlite3.connect(self.folder / "store.sqlite3")) as raw:
            return raw.execute(
                "SELECT class, function, minions FROM job ORDER BY at, jid"
            ).fetchall()

    def runs(self) -> int:
        return sum(minions for _, _, minions in self.published())

    def proven(self, minion: str) -> int:
        """How many runs a minion has proved; what it refused or failed was none."""
        with closing(sqlite3.connect(self.folder / "store.sqlite3")) as raw:
            (found,) = raw.execute("SELECT count(*) FROM timing WHERE minion = ?", (minion,))
        return int(found[0])


def minion(world: World, name: str) -> Minion:
    return next(one for one in world.minions if one.host.name == name)


def freeze(one: Minion, number: signal.Signals = signal.SIGSTOP) -> None:
    assert one.process is not None
    for process in in_group(one.process.pid):
        process.send(number)


def node(looking: Looking, name: str, address: str) -> None:
    """A node joins, without a host of its own, and is stored."""
    revision = looking.revision()
    looking.world.nodes.create(name, internal=[address])
    looking.changed(revision)


def rules(world: World, name: str = "minion1") -> str:
    return world.hosts[name].run(["iptables", "-S"]).stdout
