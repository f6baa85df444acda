"""A mistake in the configuration is one line with the key, the value and the allowed values."""

from __future__ import annotations

import copy
import ipaddress
import re
from typing import Any

import pytest

from salt_ext.core.cluster.address import RESERVED_NETWORKS
from salt_ext.core.cluster.guard import Rules
from salt_ext.core.cluster.member import RejectReason
from salt_ext.core.config import config, places
from salt_ext.core.config.access import ClusterAccess
from salt_ext.core.config.apply import ApplyConfig
from salt_ext.core.config.clusters import Timing
from salt_ext.core.config.config import Config
from salt_ext.core.config.options import UnknownKey
from salt_ext.core.errors import UnknownCluster
from salt_ext.core.references.node_lists import NodeListRule
from tests.core.build import EXTERNAL, INTERNAL, POD_CIDR

PROD = {"kubeconfig": "/etc/salt/k8s/prod.kubeconfig", "allowed_networks": ["192.0.2.0/24"]}

FULL = {
    "state_dir": "/srv/state",
    "metrics": {"textfile": "/srv/k8s_nodes.prom", "port": 9100},
    "apply": {"states": ["firewall", "fail2ban"], "batch": 10, "timeout": 60},
    "denied_networks": ["192.0.2.250"],
    "clusters": {
        "prod": {
            "server": "https://192.0.2.1:6443/",
            "ca_file": "/etc/ca.crt",
            "token_file": "/etc/token",
            "allowed_networks": ["192.0.2.0/24", "2001:db8::/64"],
            "denied_networks": ["192.0.2.128/25"],
            "addresses": ["ExternalIP", "podCIDR"],
            "ready": "only",
            "serve_to": "G@role:db",
            "node_lists": [
                {"to": "lb*"},
                {"to": "G@role:db", "group": "edge", "labels": ["a.io/zone", "pool"]},
            ],
            "groups": {
                "workers": {"labelSelector": "pool=app", "family": "ipv6"},
                "edge": {
                    "labelSelector": "edge",
                    "addresses": ["ExternalIP"],
                    "family": "ipv4",
                    "ready": "only",
                },
                "all": {"labelSelector": "pool", "ready": "any"},
            },
            "page_size": 100,
            "timing": {"debounce": 0, "max_delay": 1.5, "inactivity": 30, "relist": 600},
            "guards": {
                "min_nodes": 3,
                "shrink_percent": 20,
                "shrink_nodes": 2,
                "shrink_confirm_after": 90,
                "growth_percent": 50,
                "growth_nodes": 20,
                "growth_window": 60,
                "grace": 120,
                "addresses_per_node": 4,
                "min_prefix_ipv4": 24,
                "min_prefix_ipv6": 64,
            },
        }
    },
}


def read(cluster: object = None, **block: Any) -> Config:
    """Read a block with one cluster in it."""
    return config.read({"clusters": {"prod": PROD if cluster is None else cluster}, **block})


def lines(found: Config) -> list[str]:
    return [str(problem) for problem in found.problems]


def test_a_minimal_block_is_enough():
    found = read()
    assert found.problems == ()
    assert not found.broken
    assert found.names == ("prod",)
    prod = found.clusters["prod"]
    assert prod.access == ClusterAccess(kubeconfig="/etc/salt/k8s/prod.kubeconfig")
    assert prod.limits.allowed == (ipaddress.ip_network("192.0.2.0/24"),)
    assert prod.limits.denied == RESERVED_NETWORKS
    assert (prod.defaults.types, prod.defaults.ready_only) == ((INTERNAL,), False)
    assert (prod.timing, prod.rules, prod.serve_to) == (Timing(), Rules(), None)
    assert (found.apply, found.state_dir) == (ApplyConfig(), "/var/lib/salt-k8s-nodes")


def test_every_key_is_read():
    found = config.read(FULL)
    assert lines(found) == []
    assert found.state_dir == "/srv/state"
    assert str(found.apply.default) == "state.apply firewall,fail2ban"
    assert (found.apply.batch, found.apply.timeout) == (10, 60.0)
    prod = found.clusters["prod"]
    assert prod.access == ClusterAccess(
        server="https://192.0.2.1:6443", ca_file="/etc/ca.crt", token_file="/etc/token"
    )
    assert [str(net) for net in prod.limits.denied[len(RESERVED_NETWORKS) :]] == [
        "192.0.2.250/32",
        "192.0.2.128/25",
    ]
    assert (prod.defaults.types, prod.defaults.ready_only) == ((EXTERNAL, POD_CIDR), True)
    assert prod.timing == Timing(debounce=0.0, max_delay=1.5, inactivity=30.0, relist=600.0)
    assert prod.rules == Rules(
        min_nodes=3,
        shrink_percent=20,
        shrink_nodes=2,
        shrink_confirm_after=90.0,
        growth_percent=50,
        growth_nodes=20,
        growth_window=60.0,
    )
    assert (prod.grace, prod.page_size, prod.serve_to) == (120.0, 100, "G@role:db")
    assert (prod.limits.addresses_per_node, prod.limits.min_prefix_ipv4) == (4, 24)
    assert prod.limits.min_prefix_ipv6 == 64
    workers = prod.groups["workers"]
    assert (workers.family, workers.types, workers.ready_only) == (6, None, None)
    assert workers.labels.matches({"pool": "app"})
    assert not workers.labels.matches({"pool": "db"})
    edge = prod.groups["edge"]
    assert (edge.family, edge.types, edge.ready_only) == (4, (EXTERNAL,), True)
    assert prod.groups["all"].ready_only is False
    assert prod.node_lists == (
        NodeListRule(to="lb*"),
        NodeListRule(to="G@role:db", group="edge", labels=("a.io/zone", "pool")),
    )
    assert list(found.with_node_lists) == ["prod"]
    assert (found.metrics.textfile, found.metrics.port) == ("/srv/k8s_nodes.prom", 9100)


