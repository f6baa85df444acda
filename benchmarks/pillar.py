"""Compiles of pillars with our ext_pillar, beside the same without it and beside a live LIST."""

from __future__ import annotations

import ipaddress
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks.row import Row, Say
from lab.errors import LabError
from lab.kubernetes import open_backend
from lab.kubernetes.endpoint import Endpoint
from lab.kubernetes.nodes import Nodes
from lab.kubernetes.real_backend import unavailable
from salt_ext.core.cluster.member import Member
from salt_ext.core.cluster.node import AddressType
from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.store import Store

PART = "pillar"
NODES = int(os.environ.get("BENCH_NODES", "5000"))
MINIONS = int(os.environ.get("BENCH_MINIONS", "1000"))
KEYS = 1000
RUNS = 50
LISTS = 5
COLD = 5
CLUSTERS = 100
NODES_OF_EACH = 1000
REFERENCE = {"firewall": {"services": {"postgresql": {"ips_allow": ["k8s://prod"]}}}}


def rows(say: Say) -> list[Row]:
    """Return every row of this part."""
    if why := unavailable():
        raise LabError(f"it needs a real kube-apiserver: {why}")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return [
            *_nothing(Path(folder), say),
            *_one_of_many(Path(folder), say),
            *_crowd(Path(folder), say),
            *_beside_a_list(Path(folder), say),
        ]


class _Master:
    """The configuration of a master, its pillar, and what is stored of its clusters."""

    def __init__(self, folder: Path, pillar: object, clusters: dict[str, Any]) -> None:
        self._folder = folder
        self.state_dir = folder / "state"
        self._clusters = clusters
        roots = folder / "pillar"
        roots.mkdir(parents=True)
        (roots / "top.sls").write_text("base: {'m*': [data]}\n")
        (roots / "data.sls").write_text(yaml.safe_dump(pillar))
        self._keys = folder / "keys" / "minions"
        self._keys.mkdir(parents=True)
        self.accept("m1")

    def accept(self, minion: str) -> None:
        """Accept a key: what a minion without one refers to is not recorded."""
        (self._keys / minion).touch()

    def ask(self, what: str, *rest: int, **options: Any) -> dict[str, Any]:
        """Let a new process do something with this configuration, and return what it tells."""
        folder = self._folder
        conf = {
            "root_dir": str(folder),
            "pki_dir": str(self._keys.parent),
            "file_client": "local",
            "pillar_roots": {"base": [str(folder / "pillar")]},
            "ext_pillar": [{"k8s_nodes": {}}],
            "pillar_dirs": [str(Path(__file__).parent / "pillar_modules")],
            "k8s_nodes": {"state_dir": str(self.state_dir), "clusters": self._clusters},
            **options,
        }
        (folder / "master").write_text(yaml.safe_dump(conf))
        argv = [sys.executable, "-m", "benchmarks.workers.compiling", what, str(folder / "master")]
        # Salt loads its modules anew for each compile: a master has them compiled to bytecode.
        environment = {**os.environ}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        done = subprocess.run(
            [*argv, *map(str, rest)], capture_output=True, text=True, env=environment, check=False
        )
        if done.returncode:
            raise LabError(f"the measurement {what} failed:\n{done.stderr[-2000:]}")
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return told

    def know(self, nodes: int) -> None:
        """Store so many nodes of each cluster."""
        found = {f"node-{i:05d}": _node(i) for i in range(nodes)}
        for name in self._clusters:
            snapshot = Snapshot(
                cluster=name,
                revision=1,
                identity="bench",
                resource_version="1",
                observed_at=1.0,
                members=found,
            )
            Store(str(self.state_dir)).snapshots.save(snapshot, found.values(), [])


def _node(number: int) -> Member:
    address = ipaddress.ip_address(int(ipaddress.ip_address("10.0.0.1")) + number)
    labels = {f"example.org/label-{i}": f"value-{i}" for i in range(12)}
    return Member(
        name=f"node-{number:05d}",
        uid=f"uid-{number}",
        addresses={AddressType.INTERNAL: (address,)},
        labels=labels,
        ready=True,
    )


def _clusters(count: int) -> dict[str, Any]:
    named = ["prod", *(f"other-{i}" for i in range(1, count))]
    return {name: {"in_cluster": True, "allowed_networks": ["10.0.0.0/8"]} for name in named}


