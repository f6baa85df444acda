"""The cost of a change on the minion, beside the bare tools, and the cost of a connection."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from benchmarks import beside_others, published_sync
from benchmarks.comparison import Comparison, Progress
from benchmarks.real_api import require_real_api
from lab.network import address
from lab.network.namespace import Namespace
from lab.network.switch import Switch
from salt_ext import formula

sys.path.insert(0, str(formula.path() / "_modules"))
from k8s_firewall_parts import desired, ipset, nft, programs
from k8s_firewall_parts.run import Run
from k8s_firewall_parts.state_dir import StateDir

PART = "firewall"
TURNS = 15
LARGE = 65_000
PORT = 5432
AIMS = {100: 1.3, 1_000: 1.3, 5_000: 2.2}
"""Multiples of the bare nft, by addresses in the set; of 5,000 the module compares each."""
MOST_STATES = 100
"""1,000 states were measured to take 683 s."""
CONNECTIONS = 4_000


def comparisons(progress: Progress) -> list[Comparison]:
    """Return single changes, large sets, connections, and published syncs."""
    require_real_api()
    with _namespaces() as (server, client):
        rows = [row for count in AIMS for row in _one_change(server, client, count, progress)]
        rows += beside_others.comparisons(PART, server, progress)
        rows += [_large_set(server, backend, progress) for backend in ("nft", "ipset")]
        rows += _connections(server, client, progress)
    return [*rows, *published_sync.comparisons(PART, progress)]


def _one_change(
    server: Namespace, other: Namespace, count: int, progress: Progress
) -> list[Comparison]:
    """Measure the module and the bare nft by turns, with equal tables in two namespaces."""
    progress(f"one address changes among {count:,}")
    original = _addresses(count)
    block: dict[str, Any] = {"sets": {"prod": original}, "gates": {PORT: "prod"}}
    table = nft.full(desired.parse({desired.PILLAR_KEY: block}, {}).desired)
    ours, bare = [], []
    with _sync(server) as sync:
        sync(block)
        for turn in range(TURNS):
            joining = str(IPv4Address("192.0.2.1") + turn)
            changed = {**block, "sets": {"prod": [*original[1:], joining]}}
            ours.append(_seconds(lambda block=changed: sync(block)))
            with other.entered():
                if not turn:
                    programs.run(nft.APPLY, table)
                bare.append(_seconds(lambda turn=turn: _swap_element(turn)))
    if count <= MOST_STATES:
        others_name, others = "one Salt state per address", _states(server, count)
    else:
        others_name = "iptables-restore of one rule per address"
        others = _rules(server, original)
    name = f"one address changes among {count:,}, in the module"
    ours_ms = statistics.median(ours) * 1000
    return [
        Comparison(
            part=PART,
            name=name,
            unit="ms",
            ours=ours_ms,
            peer=statistics.median(bare) * 1000,
            peer_name="the bare nft -f of the same change",
            aim=AIMS[count],
            derivation="a ratio from the start",
        ),
        Comparison(
            part=PART,
            name=f"{name}, beside other ways",
            unit="ms",
            ours=ours_ms,
            peer=others * 1000,
            peer_name=others_name,
        ),
    ]


def _swap_element(turn: int) -> None:
    """Delete one address and add another by nft alone."""
    swap = "{} element inet k8s_firewall prod_v4 {{ 192.0.3.{} }}\n"
    deletion = swap.format("delete", turn) if turn else ""
    text = deletion + swap.format("add", turn + 1)
    # Not as the module runs it.
    subprocess.run(nft.APPLY, input=text.encode(), check=True)


def _large_set(server: Namespace, backend: str, progress: Progress) -> Comparison:
    progress(f"{LARGE:,} addresses from nothing, {backend}")
    block = {"backend": backend, "sets": {"prod": _addresses(LARGE)}}
    state = desired.parse({desired.PILLAR_KEY: block}, {}).desired
    if backend == "nft":
        argv, text = nft.APPLY, nft.full(state)
    else:
        argv, text = ipset.APPLY, ipset.full(ipset.members(state.sets))
    ours, bare = [], []
    for _ in range(5):
        _clear(server)
        with server.entered():
            bare.append(_seconds(lambda: programs.run(argv, text)))
        _clear(server)
        with _sync(server) as sync:
            ours.append(_seconds(lambda: sync(block)))
    return Comparison(
        part=PART,
        name=f"{LARGE:,} addresses from nothing, in the module, {backend}",
        unit="s",
        ours=statistics.median(ours),
        peer=statistics.median(bare),
        peer_name=f"the bare {' '.join(argv[:2])} of the same set",
        aim=2.0,
        derivation="a ratio from the start",
    )


def _connections(server: Namespace, client: Namespace, progress: Progress) -> list[Comparison]:
    progress("connections from the last of 5,000 addresses")
    last = str(address.OFFICE.v4)
    sources = [*_addresses(4_999), last]
    with _listener(server):
        _clear(server)
        _restore(server, [last])
        one_rule = _connect(client)
        _restore(server, sources)
        rule_each = _connect(client)
        _clear(server)
        with _sync(server) as sync:
            sync({"rules": [{"name": "db", "ports": [PORT], "sources": sources}]})
            ours = _connect(client)
    name = "a connection from the last of 5,000 addresses"
    return [
        Comparison(
            part=PART,
            name=name,
            unit="µs",
            ours=ours * 1e6,
            peer=one_rule * 1e6,
            peer_name="one rule for one address",
            aim=1.25,
            derivation="the time of one rule, and the difference of two equal runs",
        ),
        Comparison(
            part=PART,
            name=f"{name}, beside other ways",
            unit="µs",
            ours=ours * 1e6,
            peer=rule_each * 1e6,
            peer_name="one rule per address",
        ),
    ]


@contextlib.contextmanager
def _namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    names = {role: Namespace(f"k8s-fw.bench{os.getpid()}.{role}") for role in ("s", "server", "c")}
    switch = Switch(names["s"])
    try:
        switch.create()
        for role, place in (("server", address.minion(1)), ("c", address.OFFICE)):
            names[role].create()
            switch.plug(names[role], place)
        yield names["server"], names["c"]
    finally:
        for one in names.values():
            one.remove()


@contextlib.contextmanager
def _sync(server: Namespace) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that applies a block of the pillar, with an empty record."""
    folder = tempfile.mkdtemp()

    def sync(block: dict[str, Any]) -> None:
        done = Run({desired.PILLAR_KEY: block}, StateDir(folder), [], "bench", test=False).sync()
        assert done["result"] is True, done

    try:
        with server.entered():
            yield sync
    finally:
        shutil.rmtree(folder)


