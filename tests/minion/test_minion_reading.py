"""What cannot be read is unknown, and never "nothing there"."""

from __future__ import annotations

from pathlib import Path

import pytest

from k8s_firewall_parts import programs, reading
from k8s_firewall_parts.intervals import Interest


@pytest.mark.parametrize(
    ("error", "unknown"),
    [
        (FileNotFoundError("no"), []),
        (PermissionError("no"), ["ip6tables-legacy", "iptables-legacy"]),
    ],
)
def test_tables_of_legacy_iptables_that_cannot_be_listed_are_unknown(
    monkeypatch: pytest.MonkeyPatch, error: OSError, unknown: list[str]
) -> None:
    def fails(_: Path) -> str:
        raise error

    monkeypatch.setattr(Path, "read_text", fails)
    monkeypatch.setattr(programs, "installed", lambda _: False)
    kernel, _ = reading._kernel_and_sets((), Interest(["192.0.2.1"]), nf_tables=False)
    assert sorted(kernel.unknown) == unknown
    assert all("cannot be listed" in why for why in kernel.unknown.values())
