"""Compiles pillars with Salt's own compiler, as a master's workers do, and times them."""

from __future__ import annotations

import logging
import multiprocessing
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import salt.config
import salt.pillar

from benchmarks.workers.meter import emit
from salt_ext.core.config.config import read
from salt_ext.core.errors import StoreError
from salt_ext.master.secrets import SecretResolver
from salt_ext.store import Store
from salt_ext.watch.on_demand import OnDemandLister

WORKERS = 3
"""Processes that compile side by side: a third of what a master for 1,000 minions may have."""
BATCH = 25
"""Pillars that each worker compiles before the other configuration has its turn."""

Opts = dict[str, Any]


class _ExtPillarTimer:
    """Times the ext_pillar phase of a compile: all that we can add to it."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        original = salt.pillar.Pillar.ext_pillar

        def timed(pillar: Any, *args: Any, **kwargs: Any) -> Any:
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return original(pillar, *args, **kwargs)
            finally:
                self.wall, self.cpu = time.perf_counter() - wall, time.thread_time() - cpu

        salt.pillar.Pillar.ext_pillar = timed


def compile_pillar(opts: Opts, minion: str) -> tuple[dict[str, Any], float]:
    """Return a pillar, and the CPU seconds that its compile used."""
    begun = time.thread_time()
    compiler = salt.pillar.Pillar(opts, {"id": minion, "os": "Debian"}, minion, "base")
    try:
        return compiler.compile_pillar(), time.thread_time() - begun
    finally:
        compiler.destroy()


def phase(opts: Opts, runs: int) -> None:
    """Report the ext_pillar phase of the first compile, and of the next ones."""
    timer = _ExtPillarTimer()
    compile_pillar({**opts, "ext_pillar": []}, "warm")
    # A minion without a pillar: this compile costs the import of our modules.
    compile_pillar(opts, "warm")
    imports = timer.wall
    wall, cpu, whole = [], [], []
    for _ in range(runs + 1):
        pillar, seconds = compile_pillar(opts, "m1")
        if "_errors" in pillar:
            raise SystemExit(f"the pillar has errors: {pillar['_errors']}")
        wall.append(timer.wall)
        cpu.append(timer.cpu)
        whole.append(seconds)
    emit(
        imports=imports,
        first=wall[0],
        wall=statistics.median(wall[1:]),
        cpu=statistics.median(cpu[1:]),
        whole=statistics.median(whole[1:]),
        served=len(pillar.get("k8s_nodes", {}).get("served", pillar.get("nodes", ()))),
    )


def crowd(opts: Opts, minions: int) -> None:
    """Compile the pillars of many minions in several processes, with our ext_pillar and without."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(WORKERS + 1)
    batches = max(1, minions // (WORKERS * BATCH))
    workers = [
        context.Process(target=_work, args=(opts, barrier, batches, turn), daemon=True)
        for turn in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    for number in range(WORKERS):
        for turn in range(batches):
            for one in range(BATCH):
                Path(opts["pki_dir"], "minions", _name(number, turn, one)).touch()
    spent = {"with": 0.0, "without": 0.0}
    barrier.wait()
    for turn in range(2 * batches):
        begun = time.perf_counter()
        barrier.wait()
        spent[_configuration(turn)] += time.perf_counter() - begun
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit("a worker failed")
    emit(minions=batches * BATCH * WORKERS, **spent)


def _name(number: int, turn: int, one: int) -> str:
    return f"m{number}-{turn}-{one}"


def _configuration(turn: int) -> str:
    # In turn, each first as often, so that other work of the machine disturbs both alike.
    return "with" if turn % 4 in (0, 3) else "without"


def _work(opts: Opts, barrier: Any, batches: int, number: int) -> None:
    # The same kind of mapping twice: Salt 3008's own kind takes longer to copy.
    configurations = {"with": {**opts}, "without": {**opts, "ext_pillar": []}}
    for configuration in configurations.values():
        compile_pillar(configuration, f"warm{number}")
    barrier.wait()
    for turn in range(2 * batches):
        for one in range(BATCH):
            pillar, _ = compile_pillar(
                configurations[_configuration(turn)], _name(number, turn // 2, one)
            )
            assert ("k8s_nodes" in pillar) == (_configuration(turn) == "with")
        barrier.wait()


def fetch(opts: Opts) -> None:
    """List the nodes into the store, as an engine would have."""
    config = read(opts["k8s_nodes"])
    store = Store(config.state_dir)
    OnDemandLister(config, store, SecretResolver(opts)).ensure_fresh("prod", ttl=3600, timeout=300)
    snapshot = store.snapshots.load("prod")
    if snapshot is None:
        raise StoreError("the nodes could not be listed")
    emit(nodes=len(snapshot.members))


def main() -> None:
    """Run what the benchmark asks for."""
    logging.disable(logging.WARNING)
    what, conf, *rest = sys.argv[1:]
    opts = salt.config.master_config(conf)
    {"phase": phase, "crowd": crowd, "fetch": fetch}[what](opts, *map(int, rest))


if __name__ == "__main__":
    main()
