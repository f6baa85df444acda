"""Addresses as bytes in the kernel's messages of nf_tables."""

from __future__ import annotations

import struct

import pytest

from k8s_firewall_parts import intervals, netlink, nft_bytes


def interval(text: str) -> intervals.Interval:
    found = intervals.parse(text)
    assert found is not None
    return found


def pattern(*addresses: str) -> nft_bytes.re.Pattern[bytes]:
    return nft_bytes._pattern([interval(one) for one in addresses])


def packed(text: str) -> bytes:
    one = interval(text)
    return one.first.to_bytes(4 if one.version == 4 else 16, "big")


def rule(handle: int, before: int | None, chain: str = "INPUT") -> bytes:
    attributes = netlink.name(1, "filter") + netlink.name(2, chain)
    attributes += netlink.attribute(3, struct.pack("!Q", handle))
    if before is not None:
        attributes += netlink.attribute(6, struct.pack("!Q", before))
    header = struct.pack("=IHHII", 20 + len(attributes), 0xA06, 2, 0, 0)
    return header + struct.pack("=BBH", 2, 0, 0) + attributes


@pytest.mark.parametrize("address", ["192.0.2.7", "10.0.0.1", "2001:db8::7", "255.0.0.1"])
def test_the_bytes_of_each_address_are_found_and_no_others(address: str) -> None:
    asked = pattern("192.0.2.7", "10.0.0.1", "10.0.0.10", "2001:db8::7", "255.0.0.1")
    assert asked.search(b"\xff\xfe" + packed(address) + b"\xff")
    assert not asked.search(packed("192.0.2.8") + packed("10.0.1.1") + packed("2001:db8::8"))


def test_ten_thousand_addresses_are_told_apart() -> None:
    listed = [f"10.{n // 250}.{n % 250}.7" for n in range(10_000)]
    asked = pattern(*listed)
    assert all(asked.fullmatch(packed(one)) for one in listed)
    assert not asked.search(packed("10.40.0.7"))


def test_bytes_across_two_elements_are_not_an_address() -> None:
    """172.16.0.1: the last byte of 172.16.0.172, and the head of the next element."""
    elements = packed("172.16.0.172") + struct.pack("=HH", 16, 1)
    asked = pattern("172.16.0.1")
    assert asked.search(elements)
    assert not nft_bytes.has_element(asked, elements)
    assert nft_bytes.has_element(asked, elements + packed("172.16.0.1"))


@pytest.mark.parametrize(
    ("rules", "linked"),
    [
        (rule(1, None) + rule(2, 1) + rule(5, 2), True),
        # One was deleted before the place that the dump had come to.
        (rule(1, None) + rule(5, 2), False),
        (rule(2, 1), False),
        # One was put in before it.
        (rule(1, None) + rule(2, 1) + rule(2, 1) + rule(3, 2), True),
        (rule(1, None) + rule(2, None, "other") + rule(3, 2, "other"), True),
        (b"", True),
    ],
)
def test_a_rule_that_a_changing_dump_lacks_is_noticed(rules: bytes, linked: bool) -> None:
    assert nft_bytes.is_linked(rules) is linked


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("192.0.2.3", False),
        ("192.0.2.4", True),
        ("192.0.2.7", True),
        ("192.0.2.8", True),
        ("192.0.2.9", True),
        ("192.0.2.10", False),
        # A network that people wrote, and the rest of all addresses.
        ("10.0.0.1", False),
        ("255.255.255.255", True),
    ],
)
def test_neighbours_that_the_kernel_has_merged_are_found(address: str, found: bool) -> None:
    bounds = [
        ("10.0.0.0", False),
        ("10.1.0.0", True),
        ("192.0.2.4", False),
        ("192.0.2.8", True),
        ("192.0.2.8", False),
        ("192.0.2.10", True),
        ("255.255.255.250", False),
    ]
    numbers = [(interval(text).first, end) for text, end in reversed(bounds)]
    assert nft_bytes.in_merged(numbers, [interval(address)]) is found


@pytest.mark.parametrize("entries", [["10.0.0.0/24"], ["192.0.2.1", "2001:db8::/64"], ["nonsense"]])
def test_of_networks_the_bytes_say_nothing(entries: list[str]) -> None:
    assert nft_bytes.may_name(entries) is True
