"""What ss prints, and which connections are ended."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from k8s_firewall_parts import connections, errors, programs, sock_diag
from k8s_firewall_parts.state_dir import StateDir

GONE = frozenset({"192.0.2.1", "2001:db8::1", "198.51.100.0/24"})

SS = """\
ESTAB 0      0           10.0.0.5:5432        192.0.2.1:40000
ESTAB 0      0   [::ffff:10.0.0.5]:5432 [::ffff:192.0.2.1]:40001
ESTAB 0      0      [2001:db8::5]:5432  [2001:db8::1]:40002
ESTAB 0      0           10.0.0.5:40003       192.0.2.1:5432
ESTAB 0      0           10.0.0.5:5432     198.51.100.9:40004
ESTAB 0      0      10.0.0.5%eth0:22         192.0.2.10:40005
"""


def test_connections_of_who_has_left_are_those_to_a_port_of_ours():
    found = connections.owned_by(
        connections.parse(SS), frozenset({5432, 22}), GONE, lambda one: one == "2001:db8::1"
    )
    assert [(one.local_port, one.peer_in_ss) for one in found] == [
        (5432, "192.0.2.1"),
        (5432, "::ffff:192.0.2.1"),
        (5432, "198.51.100.9"),
    ]


def test_ports_that_are_listened_on():
    printed = "LISTEN 0 128 0.0.0.0:5432 0.0.0.0:*\nLISTEN 0 128 [::]:22 [::]:*\n"
    assert connections.parse_listening(printed + "LISTEN 0 5 *:80 *:*\n") == {5432, 22, 80}


class Ss:
    """Stands for ss: two listings of connections, the listeners, and what it was to kill."""

    def __init__(self, before: str, after: str = "") -> None:
        self.listings = [before, after]
        self.killed: list[str] = []

    def run(self, argv: list[str]) -> str:
        if argv[:-1] == connections.KILL:
            self.killed.append(argv[-1])
            return ""
        if argv == connections.LIST_LISTENING:
            return "LISTEN 0 128 0.0.0.0:5432 0.0.0.0:*\n"
        return self.listings.pop(0)


def kernel_without_lists(states: int) -> list[sock_diag.Socket]:
    raise OSError(f"the kernel does not list sockets in the states {states:b}")


@pytest.fixture
def ss(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ss]:
    def made(*listings: str) -> Ss:
        one = Ss(*listings)
        monkeypatch.setattr(programs, "run", one.run)
        monkeypatch.setattr(sock_diag, "tcp", kernel_without_lists)
        return one

    return made


def test_connections_are_ended_and_counted(ss: Callable[..., Ss]) -> None:
    left = SS.splitlines()[1]
    one = ss(SS, left)
    counts = connections.end(GONE, lambda address: address == "198.51.100.9")
    assert counts == {
        "192.0.2.1": {"ended": 1, "still_open": 1},
        "2001:db8::1": {"ended": 1, "still_open": 0},
    }
    assert one.killed == [
        "sport = :5432 and ( dst 192.0.2.1 or dst [2001:db8::1] or dst [::ffff:192.0.2.1] )"
    ]
    assert connections.still_open(counts) == (
        "connections of 192.0.2.1 are still open: the kernel lacks CONFIG_INET_DIAG_DESTROY"
    )
    assert connections.still_open({"192.0.2.1": {"ended": 1, "still_open": 0}}) == ""


SCOPED = """\
ESTAB 0 0 10.0.0.5:5432  192.0.2.1:40000 ino:1 sk:a cgroup:/ <->
ESTAB 0 0 10.0.0.5:5432  192.0.2.1:40001 ino:2 sk:b cgroup:/ <->
ESTAB 0 0 10.0.0.5:22    192.0.2.1:40002 ino:3 sk:c cgroup:/ <->
ESTAB 0 0 10.0.0.5:5432  192.0.2.2:40003 ino:4 sk:d cgroup:/ <->
ESTAB 0 0 10.0.0.5:5432  198.51.100.9:40004 ino:5 sk:e cgroup:/ <->
"""
DB = frozenset({("tcp", 5432, 5432)})


@pytest.mark.parametrize(
    ("scope", "peer_ports"),
    [
        (connections.Scope(), [40000, 40001, 40002]),
        (connections.Scope(DB), [40000, 40001]),
        (connections.Scope(frozenset({("", 1, 100)})), [40002]),
        (connections.Scope(frozenset({("udp", 1, 65535)})), []),
        (connections.Scope(frozenset()), []),
    ],
)
def test_only_connections_to_ports_that_were_open_for_the_address_are_ended(
    scope: connections.Scope, peer_ports: list[int]
) -> None:
    found = connections.owned_by(
        connections.parse(SCOPED), frozenset({5432, 22}), {"192.0.2.1": scope}, lambda _: False
    )
    assert [one.peer_port for one in found] == peer_ports


def test_connections_from_before_the_address_was_let_in_stay(ss: Callable[..., Ss]) -> None:
    ss(SCOPED.splitlines()[0])
    known = connections.existing({"192.0.2.1", "203.0.113.1"})
    assert list(known) == ["192.0.2.1"]
    one = ss(SCOPED, SCOPED.splitlines()[0])
    scope = connections.Scope(DB, known["192.0.2.1"])
    counts = connections.end({"192.0.2.1": scope}, lambda _: False)
    assert counts == {"192.0.2.1": {"ended": 1, "still_open": 0}}
    assert one.killed == ["sport = :5432 and ( ( dst 192.0.2.1 and dport = :40001 ) )"]


def test_a_connection_of_another_boot_is_not_taken_for_an_older_one(
    ss: Callable[..., Ss], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ss(SCOPED)
    known = connections.existing({"198.51.100.0/24"})
    monkeypatch.setattr(connections, "_BOOT_ID", tmp_path / "boot_id")
    (tmp_path / "boot_id").write_text("another1-boot\n")
    scope = connections.Scope(None, known["198.51.100.0/24"])
    found = connections.owned_by(
        connections.parse(SCOPED), frozenset({5432}), {"198.51.100.0/24": scope}, lambda _: False
    )
    assert [one.peer_port for one in found] == [40004]


def test_without_ss_every_connection_counts_as_younger(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(argv: list[str]) -> str:
        raise errors.MissingProgram("ss")

    monkeypatch.setattr(programs, "run", fails)
    assert connections.existing({"192.0.2.1"}) == {}
    assert connections.existing(set()) == {}


def test_without_a_connection_nothing_is_killed(ss: Callable[..., Ss]) -> None:
    assert connections.end(frozenset(), lambda _: False) == {}
    one = ss(SS)
    assert connections.end(frozenset({"203.0.113.1"}), lambda _: False) == {}
    one.listings = [SS]
    assert connections.end(GONE, lambda _: True) == {}
    assert not one.killed


def test_whether_any_is_open(ss: Callable[..., Ss]) -> None:
    one = ss(SS, SS)
    assert connections.any_open(GONE)
    assert not connections.any_open(frozenset({"203.0.113.1"}))
    assert not connections.any_open(frozenset())
    assert not one.listings


def test_many_addresses_are_killed_in_several_calls() -> None:
    many = [connections.Connection(5432, f"192.0.2.{one}", f"192.0.2.{one}") for one in range(120)]
    filters = list(connections.kill_filters(many))
    assert [text.count("dst") for text in filters] == [50, 50, 20]
    assert all(text.startswith("sport = :5432 and ( dst ") for text in filters)


def test_a_blocker_is_tried_once_for_a_kernel_and_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, program = StateDir(str(tmp_path / "state")), tmp_path / "ss"
    folder.folder.mkdir()
    program.touch()
    answers: list[bool | None] = [None, False, True]
    monkeypatch.setattr(programs, "path_of", lambda _: str(program))
    monkeypatch.setattr(connections, "can_end", lambda: answers.pop(0))
    assert connections.blocker(folder) == ""
    for _ in range(2):
        assert connections.blocker(folder) == "the kernel lacks CONFIG_INET_DIAG_DESTROY"
    monkeypatch.setattr(connections, "_BOOT_ID", tmp_path / "boot_id")
    (tmp_path / "boot_id").write_text("another\n")
    assert connections.blocker(folder) == ""
    assert not answers
    monkeypatch.setattr(programs, "path_of", lambda _: None)
    assert connections.blocker(folder) == "the program ss is not installed on this minion"


@pytest.mark.parametrize(
    ("family", "here"),
    [
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET6, "::ffff:127.0.0.1"),
        (socket.AF_INET6, "::1"),
    ],
)
def test_the_kernel_lists_the_sockets_that_ss_prints(
    monkeypatch: pytest.MonkeyPatch, family: socket.AddressFamily, here: str
) -> None:
    """Also their identities, which the record of another version has from ss."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(
            socket.create_server((here, 0), family=family, dualstack_ipv6=":" in here)
        )
        port = listener.getsockname()[1]
        client = stack.enter_context(socket.socket(family))
        client.connect((here, port))
        both = {port, client.getsockname()[1]}

        def of_this_test() -> tuple[set[connections.Connection], frozenset[int]]:
            found = {one for one in connections.connected() if one.local_port in both}
            return found, connections.listening() & both

        by_kernel = of_this_test()
        monkeypatch.setattr(sock_diag, "tcp", kernel_without_lists)
        assert by_kernel == of_this_test()
        assert len(by_kernel[0]) == 2
        assert by_kernel[1] == {port}
        assert all(one.identity for one in by_kernel[0])


def test_an_error_in_the_list_of_sockets_is_not_an_empty_list() -> None:
    refused = struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -2) + bytes(16)
    with pytest.raises(OSError, match="No such file"):
        sock_diag.parse(refused)
