"""The engine on a real kube-apiserver with nodes of a realistic size, beside its peers."""

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

from benchmarks import quick_machine
from benchmarks.comparison import Comparison, Progress, quantile
from benchmarks.convergence import STATIC
from benchmarks.real_api import require_real_api
from benchmarks.reference_loop import PEER_NAME, loop_cpu, loop_seconds
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
SOAK_RATE = 50
CLUSTERS = 100
MANY_CHANGES = 20
CLIENTS = (
    ("one_cluster", "follow", "ours"),
    ("official_client", "watch", "watch.Watch, typed"),
    ("official_client", "informer", "SharedInformer"),
    ("kopf_operator", "events", "kopf"),
)
"""Worker, what it measures, and its name in the table; the first is ours."""


def comparisons(progress: Progress) -> list[Comparison]:
    """Return every row of this part."""
    require_real_api()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        open_backend("real", Path(folder)) as backend,
    ):
        endpoint = backend.endpoint
        nodes = Nodes(endpoint, realistic=True)
        _create(endpoint, 0, NODES, progress)
        rows = [*_first_sync(endpoint, progress), *_latency(endpoint, nodes, progress)]
        rows += _heartbeats(endpoint, nodes, progress)
        _create(endpoint, NODES, MANY, progress)
        rows += _soak(endpoint, nodes, progress)
    return [*rows, *_many_clusters(progress)]


def _first_sync(endpoint: Endpoint, progress: Progress) -> list[Comparison]:
    progress(f"first sync of {NODES} nodes, {RUNS} times each")
    ours, typed, bare = [], [], []
    for _ in range(RUNS):
        ours.append(_once("one_cluster", "sync", endpoint))
        typed.append(_once("official_client", "typed", endpoint))
        bare.append(_once("official_client", "bare", endpoint))
    name = f"first sync of {NODES} nodes"
    return [
        Comparison(
            part=PART,
            name=f"{name}: CPU",
            unit="s",
            ours=_median(ours, "cpu"),
            peer=_median(typed, "cpu"),
            peer_name="typed list_node in pages",
            aim=quick_machine.aim(0.3, quick_machine.TYPED_LIST_CPU_S),
            derivation=f"0.3 s, typed list_node in {quick_machine.TYPED_LIST_CPU_S:g} s",
        ),
        Comparison(
            part=PART,
            name=f"{name}: peak memory",
            unit="MiB",
            ours=_median(ours, "peak"),
            peer=_median(typed, "peak"),
            peer_name="typed list_node in pages",
            aim=quick_machine.aim(30, quick_machine.TYPED_LIST_PEAK_MIB),
            derivation=f"30 MiB, typed list_node in {quick_machine.TYPED_LIST_PEAK_MIB:g} MiB",
        ),
        Comparison(
            part=PART,
            name=f"{name}: wall clock",
            unit="s",
            ours=_median(ours, "wall"),
            peer=_median(bare, "wall"),
            peer_name="the same pages, thrown away",
            aim=1.3,
            derivation="a ratio from the start",
            reason="storing follows the last page",
        ),
    ]


def _heartbeats(endpoint: Endpoint, nodes: Nodes, progress: Progress) -> list[Comparison]:
    progress(f"{HEARTBEATS} heartbeats that change no address, to each of {len(CLIENTS)}")
    per_event = {}
    for module, what, name in CLIENTS:
        user = "admin" if module == "kopf_operator" else "reader"
        with _worker(module, what, endpoint, str(HEARTBEATS + 50), user=user) as worker:
            # More are sent than are waited for: an informer may still be opening its watch.
            writer = threading.Thread(
                target=_send_heartbeats, args=(nodes, HEARTBEATS + 300), daemon=True
            )
            writer.start()
            figures = worker.read()
            writer.join()
        per_event[name] = figures["cpu"] / figures["events"] * 1000
    (_, _, our_name), *peers = CLIENTS
    return [
        Comparison(
            part=PART,
            name=f"a heartbeat that changes nothing: CPU, beside {name}",
            unit="ms",
            ours=per_event[our_name],
            peer=per_event[name],
            peer_name=name,
            aim=0.1,
            derivation="a ratio from the start",
            reason="receiving its TLS records alone takes 0.07 ms, decoding 14 KB 0.05 ms",
        )
        for _, _, name in peers
    ]


def _latency(endpoint: Endpoint, nodes: Nodes, progress: Progress) -> list[Comparison]:
    progress(f"{CHANGES} changes in a cluster of {NODES} nodes, 0.3 s apart")
    loop = loop_seconds() * 1000
    with (
        provision(
            f"bus{os.getpid()}", minions=1, extension=False, traffic=False, pillar=STATIC
        ) as world,
        _worker("one_cluster", "latency", endpoint, str(CHANGES), _sockets(world)) as worker,
    ):
        for turn in range(CHANGES):
            # After the debounce of the change before, so that this one is announced at once.
            time.sleep(0.3)
            nodes.set_addresses("node-00000", internal=[f"10.99.{turn // 250}.{turn % 250 + 1}"])
        figures = worker.read()
    return [
        Comparison(
            part=PART,
            name=f"{name}, {NODES} nodes, {which}",
            unit="ms",
            ours=quantile(figures[what], fraction) * 1000,
            peer=loop,
            peer_name=PEER_NAME,
            aim=quick_machine.aim(aim, quick_machine.LOOP_MS),
            derivation=f"{aim} ms, the reference loop in {quick_machine.LOOP_MS:g} ms",
        )
        for what, name, aims in (
            ("stored", "from the watch line to the store", (5, 20)),
            ("fired", "from the watch line to a listener on Salt's bus", (20, 100)),
        )
        for fraction, which, aim in (
            (0.5, "median", aims[0]),
            (0.99, "99th percentile", aims[1]),
        )
    ]


