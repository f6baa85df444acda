"""When bytes cannot prove that nothing names an address, the readers are asked."""

from __future__ import annotations

from typing import Any

import pytest

from k8s_firewall_parts import netlink, nft_bytes

A = "192.0.2.1"


class Kernel:
    """Stands for the kernel: the messages of each dump, and whether it was whole."""

    def __init__(self) -> None:
        self.tables: list[tuple[int, str]] = [(netlink.INET, "filter")]
        self.dumps: dict[int, list[tuple[bytes, bool]]] = {}

    def messages(self, _sock: object, message: int, *_: Any) -> tuple[bytes, bool]:
        answers = self.dumps.get(message, [(b"", True)])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(netlink, "tables", lambda: kernel.tables)
    monkeypatch.setattr(netlink, "connect", lambda: kernel)
    monkeypatch.setattr(netlink, "messages", kernel.messages)
    return kernel


def test_without_a_table_or_a_rule_nothing_names_it(kernel: Kernel) -> None:
    assert nft_bytes.may_name([A]) is False
    kernel.tables = []
    kernel.dumps = {netlink.RULE: [(b"\xc0\x00\x02\x01", True)]}
    assert nft_bytes.may_name([A]) is False


@pytest.mark.parametrize("entries", [["192.0.2.0/24"], [A, "x"]])
def test_only_single_addresses_are_looked_for(kernel: Kernel, entries: list[str]) -> None:
    assert nft_bytes.may_name(entries) is True


def test_what_cannot_be_read_may_name_it(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> list[Any]:
        raise OSError

    monkeypatch.setattr(netlink, "tables", fails)
    assert nft_bytes.may_name([A]) is True


def test_a_dump_that_others_cut_each_time_proves_nothing(kernel: Kernel) -> None:
    broken = b"\x18\0\0\0" + bytes(20)
    kernel.dumps = {netlink.RULE: [(broken, False)] * 9}
    assert nft_bytes.may_name([A]) is True


def test_sets_that_others_change_each_time_prove_nothing(kernel: Kernel) -> None:
    kernel.dumps = {netlink.SET: [(b"", False)] * 9}
    assert nft_bytes.may_name([A]) is True


def test_two_dumps_without_a_gap_are_enough(kernel: Kernel) -> None:
    kernel.dumps = {netlink.RULE: [(b"", False), (b"", False)]}
    assert nft_bytes.may_name([A]) is False
    kernel.dumps = {netlink.SET: [(b"", False), (b"", True)]}
    assert nft_bytes.may_name([A]) is False
