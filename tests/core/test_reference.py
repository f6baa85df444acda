"""A reference is read exactly, or refused with its invalid part."""

from __future__ import annotations

import pytest

from salt_ext.core.errors import BadReference
from salt_ext.core.references.reference import (
    dns_label,
    is_near_miss,
    is_path,
    is_reference,
    parse,
)
from tests.core.build import EXTERNAL, INTERNAL, POD_CIDR


def test_a_bare_reference_uses_the_clusters_defaults():
    found = parse("k8s://prod")
    assert (found.text, found.cluster, found.group) == ("k8s://prod", "prod", None)
    assert (found.types, found.family, found.ready_only) == (None, None, None)
    assert not found.as_network
    assert not found.placeholder
    assert found.labels.matches({})


def test_every_parameter_is_read():
    found = parse(
        "k8s://prod/workers?addresses=ExternalIP,podCIDR&family=ipv6&ready=only"
        "&labelSelector=pool=app,tier in (a,b)&format=cidr&empty=placeholder"
    )
    assert (found.cluster, found.group) == ("prod", "workers")
    assert found.types == (EXTERNAL, POD_CIDR)
    assert (found.family, found.ready_only) == (6, True)
    assert (found.as_network, found.placeholder) == (True, True)
    assert found.labels.matches({"pool": "app", "tier": "b"})
    assert not found.labels.matches({"pool": "app", "tier": "c"})


def test_default_values_can_be_written():
    found = parse("k8s://prod?family=ipv4&ready=any&format=address&empty=list&addresses=InternalIP")
    assert (found.family, found.ready_only, found.types) == (4, False, (INTERNAL,))
    assert (found.as_network, found.placeholder) == (False, False)


def test_a_type_that_is_named_twice_counts_once():
    assert parse("k8s://prod?addresses=ExternalIP, ExternalIP").types == (EXTERNAL,)


def test_percent_encoding_is_decoded_in_values():
    labels = parse("k8s://prod?labelSelector=tier%20in%20%28a%2Cb%29").labels
    assert labels.matches({"tier": "b"})
    assert not labels.matches({"tier": "c"})


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("k8s://", "''"),
        ("k8s://?family=ipv4", "''"),
        ("k8s://Prod", "'Prod'"),
        ("k8s://prod cluster", "'prod cluster'"),
        ("k8s://prod\n", "'prod\\n'"),
        ("k8s://-prod", "'-prod'"),
        ("k8s://" + "p" * 64, "'ppp"),
        ("k8s://prod/", "''"),
        ("k8s://prod/Workers", "'Workers'"),
        ("k8s://prod/workers/x", "'workers/x'"),
        ("k8s://prod, 192.0.2.1", "'prod, 192.0.2.1'"),
        ("k8s://prod?famly=ipv4", "'famly'"),
        ("k8s://prod?family=ipv5", "'family=ipv5'"),
        ("k8s://prod?family", "'family'"),
        ("k8s://prod?family=ipv4&family=ipv6", "'family'"),
        ("k8s://prod?addresses=Hostname", "'addresses=Hostname'"),
        ("k8s://prod?addresses=", "'addresses='"),
        ("k8s://prod?addresses=ExternalIP,", "'addresses=ExternalIP,'"),
        ("k8s://prod?labelSelector=a b", "'labelSelector=a b'"),
        ("k8s://prod?ready=true", "'ready=true'"),
        ("k8s://prod?format=range", "'format=range'"),
        ("k8s://prod?empty=drop", "'empty=drop'"),
        ("k8s://prod?family=ipv4&", "''"),
        ("k8s://prod?&", "''"),
    ],
)
def test_the_invalid_part_is_named(text, part):
    with pytest.raises(BadReference) as caught:
        parse(text)
    line = str(caught.value)
    assert f": {part}" in line
    assert "allowed: " in line or "given twice" in line
    assert "\n" not in line


@pytest.mark.parametrize("text", ["k8s://prod?labelSelector=", "k8s://prod?labelSelector"])
def test_an_empty_selector_does_not_select_every_node(text):
    # It results from a template whose variable is empty.
    with pytest.raises(BadReference, match="labelSelector"):
        parse(text)


def test_an_error_about_a_long_reference_is_short():
    with pytest.raises(BadReference) as caught:
        parse("k8s://prod?labelSelector=" + "x" * 100_000)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("value", ["k8s://", "k8s://prod", "k8s://nonsense here"])
def test_every_text_with_the_scheme_is_a_reference(value):
    assert is_reference(value)


@pytest.mark.parametrize(
    "value", [" k8s://prod", "K8S://prod", "k8s:/prod", b"k8s://prod", 1, None]
)
def test_anything_else_is_not_a_reference(value):
    assert not is_reference(value)


@pytest.mark.parametrize("name", ["a", "prod", "prod-eu-1", "1", "a" * 63])
def test_dns_labels(name):
    assert dns_label(name) == name


@pytest.mark.parametrize(
    "name", ["", "a" * 64, "-a", "a-", "A", "a_b", "a.b", "a/b", "a\n", "ä", 1, None, True]
)
def test_invalid_dns_labels(name):
    with pytest.raises(ValueError, match="a DNS label"):
        dns_label(name)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("K8S://prod", "k8s://prod"),
        ("K8s://prod/web", "k8s://prod/web"),
        ("k8s:/prod", "k8s://prod"),
        ("k8s//prod", "k8s://prod"),
        ("k8s::/prod", "k8s://prod"),
        (" k8s://prod", "k8s://prod"),
        ("\tk8s://prod ", "k8s://prod"),
        ("k8s ://prod", "k8s://prod"),
        ("k8s: //prod", "k8s://prod"),
        ("k8s:// prod", ""),
        ("'k8s://prod'", "k8s://prod"),
        ("[k8s://prod]", "k8s://prod"),
        ("ks8://prod?family=ipv4", "k8s://prod?family=ipv4"),
        ("kubernetes://prod", "k8s://prod"),
        ("k8s_nodes://prod", "k8s://prod"),
    ],
)
def test_a_misspelt_reference_is_refused_with_the_right_spelling(text, right):
    with pytest.raises(BadReference) as caught:
        parse(text)
    if right:
        assert is_near_miss(text)
        assert not is_path(text, ["prod"])
        assert str(caught.value).endswith(f"is not k8s://; write {right}")
    else:
        assert is_reference(text)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "k8s",
            "k8s:prod",
            "k8s/prod",
            "k8s-app",
            "k8s.io//x",
            "https://k8s.io/prod",
            "K8S: a // b",
        ),
        *("k8s:///prod", "", "//k8s//prod", "a k8s:/prod", "k8s://" + "x" * 1000, b"K8S://prod", 1),
        *("K8S://" + "x" * 1000, None),
    ],
)
def test_other_texts_are_no_misspelt_references(value):
    assert not is_near_miss(value)


@pytest.mark.parametrize("text", ["k8s:/var/lib/data", "k8s:/backup", "k8s//x", "kube:/prod2"])
def test_a_path_is_a_misspelt_reference_only_with_the_name_of_a_cluster(text):
    assert is_near_miss(text)
    assert is_path(text, ["prod", "eu"])
    assert not is_path(text, ["var", "backup", "x", "prod2"])
