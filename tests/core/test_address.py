"""Only canonical addresses and networks come out, whatever goes in."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_ext.core.cluster.address import (
    RESERVED_NETWORKS,
    AddressRanges,
    address,
    network,
    overlaps,
    sort_addresses,
    sort_key,
    within,
)

JUNK = [
    "",
    " 192.0.2.1",
    "192.0.2.1 ",
    "192.0.2.1\n",
    "192.0.2.1\n192.0.2.2",
    "192.0.2.1\x00",
    "010.0.0.5",
    "192.0.2.01",
    "192.0.2",
    "192.0.2.1.5",
    "192.0.2.256",
    "0x7f.0.0.1",
    "3221225985",
    "１９２.0.2.1",
    "192.0.2.1; rm -rf /",
    "192.0.2.1 -j ACCEPT",
    "192.0.2.1,192.0.2.2",
    "192.0.2.1-192.0.2.9",
    "!192.0.2.1",
    "fe80::1%eth0",
    "2001:db8::1%1",
    "[2001:db8::1]",
    "2001:db8::1::2",
    "node1.example.org",
    "$(reboot)",
    "{{ grains }}",
    "k8s://prod",
]


@pytest.mark.parametrize("text", JUNK)
def test_junk_is_refused_as_address_and_as_network(text):
    with pytest.raises(ValueError, match="an IP address such as"):
        address(text)
    with pytest.raises(ValueError, match="a network such as"):
        network(text)


@pytest.mark.parametrize("value", [None, 3221225985, b"\xc0\x00\x02\x01", True, 1.5, ["192.0.2.1"]])
def test_values_other_than_text_are_refused(value):
    with pytest.raises(ValueError, match="an IP address"):
        address(value)
    with pytest.raises(ValueError, match="a network"):
        network(value)


@pytest.mark.parametrize("text", ["192.0.2.0/24", "192.0.2.1/32", "2001:db8::1/128"])
def test_a_prefix_is_refused_as_address(text):
    with pytest.raises(ValueError, match="an IP address"):
        address(text)


@pytest.mark.parametrize("text", ["192.0.2.1/24", "2001:db8::1/64", "192.0.2.0/33", "192.0.2.0/"])
def test_a_network_has_no_host_bits(text):
    with pytest.raises(ValueError, match="host bits zero"):
        network(text)


def test_spellings_of_one_address_become_one():
    assert str(address("2001:DB8:0:0::0:1")) == "2001:db8::1"
    assert str(network("2001:0db8::/32")) == "2001:db8::/32"
    assert str(network("192.0.2.0/255.255.255.0")) == "192.0.2.0/24"
    assert str(network("192.0.2.7")) == "192.0.2.7/32"


@given(st.text(max_size=40))
def test_every_accepted_text_is_canonical(text):
    for read in (address, network):
        try:
            found = read(text)
        except ValueError:
            continue
        assert str(read(str(found))) == str(found)
        assert set(str(found)) <= set("0123456789abcdef.:/")


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.0.9",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:192.0.2.1",
        "fe80::1",
        "ff02::1",
    ],
)
def test_reserved_addresses(text):
    assert overlaps(address(text), RESERVED_NETWORKS)


@pytest.mark.parametrize("text", ["192.0.2.1", "10.0.0.1", "172.16.0.1", "100.64.0.1", "fd00::1"])
def test_addresses_of_nodes(text):
    assert not overlaps(address(text), RESERVED_NETWORKS)


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "126.0.0.0/7", "169.254.169.254/32"])
def test_a_network_with_reserved_addresses_overlaps(text):
    assert overlaps(network(text), RESERVED_NETWORKS)


def test_a_network_lies_within_only_as_a_whole():
    allowed = (network("192.0.2.0/24"), network("2001:db8::/64"))
    assert within(address("192.0.2.1"), allowed)
    assert within(network("192.0.2.128/25"), allowed)
    assert within(network("192.0.2.0/24"), allowed)
    assert within(address("2001:db8::1"), allowed)
    assert not within(network("192.0.2.0/23"), allowed)
    assert not within(address("192.0.3.1"), allowed)
    assert not within(network("0.0.0.0/0"), allowed)
    assert not within(address("2001:db8:0:1::1"), allowed)
    assert not within(address("192.0.2.1"), ())


def test_families_never_mix():
    # As numbers, both are inside.
    assert not within(ipaddress.ip_address("::c000:201"), (network("192.0.2.0/24"),))
    assert not within(ipaddress.ip_network("::/96"), (network("0.0.0.0/0"),))
    assert not overlaps(address("0.0.0.1"), (network("::/64"),))
    assert not overlaps(network("0.0.0.0/0"), (network("::/0"),))


def test_order_is_by_family_then_number_then_the_wider_first():
    texts = ["2001:db8::2", "10.0.0.10", "10.0.0.9", "2001:db8::/64", "10.0.0.0/8", "10.0.0.0/24"]
    items = [network(text) if "/" in text else address(text) for text in texts]
    assert [str(item) for item in sorted(items, key=sort_key)] == [
        "10.0.0.0/8",
        "10.0.0.0/24",
        "10.0.0.9",
        "10.0.0.10",
        "2001:db8::/64",
        "2001:db8::2",
    ]


ADDRESSES = st.one_of(
    # Close to each other, so that they meet.
    st.integers(0, 40).map(lambda number: ipaddress.IPv4Address(3221225984 + number)),
    st.integers(0, 40).map(lambda number: ipaddress.IPv6Address((0x20010DB8 << 96) + number)),
)
NETWORKS = st.tuples(ADDRESSES, st.integers(0, 6)).map(
    lambda pair: ipaddress.ip_network((pair[0], pair[0].max_prefixlen - pair[1]), strict=False)
)


@given(st.lists(NETWORKS, max_size=6), ADDRESSES)
def test_the_fast_lookup_agrees_with_the_slow_one(networks, item):
    assert (item in AddressRanges(networks)) == within(item, networks) == overlaps(item, networks)


@given(st.lists(st.one_of(ADDRESSES, NETWORKS), max_size=8))
def test_the_fast_sort_agrees_with_the_sort_key(items):
    assert sort_addresses(items) == sorted(items, key=sort_key)
