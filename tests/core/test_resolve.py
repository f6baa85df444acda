"""What a reference means in a cluster: canonical, sorted, and never more than is allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_ext.core.references.reference import parse
from salt_ext.core.references.resolve import Defaults, NodeGroup, digest, resolve
from salt_ext.core.references.selector import parse as selector
from tests.core.build import EXTERNAL, POD_CIDR, limits, member, snapshot

PROD = snapshot(
    member(
        "n1",
        "192.0.2.10",
        "2001:db8::1",
        external=("198.51.100.1",),
        pod_cidrs=("10.244.1.0/24",),
        labels={"pool": "app"},
    ),
    member("n2", "192.0.2.9", labels={"pool": "app"}, ready=False),
    member("n3", "192.0.2.9", "192.0.2.11", labels={"pool": "db"}),
    member("n4"),
)


def resolved(query: str = "", **more: object) -> list[str]:
    options = {"defaults": Defaults(), "limits": limits(), **more}
    return list(resolve(PROD, parse(f"k8s://prod{query}"), **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "addresses"),
    [
        ("", ["192.0.2.9", "192.0.2.10", "192.0.2.11", "2001:db8::1"]),
        ("?family=ipv4", ["192.0.2.9", "192.0.2.10", "192.0.2.11"]),
        ("?family=ipv6", ["2001:db8::1"]),
        ("?ready=only", ["192.0.2.9", "192.0.2.10", "192.0.2.11", "2001:db8::1"]),
        ("?ready=only&labelSelector=pool=app", ["192.0.2.10", "2001:db8::1"]),
        ("?labelSelector=pool=app&family=ipv4", ["192.0.2.9", "192.0.2.10"]),
        ("?labelSelector=pool notin (app,db)", []),
        ("?addresses=ExternalIP", ["198.51.100.1"]),
        ("?addresses=podCIDR,ExternalIP", ["10.244.1.0/24", "198.51.100.1"]),
        ("?addresses=ExternalIP&format=cidr", ["198.51.100.1/32"]),
        ("?family=ipv6&format=cidr", ["2001:db8::1/128"]),
        ("?addresses=podCIDR&format=cidr", ["10.244.1.0/24"]),
        ("?labelSelector=pool=none&empty=placeholder", ["255.255.255.255"]),
        ("?labelSelector=pool=none&empty=placeholder&family=ipv6", ["ff00::"]),
        ("?labelSelector=pool=none&empty=placeholder&format=cidr", ["255.255.255.255/32"]),
        ("?addresses=ExternalIP&empty=placeholder", ["198.51.100.1"]),
    ],
)
def test_a_reference_means_these_addresses(query, addresses):
    assert resolved(query) == addresses


def test_the_clusters_defaults_hold_where_the_reference_does_not_say():
    defaults = Defaults(types=(EXTERNAL, POD_CIDR), ready_only=True)
    assert resolved(defaults=defaults) == ["10.244.1.0/24", "198.51.100.1"]
    internal = "?addresses=InternalIP&labelSelector=pool=app&family=ipv4"
    assert resolved(internal, defaults=defaults) == ["192.0.2.10"]
    assert resolved(f"{internal}&ready=any", defaults=defaults) == ["192.0.2.9", "192.0.2.10"]


def test_a_group_is_between_the_reference_and_the_defaults():
    group = NodeGroup(labels=selector("pool=app"), types=(EXTERNAL,), family=4, ready_only=False)
    ready = Defaults(ready_only=True)
    assert resolved("/g", group=group) == ["198.51.100.1"]
    both = "/g?addresses=InternalIP"
    assert resolved(both, group=group, defaults=ready) == ["192.0.2.9", "192.0.2.10"]
    assert resolved(f"{both}&ready=only", group=group) == ["192.0.2.10"]
    assert resolved(f"{both}&family=ipv6", group=group) == ["2001:db8::1"]
    # A selector makes a group smaller, never larger.
    assert resolved(f"{both}&labelSelector=pool=db", group=group) == []


def test_limits_are_applied_again():
    assert resolved(limits=limits("192.0.2.8/29")) == ["192.0.2.9", "192.0.2.10", "192.0.2.11"]
    assert resolved(limits=limits("192.0.2.9/32", denied=("192.0.2.9/32",))) == []


def test_unreadable_limits_close_nothing():
    assert len(resolved(limits=None)) == 4


def test_digests_are_equal_when_the_addresses_are():
    one, two = "k8s://prod", "k8s://prod?family=ipv4"
    assert digest({one: ("a", "b"), two: ()}) == digest({two: [], one: ["a", "b"]})


ADDRESSES = st.lists(st.sampled_from(["1", "2", "12", ""]), max_size=3).map(tuple)
RESOLVED = st.dictionaries(
    st.sampled_from(["k8s://a", "k8s://b", "k8s://ab"]), ADDRESSES, max_size=3
)


@given(RESOLVED, RESOLVED)
def test_digests_differ_when_the_addresses_do(one, two):
    assert (digest(one) == digest(two)) is (one == two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"k8s://a": ("1",)}, {"k8s://b": ("1",)}),
        ({"k8s://a": ("1",), "k8s://b": ("2",)}, {"k8s://a": ("2",), "k8s://b": ("1",)}),
        ({"k8s://a": ("1", "2")}, {"k8s://a": ("12",)}),
        ({"k8s://a": ("1",), "k8s://b": ()}, {"k8s://a": ("1k8s://b",)}),
    ],
)
def test_similar_addresses_have_different_digests(one, two):
    assert digest(one) != digest(two)


def test_a_reference_without_addresses_differs_from_no_reference():
    assert digest({"k8s://prod": ()}) != digest({})
