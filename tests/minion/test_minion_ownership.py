"""Which addresses references served, and which are spared although none serves them."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_firewall_parts import addresses, errors, ownership
from k8s_firewall_parts.state_dir import StateDir


def test_an_address_that_is_written_anywhere_in_the_pillar_is_spared() -> None:
    before = [f"192.0.2.{number}" for number in range(1, 9)] + ["2001:db8::1"]
    pillar = {
        "k8s_nodes": {"served": ["192.0.2.1"], "clusters": {"x": "192.0.2.8"}},
        "a": ["192.0.2.2", {"192.0.2.3": 1}],
        "pg_hba": "host all all 192.0.2.4/24 md5, 192.0.2.5:5432 and 192.0.2.6.",
        "v6": "listen [2001:db8::1]:80",
    }
    assert ownership.spared(pillar, before, addresses.parse(["192.0.2.7"])) == {
        **{f"192.0.2.{number}": "is written in the pillar" for number in (2, 3, 4, 5, 6)},
        "192.0.2.7": "is in k8s_firewall:keep",
        "2001:db8::1": "is written in the pillar",
    }


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("sshd:192.0.2.77", "192.0.2.77"),
        ("tcp:192.0.2.77:5432", "192.0.2.77"),
        ("ip4:192.0.2.77", "192.0.2.77"),
        ("deploy@192.0.2.77", "192.0.2.77"),
        ("face192.0.2.77", "192.0.2.77"),
        ("192.0.2.77/255.255.255.255", "192.0.2.77"),
        ("192.0.2.77/32", "192.0.2.77"),
        ("x=192.0.2.77,192.0.2.78;", "192.0.2.78"),
        ("sshd: 2001:db8::77", "2001:db8::77"),
        ("sshd:2001:db8::77", "2001:db8::77"),
        ("feed:2001:db8::77", "2001:db8::77"),
        ("tcp:2001:db8::77:5432", "2001:db8::77"),
        ("tcp:[2001:db8::77]:5432", "2001:db8::77"),
        ("ip6:2001:DB8:0:0:0:0:0:77", "2001:db8::77"),
        ("ip6:2001:db8::77/128", "2001:db8::77"),
        ("allow ::77;", "::77"),
        ("192.0.2.70-192.0.2.80", "192.0.2.77"),
        ("iprange 192.0.2.70 - 192.0.2.80", "192.0.2.77"),
        ("192.0.2.70-80", "192.0.2.77"),
        ("src:192.0.2.70-192.0.2.80:22", "192.0.2.77"),
        ("2001:db8::70-2001:db8::80", "2001:db8::77"),
        ("pods 10.1.0.0-10.1.255.255", "10.1.7.0/24"),
        ("10.1.7.0/24", "10.1.7.0/24"),
        ("net:10.1.7.0/24,tcp", "10.1.7.0/24"),
    ],
)
def test_an_address_within_a_longer_text_is_found(text: str, entry: str) -> None:
    for value in (text, [{"a": text}], {text: 1}, (text,)):
        assert ownership.Written(value).has(entry)


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("192.0.2.70-192.0.2.80", "192.0.2.81"),
        ("192.0.2.80-192.0.2.70", "192.0.2.77"),
        ("2001:db8::70-2001:db8::80", "2001:db8::81"),
        # A word before it makes no larger range of it.
        ("a:2001:db8::70-2001:db8::80", "2000::1"),
        ("10.0.0.0/8", "10.1.7.0/24"),
        ("192.0.2.770", "192.0.2.77/31"),
        ("10.1.0.0-10.1.7.7", "10.1.7.0/24"),
    ],
)
def test_another_address_is_not_taken_for_it(text: str, entry: str) -> None:
    assert not ownership.Written([text]).has(entry)


ADDRESSES = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address) | st.integers(0, 2**128 - 1).map(
    ipaddress.IPv6Address
)


@given(
    ADDRESSES.map(str),
    st.text("abcxyz:=@/ ,;[(", max_size=8),
    st.sampled_from(["", ",", " ", "]", ":5432", "/32", ";", "\n"]),
)
def test_any_address_is_found_between_words(address: str, before: str, after: str) -> None:
    try:
        _, canonical = addresses.canonical(address)
    except addresses.InvalidAddress:
        return
    if after == "/32" and ":" in address:
        after = ""
    # Hexadecimal letters right before it may be a part of it.
    separator = " " if before[-1:] in "abc" else ""
    assert ownership.Written(f"{before}{separator}{address}{after}").has(canonical)


@given(st.text(max_size=200) | st.text("0123456789abcdef:./-", max_size=200))
def test_any_text_is_read(text: str) -> None:
    written = ownership.Written([text])
    assert all(addresses.parse_separately([entry]) == {entry} for entry in written.entries)
    assert all(first <= last for first, last in written.ranges)


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
    before = ["10.1.1.0/24", "10.2.1.0/24", "fd01::1", "fd01:0:0:0:8000::/80"]
    found = ownership.spared({}, before, keep)
    assert set(before) - found.keys() == {"10.2.1.0/24"}
    assert set(found.values()) == {"is in k8s_firewall:keep"}


def test_the_record_is_written_where_it_differs(tmp_path: Path) -> None:
    folder = StateDir(str(tmp_path))
    assert ownership.recorded(folder) == frozenset()
    ownership.record(folder, frozenset())
    assert not list(tmp_path.iterdir())
    ownership.record(folder, frozenset({"192.0.2.1"}))
    assert ownership.recorded(folder) == {"192.0.2.1"}


def test_the_master_is_told_what_was_served_last(tmp_path):
    folder = StateDir(str(tmp_path))
    ownership.record(folder, frozenset(["192.0.2.2", "192.0.2.1"]))
    folder.write("revisions", {"prod": {"revision": 7, "observed_at": 1.5, "store": "s"}})
    found = ownership.answer(folder, (), "v")
    assert found["addresses"] == ["192.0.2.1", "192.0.2.2"]
    assert found["truncated"] is False
    assert found["clusters"] == {"prod": {"revision": 7, "observed_at": 1.5}}
    again = ownership.answer(folder, ["other", found["digest"]], "v")
    assert again == {key: again[key] for key in ("version", "digest", "clusters")}
    assert again["digest"] == found["digest"]


def test_an_answer_to_the_master_is_bounded_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(ownership, "_MAX_ANSWERED", 1)
    folder = StateDir(str(tmp_path))
    ownership.record(folder, frozenset(["192.0.2.2", "192.0.2.1"]))
    found = ownership.answer(folder, "no list", "v")
    assert (found["addresses"], found["truncated"]) == (["192.0.2.1"], True)


def test_a_minion_that_was_served_nothing_says_so(tmp_path):
    found = ownership.answer(StateDir(str(tmp_path)), (), "v")
    assert (found["addresses"], found["clusters"]) == ([], {})
