"""Which addresses have left, and which are spared."""

from __future__ import annotations

from k8s_firewall_parts import addresses, ownership


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
