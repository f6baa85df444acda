"""Lists straight from the kernel: whole, in time, or an error."""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from k8s_firewall_parts import netlink

DONE, ERROR, INTERRUPTED = 3, 2, 16
MULTI = 2

Answers = Callable[..., list[bytes]]


def message(kind: int, data: bytes = b"", flags: int = MULTI) -> bytes:
    return struct.pack("=IHHII", 16 + len(data), kind, flags, 1, 0) + data


def table(name: str, family: int = netlink.INET, flags: int = MULTI) -> bytes:
    return message(2560, bytes([family, 0, 0, 0]) + netlink.name(1, name), flags)


def failed(number: int) -> bytes:
    return message(ERROR, struct.pack("=i", -number))


class Socket:
    """Stands for the kernel's side of one question."""

    def __init__(self, asked: list[bytes], answers: Iterator[bytes]) -> None:
        self.asked = asked
        self.answers = answers

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, data: bytes) -> None:
        self.asked.append(data)

    def recv(self, _: int) -> bytes:
        return next(self.answers)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Set what the kernel answers; return what it is asked."""

    def answers(*data: bytes) -> list[bytes]:
        asked: list[bytes] = []
        left = iter(data)
        monkeypatch.setattr(netlink, "connect", lambda *_: Socket(asked, left))
        return asked

    return answers


def test_a_list_may_come_in_several_answers(answers: Answers) -> None:
    asked = answers(table("a") + table("b"), table("c", netlink.IPV4), message(DONE, b"\0" * 4))
    assert netlink.tables() == [(1, "a"), (1, "b"), (2, "c")]
    assert len(asked) == 1


def test_a_list_during_which_something_changed_is_asked_for_again(answers: Answers) -> None:
    end = message(DONE, b"\0" * 4)
    asked = answers(table("a", flags=MULTI | INTERRUPTED) + end, table("b") + end)
    assert netlink.tables() == [(1, "b")]
    assert len(asked) == 2


def test_a_list_that_takes_too_long_is_given_up(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(table("a"), table("b"), message(DONE, b"\0" * 4))
    times = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(times)))
    with pytest.raises(netlink.TooSlow):
        netlink.dump(netlink.TABLE, seconds=1.5)


def test_a_kernel_without_nf_tables_has_no_table(answers: Answers) -> None:
    answers(failed(errno.EOPNOTSUPP))
    assert netlink.tables() == []
    answers(failed(errno.EPERM))
    with pytest.raises(PermissionError):
        netlink.tables()


def test_the_addresses_of_this_host_are_those_of_its_own_side(answers: Answers) -> None:
    def address(*parts: bytes) -> bytes:
        return message(20, bytes(8) + b"".join(parts))

    v6 = bytes.fromhex("20010db8000000000000000000000001")
    answers(
        # On a point-to-point link the address is the peer's, and another is this host's.
        address(netlink.attribute(1, bytes([192, 0, 2, 9])),
                netlink.attribute(2, bytes([192, 0, 2, 1])))
        + address(netlink.attribute(1, v6))
        + address(netlink.attribute(3, b"eth0\0")),
        message(DONE, b"\0" * 4),
    )  # fmt: skip
    assert netlink.local_addresses() == {"192.0.2.1", "2001:db8::1"}


def test_an_object_that_the_kernel_does_not_have_is_not_found(answers: Answers) -> None:
    asked = answers(failed(errno.ENOENT), table("a"))
    sock = netlink.connect()
    with pytest.raises(netlink.NotFound):
        netlink.ask(sock, netlink.TABLE, netlink.name(1, "k8s_firewall"))
    assert netlink.ask(sock, netlink.TABLE)[1] == b"a\0"
    # The length, the message, REQUEST, and the family behind.
    assert struct.unpack_from("=IHH", asked[0]) == (len(asked[0]), netlink.TABLE, 1)
    assert asked[0][16] == netlink.INET
