"""A master with a few minions, whose returns are what a test says; its engine's loop by hand."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import salt.config

from salt_ext.admin.check import minions as check_minions
from salt_ext.admin.history import history
from salt_ext.admin.status import status
from salt_ext.core.config import config
from salt_ext.core.config.apply import Action
from salt_ext.core.references.resolution import Unresolved
from salt_ext.core.references.resolve import digest
from salt_ext.master import minion_module
from salt_ext.references.resolver import Resolver
from salt_ext.rollout.apply import ApplyRun
from salt_ext.rollout.departures import DepartureTracker
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.plan import plan
from salt_ext.rollout.reminder import Reminder
from salt_ext.rollout.selection import BatchSelector
from salt_ext.rollout.settlement import JobSettlement
from salt_ext.store import Store
from salt_ext.store.subscriptions import Answer, Seen
from tests.core.build import member, snapshot
from tests.functional.returns import STATES

CLUSTER = {"in_cluster": True, "allowed_networks": ["192.0.2.0/24", "198.51.100.0/24"]}
SHIPPED = minion_module.shipped_version()
"""The version of the module that this master ships."""


class Bus:
    """Keeps the tags of what is fired, and its data."""

    def __init__(self) -> None:
        self.fired: list[tuple[str, Mapping[str, Any]]] = []

    def fire(self, tag: str, data: Mapping[str, Any]) -> None:
        self.fired.append((tag, data))


class Master:
    """Publisher, job cache and clock in one; the store and all that works on it are real."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **block: Any) -> None:
        self.now = 1_700_000_000.0
        monkeypatch.setattr(time, "time", lambda: self.now)
        # Not for everything: asyncio and locks of other tests need a clock that runs.
        clocks = SimpleNamespace(time=lambda: self.now, monotonic=lambda: self.now)
        for module in ("reminder", "settlement"):
            monkeypatch.setattr(f"salt_ext.rollout.{module}.time", clocks)
        self.block: dict[str, Any] = {
            "state_dir": str(folder / "state"),
            "clusters": {"prod": dict(CLUSTER), "test": dict(CLUSTER)},
            **block,
        }
        apply = block.get("apply", {})
        states = {} if "function" in apply else {"states": ["firewall"]}
        self.block["apply"] = {**states, "min_interval": 0, **apply}
        self.store = Store(self.block["state_dir"])
        self.jobs: dict[str, tuple[list[str], Action]] = {}
        self.cache: dict[str, dict[str, dict[str, Any]]] = {}
        self.bus = Bus()
        self.pillars: dict[str, tuple[str, ...]] = {}
        self._numbers = itertools.count(1)
        self._revisions: dict[str, int] = {}
        self._settlement: JobSettlement | None = None

    # the publisher

    def new_jid(self) -> str:
        return str(next(self._numbers))

    def apply(self, jid: str, minions: Any, action: Action) -> None:
        self.jobs[jid] = list(minions), action

    # the job cache

    def returns(self, jid: str) -> dict[str, dict[str, Any]]:
        return self.cache.get(jid, {})

    # what happens

    @property
    def config(self) -> config.Config:
        return config.read(self.block)

    def view(self, cluster: str, *addresses: str) -> None:
        """Let a cluster have these nodes from now on, as another process would store it."""
        old = self.store.snapshots.load(cluster)
        nodes = [member(f"n{one}", one) for one in addresses]
        revision = self.store.snapshots.revision(cluster) + 1
        view = snapshot(*nodes, cluster=cluster, revision=revision)
        gone = old.members.keys() - view.members.keys() if old else ()
        self.store.snapshots.save(view, nodes, gone)

    def refer(self, minion: str, *texts: str) -> None:
        """Let the pillar of a minion have these references and no others, and be compiled."""
        self.pillars[minion] = texts
        self.compile(minion)

    def compile(self, minion: str) -> None:
        """Let a minion ask for its pillar."""
        seen = {}
        for text in self.pillars[minion]:
            lines = Resolver(self.store).addresses(text, self.config)
            served = not isinstance(lines, Unresolved)
            seen[text] = Seen(
                cluster=text.split("/")[2].split("?")[0],
                answer=Answer.SERVED if served else Answer.UNRESOLVED,
                digest=digest({text: lines}) if served else "",
            )
        self.store.subscriptions.record(minion, "", seen, self.now)

    def run(self, *clusters: str, force: bool = False) -> dict[str, tuple[list[str], Action]]:
        """Run apply; return the new jobs."""
        before = set(self.jobs)
        named = frozenset(clusters or self.config.names)
        ApplyRun(self.config, self.store, self, self.match, SHIPPED).run(named, force=force)
        self.now += 1
        return {jid: job for jid, job in self.jobs.items() if jid not in before}

    def match(self, target: str) -> frozenset[str]:
        return frozenset(target.split(","))

    def answer(self, jid: str, minion: str, answer: object, **more: Any) -> None:
        """Let a minion return this."""
        returned = {"return": answer, "retcode": 0, "success": True, **more}
        self.cache.setdefault(jid, {})[minion] = returned

    def settle(self) -> frozenset[str]:
        """Let the engine look for returns."""
        if self._settlement is None:
            self._settlement = JobSettlement(self.config, self.store, {}, self)
        self.now += 1
        # All of them, however long ago the last look was.
        self._settlement._full_look_at = self._settlement._late_look_at = 0.0
        return self._settlement.settle(self)

    def remind(self, *settled: str) -> list[str]:
        """Let the engine look for what is due; return the tags that it fired."""
        self.bus.fired.clear()
        desired_state = DesiredState(self.store)
        selector = BatchSelector(self.config, self.store, desired_state, self.match)
        Reminder(self.config, self.store, desired_state, selector, self.match).remind(
            self.bus, frozenset(settled)
        )
        return [tag for tag, _ in self.bus.fired]

    def look(self) -> None:
        """Let any process look for departures."""
        desired_state = DesiredState(self.store)
        DepartureTracker(self.store, desired_state).update(self.config, self.store.applied.all())

    def prove(self, **how: Any) -> list[str]:
        """Run apply and let every job of states and of modules succeed; return what was sent."""
        functions = []
        for jid, (minions, action) in self.run(**how).items():
            functions.append(action.function)
            for minion in minions:
                states = action.function == "state.apply"
                if states:
                    self.compile(minion)
                self.answer(jid, minion, STATES if states else {"result": True})
        self.settle()
        return functions

    def close(self, minion: str, **departures: Any) -> dict[str, Any]:
        """Run apply, let the job that closes return this; return what it was sent."""
        for jid, (minions, action) in self.run().items():
            if action.function == "saltutil.sync_all":
                for name in minions:
                    self.answer(jid, name, {})
                self.settle()
                return self.close(minion, **departures)
            if action.function == "k8s_firewall.close" and minion in minions:
                self.answer(jid, minion, {"result": True, "departures": departures})
                self.settle()
                return dict(action.kwarg)
        raise AssertionError(f"nothing was closed on {minion}: {self.jobs}")

    # what is said

    def departed(self, minion: str = "m1") -> dict[str, str]:
        """Return the state of each departure of a minion."""
        return {one.address: one.state.value for one in self.store.departures.of(minion)}

    def status(self) -> Any:
        return status(self.config, self.store, self.match)

    def plan(self) -> Any:
        return plan(self.config, self.store, self.match, frozenset(self.config.names))

    def history(self, *what: str) -> list[Any]:
        entries = history(self.config, self.store, None, 100)["entries"]
        return [entry for entry in entries if entry["what"] in what]

    def findings(self) -> list[str]:
        opts = {**salt.config.DEFAULT_MASTER_OPTS, "file_roots": {}}
        found = check_minions.findings(opts, self.config, self.store, self.match)
        return [f"{one.level.value}: {one.where}: {one.what}" for one in found]