def _keys(count: int) -> dict[str, Any]:
    """Return a pillar with so many keys in all, of the shape that pillars have."""
    return {
        f"app{i}": {
            "name": f"app{i}",
            "port": 8000 + i,
            "allow": ["198.51.100.1", "198.51.100.2"],
            "tls": {"enabled": True, "file": f"/etc/ssl/app{i}.pem", "hosts": ["a", "b"]},
            "note": None,
        }
        for i in range(count // 9)
    }


def _nothing(folder: Path, say: Say) -> list[Row]:
    say(f"a pillar with {KEYS} keys and no reference, {RUNS} times")
    master = _Master(folder / "nothing", _keys(KEYS), _clusters(1))
    master.know(100)
    ours, bare = master.ask("phase", RUNS), master.ask("phase", RUNS, ext_pillar=[])
    return [
        Row(
            part=PART,
            name=f"{KEYS} keys, no reference: CPU added (beside the whole compile without us)",
            unit="ms",
            ours=(ours["cpu"] - bare["cpu"]) * 1000,
            alternative=bare["whole"] * 1000,
            aim=1.0,
        )
    ]


def _one_of_many(folder: Path, say: Say) -> list[Row]:
    say(f"{CLUSTERS} clusters of {NODES_OF_EACH} nodes configured, one referenced")
    median = {}
    for count in (1, CLUSTERS):
        master = _Master(folder / f"clusters{count}", REFERENCE, _clusters(count))
        master.know(NODES_OF_EACH)
        median[count] = min(master.ask("phase", RUNS)["cpu"] for _ in range(3))
    return [
        Row(
            part=PART,
            name=f"{CLUSTERS} clusters configured, one referenced: CPU (beside one configured)",
            unit="ms",
            ours=median[CLUSTERS] * 1000,
            alternative=median[1] * 1000,
            aim_ratio=1.05,
        )
    ]


def _crowd(folder: Path, say: Say) -> list[Row]:
    say(f"{MINIONS} minions compile their pillars in 3 processes, with us and without")
    pillar = {**_keys(KEYS), **REFERENCE}
    master = _Master(folder / "crowd", pillar, _clusters(1))
    master.know(NODES_OF_EACH)
    told = master.ask("crowd", MINIONS)
    return [
        Row(
            part=PART,
            name=f"{told['minions']} minions at once, {KEYS} keys, one reference to "
            f"{NODES_OF_EACH} nodes (beside the same without us)",
            unit="s",
            ours=told["with"],
            alternative=told["without"],
            aim_ratio=1.05,
        )
    ]


def _beside_a_list(folder: Path, say: Say) -> list[Row]:
    with open_backend("real", folder / "kube") as backend:
        endpoint = backend.endpoint
        say(f"creating {NODES} nodes of 12 to 14 KB each")
        Nodes(endpoint, realistic=True).create_many(
            {
                f"node-{i:05d}": {"internal": [str(_address(i))], "at_once": True}
                for i in range(NODES)
            }
        )
        access = _access(endpoint)
        cluster = {**access, "server": access["url"], "allowed_networks": ["10.0.0.0/8"]}
        del cluster["url"]
        master = _Master(folder / "list", REFERENCE, {"prod": cluster})
        master.ask("fetch")
        say(f"one reference to {NODES} nodes, and {LISTS} compiles that list them")
        live = master.ask("phase", LISTS, ext_pillar=[{"live_list": access}])
        warm = master.ask("phase", RUNS)
        starts = [master.ask("phase", 1) for _ in range(COLD)]
    cold = statistics.median(one["first"] for one in starts)
    started = statistics.median(one["imports"] + one["first"] for one in starts)
    if not live["served"] == warm["served"] == NODES:
        raise LabError(f"{live['served']} and {warm['served']} of {NODES} nodes were served")
    return [
        Row(
            part=PART,
            name=f"one reference to {NODES} nodes, {name} (beside a LIST at each compile)",
            unit="ms",
            ours=seconds * 1000,
            alternative=live["wall"] * 1000,
            aim=aim,
            aim_ratio=0.01,
            why="(reading 5,000 nodes with their labels from the store is most of it)",
        )
        for name, seconds, aim in (
            ("warm worker", warm["wall"], 5),
            ("cold worker", cold, 40),
            ("cold worker that has just started", started, 40),
        )
    ]


def _address(number: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(int(ipaddress.ip_address("10.0.0.1")) + number)


def _access(endpoint: Endpoint) -> dict[str, str]:
    return {
        "url": endpoint.url,
        "ca_file": str(endpoint.ca_file),
        "token_file": str(endpoint.tokens["reader"]),
    }
