"""
Try one address and port again and again, and record what becomes of the packets.

Runs on a host of the lab as a script of its own (standard library only, so it starts in 20 ms):

    python probe.py RECORD connect ADDRESS PORT     a fresh connection every 10 ms
    python probe.py RECORD flow    ADDRESS PORT     one connection, with data every 20 ms, kept

Each line of RECORD is a JSON object; times are CLOCK_MONOTONIC's, which all processes share.

``connect`` judges attempts in the order in which they started: ``{"at", "state": "open"}`` has the
time of the first complete handshake, ``{"at", "state": "closed", "reason"}`` the start of the first
attempt that failed. ``began`` is when the attempt started: a starved process may see the handshake
of an old attempt late. What counts is the kernel's handshake; an attempt that was answered while
this process was not scheduled is a success all the same.

``flow`` writes ``flowing`` at the first answer, ``stopped`` with the time of the last answer before
a silence, ``ended`` when the connection was closed or reset, after which it makes a new one.

Four times a second both write their counters into RECORD with the suffix .count, and a last time at
SIGTERM.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

EVERY = 0.010
FLOW_EVERY = 0.020
# Below one second, after which the kernel repeats a SYN: each attempt is one packet's fate.
PATIENCE = 0.25
# Longer than the echo may have to wait for a processor; when it began is known exactly.
SILENCE = 2.0
BEAT = 0.25

# Close with a reset: 100 connections a second leave no TIME_WAIT behind.
_RESET = struct.pack("ii", 1, 0)


class Record:
    """The file that the lines go to, and the one with the counters."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)
        self._count = path.with_suffix(".count")
        self._fresh = path.with_suffix(".count.new")
        self.counters: dict[str, float] = {}
        self._next_beat = 0.0

    def write(self, state: str, at: float, reason: str = "", began: float = 0.0) -> None:
        line = {"at": at, "state": state, "reason": reason, "began": began or at}
        self._file.write(json.dumps(line) + "\n")

    def beat(self, now: float, *, final: bool = False) -> None:
        if final or now >= self._next_beat:
            self._next_beat = now + BEAT
            self._fresh.write_text(json.dumps({"at": now, **self.counters}))
            self._fresh.replace(self._count)


def begin(address: str, port: int) -> tuple[socket.socket, int]:
    """A connection attempt under way, and its error number so far."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    return sock, sock.connect_ex((address, port))


class Attempt:
    """One fresh connection."""

    def __init__(self, address: str, port: int, now: float) -> None:
        self.started = self.sent = now
        self.ended: float | None = None
        self.error = ""
        self.sock, code = begin(address, port)
        # This process may have been held up until now: the silence begins with the packet.
        self.sent = time.monotonic()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if code == errno.EINPROGRESS:
            # Between namespaces the answer is mostly there before the call returns: ask again.
            code = self.sock.connect_ex((address, port))
        if code not in (errno.EINPROGRESS, errno.EALREADY):
            self.finish(time.monotonic(), code)

    def finish(self, now: float, code: int) -> None:
        self.ended = now
        self.error = (
            "" if code == errno.EISCONN else errno.errorcode.get(code, str(code)) if code else ""
        )
        self.sock.close()


def connect(record: Record, address: str, port: int, stopping: list[bool]) -> None:
    """Begin an attempt every 10 ms, whatever the fate of the earlier ones."""
    poll = select.epoll()
    pending: dict[int, Attempt] = {}
    order: deque[Attempt] = deque()
    state = ""
    record.counters = {"attempts": 0, "open": 0, "closed": 0, "worst_gap": 0.0}
    due = last = time.monotonic()
    while True:
        now = time.monotonic()
        if stopping and not pending:
            break
        if not stopping and now >= due:
            attempt = Attempt(address, port, now)
            order.append(attempt)
            if attempt.ended is None:
                pending[attempt.sock.fileno()] = attempt
                poll.register(attempt.sock, select.EPOLLOUT)
            record.counters["attempts"] += 1
            record.counters["worst_gap"] = max(record.counters["worst_gap"], round(now - last, 4))
            last = now
            due = max(due + EVERY, now)  # A late attempt is not made up for by two at once.
        asked = time.monotonic()
        with contextlib.suppress(InterruptedError):
            for handle, _ in poll.poll(max(0.0, due - time.monotonic()) if not stopping else 0.01):
                attempt = pending.pop(handle)
                poll.unregister(handle)
                code = attempt.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                attempt.finish(time.monotonic(), code)
        # Only what was silent for long when the answers were asked for: a starved process may be
        # held up at any line, and between the answers and a look at the clock ones may have come.
        now = time.monotonic()
        for handle, attempt in list(pending.items()):
            if asked - attempt.sent < PATIENCE:
                break
            del pending[handle]
            poll.unregister(handle)
            attempt.finish(now, errno.ETIMEDOUT)
        while order and order[0].ended is not None:
            attempt, ended = order[0], order[0].ended
            order.popleft()
            outcome = "closed" if attempt.error else "open"
            record.counters[outcome] += 1
            if outcome != state:
                state = outcome
                at = attempt.started if attempt.error else ended
                record.write(outcome, at, attempt.error, attempt.started)
        record.beat(now)
    record.beat(time.monotonic(), final=True)


def flow(record: Record, address: str, port: int, stopping: list[bool]) -> None:
    """Keep one connection and its data going; make a new one when it has ended."""
    record.counters = {"connections": 0, "sent": 0, "answers": 0, "last": 0.0}
    while not stopping:
        sock, _ = begin(address, port)
        with contextlib.closing(sock):
            _keep(record, sock, stopping)
        time.sleep(EVERY)
    record.beat(time.monotonic(), final=True)


def _keep(record: Record, sock: socket.socket, stopping: list[bool]) -> None:
    begun = time.monotonic()
    writable = select.select([], [sock], [], PATIENCE)[1]
    record.beat(time.monotonic())
    if not writable or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    record.counters["connections"] += 1
    state, last, due = "", begun, begun
    while not stopping:
        now = time.monotonic()
        try:
            if now >= due:
                due = max(due + FLOW_EVERY, now)
                with contextlib.suppress(BlockingIOError):
                    record.counters["sent"] += sock.send(b"?") and 1
            if select.select([sock], [], [], max(0.0, due - time.monotonic()))[0]:
                if not sock.recv(65536):
                    record.write("ended", time.monotonic(), "closed")
                    return
                last = time.monotonic()
                record.counters["answers"] += 1
                record.counters["last"] = last
                if state != "flowing":
                    state = "flowing"
                    record.write(state, last)
        except OSError as exc:
            error = errno.errorcode.get(exc.errno or 0, str(exc.errno))
            record.write("ended", time.monotonic(), error)
            return
        now = time.monotonic()
        if state == "flowing" and now - last > SILENCE:
            state = "stopped"
            record.write(state, last)
        record.beat(now)


def main() -> None:
    path, kind, address, port = sys.argv[1:]
    stopping: list[bool] = []

    def stop(*_: Any) -> None:
        stopping.append(True)

    signal.signal(signal.SIGTERM, stop)
    record = Record(Path(path))
    {"connect": connect, "flow": flow}[kind](record, address, int(port), stopping)
    os._exit(0)


if __name__ == "__main__":
    main()
