"""A master with two clusters and four minions at a fixed time; its answers as Salt prints them."""

from __future__ import annotations

import itertools
import os
import re
import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
import salt.config
import salt.output

from salt_ext import formula
from salt_ext.admin import setup
from salt_ext.admin.check import clusters
from salt_ext.core.cluster.diff import Baseline
from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.config.config import KEY
from salt_ext.core.rollout.view_departures import departed
from salt_ext.kube.preflight import CLUSTER_ADMIN, REQUIRED, ClusterInfo
from salt_ext.master import master_process, processes
from salt_ext.master.settings import settings
from salt_ext.rollout.apply import ApplyRun
from salt_ext.store import Health, Store
from salt_ext.store.history import HistoryEntry
from salt_ext.store.subscriptions import Answer, Seen
from tests.core.build import member, snapshot
from tests.functional.returns import settle, succeed

START = 1_700_000_000.0
"""2023-11-14T22:13:20Z: the first views are stored, and the engine starts."""

ENGINE_PID = 4242
MINIONS = ("db1", "web1", "web2", "web3")
SERVER = "https://192.0.2.250:6443"

_INSTALLED = "/usr/lib/python3/dist-packages/salt_ext"


class Publisher:
    """Numbers its jobs, and sends nothing."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def new_jid(self) -> str:
        """Return the id of the next job."""
        return f"20231114221320{next(self._numbers):06}"

    def apply(self, *_: object) -> None:
        """Send nothing."""


class Master:
    """A master's folder, its store, and the clock."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.now = START
        self.engine_pid: int | None = ENGINE_PID
        self.values: dict = {}
        self._publisher = Publisher()
        monkeypatch.setattr(time, "time", lambda: self.now)
        monkeypatch.setattr(processes, "started_at", lambda _: START)
        monkeypatch.setattr(processes, "is_stopped", lambda _: False)
        monkeypatch.setattr(processes, "parent", lambda pid: pid)
        monkeypatch.setattr(master_process, "is_running", lambda _: True)
        for module in ("engine_state", "controls"):
            monkeypatch.setattr(f"salt_ext.admin.{module}.lock_holder", lambda _: self.engine_pid)
        monkeypatch.setattr(clusters, "preflight", self._preflight)
        (folder / "master.d").mkdir()
        (folder / "master").write_text(
            f"{{root_dir: {folder}, pki_dir: {folder}/pki, sock_dir: {folder}/sock, user: root}}"
        )
        for kind in ("", "_pre", "_rejected", "_denied", "_autosign"):
            (folder / "pki" / f"minions{kind}").mkdir(parents=True)
        for minion in MINIONS:
            (folder / "pki" / "minions" / minion).write_text("a key")
        for name in ("prod", "test"):
            (folder / f"{name}.kubeconfig").write_text("")
        self.store = Store(str(folder / "state"))

    def configure(self) -> None:
        """Write the configuration that ``setup`` gives for two clusters, with two classes."""
        given: setup.Given = {"kubeconfig": f"{self.folder}/prod.kubeconfig"}
        answer = setup.setup(self.opts(), {**given, "cluster": "prod"}, brief=False)
        assert not isinstance(answer, str)
        ((_, text),) = answer["put"].items()
        self.values = msgspec.yaml.decode(text)
        access = {
            "server": SERVER,
            "ca_file": "/etc/salt/k8s/ca.crt",
            "allowed_networks": ["192.0.2.0/24"],
        }
        self.values[KEY] |= {
            "state_dir": str(self.folder / "state"),
            "clusters": {"prod": {**access, "token_file": "/etc/salt/k8s/prod.token"}},
            "apply": {
                "states": ["firewall"],
                "classes": {"web": {"target": "web*", "function": "k8s_firewall.sync"}},
            },
        }
        self.values[KEY]["clusters"]["test"] = {
            **access,
            "server": SERVER.replace("250", "251"),
            "token_file": "/etc/salt/k8s/test.token",
        }

    def opts(self, **more: object) -> dict:
        """Return the master's options, read from its files."""
        drop_in = self.folder / "master.d" / "k8s_nodes.conf"
        if self.values:
            drop_in.write_bytes(msgspec.yaml.encode(self.values))
        for path in (self.folder / "master", *drop_in.parent.iterdir()):
            os.utime(path, (START - 3600, START - 3600))
        opts = salt.config.master_config(str(self.folder / "master"))
        opts["extension_modules"] = str(self.folder / "extmods")
        return {**opts, **more}

    def match(self, target: str) -> frozenset[str]:
        """Return the minions of a target: a prefix and a star, or names with commas."""
        if target.endswith("*"):
            return frozenset(name for name in MINIONS if name.startswith(target[:-1]))
        return frozenset(MINIONS) & frozenset(target.split(","))

    def save(self, cluster: str, *addresses: str) -> None:
        """Let a cluster have these nodes, from now on."""
        old = self.store.snapshots.load(cluster)
        members = [member(f"{cluster}-{address[8:]}", address) for address in addresses]
        revision = self.store.snapshots.revision(cluster) + 1
        view = replace(snapshot(*members, cluster=cluster, revision=revision), observed_at=self.now)
        before = old.members if old else {}
        gone = [node for name, node in before.items() if name not in view.members]
        self.store.snapshots.save(
            view, members, [node.name for node in gone], self._departed(cluster, old, view)
        )
        new = [str(a) for node in members if node.name not in before for a in node.all_addresses()]
        detail = {
            "cluster": cluster,
            "revision": revision,
            "added": sorted(new),
            "removed": sorted(str(a) for node in gone for a in node.all_addresses()),
            "truncated": False,
            "nodes": len(members),
        }
        entry = HistoryEntry(at=self.now, cluster=cluster, what="changed", detail=detail)
        self.store.history.record(entry)

    def _departed(self, cluster: str, old: Snapshot | None, new: Snapshot) -> list:
        if old is None:
            return []
        subscribers = self.store.subscriptions.to_cluster(cluster)
        difference = Baseline(old.members).diff(new.members)
        settled = settings(self.opts()).clusters[cluster]
        return [*departed(subscribers, old, new, difference, settled)]

    def close(self, **departures: dict[str, str]) -> None:
        """Publish what closes departed addresses; let each minion answer this."""
        config = settings(self.opts())
        run = ApplyRun(config, self.store, self._publisher, self.match, formula.version())
        jobs = run.run(frozenset(config.names), force=True)["jobs"]
        self.now += 1
        for jid, names in jobs.items():
            for minion in names:
                answer = {"result": True, "departures": departures}
                settle(self.store, jid, minion, answer, self.now, close_at=self.now + 4)

    def watched(self, cluster: str, **health: object) -> None:
        """Let the engine report on a cluster, and on the minions."""
        usual = {
            "state": "watching",
            "reported_at": self.now,
            "listed_at": START,
            "heard_at": self.now - 2.5,
            "nodes": 2,
            "lists": 1,
            "events": 17,
        }
        self.store.health.report(cluster, Health(**{**usual, **health}))
        self.store.health.minion_loop_seen(self.now)

    def refer(self, minion: str, *texts: str) -> None:
        """Let the pillar of a minion have these references."""
        seen = {
            text: Seen(cluster=re.split(r"[/?]", text[6:])[0], answer=Answer.SERVED)
            for text in texts
        }
        self.store.subscriptions.record(minion, "", seen, self.now)

    def publish(self, *proven: str, minions: str | None = None) -> dict:
        """Publish to all minions that are out of date, and let some prove it a second later."""
        config = settings(self.opts())
        run = ApplyRun(config, self.store, self._publisher, self.match, formula.version())
        for minion in MINIONS:
            self.store.minion_facts.set_module_version(minion, formula.version())
        answer = run.run(frozenset(config.names), minions=minions, force=True)
        self.now += 1
        for jid, names in answer["jobs"].items():
            for minion in set(proven) & set(names):
                succeed(self.store, jid, minion, self.now)
        return dict(answer)

    def healthy(self) -> None:
        """Let everything be well: both clusters watched, all minions up to date."""
        self.configure()
        self.save("prod", "192.0.2.1", "192.0.2.2")
        self.save("test", "192.0.2.31", "192.0.2.32")
        for minion in MINIONS:
            self.refer(minion, "k8s://prod")
        self.refer("web3", "k8s://prod", "k8s://test")
        self.now += 4
        self.publish(*MINIONS)
        self.now += 55
        self.watched("prod")
        self.watched("test")

    def screen(self, answer: object) -> str:
        """Return an answer as Salt prints it at a terminal, without this machine's paths."""
        opts = self.opts(color=False)
        text = str(salt.output.out_format(answer, "nested", opts)) + "\n"
        for path, name in (
            (str(self.folder), "/etc/salt"),
            (str(files("salt_ext.reactor")), f"{_INSTALLED}/reactor"),
            (str(formula.path()), f"{_INSTALLED}/formula"),
            (formula.version(), "VERSION"),
        ):
            text = text.replace(path, name)
        return "".join(f"{line.rstrip()}\n" for line in text.splitlines())

    @staticmethod
    def _preflight(access: object, _secret: object) -> ClusterInfo:
        server = getattr(access, "server", "")
        return ClusterInfo(
            server=server,
            version="v1.31.4",
            credential_source=getattr(access, "token_file", ""),
            clock_skew=0.2,
            credential_lifetime=None,
            permissions={**dict.fromkeys(REQUIRED, True), CLUSTER_ADMIN: False},
        )