def _sockets(world: World) -> str:
    (socket_file,) = world.folder.rglob("master_event_pub.ipc")
    return str(socket_file.parent)


def _soak(endpoint: Endpoint, nodes: Nodes, progress: Progress) -> list[Comparison]:
    progress(f"{MANY} nodes with {SOAK_RATE} heartbeats/s for {SOAK:.0f} s")
    loop = loop_cpu() * 1000
    with _worker("one_cluster", "soak", endpoint, str(SOAK)) as worker:
        until = time.monotonic() + SOAK - 1
        sent = 0
        begun = time.monotonic()
        while time.monotonic() < until:
            nodes.heartbeat(f"node-{sent % MANY:05d}")
            sent += 1
            time.sleep(max(0.0, begun + sent / SOAK_RATE - time.monotonic()))
        figures = worker.read()
    received = sent * len(json.dumps(nodes.get("node-00000"), separators=(",", ":"))) / 2**20
    name = f"{MANY} nodes, {SOAK_RATE} heartbeats/s for {SOAK:.0f} s"
    return [
        Comparison(
            part=PART,
            name=f"{name}: CPU of a heartbeat, all threads",
            unit="ms",
            ours=figures["cpu"] / sent * 1000,
            peer=loop,
            peer_name=PEER_NAME,
            aim=quick_machine.aim(0.3, quick_machine.LOOP_MS),
            derivation="1.5 % of a core at 50 heartbeats/s = 0.3 ms, "
            f"the reference loop in {quick_machine.LOOP_MS:g} ms",
        ),
        Comparison(
            part=PART,
            name=f"{name}: memory growth",
            unit="MiB",
            ours=figures["kept"],
            peer=received,
            peer_name="the heartbeats received",
            aim=quick_machine.aim(1, quick_machine.HEARTBEATS_MIB),
            derivation=f"1 MiB, {quick_machine.HEARTBEATS_MIB:g} MiB of heartbeats received",
        ),
    ]


def _many_clusters(progress: Progress) -> list[Comparison]:
    """Black-hole one of many clusters, and see whether the others become slower."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        open_backend("real", Path(folder)) as backend,
        _black_hole() as black_hole,
    ):
        endpoint = backend.endpoint
        _create(endpoint, 0, 50, progress)
        progress(f"{CLUSTERS} clusters, {MANY_CHANGES} changes; then with one black-holed")
        all_reachable, one_black_holed = [], []
        for _ in range(2):
            all_reachable += _reactions(endpoint, endpoint.url)
            one_black_holed += _reactions(endpoint, black_hole)
    name = f"{CLUSTERS} clusters of 50 nodes, one black-holed: change to event on the others"
    return [
        Comparison(
            part=PART,
            name=f"{name}, {which}",
            unit="ms",
            ours=quantile(one_black_holed, fraction),
            peer=quantile(all_reachable, fraction),
            peer_name="none black-holed",
            aim=1.15,
            derivation="a ratio from the start",
        )
        for fraction, which in ((0.5, "median"), (0.99, "99th percentile"))
    ]


def _reactions(endpoint: Endpoint, last: str) -> list[float]:
    """Return the milliseconds from the API's 2xx to the event, of every cluster but the last."""
    nodes = Nodes(endpoint, realistic=True)
    worker = _Worker("many_clusters", "", endpoint, str(CLUSTERS - 1), last)
    milliseconds = []
    try:
        worker.read()
        for turn in range(MANY_CHANGES):
            # After the debounce of the change before, so that this one is announced at once.
            time.sleep(0.5)
            worker.go()
            nodes.set_addresses("node-00000", internal=[f"10.98.{turn // 250}.{turn % 250 + 1}"])
            at = time.monotonic()
            milliseconds += [(fired - at) * 1000 for fired in worker.read()["fired"]]
    finally:
        worker.process.kill()
        worker.process.wait()
        # The next engine starts from the same nodes as this one.
        nodes.set_addresses("node-00000", internal=["10.0.0.1"])
    return milliseconds


@contextmanager
def _black_hole() -> Iterator[str]:
    """Yield the URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"


def _create(endpoint: Endpoint, first: int, last: int, progress: Progress) -> None:
    progress(f"creating nodes up to {last}, 12 to 14 KB each")
    wanted = {
        f"node-{i:05d}": {
            "internal": [f"10.{i // 60000}.{i // 250 % 250}.{i % 250 + 1}"],
            "at_once": True,
        }
        for i in range(first, last)
    }
    Nodes(endpoint, realistic=True).create_many(wanted)


def _send_heartbeats(nodes: Nodes, count: int) -> None:
    for turn in range(count):
        nodes.heartbeat(f"node-{turn % NODES:05d}")


class _Worker:
    """A process that prints its figures, one JSON line at a time."""

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
            raise LabError(f"the measurement {self._what} ended without figures")
        figures: dict[str, Any] = json.loads(line)
        return figures

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()


@contextmanager
def _worker(
    module: str, what: str, endpoint: Endpoint, *rest: str, user: str = "reader"
) -> Iterator[_Worker]:
    """Start a worker, and let it measure once it has seen all nodes."""
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


def _median(runs: list[dict[str, Any]], key: str) -> float:
    return statistics.median(one[key] for one in runs)
