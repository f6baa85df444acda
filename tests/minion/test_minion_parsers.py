"""Whatever the kernel's tools print: no reader fails, and junk never becomes a rule to delete."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from k8s_firewall_parts import (
    addresses,
    connections,
    foreign_firewalls,
    foreign_nft_rules,
    gates,
    ipset,
    netlink,
    nft,
    ownership,
)
from tests.minion.build import state

GONE = frozenset({"192.0.2.1", "2001:db8::1", "198.51.100.0/24"})
CHAINS = {"filter": ["INPUT"], "inet filter": ["input"]}

V4 = st.integers(0, 2**32 - 1).map(lambda number: str(ipaddress.IPv4Address(number)))
V6 = st.integers(2**120, 2**128 - 1).map(
    lambda number: addresses.canonical(str(ipaddress.IPv6Address(number)))[1]
)
NETWORK = st.builds(
    lambda address, length: addresses.canonical_network(
        str(ipaddress.ip_network(f"{address}/{length}", strict=False))
    )[1],
    V4,
    st.integers(1, 31),
)
CONTENT = st.lists(V4 | V6 | NETWORK, max_size=12).map(addresses.parse)
NAME = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,9}", fullmatch=True).filter(lambda it: it != "keep")

# Words that the readers look for, so that random text comes near to what they take.
WORD = st.sampled_from(
    ["-A", "INPUT", "input", "-s", "!", "192.0.2.1", "192.0.2.1/32", "198.51.100.0/24", "-j",
     "ACCEPT", "DROP", "-m", "comment", "--comment", '"', "'", "\\", "\n", "\t", " ", "#", "{", "}",
     ";", "*filter", "COMMIT", "[1:2]", "table inet filter {", "chain input {", "ip", "ip6",
     "saddr", "accept", "drop", "jump", "original", "set", "elements = {", ",", "create", "add",
     "hash:net", "family", "inet", "maxelem", "ESTAB", "0", "10.0.0.5:5432", "192.0.2.1:40000",
     "[::ffff:192.0.2.1]:1", "*:*", "\u2028", "\x0b", "\r", "\udce9", "k8s_firewall"]
) | st.text(max_size=3)  # fmt: skip
TEXT = st.lists(WORD, max_size=40).map(" ".join) | st.lists(WORD, max_size=40).map("".join)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(
        ["input", "filter", "inet", "ip", "saddr", "==", "!=", "192.0.2.1", "accept", "drop"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["chain", "rule", "expr", "match", "left", "right", "op", "payload",
                         "field", "protocol", "accept", "handle", "prefix", "addr", "len",
                         "nftables"]), inner, max_size=5),
    max_leaves=25,
)  # fmt: skip


def lines_of(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", text)


# nft


@given(TEXT)
def test_any_text_of_legacy_iptables_is_read(text: str) -> None:
    foreign_firewalls.legacy_verdict(f"*filter\n-A INPUT {text}\n{text}", "INPUT", 2, {6})


@given(st.binary(max_size=200), st.lists(st.binary(max_size=40), max_size=6))
def test_any_rule_of_the_kernel_is_read(raw: bytes, parts: list[bytes]) -> None:
    names = [b"meta", b"cmp", b"bitwise", b"lookup", b"match", b"immediate", b"payload", b"ct"]
    made = b"".join(
        netlink.attribute(1, netlink.attribute(1, name + b"\0") + netlink.attribute(2, part))
        for name, part in zip(names, parts, strict=False)
    )
    for expressions in (raw, made):
        foreign_nft_rules.parse_rule(expressions, lambda _: None)


@given(TEXT)
def test_any_listing_of_a_table_is_read(text: str) -> None:
    nft.parse(text)
    nft.is_as_loaded(text, text)


def listed(text: str) -> str:
    """Return what nft lists of a table that was loaded, but for chains: it indents with tabs."""
    lines = []
    for line in text.removeprefix(nft.DELETE).splitlines():
        top = line.startswith(("table", "set ")) or line == "}"
        lines.append(("\t" if top else "\t\t") + line)
    lines[0], lines[-1] = lines[0].strip(), lines[-1].strip()
    return "\n".join(lines) + "\n"


@given(st.dictionaries(NAME, CONTENT, max_size=3), CONTENT)
def test_the_elements_of_a_rendered_table_are_read_back(
    sets: dict[str, addresses.Content], keep: addresses.Content
) -> None:
    block = {name: sorted(content.entries()) for name, content in sets.items()}
    desired = state(sets={**block, "x": []}, keep=sorted(keep.entries()))
    table = nft.parse(listed(nft.full(desired)))
    assert table.elements == nft.elements(desired)
    assert table.structure == nft.parse(listed(nft.structure(desired))).structure
    assert nft.delta(table.elements, nft.elements(desired)) == ""


@given(CONTENT, CONTENT)
def test_a_delta_leads_from_one_content_to_the_other(
    before: addresses.Content, after: addresses.Content
) -> None:
    old = {f"a_{part}": entries for part, entries in before.parts().items()}
    new = {f"a_{part}": entries for part, entries in after.parts().items()}
    current = {name: set(entries) for name, entries in old.items()}
    for line in nft.delta(old, new).replace(",\n", ", ").splitlines():
        words = line.split(None, 5)
        verb, name = words[0], words[4]
        entries = {one.strip(" {}") for one in words[5].split(",")} if len(words) > 5 else set()
        if verb == "flush":
            current[name] = set()
        elif verb == "delete":
            assert entries <= current[name]
            current[name] -= entries
        else:
            current[name] |= entries
    assert current == new


# ipset


@given(TEXT)
@example("add a 192.0.2.1")
@example("create a")
@example("create a hash:net maxelem x family")
@example("create a hash:net maxelem " + "9" * 5000)
def test_any_output_of_ipset_is_read(text: str) -> None:
    for name, one in ipset.parse(text).items():
        assert name in text
        assert one.maxelem >= 0


@given(st.dictionaries(NAME, CONTENT, max_size=3))
def test_ipsets_are_read_back_as_they_were_written(sets: dict[str, addresses.Content]) -> None:
    members = ipset.members(sets)
    found = ipset.parse(ipset.full(members))
    assert {name: one.members for name, one in found.items()} == members
    assert ipset.changes(found, members) == ""


@given(CONTENT, CONTENT, st.booleans())
def test_a_change_of_ipsets_leads_from_one_content_to_the_other(
    before: addresses.Content, after: addresses.Content, tight: bool
) -> None:
    old, new = ipset.members({"a": before}), ipset.members({"a": after})
    current = {
        name: ipset.IpSet("hash:net", one.family, len(one.members) if tight else 65536, one.members)
        for name, one in ipset.parse(ipset.full(old)).items()
    }
    kernel = {name: set(entries) for name, entries in old.items()}
    for line in ipset.changes(current, new).splitlines():
        verb, name, *rest = line.split()
        if verb == "create":
            assert name not in kernel
            kernel[name] = set()
        elif verb == "add":
            kernel[name].add(rest[0])
        elif verb == "del":
            kernel[name].remove(rest[0])
        elif verb == "swap":
            kernel[name], kernel[rest[0]] = kernel[rest[0]], kernel[name]
        else:
            assert verb == "destroy"
            del kernel[name]
    assert kernel == new


@pytest.mark.parametrize(
    ("saved", "name"),
    [
        ("create a_v4 hash:ip family inet hashsize 1024 maxelem 65536\n", "a_v4"),
        ("create a_v6 hash:net family inet hashsize 1024 maxelem 65536\n", "a_v6"),
        ("create a_v4 list:set size 8\n", "a_v4"),
    ],
)
def test_an_ipset_of_another_type_is_refused(saved: str, name: str) -> None:
    with pytest.raises(Exception, match=f"another program has an ipset {name} of type"):
        ipset.changes(ipset.parse(saved), ipset.members({"a": addresses.Content()}))


def test_everything_is_two_halves_in_an_ipset() -> None:
    found = ipset.members({"a": addresses.parse(["0.0.0.0/0", "::/0"])})
    assert found == {"a_v4": {"0.0.0.0/1", "128.0.0.0/1"}, "a_v6": {"::/1", "8000::/1"}}


# ss


@given(TEXT)
@example("ESTAB 0 0 10.0.0.5:5432 *:*")
@example("ESTAB 0 0 10.0.0.5:5432 not-an-address:1")
@example("ESTAB 0 0 10.0.0.5:5432 192.0.2.1:" + "9" * 5000)
@example("ESTAB 0 0 10.0.0.5:٣٤ 192.0.2.1:1")
def test_any_output_of_ss_is_read(text: str) -> None:
    found = connections.parse(text)
    for one in found:
        assert addresses.canonical(one.peer)[1] == one.peer
    connections.parse_listening(text)
    owned = connections.owned_by(found, frozenset({5432}), GONE, lambda _: False)
    assert all(one.local_port == 5432 for one in owned)
    assert all(set(one) <= set("0123456789abcdef:.[]() =dstporandu") for one in
               connections.kill_filters(owned))  # fmt: skip


@given(st.lists(st.tuples(V4 | V6, st.integers(1, 65535), st.booleans()), max_size=8))
def test_connections_are_read_as_ss_prints_them(peers: list[tuple[str, int, bool]]) -> None:
    lines = []
    for address, port, mapped in peers:
        if ":" in address:
            ends = f"[2001:db8::5%eth0]:{port} [{address}]:40000"
        elif mapped:
            ends = f"[::ffff:10.0.0.5]:{port} [::ffff:{address}]:40000"
        else:
            ends = f"10.0.0.5%eth0:{port} {address}:40000"
        lines.append(f"ESTAB 0      0      {ends}")
    found = connections.parse("\n".join(lines))
    assert [(one.peer, one.local_port) for one in found] == [
        (address, port) for address, port, _ in peers
    ]


# The pillar, and the kernel's answers


@given(TEXT)
def test_any_text_of_a_pillar_is_searched_for_addresses(text: str) -> None:
    for entry in ownership.Written({text: [text, 5, None]}).entries:
        assert addresses.parse([entry]).entries() == {entry}


@given(V4 | V6 | NETWORK, st.sampled_from(["{}", "allow {} here", "{},", "={};", "({})", "{}."]))
def test_an_address_within_a_text_is_found(entry: str, text: str) -> None:
    if text.endswith(".") and ":" in entry:
        return
    assert entry.rstrip(".") in ownership.Written([text.format(entry)]).entries


@given(st.lists(V4 | V6 | NETWORK, max_size=10))
def test_a_content_matches_exactly_its_addresses(items: list[str]) -> None:
    content = addresses.parse(items)
    assert addresses.Content.from_dict(content.to_dict()) == content
    for entry in items:
        network = ipaddress.ip_network(entry)
        assert content.matches(str(network.network_address))
        assert content.matches(str(network.broadcast_address))
    parsed = [ipaddress.ip_network(entry) for entry in items]
    probe = ipaddress.ip_address("203.0.113.77")
    assert content.matches(str(probe)) is any(probe in network for network in parsed)


@given(st.binary(max_size=64))
def test_any_answer_of_the_kernel_is_read(answer: bytes) -> None:
    # What is cut off, and what the kernel does not have, is unknown to ``current``.
    with contextlib.suppress(struct.error, netlink.NotFound):
        for value in netlink.parse_answer(answer).values():
            assert value in answer


@given(st.integers() | st.text() | st.none() | st.booleans() | st.lists(st.integers()))
def test_ports_are_within_their_range(value: object) -> None:
    ports = gates.parse_ports(value)
    assert ports is None or 1 <= ports[1] <= ports[2] <= 65535