def test_reading_modifies_nothing():
    block = copy.deepcopy(FULL)
    config.read(block)
    assert block == FULL


def test_the_masters_own_addresses_are_never_opened():
    own = (ipaddress.ip_network("192.0.2.5/32"),)
    prod = config.read({"clusters": {"prod": PROD}}, own).clusters["prod"]
    assert prod.limits.reject_reason(ipaddress.ip_address("192.0.2.5")) is not None
    assert prod.limits.reject_reason(ipaddress.ip_address("192.0.2.6")) is None


def test_a_context_comes_with_a_kubeconfig_and_a_pod_needs_no_files():
    assert read({**PROD, "context": "eu"}).clusters["prod"].access.context == "eu"
    pod = read({"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]})
    assert pod.problems == ()
    assert pod.clusters["prod"].access == ClusterAccess(in_cluster=True)


AT = "k8s_nodes:clusters:prod"

MISTAKES: list[tuple[str, object, str, str, str]] = [
    # where, the wrong value, then the key, the value and the allowed values in the line
    ("", None, "k8s_nodes", "None", "a mapping"),
    ("", ["prod"], "k8s_nodes", "['prod']", "a mapping"),
    ("", {}, "k8s_nodes:clusters", "None", "at least one cluster"),
    ("", {"clusters": {}}, "k8s_nodes:clusters", "None", "at least one cluster"),
    ("clusters", ["prod"], "k8s_nodes:clusters", "['prod']", "a mapping"),
    ("clusters:prod", "x", AT, "'x'", "a mapping"),
    ("clusters:prod", None, AT, "None", "a mapping"),
    ("clusters:prod:timing:debounce", None, f"{AT}:timing:debounce", "None", "or no such key"),
    ("clusters:prod:guards", None, f"{AT}:guards", "None", "a mapping"),
    ("clusters:prod:mode", None, f"{AT}:mode", "None", "one of enforce, observe"),
    ("denied_networks", None, "k8s_nodes:denied_networks", "None", "or no such key"),
    ("denied_networks", [], "k8s_nodes:denied_networks", "[]", "a non-empty list"),
    ("nevr", ["192.0.2.9"], "k8s_nodes:nevr", "'(not shown)'", "did you mean denied_networks?"),
    (
        "metrics:denied_networks",
        ["192.0.2.9"],
        "k8s_nodes:metrics:denied_networks",
        "'(not shown)'",
        "(denied_networks belongs directly below k8s_nodes or below a cluster)",
    ),
    (
        "apply:kwarg",
        {"denied_networks": ["192.0.2.9"]},
        "k8s_nodes:apply:kwarg",
        "'(not shown)'",
        "denied_networks belongs directly below",
    ),
    (
        "denied_networks",
        ["::ffff:192.0.2.9"],
        "k8s_nodes:denied_networks",
        "['::ffff:192.0.2.9']",
        "the IPv4 network 192.0.2.9/32 without ::ffff:",
    ),
    ("state_dir", "state", "k8s_nodes:state_dir", "'state'", "an absolute path"),
    (
        "denied_networks",
        "192.0.2.1",
        "k8s_nodes:denied_networks",
        "'192.0.2.1'",
        "a non-empty list",
    ),
    ("aply", {}, "k8s_nodes:aply", "'(not shown)'", "did you mean apply?"),
    ("apply", "firewall", "k8s_nodes:apply", "'firewall'", "a mapping"),
    ("apply:stats", ["x"], "k8s_nodes:apply:stats", "'(not shown)'", "did you mean states?"),
    ("metrics:prot", 1, "k8s_nodes:metrics:prot", "'(not shown)'", "did you mean port?"),
    ("metrics:port", 65_536, "k8s_nodes:metrics:port", "65536", "from 1 to 65535"),
    ("clusters:prod:exec_timeout", 0, f"{AT}:exec_timeout", "0", "seconds from 1 to 90"),
    ("clusters:prod:groups:w:labelSelector", 1, f"{AT}:groups:w:labelSelector", "1", "pool=app"),
    ("clusters:prod:addresses", [None], f"{AT}:addresses", "[None]", "one of InternalIP"),
    ("apply:states", "firewall", "k8s_nodes:apply:states", "'firewall'", "a non-empty list"),
    ("apply:states", [], "k8s_nodes:apply:states", "[]", "a non-empty list"),
    ("apply:states", [1], "k8s_nodes:apply:states", "[1]", "a non-empty string; 1 is not"),
    ("apply:batch", 0, "k8s_nodes:apply:batch", "0", "a whole number from 1 to 10000"),
    ("apply:batch", True, "k8s_nodes:apply:batch", "True", "a whole number"),
    ("apply:batch", 2.5, "k8s_nodes:apply:batch", "2.5", "a whole number"),
    ("apply:timeout", "60s", "k8s_nodes:apply:timeout", "'60s'", "seconds from 5 to 86400"),
    ("apply:timeout", float("nan"), "k8s_nodes:apply:timeout", "nan", "seconds from 5"),
    ("apply:timeout", float("inf"), "k8s_nodes:apply:timeout", "inf", "seconds from 5"),
    ("clusters:Prod", PROD, "k8s_nodes:clusters", "'Prod'", "a DNS label"),
    ("clusters:prod_eu", PROD, "k8s_nodes:clusters", "'prod_eu'", "a DNS label"),
    ("clusters:prod.eu", PROD, "k8s_nodes:clusters", "'prod.eu'", "a DNS label"),
    (
        "clusters:prod:allowed_networks",
        None,
        f"{AT}:allowed_networks",
        "None",
        "a network such as 192.0.2.0/24 or 2001:db8::/64 (host bits zero) (required)",
    ),
    (
        "clusters:prod:insecure_skip_tls_verify",
        "yes",
        f"{AT}:insecure_skip_tls_verify",
        "'yes'",
        "true or false",
    ),
    ("clusters:prod:allowed_networks", [], f"{AT}:allowed_networks", "[]", "a non-empty list"),
    (
        "clusters:prod:allowed_networks",
        "192.0.2.0/24",
        f"{AT}:allowed_networks",
        "'192.0.2.0/24'",
        "a non-empty list",
    ),
    (
        "clusters:prod:allowed_networks",
        ["192.0.2.1/24"],
        f"{AT}:allowed_networks",
        "['192.0.2.1/24']",
        "host bits zero); '192.0.2.1/24' is not",
    ),
    ("clusters:prod:denied_networks", [None], f"{AT}:denied_networks", "[None]", "a network"),
    ("clusters:prod:kubeconfig", "~/.kube/config", f"{AT}:kubeconfig", "'~/.kube/config'", "path"),
    ("clusters:prod:kubeconfig", None, AT, "None", "exactly one of kubeconfig, server"),
    ("clusters:prod:in_cluster", True, AT, "['kubeconfig', 'in_cluster']", "exactly one of"),
    ("clusters:prod:server", "https://192.0.2.1", AT, "['kubeconfig', 'server']", "exactly one of"),
    ("clusters:prod:ca_file", "/etc/ca.crt", f"{AT}:ca_file", "'/etc/ca.crt'", "with server"),
    ("clusters:prod:token_file", "/etc/t", f"{AT}:token_file", "'(not shown)'", "with server"),
    ("clusters:prod:addresses", ["Hostname"], f"{AT}:addresses", "['Hostname']", "InternalIP"),
    ("clusters:prod:ready", True, f"{AT}:ready", "True", "one of any, only"),
    ("clusters:prod:serve_to", " ", f"{AT}:serve_to", "' '", "a non-empty string"),
    ("clusters:prod:node_lists", {"to": "lb*"}, f"{AT}:node_lists", "{'to': ...}", "with `to`"),
    ("clusters:prod:node_lists", [{}], f"{AT}:node_lists", "[{}]", "with `to`"),
    ("clusters:prod:node_lists", ["lb*"], f"{AT}:node_lists", "['lb*']", "with `to`"),
    (
        "clusters:prod:node_lists",
        [{"to": "*", "x": 1}],
        f"{AT}:node_lists",
        "[{'to': ..., 'x': ...}]",
        "`labels` (a list",
    ),
    (
        "clusters:prod:node_lists",
        [{"to": "*", "group": "w"}],
        f"{AT}:node_lists",
        "[{'to': ..., 'group': ...}]",
        "`group` (one",
    ),
    (
        "clusters:prod:node_lists",
        [{"to": "*", "labels": ["a b"]}],
        f"{AT}:node_lists",
        "[{'to': ..., 'labels': ...}]",
        "`labels`",
    ),
    ("clusters:prod:page_size", 0, f"{AT}:page_size", "0", "from 10 to 5000"),
    ("clusters:prod:timing:debounce", -1, f"{AT}:timing:debounce", "-1", "seconds from 0 to 60"),
    ("clusters:prod:timing:debunce", 1, f"{AT}:timing:debunce", "'(not shown)'", "mean debounce?"),
    ("clusters:prod:timing", 5, f"{AT}:timing", "5", "a mapping"),
    ("clusters:prod:guards:min_nodes", "3", f"{AT}:guards:min_nodes", "'3'", "a whole number"),
    ("clusters:prod:guards:grace", -1, f"{AT}:guards:grace", "-1", "seconds from 0"),
    (
        "clusters:prod:guards:min_prefix_ipv4",
        7,
        f"{AT}:guards:min_prefix_ipv4",
        "7",
        "from 8 to 32",
    ),
    (
        "clusters:prod:guards:shrink",
        7,
        f"{AT}:guards:shrink",
        "'(not shown)'",
        "did you mean shrink_",
    ),
    (
        "clusters:prod:allowed_network",
        [],
        f"{AT}:allowed_network",
        "'(not shown)'",
        "did you mean allowed_",
    ),
    (
        "clusters:prod:zzz",
        1,
        f"{AT}:zzz",
        "'(not shown)'",
        "only the keys addresses, allowed_networks, ",
    ),
    ("clusters:prod:groups", [], f"{AT}:groups", "[]", "a mapping"),
    ("clusters:prod:groups:A", {}, f"{AT}:groups", "'A'", "as a group's name a DNS label"),
    (
        "clusters:prod:groups:w:labelSelector",
        "a b",
        f"{AT}:groups:w:labelSelector",
        "'a b'",
        "'a b' is not a label selector",
    ),
    (
        "clusters:prod:groups",
        {"w": {"labelSelector": "pool", "family": 4}},
        f"{AT}:groups:w:family",
        "4",
        "one of ipv4, ipv6",
    ),
    (
        "clusters:prod:groups",
        {"w": {"family": "ipv4"}},
        f"{AT}:groups:w:labelSelector",
        "None",
        "without one the group w would be every node, which k8s://<cluster> is already",
    ),
    (
        "clusters:prod:groups",
        {"w": {"labelSelector": " "}},
        f"{AT}:groups:w:labelSelector",
        "' '",
        "without one the group w would be every node",
    ),
    (
        "clusters:prod:groups",
        {"w": {"labelSelector": "pool", "famly": 4}},
        f"{AT}:groups:w:famly",
        "'(not shown)'",
        "did you mean family?",
    ),
]


def with_mistake(where: str, value: object) -> object:
    """Return a valid block with one wrong value."""
    block: Any = {"clusters": {"prod": copy.deepcopy(PROD), "good": copy.deepcopy(PROD)}}
    if not where:
        return value
    *path, last = where.split(":")
    at = block
    for key in path:
        at = at.setdefault(key, {})
    at[last] = value
    return block


@pytest.mark.parametrize(("where", "value", "key", "shown", "allowed"), MISTAKES)
def test_a_mistake_is_one_line(where, value, key, shown, allowed):
    found = config.read(with_mistake(where, value))
    (line,) = [line for line in lines(found) if line.startswith(f"{key}: ")][:1]
    assert line.startswith(f"{key}: {shown} is not allowed; allowed: ")
    assert allowed in line
    assert "\n" not in line
    # One mistake is reported once, except that a missing value may be another one.
    assert len(found.problems) == 1 or value is None


@pytest.mark.parametrize(
    ("where", "value"),
    [(where, value) for where, value, *_ in MISTAKES if where.startswith("clusters:prod:")],
)
def test_a_mistake_in_one_cluster_does_not_affect_others(where, value):
    found = config.read(with_mistake(where, value))
    wrong = where.split(":")[1]
    assert set(found.broken) == {wrong}
    assert "good" in found.clusters
    assert wrong in found.names
    assert found.known(wrong) == wrong


def test_a_server_needs_both_of_its_files():
    found = read({"server": "https://192.0.2.1", "allowed_networks": ["192.0.2.0/24"]})
    assert lines(found) == [
        f"{AT}:{key}: None is not allowed; allowed: an absolute path (required with server)"
        for key in ("ca_file", "token_file")
    ]


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1", "192.0.2.1:6443", "https://", "https:///x", 6443]
)
def test_a_server_is_an_https_url(url):
    files = {"ca_file": "/ca", "token_file": "/token", "allowed_networks": ["192.0.2.0/24"]}
    (line,) = lines(read({"server": url, **files}))
    assert line.startswith(f"{AT}:server: {url!r} is not allowed; allowed: an https:// URL")


SERVER = {
    "server": "https://192.0.2.1",
    "ca_file": "/ca",
    "allowed_networks": ["192.0.2.0/24"],
}


def test_a_token_can_be_fetched_from_sdb():
    access = read({**SERVER, "token": "sdb://vault/k8s/prod"}).clusters["prod"].access
    assert (access.token, access.token_file) == ("sdb://vault/k8s/prod", None)


@pytest.mark.parametrize(
    ("more", "allowed"),
    [
        ({"token": "hunter2"}, "an sdb:// URI"),
        ({"token": "sdb://hunter2"}, "an sdb:// URI"),
        ({"token": "sdb://hunter2/x", "token_file": "/t"}, "only without token_file"),
    ],
)
def test_a_wrong_token_is_never_shown(more, allowed):
    (line,) = lines(read({**SERVER, **more}))
    assert line.startswith(f"{AT}:token: '(not shown)' is not allowed; allowed: {allowed}")


def test_a_token_without_a_server_is_never_shown():
    (line,) = lines(read({**PROD, "token": "sdb://hunter2/x"}))
    assert "only together with server" in line
    assert "hunter2" not in line


def test_an_unverified_certificate_is_allowed_with_a_warning():
    server = {key: value for key, value in SERVER.items() if key != "ca_file"}
    found = read({**server, "token_file": "/t", "insecure_skip_tls_verify": True})
    assert found.problems == ()
    (warning,) = found.clusters["prod"].access.warnings
    assert "is not verified" in warning
    assert read().clusters["prod"].access.warnings == ()


def test_a_disabled_in_cluster_does_not_count():
    assert read({**PROD, "in_cluster": False}).problems == ()
    (line,) = lines(read({"in_cluster": False, "allowed_networks": ["192.0.2.0/24"]}))
    assert "exactly one of" in line


def test_a_context_needs_a_kubeconfig():
    (line,) = lines(read({"in_cluster": True, "context": "eu", "allowed_networks": ["10.0.0.0/8"]}))
    assert line == f"{AT}:context: 'eu' is not allowed; allowed: only together with kubeconfig"


def test_all_mistakes_are_reported_at_once():
    block: Any = copy.deepcopy(FULL)
    block["state_dir"] = "here"
    block["apply"]["batch"] = "many"
    block["clusters"]["prod"]["timing"]["debounce"] = None
    block["clusters"]["prod"]["guards"]["grace"] = "long"
    block["clusters"]["other"] = {}
    keys = {problem.key for problem in config.read(block).problems}
    assert keys == {
        "k8s_nodes:state_dir",
        "k8s_nodes:apply:batch",
        "k8s_nodes:clusters:prod:guards:grace",
        "k8s_nodes:clusters:prod:timing:debounce",
        "k8s_nodes:clusters:other",
        "k8s_nodes:clusters:other:allowed_networks",
    }


@pytest.mark.parametrize(("where", "value"), [("apply:batch", 0), ("metrics:port", 0)])
def test_a_wrong_value_for_publishing_or_metrics_stops_no_cluster(where, value):
    found = config.read(with_mistake(where, value))
    assert len(found.problems) == 1
    assert not found.broken
    assert (found.clusters.keys(), found.stopped_by) == ({"prod", "good"}, ())


STOPPING: list[tuple[str, object, bool]] = [
    # where, the mistake, and whether what is stored is served while it is there
    ("denied_networks", "198.51.100.66", True),
    ("denied_networks", ["198.51.100.66", "198.51.100.067"], True),
    ("denied_networks", None, True),
    ("denied_networks", [], True),
    ("denied_networks", {"198.51.100.66": None}, True),
    ("denied_networks", ["::ffff:198.51.100.66"], True),
    ("never", ["198.51.100.66"], True),
    ("nevr", ["198.51.100.66"], True),
    ("denied_network", ["198.51.100.66"], True),
    ("denied-networks", ["198.51.100.66"], True),
    ("denied", "198.51.100.66", True),
    ("metrics:denied_networks", ["198.51.100.66"], True),
    ("apply:denied_networks", ["198.51.100.66"], True),
    ("apply:kwarg", {"denied_networks": ["198.51.100.66"]}, True),
    ("apply:classes:sets", {"target": "db*", "denied_networks": ["198.51.100.66"]}, True),
    ("clusters:denied_networks", ["198.51.100.66"], True),
    ("clusters:never", ["198.51.100.66"], True),
    ("clusters:prod:guards:denied_networks", ["198.51.100.66"], True),
    ("clusters:prod:groups:denied_networks", ["198.51.100.66"], True),
    ("clusters:prod:timing:nevr", ["198.51.100.66"], True),
    ("clusters:prod:node_lists", [{"to": "db1", "never": ["198.51.100.66"]}], True),
    ("clusters:prod:denied_network", ["192.0.2.9"], True),
    ("clusters:prod:never", ["192.0.2.9"], True),
    ("stuff", {"here": [{"denied_networks": ["198.51.100.66"]}]}, True),
    ("apply:states", [{"denied_networks": ["198.51.100.66"]}], True),
    ("metrics:textfile", {"never": "198.51.100.66"}, True),
    ("metrics:port", {"serve_to": "db*"}, False),
    ("stuff", 1, True),
    ("apply:stuff", 1, True),
    ("metrics:stuff", 1, True),
    ("apply", ["firewall"], True),
    ("metrics", "x", True),
    ("clusters:Prod", PROD, True),
    ("clusters:eu", [PROD], True),
    ("clusters:eu", None, True),
    ("stat_dir", "/srv", False),
    ("state_dir", "srv", False),
    ("serve_to", "db*", False),
    ("clusters:prod:guards:serve_to", "db*", False),
    ("clusters:prod:groups:ready", "only", False),
    ("clusters:addresses", ["ExternalIP"], False),
    ("clusters:prod:timing:min_prefix_ipv4", 28, True),
    ("aply", {"mode": "observe"}, False),
]


@pytest.mark.parametrize(("where", "value", "is_served"), STOPPING)
def test_a_mistake_that_may_be_about_any_cluster_stops_all_of_them(where, value, is_served):
    found = config.read(with_mistake(where, value))
    assert found.clusters == {}
    assert {"prod", "good"} <= set(found.broken)
    assert found.stopped_by
    assert (found.broken["good"] is not None) is is_served
    assert found.stopped_by[0].key in found.why_stopped("good")


@pytest.mark.parametrize(
    ("where", "value"), [(where, value) for where, value, _ in STOPPING if "198" in str(value)]
)
def test_what_could_be_read_of_denied_networks_counts(where, value):
    found = config.read(with_mistake(where, value)).broken["good"]
    if found is not None:
        denied = ipaddress.ip_address("198.51.100.66")
        assert found.limits.reject_reason(denied) is RejectReason.DENIED


@pytest.mark.parametrize(
    ("value", "denied", "open_"),
    [
        ("192.0.2.9, 192.0.2.10", ["192.0.2.9", "192.0.2.10"], ["192.0.2.11"]),
        (["192.0.2.9/24"], ["192.0.2.9"], ["192.0.2.8"]),
        (["192.0.2.0/28", 7, None, True], ["192.0.2.9"], ["192.0.2.16"]),
        ([["192.0.2.9"], {"x": "192.0.2.10"}], ["192.0.2.9", "192.0.2.10"], []),
        (b"192.0.2.9", ["192.0.2.9"], []),
        ("192.0.2.9-192.0.2.12", ["192.0.2.9", "192.0.2.12"], ["192.0.2.13"]),
        ("192.0.2.9:5432", ["192.0.2.9"], []),
        (["::ffff:192.0.2.0/124"], ["192.0.2.9"], ["192.0.2.16"]),
        ("192.0.2.9-::1", ["192.0.2.9"], []),
        (["192.0.2.256", "2001:db8::1-x"], [], ["192.0.2.9"]),
        (0.5, [], ["192.0.2.9"]),
    ],
)
def test_a_mistaken_list_of_denied_networks_denies_what_it_certainly_means(value, denied, open_):
    limits = config.read(with_mistake("denied_networks", value)).broken["good"].limits
    assert [limits.reject_reason(ipaddress.ip_address(text)) for text in denied + open_] == [
        *[RejectReason.DENIED] * len(denied),
        *[None] * len(open_),
    ]


def test_networks_under_a_misspelt_key_of_a_cluster_are_denied_for_that_cluster():
    found = config.read(with_mistake("clusters:prod:denied_network", ["192.0.2.9"]))
    denied = ipaddress.ip_address("192.0.2.9")
    assert found.broken["prod"].limits.reject_reason(denied) is RejectReason.DENIED
    assert found.broken["good"].limits.reject_reason(denied) is None


@pytest.mark.parametrize("name", ["never", "deny", "ready", "groups"])
def test_a_cluster_group_or_class_may_have_the_name_of_a_key(name):
    cluster = {**PROD, "groups": {name: {"labelSelector": "pool"}}}
    classes = {name: {"target": "db*", "states": ["firewall"]}}
    found = config.read({"clusters": {name: cluster}, "apply": {"classes": classes}})
    assert lines(found) == []
    assert found.clusters[name].limits.denied == RESERVED_NETWORKS


def test_a_value_without_end_is_read_in_a_moment():
    value: Any = ["192.0.2.9"]
    for _ in range(200):
        value = [value] * 10
    round_: dict[str, Any] = {"denied": "192.0.2.8"}
    round_["round"] = round_
    found = config.read({**with_mistake("stuff", value), "round": round_, "denied_networks": value})
    assert found.clusters == {}
    denied = ipaddress.ip_address("192.0.2.8")
    assert found.broken["good"].limits.reject_reason(denied) is RejectReason.DENIED


@pytest.mark.parametrize("value", [10**4000, [10**4000], {"x": 1}, b"\xff", float("nan")])
def test_a_value_of_any_type_is_a_mistake_of_one_line(value):
    if isinstance(value, list):
        value = [value[0] ** 2]
    found = config.read(with_mistake("denied_networks", value))
    assert all(len(line) < 300 for line in lines(found))
    assert found.stopped_by


def test_a_key_with_a_colon_is_not_taken_for_one_of_a_cluster():
    found = config.read({**with_mistake("clusters:prod:zzz", 1), "clusters:prod:zzz": 1})
    assert found.clusters == {}
    assert "k8s_nodes:'clusters:prod:zzz': " in str(lines(found))


@pytest.mark.parametrize(
    ("key", "value", "open_"),
    [
        ("allowed_networks", ["192.0.2.0/24", "198.51.100.0"], ["192.0.2.1", "203.0.113.1"]),
        ("allowed_networks", ["192.0.2.1/24"], ["192.0.2.1", "203.0.113.1"]),
        ("guards", {"min_prefix": 16}, ["192.0.2.128/25"]),
        ("page_size", 0, ["192.0.2.1"]),
    ],
)
def test_a_mistake_in_a_limit_closes_nothing_that_is_stored(key, value, open_):
    if key == "allowed_networks":
        value = [*value, "x"]
    kept = read({**PROD, "denied_networks": ["192.0.2.9"], key: value}).broken["prod"].limits
    for text in open_:
        item = ipaddress.ip_network(text) if "/" in text else ipaddress.ip_address(text)
        assert kept.reject_reason(item) is None
    assert kept.reject_reason(ipaddress.ip_address("192.0.2.9")) is RejectReason.DENIED


def test_a_limit_without_a_mistake_holds_beside_one_with_a_mistake():
    kept = read({**PROD, "page_size": 0}).broken["prod"].limits
    assert kept.reject_reason(ipaddress.ip_address("203.0.113.1")) is RejectReason.OUTSIDE


def test_an_entry_that_has_lost_everything_serves_nothing():
    assert read({"mode": "enforce"}).broken == {"prod": None}


@pytest.mark.parametrize(
    "value",
    [
        ["0.0.0.0/0"],
        ["0.0.0.0/00"],
        ["0.0.0.0/0.0.0.0"],
        ["::/0"],
        ["0::0/0"],
        ["0000:0000::0/0"],
        ["192.0.2.0/24", "::/0"],
        ["0.0.0.0/1", "128.0.0.0/1"],
        ["128.0.0.0/1", "64.0.0.0/2", "0.0.0.0/2"],
        ["::/1", "8000::/1"],
        ["2000::/3"],
        [*(f"{first}.0.0.0/8" for first in range(1, 224))],
    ],
)
def test_networks_that_allow_every_address_are_refused(value):
    (line,) = lines(read({**PROD, "allowed_networks": value}))
    assert "the networks that your nodes are in, such as 192.0.2.0/24" in line
    assert "this list allows every IPv" in line


@pytest.mark.parametrize("value", [["0/0"], ["::ffff:0:0/0"], ["::ffff:0:0/96"], ["*"], ["any"]])
def test_other_spellings_of_everything_are_refused_too(value):
    assert len(lines(read({**PROD, "allowed_networks": value}))) == 1


@pytest.mark.parametrize(
    ("value", "is_wide"),
    [
        (["10.0.0.0/8"], False),
        (["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"], False),
        (["203.0.0.0/9", "2001:db8::/32"], False),
        (["44.0.0.0/8"], True),
        (["8.0.0.0/9", "8.128.0.0/9"], True),
        (["0.0.0.0/1"], True),
        (["10.0.0.0/7"], True),
        (["2001::/16"], True),
        (["2000::/17"], False),
    ],
)
def test_networks_wider_than_those_of_a_cluster_are_warned_of(value, is_wide):
    found = read({**PROD, "allowed_networks": value})
    assert lines(found) == []
    warnings = found.clusters["prod"].warnings
    assert bool(warnings) is is_wide
    assert all("allowed_networks has as many public IPv" in text for text in warnings)


@pytest.mark.parametrize(
    "value",
    [
        "not db*",
        "not I@k8s:yes",
        "not db* and not web*",
        "not db* or web1",
        "web1 or not db*",
        "not ( db* or web* )",
        "( not db* )",
        "* and not db*",
        "G@id:* and not db*",
        "not not db*",
        "[!d]*",
        "E@^(?!db).*",
        "P@os:(?!Debian)",
        "( " * 100 + "db*" + " )" * 100,
        "db* ) or not x",
        "or",
        "a " * 3000,
    ],
)
@pytest.mark.parametrize("key", ["serve_to", "node_lists"])
def test_a_target_that_is_only_what_it_excludes_is_refused(key, value):
    written = value if key == "serve_to" else [{"to": value}]
    (line,) = lines(read({**PROD, key: written}))
    assert "a target" in line
    assert read({**PROD, key: written}).broken == {"prod": None}


@pytest.mark.parametrize(
    "value",
    [
        "db1",
        "db* or G@role:proxy",
        "not db9 and db*",
        "db* and not db9",
        "db* not db9",
        "( web* or db* ) and not ( web9 or db9 )",
        "G@role:*",
        "I@k8s:*",
        "G|@role|db",
        "L@db1,db2",
        "N@firewalls",
        "web[!0-9]",
        "S@192.0.2.0/24",
        "E@web(?!9).*",
    ],
)
def test_a_target_that_names_minions_is_taken(value):
    found = read({**PROD, "serve_to": value})
    assert lines(found) == []
    assert found.clusters["prod"].warnings == ()


@pytest.mark.parametrize("value", ["*", "**", "?*", "E@.*", "G@id:*", "S@0.0.0.0/0", "P@os:.+"])
def test_a_target_of_every_minion_is_warned_of(value):
    found = read({**PROD, "serve_to": value})
    assert lines(found) == []
    assert "serve_to matches every minion" in str(found.clusters["prod"].warnings)


def test_only_a_mistake_outside_of_the_clusters_makes_it_uncertain_which_clusters_there_are():
    assert config.read(with_mistake("clusters:prod:page_size", 0)).names_clusters
    assert not config.read(with_mistake("prod2", PROD)).names_clusters
    assert not config.read(with_mistake("clusters:eu", "x")).names_clusters


SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bearer_token", SECRET),
        ("bearer", SECRET),
        ("pin", 2222),
        ("headers", {"Authorization": f"Bearer {SECRET}"}),
        ("users", [{"name": "admin", "token": SECRET}]),
        ("client-key-data", SECRET),
    ],
)
def test_the_value_of_an_unknown_key_is_not_shown(key, value):
    (line,) = lines(read({**PROD, key: value}))
    assert line.startswith(f"{AT}:{key}: '(not shown)' is not allowed; ")
    assert not re.search("hunter|2222|admin", line)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("clusterz", {"prod": {"token": SECRET}}),
        ("clusters", [{"prod": {"token": SECRET}}]),
        ("clusters", [[SECRET]]),
        ("clusters:prod:denied_networks", [{"token": SECRET}]),
        ("clusters:prod:allowed_networks", {"token": SECRET}),
        ("clusters:prod:token_file", SECRET),
        ("clusters:prod:node_lists", [{"to": "*", "token": SECRET}]),
        ("clusters:prod:guards", [{"token": SECRET}]),
        ("apply:kwarg", {"queue": True, "password": SECRET}),
        ("apply:kwarg", f"password={SECRET}"),
        ("apply:arg", SECRET),
        ("apply:arg", [SECRET]),
        ("apply:arg", {"password": SECRET}),
    ],
)
def test_a_possible_secret_in_a_wrong_place_is_not_shown(where, value):
    found = lines(config.read(with_mistake(where, value)))
    assert found
    assert "hunter" not in str(found)


