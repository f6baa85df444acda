"""Only allowed addresses of a node are accepted; the others are rejected with a reason."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from salt_ext.core.cluster.member import RejectReason, admit
from salt_ext.core.cluster.node import Node
from tests.core.build import EXTERNAL, INTERNAL, POD_CIDR, addresses_of, limits, member, node


def accepted(claim: Node, *allowed: str, **more: object) -> dict[str, list[str]]:
    found, _ = admit(claim, limits(*allowed, **more))  # type: ignore[arg-type]
    return {kind.value: [str(item) for item in items] for kind, items in found.addresses.items()}


def test_a_node_is_admitted_with_all_its_fields():
    claim = node(
        "n1",
        "192.0.2.1",
        "2001:db8::1",
        uid="u1",
        external=("198.51.100.1",),
        pod_cidrs=("10.244.1.0/24", "fd00:1::/64"),
        labels={"pool": "app"},
        ready=True,
    )
    found, rejected = admit(claim, limits())
    assert found == member(
        "n1",
        "192.0.2.1",
        "2001:db8::1",
        uid="u1",
        external=("198.51.100.1",),
        pod_cidrs=("10.244.1.0/24", "fd00:1::/64"),
        labels={"pool": "app"},
    )
    assert rejected == []
    assert found.all_addresses() == addresses_of([found])
    assert len(found.all_addresses()) == 5


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", RejectReason.UNREADABLE),
        ("010.0.0.5", RejectReason.UNREADABLE),
        ("192.0.2.1/32", RejectReason.UNREADABLE),
        ("192.0.2.1; rm -rf /", RejectReason.UNREADABLE),
        ("192.0.2.1\n192.0.2.2", RejectReason.UNREADABLE),
        ("fe80::1%eth0", RejectReason.UNREADABLE),
        ("node1.example.org", RejectReason.UNREADABLE),
        ("127.0.0.1", RejectReason.DENIED),
        ("169.254.169.254", RejectReason.DENIED),
        ("0.0.0.0", RejectReason.DENIED),
        ("255.255.255.255", RejectReason.DENIED),
        ("::ffff:192.0.2.1", RejectReason.DENIED),
        ("::1", RejectReason.DENIED),
        ("192.0.2.99", RejectReason.DENIED),
        ("198.51.100.1", RejectReason.OUTSIDE),
        ("2001:db9::1", RejectReason.OUTSIDE),
    ],
)
def test_a_false_claim_is_rejected_and_others_are_kept(text, why):
    bounds = limits("127.0.0.0/8", "192.0.2.0/24", "2001:db8::/32", denied=("192.0.2.99/32",))
    found, rejected = admit(node("n1", "192.0.2.1", text), bounds)
    assert found.addresses == {INTERNAL: (ipaddress.ip_address("192.0.2.1"),)}
    assert [one.reason for one in rejected] == [why]


@pytest.mark.parametrize(
    ("cidr", "why"),
    [
        ("0.0.0.0/0", RejectReason.DENIED),
        ("::/0", RejectReason.DENIED),
        ("10.128.0.0/9", RejectReason.TOO_WIDE),
        ("10.244.0.0/19", RejectReason.TOO_WIDE),
        ("fd00::/55", RejectReason.TOO_WIDE_IPV6),
        ("10.244.1.1/24", RejectReason.UNREADABLE),
        ("192.0.2.0/24", RejectReason.OUTSIDE),
        ("fc00::/7", RejectReason.OUTSIDE),
        ("10.9.0.0/24", RejectReason.DENIED),
        ("10.9.0.0/21", RejectReason.DENIED),
    ],
)
def test_a_podcidr_must_fit_the_limits(cidr, why):
    bounds = limits("10.0.0.0/8", "fd00::/8", denied=("10.9.0.7/32",))
    found, rejected = admit(node("n1", pod_cidrs=(cidr, "10.244.0.0/20", "fd00::/56")), bounds)
    assert [str(item) for item in found.addresses[POD_CIDR]] == ["10.244.0.0/20", "fd00::/56"]
    assert [one.reason for one in rejected] == [why]


def test_a_podcidr_may_be_one_address_but_an_address_cannot_be_a_network():
    assert accepted(node("n1", "10.0.0.0/24", pod_cidrs=("10.0.0.1",))) == {
        "podCIDR": ["10.0.0.1/32"]
    }


def test_the_shortest_prefix_is_configured():
    assert accepted(node("n1", pod_cidrs=("10.244.0.0/16",)), min_prefix_ipv4=16) == {
        "podCIDR": ["10.244.0.0/16"]
    }
    assert accepted(node("n1", pod_cidrs=("10.244.0.0/24",)), min_prefix_ipv4=25) == {}


def test_addresses_are_sorted_without_duplicates():
    assert accepted(node("n1", "2001:db8::1", "192.0.2.10", "192.0.2.9", "2001:DB8:0::1")) == {
        "InternalIP": ["192.0.2.9", "192.0.2.10", "2001:db8::1"]
    }


def test_a_node_without_an_address_is_a_member_all_the_same():
    found, rejected = admit(node("n1"), limits())
    assert (found.name, found.addresses, rejected) == ("n1", {}, [])


def test_without_allowed_networks_every_address_is_rejected():
    found, rejected = admit(node("n1", "192.0.2.1"), replace(limits(), allowed=()))
    assert found.addresses == {}
    assert rejected == [(RejectReason.OUTSIDE, "192.0.2.1")]


def test_claims_have_the_field_of_each_address():
    claim = node("n1", "a", external=("b",), pod_cidrs=("c", "d"))
    assert list(claim.claims()) == [(INTERNAL, ("a",)), (EXTERNAL, ("b",)), (POD_CIDR, ("c", "d"))]
    assert claim.claim_count() == 4
    assert list(node("n1", external=("b",)).claims()) == [(EXTERNAL, ("b",))]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("192.0.2.1", None),
        ("198.51.100.1", RejectReason.OUTSIDE),
        ("192.0.2.9", RejectReason.DENIED),
        ("2001:db8::1", RejectReason.OUTSIDE),
        ("127.0.0.1", RejectReason.DENIED),
        ("ff00::1", RejectReason.DENIED),
    ],
)
def test_an_address_is_rejected_for_the_same_reason_as_its_network(text, why):
    found = limits("192.0.2.0/24", "127.0.0.0/8", denied=("192.0.2.8/29",))
    assert found.reject_reason(ipaddress.ip_address(text)) == why
    assert found.reject_reason(ipaddress.ip_network(text)) == why