def _states(server: Namespace, count: int) -> float:
    """Return the seconds of one Salt iptables state per address, where one address is new."""
    import salt.config
    import salt.loader

    folder = Path(tempfile.mkdtemp())
    try:
        opts = salt.config.minion_config(None)
        opts.update(
            {
                "id": "bench",
                "file_client": "local",
                "root_dir": str(folder),
                "cachedir": str(folder / "cache"),
                "extension_modules": str(folder / "extmods"),
            }
        )
        opts["grains"] = salt.loader.grains(opts)
        functions = salt.loader.minion_mods(opts, utils=salt.loader.utils(opts), context={})

        def apply(addresses: list[str]) -> None:
            states = {
                f"allow {one}": {
                    "iptables": [
                        "append", {"table": "filter"}, {"chain": "INPUT"}, {"jump": "ACCEPT"},
                        {"source": one}, {"proto": "tcp"}, {"dport": PORT},
                    ]
                }
                for one in addresses
            }  # fmt: skip
            done = functions["state.high"](states)
            assert all(one["result"] for one in done.values()), done

        with server.entered():
            original = _addresses(count)
            apply(original)
            return _seconds(lambda: apply([*original[1:], "192.0.2.1"]))
    finally:
        _clear(server)
        shutil.rmtree(folder)


def _rules(server: Namespace, addresses: list[str]) -> float:
    """Return the seconds of iptables-restore with all rules."""
    seconds = []
    for _ in range(5):
        _clear(server)
        seconds.append(_seconds(lambda: _restore(server, addresses)))
    _clear(server)
    return statistics.median(seconds)


def _restore(server: Namespace, addresses: list[str]) -> None:
    lines = [f"-A INPUT -s {one} -p tcp --dport {PORT} -j ACCEPT" for one in addresses]
    lines.append(f"-A INPUT -p tcp --dport {PORT} -j DROP")
    text = "\n".join(["*filter", ":INPUT ACCEPT [0:0]", *lines, "COMMIT", ""])
    with server.entered():
        subprocess.run(["iptables-restore"], input=text, text=True, check=True)


@contextlib.contextmanager
def _listener(server: Namespace) -> Iterator[None]:
    with server.entered():
        listener = socket.create_server(("0.0.0.0", PORT), backlog=4096)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                listener.accept()[0].close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _connect(client: Namespace) -> float:
    """Return the seconds of one connection, the median of many."""
    service = (str(address.minion(1).v4), PORT)
    seconds = []
    with client.entered():
        for _ in range(CONNECTIONS):
            begin = time.perf_counter()
            socket.create_connection(service, timeout=5).close()
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def _clear(server: Namespace) -> None:
    with server.entered():
        for argv in (["nft", "flush", "ruleset"], ["ipset", "destroy"]):
            subprocess.run(argv, check=True)


def _addresses(count: int) -> list[str]:
    first = IPv4Address("172.16.0.0")
    return [str(first + number) for number in range(count)]


def _seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin
