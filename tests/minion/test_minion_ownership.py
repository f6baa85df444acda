"""Which addresses have left, and which are spared."""

from __future__ import annotations

from pathlib import Path

import pytest

from k8s_firewall_parts import addresses, errors, ownership
from k8s_firewall_parts.state_dir import StateDir


def test_who_is_written_anywhere_in_the_pillar_is_spared():
    before = frozenset({f"192.0.2.{number}" for number in range(1, 9)} | {"2001:db8::1"})
    pillar = {
        "k8s_nodes": {"served": ["192.0.2.1"], "clusters": {"x": "192.0.2.8"}},
        "a": ["192.0.2.2", {"192.0.2.3": 1}],
        "pg_hba": "host all all 192.0.2.4/24 md5, 192.0.2.5:5432 and 192.0.2.6.",
        "v6": "listen [2001:db8::1]:80",
    }
    found = ownership.departures(pillar, before, addresses.parse(["192.0.2.7"]))
    assert found.removed == {"192.0.2.8"}
    assert found.spared == {
        **{f"192.0.2.{number}": "is written in the pillar" for number in (2, 3, 4, 5, 6)},
        "192.0.2.7": "is in k8s_firewall:keep",
        "2001:db8::1": "is written in the pillar",
    }


def test_served_addresses_are_read_or_the_pillar_is_refused() -> None:
    entries = ["192.0.2.1", "10.0.0.0/25", "10.0.0.128/25"]
    assert ownership.served({"k8s_nodes": {"served": entries}}) == set(entries)
    assert ownership.served({}) == ownership.served({"k8s_nodes": None}) == frozenset()
    for junk in (5, ["x"], None):
        with pytest.raises(errors.Refused, match="k8s_nodes:served is not valid"):
            ownership.served({"k8s_nodes": {"served": junk}})


def test_unresolved_references_are_found_in_the_pillar_and_in_the_masters_list() -> None:
    pillar = {"k8s_nodes": {"unresolved": {"k8s://a": "unknown"}}, "web": ["k8s://b"]}
    assert ownership.unresolved(pillar) == ["k8s://a", "k8s://b"]
    assert ownership.unresolved({"k8s_nodes": {"unresolved": ["k8s://a"]}}) == []
    assert ownership.unresolved({"k8s_nodes": None}) == []


def test_an_address_is_still_allowed_in_a_set_as_served_or_as_written() -> None:
    pillar = {"k8s_nodes": {"served": ["192.0.2.1"]}, "notes": "smarthost 192.0.2.2"}
    allowed = ownership.StillAllowed(pillar, [addresses.parse(["198.51.100.0/24"])])
    assert [allowed(one) for one in ("192.0.2.1", "192.0.2.2", "198.51.100.7", "192.0.2.3")] == [
        True, True, True, False,
    ]  # fmt: skip


def test_a_network_within_a_kept_one_is_spared() -> None:
    keep = addresses.parse(["10.1.0.0/16", "fd01::/64"])
    before = frozenset({"10.1.1.0/24", "10.2.1.0/24", "fd01::1", "fd01:0:0:0:8000::/80"})
    found = ownership.departures({}, before, keep)
    assert found.removed == {"10.2.1.0/24"}
    assert set(found.spared.values()) == {"is in k8s_firewall:keep"}


def test_the_record_is_written_where_it_differs(tmp_path: Path) -> None:
    folder = StateDir(str(tmp_path))
    assert ownership.recorded(folder) == frozenset()
    ownership.record(folder, frozenset())
    assert not list(tmp_path.iterdir())
    ownership.record(folder, frozenset({"192.0.2.1"}))
    assert ownership.recorded(folder) == {"192.0.2.1"}
