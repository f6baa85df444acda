"""Runs beside 20,000 rules of others: a changed address, ``verify``, and 5,000 departed rules."""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from typing import Any

from benchmarks.comparison import Comparison, Progress
from lab.network.namespace import Namespace
from salt_ext import formula

sys.path.insert(0, str(formula.path() / "_modules"))
from k8s_firewall_parts import verify
from k8s_firewall_parts.run import Outcome, Run
from k8s_firewall_parts.state_dir import StateDir

OTHERS = 20_000
MEMBERS = 1_000
DEPARTED = 100
CLOSED = 5_000
TURNS = 7
PORT = 5432

AIM_CHANGE, AIM_CLOSE = 0.3, 2.0
"""Seconds, whatever the machine."""
AIM_VERIFY = 1.5

_FOREIGN = "add table ip other; add chain ip other input { type filter hook input priority 10; }"
_BARE_RULE = ("iptables-nft", "-w", "-{}", "INPUT", "-s", "192.0.2.200", "-j", "ACCEPT")


def comparisons(part: str, server: Namespace, progress: Progress) -> list[Comparison]:
    """Return the rows; the namespace has no rules before and none after."""
    rows: list[Comparison] = []
    with _rules_of_others(server):
        progress(f"verify of {DEPARTED} departures beside {OTHERS:,} rules")
        rows.append(_verify(part, server))
        progress(f"one address changes beside {OTHERS:,} rules and a transaction a second")
        rows += _changes(part, server)
    for program in ("iptables-nft", "iptables-legacy"):
        progress(f"{CLOSED:,} departed rules are closed, {program}")
        rows.append(_close(part, server, program))
    return rows


def _verify(part: str, server: Namespace) -> Comparison:
    addresses = _addresses("172.31.0.0", DEPARTED)
    ours, bare = [], []
    with server.entered():
        for _ in range(TURNS):
            bare.append(
                _seconds(lambda: _run("iptables-save"))
                + _seconds(lambda: _run("nft", "-j", "list", "ruleset"))
            )
            ours.append(_seconds(lambda: verify.verify(addresses)))
        verdicts = {one.verdict for one in verify.verify(addresses).values()}
    assert verdicts == {"closed"}, verdicts
    return Comparison(
        part=part,
        name=f"verify of {DEPARTED} departures beside {OTHERS:,} rules",
        unit="s",
        ours=statistics.median(ours),
        peer=statistics.median(bare),
        peer_name="bare iptables-save and nft -j list ruleset, one after the other",
        aim=AIM_VERIFY,
        derivation="a ratio from the start",
    )


def _changes(part: str, server: Namespace) -> list[Comparison]:
    """Return the medians of a join, a leave, and a join with departures on record."""
    seconds: dict[str, list[float]] = {}
    with _sync(server) as sync, _transaction_a_second(server):
        members = _addresses("172.16.0.0", MEMBERS)
        sync(members)

        def change(what: str, changed: list[str]) -> list[str]:
            seconds.setdefault(what, []).append(_seconds(lambda: sync(changed)))
            return changed

        for turn in range(TURNS):
            members = change("joins", [*members, f"192.0.2.{turn}"])
        for _ in range(TURNS):
            members = change("leaves", members[1:])
        sync(members[DEPARTED:])
        members = members[DEPARTED:]
        for turn in range(TURNS):
            what = f"joins, with {DEPARTED} closed departures on record"
            members = change(what, [*members, f"192.0.3.{turn}"])
        with server.entered():
            bare = statistics.median(
                _seconds(lambda: _run(*(word.format("A") for word in _BARE_RULE)))
                for _ in range(TURNS)
            )
    return [
        Comparison(
            part=part,
            name=f"one of {MEMBERS:,} addresses {what}, beside {OTHERS:,} rules of others and a "
            "transaction a second",
            unit="s",
            ours=statistics.median(times),
            peer=bare,
            peer_name="iptables-nft -A of one rule in the same place",
            aim=AIM_CHANGE / bare,
            derivation=f"{AIM_CHANGE:g} s",
        )
        for what, times in seconds.items()
    ]


def _close(part: str, server: Namespace, program: str) -> Comparison:
    gone = _addresses("172.16.0.0", CLOSED)
    rules = [f"-A INPUT -s {one}/32 -p tcp -m tcp --dport {PORT} -j ACCEPT" for one in gone]
    deletions = _table(rule.replace("-A", "-D", 1) for rule in rules)
    ours, bare = [], []
    with server.entered():
        for _ in range(3):
            _run(f"{program}-restore", text=_table(rules))
            bare.append(_seconds(lambda: _run(f"{program}-restore", "--noflush", text=deletions)))
            _run(f"{program}-restore", text=_table(rules))
            ours.append(_seconds(lambda: _close_all(gone)))
        _run(program, "-F", "INPUT")
    return Comparison(
        part=part,
        name=f"{CLOSED:,} departed rules are closed, {program}",
        unit="s",
        ours=statistics.median(ours),
        peer=statistics.median(bare),
        peer_name=f"{program}-restore that deletes just these rules, and proves nothing",
        aim=AIM_CLOSE / statistics.median(bare),
        derivation=f"{AIM_CLOSE:g} s",
    )


def _close_all(gone: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = Run({"roles": []}, StateDir(folder), [], "bench", test=False, departed=gone).close()
    assert done["result"] is True, done["comment"]
    assert len(done["departures"]["closed"]) == len(gone), done


@contextlib.contextmanager
def _rules_of_others(server: Namespace) -> Iterator[None]:
    rules = [
        f"-A INPUT -s {one}/32 -p tcp -m tcp --dport {PORT} -m comment --comment app -j ACCEPT"
        for one in _addresses("10.0.0.0", OTHERS)
    ]
    with server.entered():
        _run("iptables-nft-restore", text=_table(rules))
        _run("nft", _FOREIGN)
    try:
        yield
    finally:
        with server.entered():
            _run("nft", "flush", "ruleset")


@contextlib.contextmanager
def _transaction_a_second(server: Namespace) -> Iterator[None]:
    stop = threading.Event()

    def others() -> None:
        with server.entered():
            while not stop.wait(1.0):
                _run("nft", "add rule ip other input ip saddr 192.0.2.1 accept")

    thread = threading.Thread(target=others)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def _sync(server: Namespace) -> Iterator[Callable[[list[str]], None]]:
    """Yield a function that applies a set behind a gate, and never replaces the table for it."""
    folder = tempfile.mkdtemp()
    applied: list[Outcome] = []

    def sync(members: list[str]) -> None:
        block: dict[str, Any] = {"sets": {"prod": members}, "gates": {PORT: "prod"}}
        done = Run({"k8s_firewall": block}, StateDir(folder), [], "bench", test=False).sync()
        assert done["result"] is True, done["comment"]
        assert not applied or "table" not in done["changes"], done["changes"]
        applied.append(done)

    try:
        with server.entered():
            yield sync
            Run({}, StateDir(folder), [], "bench", test=False).remove()
    finally:
        shutil.rmtree(folder)


def _table(rules: Iterable[str]) -> str:
    return "\n".join(["*filter", ":INPUT ACCEPT [0:0]", *rules, "COMMIT", ""])


def _run(*argv: str, text: str = "") -> None:
    subprocess.run(argv, input=text.encode(), capture_output=True, check=True)


def _addresses(first: str, count: int) -> list[str]:
    return [str(IPv4Address(first) + number) for number in range(count)]


def _seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin
