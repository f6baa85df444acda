"""What a change costs on the minion, in the module and beside the bare tools; and each packet."""

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

from benchmarks import synced
from benchmarks.row import Row, Say
from benchmarks.turns import needs_an_api
from lab import address
from lab.network import Namespace, Switch
from salt_ext import formula

sys.path.insert(0, str(formula.path() / "_modules"))
from k8s_firewall_parts import desired, ipset, nft, programs
from k8s_firewall_parts.run import Run
from k8s_firewall_parts.state_dir import StateDir

PART = "firewall"
TURNS = 15
LARGE = 65_000
PORT = 5432
AIMS = {100: 0.010, 1_000: 0.012, 5_000: 0.035}
MOST_STATES = 100
"""1,000 states were measured to take 683 s."""
CONNECTIONS = 4_000


def rows(say: Say) -> list[Row]:
    """Return deltas, large sets, packets, and the way from a node to the set."""
    needs_an_api()
    with _namespaces() as (server, client):
        found = [_delta(server, count, say) for count in AIMS]
        found += [_large(server, backend, say) for backend in ("nft", "ipset")]
        found.append(_packets(server, client, say))
    return [*found, *synced.rows(PART, say)]


def _delta(server: Namespace, count: int, say: Say) -> Row:
    say(f"one address changes among {count:,}")
    with _run(server) as sync:
        these = _many(count)
        sync({"sets": {"prod": these}, "gates": {PORT: "prod"}})
        took = []
        for turn in range(TURNS):
            changed = [*these[1:], str(IPv4Address("192.0.2.1") + turn)]
            block = {"sets": {"prod": changed}, "gates": {PORT: "prod"}}
            took.append(_seconds(lambda block=block: sync(block)))
        bare = statistics.median(_seconds(lambda turn=turn: _swap(turn)) for turn in range(TURNS))
    if count <= MOST_STATES:
        beside, alternative = "one Salt state per address", _states(server, count)
    else:
        beside, alternative = "iptables-restore of a rule per address", _rules(server, these)
    return Row(
        part=PART,
        name=f"one address changes among {count:,}, in the module (beside {beside})",
        unit="s",
        ours=statistics.median(took),
        alternative=alternative,
        aim=AIMS[count],
        why=f"(the bare nft -f of such a change takes {bare * 1000:.0f} ms here)",
    )


def _swap(turn: int) -> None:
    """Let one address go and another come, with nothing around it."""
    swap = "{} element inet k8s_firewall prod_v4 {{ 192.0.3.{} }}\n"
    gone = swap.format("delete", turn) if turn else ""
    programs.run(nft.APPLY, gone + swap.format("add", turn + 1))


def _large(server: Namespace, backend: str, say: Say) -> Row:
    say(f"{LARGE:,} addresses from nothing, {backend}")
    block = {"backend": backend, "sets": {"prod": _many(LARGE)}}
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
        with _run(server) as sync:
            ours.append(_seconds(lambda: sync(block)))
    return Row(
        part=PART,
        name=f"{LARGE:,} addresses from nothing, in the module (beside {' '.join(argv[:2])})",
        unit="s",
        ours=statistics.median(ours),
        alternative=statistics.median(bare),
        aim_ratio=2.0,
    )


def _packets(server: Namespace, client: Namespace, say: Say) -> Row:
    say("connections of the last of 5,000 addresses")
    last = str(address.OFFICE.v4)
    these = [*_many(4_999), last]
    with _listener(server):
        _clear(server)
        _restore(server, [last])
        one = _connect(client)
        _restore(server, these)
        each = _connect(client)
        _clear(server)
        with _run(server) as sync:
            rule = {"name": "db", "ports": [PORT], "sources": these}
            sync({"rules": [rule]})
            ours = _connect(client)
    return Row(
        part=PART,
        name="a connection of the last of 5,000 addresses (beside one rule per address)",
        unit="µs",
        ours=ours * 1e6,
        alternative=each * 1e6,
        # That of one rule, and what two runs of the same differ by.
        aim=round(one * 1e6 * 1.25, 1),
    )


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
def _run(server: Namespace) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Return a function that applies a block of the pillar, with an empty state folder."""
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
    """Apply one Salt iptables state per address, where one address is new."""
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

        def apply(these: list[str]) -> None:
            states = {
                f"allow {one}": {
                    "iptables": [
                        "append", {"table": "filter"}, {"chain": "INPUT"}, {"jump": "ACCEPT"},
                        {"source": one}, {"proto": "tcp"}, {"dport": PORT},
                    ]
                }
                for one in these
            }  # fmt: skip
            done = functions["state.high"](states)
            assert all(one["result"] for one in done.values()), done

        with server.entered():
            these = _many(count)
            apply(these)
            return _seconds(lambda: apply([*these[1:], "192.0.2.1"]))
    finally:
        _clear(server)
        shutil.rmtree(folder)


def _rules(server: Namespace, these: list[str]) -> float:
    """Return the seconds of the bare tool, which leaves the rules of the time before."""
    took = []
    for _ in range(5):
        _clear(server)
        took.append(_seconds(lambda: _restore(server, these)))
    _clear(server)
    return statistics.median(took)


def _restore(server: Namespace, these: list[str]) -> None:
    lines = [f"-A INPUT -s {one} -p tcp --dport {PORT} -j ACCEPT" for one in these]
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
    to = (str(address.minion(1).v4), PORT)
    took = []
    with client.entered():
        for _ in range(CONNECTIONS):
            begin = time.perf_counter()
            socket.create_connection(to, timeout=5).close()
            took.append(time.perf_counter() - begin)
    return statistics.median(took)


def _clear(server: Namespace) -> None:
    with server.entered():
        for argv in (["nft", "flush", "ruleset"], ["ipset", "destroy"]):
            subprocess.run(argv, check=True)


def _many(count: int) -> list[str]:
    first = IPv4Address("172.16.0.0")
    return [str(first + number) for number in range(count)]


def _seconds(what: Callable[[], object]) -> float:
    begin = time.perf_counter()
    what()
    return time.perf_counter() - begin
