"""The engine on a real kube-apiserver with nodes of a realistic size, beside the alternatives."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.convergence import STATIC
from benchmarks.row import Row, Say
from benchmarks.turns import needs_an_api, share
from lab.errors import LabError
from lab.kubernetes import open_backend
from lab.kubernetes.endpoint import Endpoint
from lab.kubernetes.nodes import Nodes
from lab.world.provisioning import provision
from lab.world.world import World

PART = "engine"
NODES = int(os.environ.get("BENCH_NODES", "5000"))
MANY = int(os.environ.get("BENCH_MANY", "15000"))
RUNS = 3
HEARTBEATS = 1500
CHANGES = 100
SOAK = 60.0
CLUSTERS = 100
MANY_CHANGES = 20
WAYS = (("ours", "follow"), ("official", "watch"), ("official", "informed"), ("operator", "kopf"))


def rows(say: Say) -> list[Row]:
    """Return every row of this part."""
    needs_an_api()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        open_backend("real", Path(folder)) as backend,
    ):
        endpoint = backend.endpoint
        nodes = Nodes(endpoint, realistic=True)
        _create(endpoint, 0, NODES, say)
        found = [*_sync(endpoint, say), *_latency(endpoint, nodes, say)]
        found += _heartbeats(endpoint, nodes, say)
        _create(endpoint, NODES, MANY, say)
        found += _soak(endpoint, nodes, say)
    return [*found, *_many(say)]


def _sync(endpoint: Endpoint, say: Say) -> list[Row]:
    say(f"first sync of {NODES} nodes, {RUNS} times each")
    ours, typed, bare = [], [], []
    for _ in range(RUNS):
        ours.append(_once("ours", "sync", endpoint))
        typed.append(_once("official", "typed", endpoint))
        bare.append(_once("official", "bare", endpoint))
    name = f"first sync of {NODES} nodes"
    return [
        Row(
            part=PART,
            name=f"{name}: CPU (typed list_node in pages)",
            unit="s",
            ours=_median(ours, "cpu"),
            alternative=_median(typed, "cpu"),
            aim=0.3,
        ),
        Row(
            part=PART,
            name=f"{name}: peak memory (typed list_node in pages)",
            unit="MiB",
            ours=_median(ours, "peak"),
            alternative=_median(typed, "peak"),
            aim=30,
        ),
        Row(
            part=PART,
            name=f"{name}: wall clock (the pages' bytes thrown away)",
            unit="s",
            ours=_median(ours, "wall"),
            alternative=_median(bare, "wall"),
            aim_ratio=1.3,
        ),
    ]


def _heartbeats(endpoint: Endpoint, nodes: Nodes, say: Say) -> list[Row]:
    say(f"{HEARTBEATS} heartbeats that change no address, to each of {len(WAYS)}")
    per_event = {}
    for module, what in WAYS:
        user = "admin" if module == "operator" else "reader"
        with _worker(module, what, endpoint, str(HEARTBEATS + 50), user=user) as worker:
            # More are sent than are waited for: an informer may still be opening its watch.
            writer = threading.Thread(target=_beat, args=(nodes, HEARTBEATS + 300), daemon=True)
            writer.start()
            told = worker.read()
            writer.join()
        per_event[what] = told["cpu"] / told["events"] * 1000
    return [
        Row(
            part=PART,
            name=f"a heartbeat that changes nothing: CPU ({name})",
            unit="ms",
            ours=per_event["follow"],
            alternative=per_event[what],
            aim_ratio=0.1,
            why="(receiving its TLS records alone takes 0.07 ms, decoding 14 KB 0.05 ms)",
        )
        for what, name in (
            ("watch", "watch.Watch, typed"),
            ("informed", "SharedInformer"),
            ("kopf", "kopf"),
        )
    ]


def _latency(endpoint: Endpoint, nodes: Nodes, say: Say) -> list[Row]:
    say(f"{CHANGES} changes in a cluster of {NODES} nodes, 0.3 s apart")
    with (
        provision(
            f"bus{os.getpid()}", minions=1, extension=False, traffic=False, pillar=STATIC
        ) as world,
        _worker("ours", "latency", endpoint, str(CHANGES), _sockets(world)) as worker,
    ):
        for turn in range(CHANGES):
            # Once the last change is quiet, so that the next is announced at once.
            time.sleep(0.3)
            nodes.set_addresses("node-00000", internal=[f"10.99.{turn // 250}.{turn % 250 + 1}"])
        told = worker.read()
    found = []
    for what, name, aims in (
        ("stored", "from the watch line to the store", (5, 20)),
        ("fired", "from the watch line to a listener on Salt's bus", (20, 100)),
    ):
        times = sorted(one * 1000 for one in told[what])
        for quantile, which, aim in ((0.5, "median", aims[0]), (0.99, "99th percentile", aims[1])):
            text = f"{name}, {NODES} nodes, {which}"
            found.append(Row(part=PART, name=text, unit="ms", ours=share(times, quantile), aim=aim))
    return found


def _sockets(world: World) -> str:
    (found,) = world.folder.rglob("master_event_pub.ipc")
    return str(found.parent)


def _soak(endpoint: Endpoint, nodes: Nodes, say: Say) -> list[Row]:
    say(f"{MANY} nodes with 50 heartbeats/s for {SOAK:.0f} s")
    with _worker("ours", "soak", endpoint, str(SOAK)) as worker:
        until = time.monotonic() + SOAK - 1
        sent = 0
        begun = time.monotonic()
        while time.monotonic() < until:
            nodes.heartbeat(f"node-{sent % MANY:05d}")
            sent += 1
            time.sleep(max(0.0, begun + sent / 50 - time.monotonic()))
        told = worker.read()
    rate = sent / (SOAK - 1)
    name = f"{MANY} nodes, {rate:.0f} heartbeats/s for {SOAK:.0f} s"
    return [
        Row(
            part=PART,
            name=f"{name}: share of a core",
            unit="%",
            ours=told["cpu"] / told["wall"] * 100,
            aim=1.5,
        ),
        Row(part=PART, name=f"{name}: memory growth", unit="MiB", ours=told["kept"], aim=1.0),
    ]


def _many(say: Say) -> list[Row]:
    """One of many clusters swallows everything: what the others see of it."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        open_backend("real", Path(folder)) as backend,
        _nowhere() as nowhere,
    ):
        endpoint = backend.endpoint
        _create(endpoint, 0, 50, say)
        say(f"{CLUSTERS} clusters of 50 nodes, {MANY_CHANGES} changes; then with one black-holed")
        whole, holed = [], []
        for _ in range(2):
            whole += _reactions(endpoint, endpoint.url)
            holed += _reactions(endpoint, nowhere)
    name = (
        f"{CLUSTERS} clusters of 50 nodes, one of them black-holed: change to event on the others"
    )
    return [
        Row(
            part=PART,
            name=f"{name}, {which} (beside none black-holed)",
            unit="ms",
            ours=share(sorted(holed), quantile),
            alternative=share(sorted(whole), quantile),
            aim_ratio=1.15,
        )
        for quantile, which in ((0.5, "median"), (0.99, "99th percentile"))
    ]


