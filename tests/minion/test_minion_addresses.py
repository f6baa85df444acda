"""Addresses have one form, and what is not an address is refused."""

from __future__ import annotations

import pytest

from k8s_firewall_parts import addresses


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1/32", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("2001:db8::1/128", "2001:db8::1"),
        ("198.51.100.0/24", "198.51.100.0/24"),
        ("64:FF9B::/96", "64:ff9b::/96"),
    ],
)
def test_an_address_has_one_form(text, canonical):
    assert addresses.parse([text]).entries() == {canonical}


@pytest.mark.parametrize(
    "junk",
    ["", "192.0.2", "192.0.2.01", "192.0.2.1\n", "192.0.2.1 -j ACCEPT", "10.0.0.1/8", "::1%lo",
     "k8s://prod", "::ffff:192.0.2.1", "example.org", "192.0.2.1/", "1", 1, None, ["192.0.2.1"]],
)  # fmt: skip
def test_what_is_no_address_is_refused(junk):
    with pytest.raises(addresses.InvalidAddress):
        addresses.parse([junk])


def test_references_are_found_wherever_they_are():
    value = {"a": [1, {"k8s://x": None}], "b": ("k8s://y?family=ipv4",), "c": "no k8s:/ here"}
    assert addresses.find_references(value) == ["k8s://x", "k8s://y?family=ipv4"]