def test_an_action_is_shown_without_possible_secrets():
    default = read(
        apply={
            "function": "x.y",
            "arg": ["eu", {"password": SECRET}],
            "kwarg": {"pillar": {"password": SECRET}},
        }
    ).apply.default
    assert str(default) == "x.y eu ... pillar=..."


@pytest.mark.parametrize("user", ["admin:hunter2", "admin:hun/ter2", "hunter2@admin:x"])
def test_a_password_in_a_url_is_not_shown(user):
    files = {"ca_file": "/ca", "token_file": "/token", "allowed_networks": ["192.0.2.0/24"]}
    (line,) = lines(read({"server": f"https://{user}@192.0.2.1", **files}))
    assert line.startswith(f"{AT}:server: 'https://...@192.0.2.1' is not allowed; ")


def test_a_name_that_is_a_number_is_a_mistake_that_stops_all_clusters():
    found = config.read({"clusters": {1: PROD, "prod": PROD}})
    assert found.broken["1"] is None
    assert list(found.broken) == ["1", "prod"]


def test_a_key_or_value_of_many_lines_is_still_one_line():
    long = "x" * 10_000
    found = read({**PROD, "a\nb": "c\nd", "denied_networks": [long]}, state_dir="relative\n" + long)
    assert len(found.problems) == 3
    for line in lines(found):
        assert "\n" not in line
        assert len(line) < 500


