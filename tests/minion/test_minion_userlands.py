"""
What the programs of Debian 11, 12 and 13 print of the same rules: read alike, address by address.

The samples are of nft 0.9.8, 1.0.6 and 1.1.3, iptables 1.8.7, 1.8.9 and 1.8.11, ipset 7.10 to 7.22.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from k8s_firewall_parts import chains, read_ipset, read_iptables, read_nft, verify
from k8s_firewall_parts.intervals import Interest
from k8s_firewall_parts.openings import NftRule, Reading

SAMPLES = Path(__file__).parent / "userlands"
LET_IN = [*(f"192.0.2.{number}" for number in (*range(1, 10), *range(11, 23))),
          "2001:db8::1", "198.51.100.0/24"]  # fmt: skip
NOT_LET_IN = [f"192.0.2.{number}" for number in (10, *range(100, 104), *range(110, 116))]
DELETED_BY_HANDLE = ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5",
                     "192.0.2.7", "192.0.2.8", "192.0.2.9", "192.0.2.17", "192.0.2.21")  # fmt: skip

pytestmark = pytest.mark.parametrize("debian", ["debian11", "debian12", "debian13"])


def read(debian: str, asked: list[str], *, texts: bool = True) -> tuple[Reading, bool]:
    document = json.loads((SAMPLES / f"{debian}.json").read_text())
    saved = (SAMPLES / f"{debian}.iptables").read_text()
    sets = read_ipset.parse((SAMPLES / f"{debian}.ipset").read_text())
    listed: dict[chains.ChainKey, list[str]] = {}
    for table in read_iptables.tables(saved) if texts else ():
        for chain, line, _ in table.rules:
            listed.setdefault(("ip", table.name, chain), []).append(line)
    interest = Interest(asked)
    reader = read_nft.Reader(
        document, listed, lambda name: read_ipset.named_set(name, sets, f"ipset {name}"), interest
    )
    found = chains.openings(chains.Analysis(reader.chains), interest)
    return Reading(tuple(found), reader.unknown), reader.unread_sets


def test_the_output_is_whole(debian: str) -> None:
    assert read_nft.problem(json.loads((SAMPLES / f"{debian}.json").read_text())) == ""
    assert read_iptables.cut_off((SAMPLES / f"{debian}.iptables").read_text()) == ""


@pytest.mark.parametrize("address", LET_IN)
def test_who_is_let_in_is_open(debian: str, address: str) -> None:
    found = verify.find(read(debian, [address])[0], [address])[address]
    assert [one.effect for one in found.named] == ["accepts"], found


@pytest.mark.parametrize("address", NOT_LET_IN)
def test_who_is_not_let_in_is_closed(debian: str, address: str) -> None:
    assert verify.find(read(debian, [address])[0], [address])[address].verdict == "closed"


def test_each_plain_rule_can_be_deleted_by_its_handle(debian: str) -> None:
    found = verify.find(read(debian, LET_IN)[0], LET_IN)
    by_handle = [
        entry
        for entry, one in found.items()
        if any(isinstance(opening.removal, NftRule) for opening in one.named)
    ]
    assert tuple(by_handle[: len(DELETED_BY_HANDLE)]) == DELETED_BY_HANDLE
    assert by_handle[len(DELETED_BY_HANDLE) :] == ["2001:db8::1"]


def test_without_the_text_of_opaque_rules_the_rest_is_unknown(debian: str) -> None:
    reading, unread_sets = read(debian, ["192.0.2.4"], texts=False)
    assert verify.find(reading, ["192.0.2.4"])["192.0.2.4"].verdict == "unknown"
    # The oldest does not say which of its opaque matches asks for a set.
    assert unread_sets or debian == "debian11"
