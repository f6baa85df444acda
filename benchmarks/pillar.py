"""Pillar compiles with our ext_pillar, beside compiles without it and beside a live LIST."""

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

from benchmarks import quick_machine
from benchmarks.comparison import Comparison, Progress
from benchmarks.real_api import require_real_api
from lab.errors import LabError
from lab.kubernetes import open_backend
from lab.kubernetes.endpoint import Endpoint
from lab.kubernetes.nodes import Nodes
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
COLD_AIM = 0.01, "a ratio from the start, less than 40 ms beside a LIST"
REFERENCE = {"firewall": {"services": {"postgresql": {"ips_allow": ["k8s://prod"]}}}}


def comparisons(progress: Progress) -> list[Comparison]:
    """Return every row of this part."""
    require_real_api()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return [
            _no_reference(Path(folder), progress),
            _one_of_many_clusters(Path(folder), progress),
            _many_minions(Path(folder), progress),
            *_live_list(Path(folder), progress),
        ]


class _Master:
    """A master's configuration and pillar, and the store with the nodes of its clusters."""

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
        """Accept a key: references of a minion without one are not recorded."""
        (self._keys / minion).touch()

    def measure(self, what: str, *rest: int, **options: Any) -> dict[str, Any]:
        """Let a new process measure with this configuration, and return its figures."""
        folder = self._folder
        conf = {
            "root_dir": str(folder),
            "pki_dir": str(self._keys.parent),
            "file_client": "local",
            "pillar_roots": {"base": [str(folder / "pillar")]},
            "ext_pillar": [{"k8s_nodes": {}}],
            "pillar_dirs": [str(Path(__file__).parent / "ext_pillars")],
            "k8s_nodes": {"state_dir": str(self.state_dir), "clusters": self._clusters},
            **options,
        }
        (folder / "master").write_text(yaml.safe_dump(conf))
        argv = [
            sys.executable,
            "-m",
            "benchmarks.workers.pillar_compile",
            what,
            str(folder / "master"),
        ]
        # Salt loads its modules anew for each compile: a master has them compiled to bytecode.
        environment = {**os.environ}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        done = subprocess.run(
            [*argv, *map(str, rest)], capture_output=True, text=True, env=environment, check=False
        )
        if done.returncode:
            raise LabError(f"the measurement {what} failed:\n{done.stderr[-2000:]}")
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return figures

    def store_nodes(self, nodes: int) -> None:
        """Store so many nodes of each cluster."""
        members = {f"node-{i:05d}": _node(i) for i in range(nodes)}
        for name in self._clusters:
            snapshot = Snapshot(
                cluster=name,
                revision=1,
                identity="bench",
                resource_version="1",
                observed_at=1.0,
                members=members,
            )
            Store(str(self.state_dir)).snapshots.save(snapshot, members.values(), [])


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
    names = ["prod", *(f"other-{i}" for i in range(1, count))]
    return {name: {"in_cluster": True, "allowed_networks": ["10.0.0.0/8"]} for name in names}


def _keys(count: int) -> dict[str, Any]:
    """Return a pillar with so many keys in all, shaped as pillars usually are."""
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


def _no_reference(folder: Path, progress: Progress) -> Comparison:
    progress(f"a pillar with {KEYS} keys and no reference, {RUNS} times")
    master = _Master(folder / "nothing", _keys(KEYS), _clusters(1))
    master.store_nodes(100)
    ours, bare = master.measure("phase", RUNS), master.measure("phase", RUNS, ext_pillar=[])
    return Comparison(
        part=PART,
        name=f"{KEYS} keys, no reference: CPU added",
        unit="ms",
        ours=(ours["cpu"] - bare["cpu"]) * 1000,
        peer=bare["whole"] * 1000,
        peer_name="CPU of a whole compile without our ext_pillar",
        aim=quick_machine.aim(1, quick_machine.COMPILE_CPU_MS),
        derivation=f"1 ms, a compile of {quick_machine.COMPILE_CPU_MS:g} ms",
        reason="half of it is Salt's loader, which loads our module for each compile",
    )


def _one_of_many_clusters(folder: Path, progress: Progress) -> Comparison:
    progress(f"{CLUSTERS} clusters of {NODES_OF_EACH} nodes configured, one referenced")
    cpu = {}
    for count in (1, CLUSTERS):
        master = _Master(folder / f"clusters{count}", REFERENCE, _clusters(count))
        master.store_nodes(NODES_OF_EACH)
        cpu[count] = min(master.measure("phase", RUNS)["cpu"] for _ in range(3))
    return Comparison(
        part=PART,
        name=f"{CLUSTERS} clusters configured, one referenced: CPU",
        unit="ms",
        ours=cpu[CLUSTERS] * 1000,
        peer=cpu[1] * 1000,
        peer_name="one cluster configured",
        aim=1.05,
        derivation="a ratio from the start",
    )


def _many_minions(folder: Path, progress: Progress) -> Comparison:
    progress(f"{MINIONS} minions compile their pillars in 3 processes, with us and without")
    pillar = {**_keys(KEYS), **REFERENCE}
    master = _Master(folder / "crowd", pillar, _clusters(1))
    master.store_nodes(NODES_OF_EACH)
    figures = master.measure("crowd", MINIONS)
    return Comparison(
        part=PART,
        name=f"{figures['minions']} minions at once, {KEYS} keys, one reference to "
        f"{NODES_OF_EACH} nodes",
        unit="s",
        ours=figures["with"],
        peer=figures["without"],
        peer_name="the same compiles without our ext_pillar",
        aim=1.05,
        derivation="a ratio from the start",
    )


def _live_list(folder: Path, progress: Progress) -> list[Comparison]:
    with open_backend("real", folder / "kube") as backend:
        endpoint = backend.endpoint
        progress(f"creating {NODES} nodes of 12 to 14 KB each")
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
        master.measure("fetch")
        progress(f"one reference to {NODES} nodes, and {LISTS} compiles that list them")
        live = master.measure("phase", LISTS, ext_pillar=[{"live_list": access}])
        warm = master.measure("phase", RUNS)
        starts = [master.measure("phase", 1) for _ in range(COLD)]
    cold = statistics.median(one["first"] for one in starts)
    started = statistics.median(one["imports"] + one["first"] for one in starts)
    if not live["served"] == warm["served"] == NODES:
        raise LabError(f"{live['served']} and {warm['served']} of {NODES} nodes were served")
    list_seconds = quick_machine.LIVE_LIST_S
    warm_aim = (quick_machine.aim(0.005, list_seconds), f"5 ms, a LIST of {list_seconds:g} s")
    return [
        Comparison(
            part=PART,
            name=f"one reference to {NODES} nodes, {name}",
            unit="ms",
            ours=seconds * 1000,
            peer=live["wall"] * 1000,
            peer_name="a LIST at each compile",
            aim=aim,
            derivation=derivation,
            reason="most of it reads the nodes with their labels from the store",
        )
        for name, seconds, aim, derivation in (
            ("warm worker", warm["wall"], *warm_aim),
            ("cold worker", cold, *COLD_AIM),
            ("cold worker that has just started", started, *COLD_AIM),
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