def test_an_unknown_cluster_is_reported_with_the_configured_ones():
    found = config.read({"clusters": {"prod": PROD, "eu": PROD}})
    with pytest.raises(UnknownCluster) as caught:
        found.known("pord")
    assert str(caught.value) == "cluster 'pord' is not configured; configured: eu, prod"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kubeconfig", "relative"),
        ("server", "https://192.0.2.1"),
        ("allowed_networks", []),
        ("denied_networks", [""]),
        ("page_size", 0),
        ("timing", {"debounce": "x", "debunce": 1}),
        ("guards", []),
    ],
)
def test_a_mistake_in_an_unrelated_key_keeps_the_meaning_of_references(key, value):
    found = read({**PROD, "addresses": ["ExternalIP"], "serve_to": "db*", key: value})
    kept = found.broken["prod"]
    assert kept is not None
    assert (kept.defaults.types, kept.serve_to) == ((EXTERNAL,), "db*")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("addresses", ["Hostname"]),
        ("ready", "yes"),
        ("serve_to", ["db*"]),
        ("node_lists", ["db*"]),
        ("groups", {"w": {"labelSelector": "a b"}}),
        ("serve-to", "db*"),
        ("adresses", ["ExternalIP"]),
    ],
)
def test_a_mistake_in_a_key_for_references_makes_their_meaning_uncertain(key, value):
    assert read({**PROD, key: value}).broken == {"prod": None}


