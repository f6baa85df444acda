"""What a probe of the lab takes for closed, and what it says when it waited for nothing."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.errors import TookTooLong
from lab.process import Process
from lab.traffic import prober as script
from lab.traffic.probe import Probe


class Wire:
    """The kernel as a probe sees it: an answer to each attempt, and a clock that leaps."""

    def __init__(self, answers: dict[int, float], held: dict[int, float]) -> None:
        """``answers``: when the attempts are answered, 0 at once; ``held``: after which looks."""
        self.now = 100.0
        self.answers = answers
        self.held = held
        self.looks = 0
        self.sockets = itertools.count()
        self.waiting: dict[int, float] = {}

    def begin(self, _: str, __: int) -> tuple[SimpleNamespace, int]:
        number = next(self.sockets)
        after = self.answers.get(number, 0.0)
        code = errno.EINPROGRESS if after else errno.EISCONN
        if after:
            self.waiting[number] = self.now + after
        sock = SimpleNamespace(
            fileno=lambda: number,
            setsockopt=lambda *_: None,
            connect_ex=lambda _: errno.EALREADY if after else errno.EISCONN,
            getsockopt=lambda *_: 0,
            close=lambda: self.waiting.pop(number, None),
        )
        return sock, code

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        self.looks += 1
        self.now += seconds
        answered = [(number, 0) for number, at in self.waiting.items() if at <= self.now]
        # Taken off the processor, after the kernel has been asked.
        self.now += self.held.get(self.looks, 0.0)
        return answered


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[str]]:
    def seen(answers: dict[int, float], held: dict[int, float], looks: int = 60) -> list[str]:
        wire, stopping = Wire(answers, held), list[bool]()

        def poll(seconds: float) -> list[tuple[int, int]]:
            if wire.looks >= looks:
                stopping.append(True)
            return wire.poll(seconds)

        epoll = SimpleNamespace(register=lambda *_: None, unregister=lambda _: None, poll=poll)
        monkeypatch.setattr(script, "select", SimpleNamespace(epoll=lambda: epoll, EPOLLOUT=4))
        monkeypatch.setattr(script, "time", SimpleNamespace(monotonic=lambda: wire.now))
        monkeypatch.setattr(script, "begin", wire.begin)
        record = script.Record(tmp_path / "record.jsonl")
        script.connect(record, "192.0.2.1", 5432, stopping)
        lines = (tmp_path / "record.jsonl").read_text().splitlines()
        return [
            f"{line['state']} {line['reason']}".strip() for line in map(script.json.loads, lines)
        ]

    return seen


def test_an_attempt_that_is_never_answered_is_closed(seen: Callable[..., list[str]]) -> None:
    assert seen(dict.fromkeys(range(20, 30), 9.0), {}) == [
        "open", "closed ETIMEDOUT", "open",
    ]  # fmt: skip


def test_what_was_answered_while_the_probe_was_held_up_is_open(
    seen: Callable[..., list[str]],
) -> None:
    # Answered after 20 ms; the probe has looked after 10, and comes to its clock a second later.
    assert seen({20: 0.02}, {21: 1.0}) == ["open"]


def failure(path: Path, **wait: float) -> str:
    me = Process.of(os.getpid())
    probe = Probe(
        source="node1", kind="connect", target="minion1", port=5432, path=path, process=me
    )
    with pytest.raises(TookTooLong) as caught:
        probe.wait("open", within=0.0, **wait)
    return str(caught.value)


def test_a_wait_that_fails_tells_what_was_seen_since_and_when(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    path.write_text(
        '{"at": 1.0, "state": "open", "reason": ""}\n'
        '{"at": 5.0, "state": "closed", "reason": "ETIMEDOUT"}\n'
        '{"at": 11.0, "state": "open", "reason": ""}\n'
        '{"at": 12.5, "state": "closed", "reason": "ECONNREFUSED"}\n'
    )
    start = "minion1:5432 was not seen open from node1 within 0 s; it was closed before, then "
    assert failure(path, since=10.0) == start + (
        "open after 1.00 s, closed after 2.50 s (ECONNREFUSED)"
    )
    assert failure(path, since=20.0) == start + "nothing changed"