def _reactions(endpoint: Endpoint, last: str) -> list[float]:
    """Milliseconds from the API's 2xx to the event, of every cluster but the last."""
    nodes = Nodes(endpoint, realistic=True)
    worker = _Worker("many", "", endpoint, str(CLUSTERS - 1), last)
    found = []
    try:
        worker.read()
        for turn in range(MANY_CHANGES):
            # Once the last change is quiet, so that the next is announced at once.
            time.sleep(0.5)
            worker.go()
            nodes.set_addresses("node-00000", internal=[f"10.98.{turn // 250}.{turn % 250 + 1}"])
            at = time.monotonic()
            found += [(fired - at) * 1000 for fired in worker.read()["fired"]]
    finally:
        worker.process.kill()
        worker.process.wait()
        # What the next engine finds is what this one found.
        nodes.set_addresses("node-00000", internal=["10.0.0.1"])
    return found


@contextmanager
def _nowhere() -> Iterator[str]:
    """An address that takes connections, and then nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"


def _create(endpoint: Endpoint, first: int, last: int, say: Say) -> None:
    say(f"creating nodes up to {last}, 12 to 14 KB each")
    wanted = {
        f"node-{i:05d}": {
            "internal": [f"10.{i // 60000}.{i // 250 % 250}.{i % 250 + 1}"],
            "at_once": True,
        }
        for i in range(first, last)
    }
    Nodes(endpoint, realistic=True).create_many(wanted)


def _beat(nodes: Nodes, count: int) -> None:
    for turn in range(count):
        nodes.heartbeat(f"node-{turn % NODES:05d}")


class _Worker:
    """A process that tells figures, one JSON line at a time."""

    def __init__(
        self, module: str, what: str, endpoint: Endpoint, *rest: str, user: str = "reader"
    ) -> None:
        argv = [sys.executable, "-m", f"benchmarks.workers.{module}", what]
        argv += [endpoint.url, str(endpoint.ca_file), str(endpoint.tokens[user]), *rest]
        self._what = what
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise LabError(f"the measurement {self._what} ended without a word")
        told: dict[str, Any] = json.loads(line)
        return told

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()


@contextmanager
def _worker(
    module: str, what: str, endpoint: Endpoint, *rest: str, user: str = "reader"
) -> Iterator[_Worker]:
    """Start a measurement, and begin it once it has seen all nodes."""
    worker = _Worker(module, what, endpoint, *rest, user=user)
    try:
        worker.read()
        worker.go()
        worker.read()
        yield worker
    finally:
        worker.process.kill()
        worker.process.wait()


def _once(module: str, what: str, endpoint: Endpoint) -> dict[str, Any]:
    worker = _Worker(module, what, endpoint)
    try:
        return worker.read()
    finally:
        worker.process.kill()
        worker.process.wait()


def _median(found: list[dict[str, Any]], key: str) -> float:
    return statistics.median(one[key] for one in found)