@pytest.mark.parametrize(
    ("where", "value", "new"),
    [
        ("never", ["192.0.2.9"], "denied_networks"),
        ("clusters:prod:never", ["192.0.2.9"], "denied_networks"),
        ("clusters:prod:serve", [{"to": "lb*"}], "node_lists"),
        ("clusters:prod:timing:quiet", 1, "debounce"),
        ("clusters:prod:timing:longest", 1, "max_delay"),
        ("clusters:prod:guards:shrink_wait", 90, "shrink_confirm_after"),
        ("clusters:prod:guards:widest_ipv4", 24, "min_prefix_ipv4"),
        ("clusters:prod:guards:widest_ipv6", 64, "min_prefix_ipv6"),
        ("apply:deliver", 5, "max_inline_addresses"),
        ("apply:pace", 5, "min_interval"),
        ("apply:per_minute", 5, "max_per_minute"),
        ("apply:renew", 5, "reapply_after"),
    ],
)
def test_an_old_name_of_a_key_is_refused_with_the_new_one(where, value, new):
    assert lines(config.read(with_mistake(where, value))) == [
        f"k8s_nodes:{where}: '(not shown)' is not allowed; allowed: the new name of this key: {new}"
    ]


def test_a_network_that_is_denied_under_an_old_name_stays_denied():
    limits = config.read(with_mistake("never", ["192.0.2.9"])).broken["prod"].limits
    assert limits.reject_reason(ipaddress.ip_address("192.0.2.9")) is RejectReason.DENIED


def test_networks_under_the_old_name_stay_out_beside_the_new_one():
    value = config.read(
        {**with_mistake("never", ["192.0.2.9"]), "denied_networks": ["192.0.2.8"]}
    ).broken["prod"]
    for text in ("192.0.2.8", "192.0.2.9"):
        assert value.limits.reject_reason(ipaddress.ip_address(text)) is RejectReason.DENIED


def test_the_place_of_every_key_is_known():
    cluster = {"x": 0, "guards": {"x": 0}, "timing": {"x": 0}, "groups": {"w": {"x": 0}}}
    found = config.read(
        {
            "x": 0,
            "metrics": {"x": 0},
            "apply": {"x": 0, "classes": {"a": {"x": 0}}},
            "clusters": {"prod": cluster},
        }
    )
    unknown = [problem for problem in found.problems if isinstance(problem, UnknownKey)]
    assert len(unknown) == 8
    keys = {key for problem in unknown for key in problem.here}
    assert {key for key in keys if places.resembles(key) != key} == set()
