"""The ``k8s_nodes:`` block of the master's configuration, read and checked as a whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from salt_ext.core.cluster.address import NOT_A_NODE, Network, network
from salt_ext.core.cluster.guard import Rules
from salt_ext.core.cluster.member import Limits
from salt_ext.core.cluster.node import AddressType
from salt_ext.core.config import apply, options
from salt_ext.core.config.apply import ApplyConfig, Mode
from salt_ext.core.config.options import Options, flag, list_of, one_of, seconds, text, whole
from salt_ext.core.errors import ConfigError, UnknownCluster
from salt_ext.core.references import selector
from salt_ext.core.references.node_lists import NodeListRule
from salt_ext.core.references.reference import dns_label
from salt_ext.core.references.resolve import Defaults, NodeGroup
from salt_ext.core.references.selector import Selector

KEY = "k8s_nodes"
STATE_DIR = "/var/lib/salt-k8s-nodes"

_NO_NETWORKS: tuple[Network, ...] = ()

_NOT_THE_MEANING = (
    *("kubeconfig", "context", "server", "ca_file", "token_file", "token", "in_cluster"),
    *("insecure_skip_tls_verify", "exec_timeout"),
    *("allowed_networks", "denied_networks", "never", "guards", "timing", "page_size", "mode"),
)

_ONLY_WITH = (
    *(("context", "kubeconfig"), ("exec_timeout", "kubeconfig")),
    *(("ca_file", "server"), ("token_file", "server"), ("token", "server")),
)

_NOT_VERIFIED = (
    "the API server's certificate is not verified (insecure_skip_tls_verify: true): "
    "whoever is on the way can read the credentials and answer in its place"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAccess:
    """How one cluster's API is reached: exactly one of kubeconfig, server, in_cluster."""

    kubeconfig: str | None = None
    context: str | None = None
    server: str | None = None
    ca_file: str | None = None
    token_file: str | None = None
    token: str | None = None
    """An ``sdb://`` URI that stands for the token, never the token."""
    in_cluster: bool = False
    insecure_skip_tls_verify: bool = False
    exec_timeout: float = 30.0
    """Seconds that a credential plugin may take."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed here and dangerous, each as a sentence."""
        if not self.insecure_skip_tls_verify:
            return ()
        return (_NOT_VERIFIED,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long to wait for what, in seconds."""

    debounce: float = 0.1
    """After a change, how long nothing may change before the next is announced."""
    max_delay: float = 2.0
    """How long a change waits at most while others keep coming."""
    inactivity: float = 90.0
    """Silence of a watch after which the API is asked whether it is still there."""
    relist: float = 3600.0
    """Time between full LISTs that check what the watch told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One cluster of the configuration."""

    name: str
    access: ClusterAccess
    limits: Limits
    defaults: Defaults = Defaults()
    timing: Timing = Timing()
    mode: Mode = Mode.ENFORCE
    """Whether a change of this cluster is reason enough to publish."""
    serve_to: str | None = None
    """Compound target of the minions that references are resolved for; None means every one."""
    groups: Mapping[str, NodeGroup] = field(default_factory=dict)
    node_lists: tuple[NodeListRule, ...] = ()
    rules: Rules = Rules()
    grace: float = 300.0
    """Seconds that a node keeps addresses which it no longer tells."""
    page_size: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Where the engine's figures go."""

    textfile: str | None = None
    """A ``.prom`` file in the folder of node_exporter's textfile collector."""
    port: int | None = None
    """Port of the engine's process when Salt's exporter is ``prometheus``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What could be read of the block, and every mistake in it."""

    state_dir: str = STATE_DIR
    apply: ApplyConfig = field(default_factory=ApplyConfig)
    metrics: Metrics = Metrics()
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    broken: Mapping[str, Cluster | None] = field(default_factory=dict)
    """
    Clusters that are named but have a mistake: what is known of them stays in force.

    As far as they could be read; None where it is in doubt what a reference to them means.
    """
    problems: tuple[ConfigError, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every cluster that is named, right or wrong, in order."""
        return tuple(sorted({*self.clusters, *self.broken}))

    def mode(self, name: str) -> Mode:
        """Return how far it goes for a cluster; one that is in doubt is only observed."""
        cluster = self.clusters.get(name) or self.broken.get(name)
        return cluster.mode if cluster else Mode.OBSERVE

    @property
    def in_doubt(self) -> tuple[ConfigError, ...]:
        """Mistakes that leave open what is to be published, and to whom."""
        at = f"{KEY}:apply"
        return tuple(one for one in self.problems if f"{one.key}:".startswith(f"{at}:"))

    @property
    def with_node_lists(self) -> dict[str, Cluster]:
        """The clusters that hand lists of nodes to minions, as far as they could be read."""
        readable = {**self.broken, **self.clusters}
        return {name: one for name, one in sorted(readable.items()) if one and one.node_lists}

    def known(self, name: str) -> str:
        """Return the name of a cluster, right or wrong; else :class:`UnknownCluster`."""
        if name in self.clusters or name in self.broken:
            return name
        raise UnknownCluster(name, self.names)


def read(raw: object, own_addresses: tuple[Network, ...] = ()) -> Config:
    """
    Read the block as Salt hands it over, without raising.

    ``own_addresses`` are the master's: they are never opened for a node that claims them.
    """
    problems: list[ConfigError] = []
    block = Options(raw, KEY, problems)
    state_dir = block.take("state_dir", options.path, STATE_DIR)
    applied = apply.read(block.below("apply"))
    metrics = _metrics(block.below("metrics"))
    denied = block.take("denied_networks", list_of(network), _NO_NETWORKS, was="never")
    listed = block.below("clusters")
    block.finish()
    clusters: dict[str, Cluster] = {}
    broken: dict[str, Cluster | None] = {}
    for name in listed.keys:
        before = len(problems)
        cluster = _cluster(name, listed, (*NOT_A_NODE, *own_addresses, *denied))
        at = f"{listed.path}:{name}"
        wrong = [problem.key.removeprefix(at).lstrip(":") for problem in problems[before:]]
        if cluster is None or wrong:
            broken[str(name)] = cluster if all(map(_is_clear, wrong)) else None
        else:
            clusters[cluster.name] = cluster
    if not listed.keys and not problems:
        problems.append(ConfigError(f"{KEY}:clusters", None, "at least one cluster (required)"))
    return Config(
        state_dir=state_dir,
        apply=applied,
        metrics=metrics,
        clusters=clusters,
        broken=broken,
        problems=tuple(problems),
    )


def _is_clear(key: str) -> bool:
    """Whether a mistake in this key of a cluster leaves no doubt about what references mean."""
    # An unknown key may be `serve_to` or `addresses` with a slip of the pen.
    return key.partition(":")[0] in ("", *_NOT_THE_MEANING)


def _metrics(given: Options) -> Metrics:
    metrics = Metrics(
        textfile=given.take("textfile", options.path, None),
        port=given.take("port", whole(1, 65_535), None),
    )
    given.finish()
    return metrics


def _cluster(name: object, listed: Options, denied: tuple[Network, ...]) -> Cluster | None:
    try:
        label = dns_label(name)
    except ValueError as exc:
        listed.problems.append(ConfigError(listed.path, name, f"as a cluster's name {exc}"))
        return None
    before = len(listed.problems)
    given = listed.below(label)
    if len(listed.problems) > before:
        return None
    access = _access(given)
    allowed = given.take("allowed_networks", list_of(network))
    timing = _timing(given.below("timing"))
    guards = given.below("guards")
    usual = Limits(allowed=(), denied=())
    groups = _groups(given.below("groups"))
    cluster = Cluster(
        name=label,
        access=access,
        limits=Limits(
            allowed=allowed,
            denied=(
                *denied,
                *given.take("denied_networks", list_of(network), _NO_NETWORKS, was="never"),
            ),
            addresses_per_node=guards.take(
                "addresses_per_node", whole(1, 1000), usual.addresses_per_node
            ),
            min_prefix_ipv4=guards.take(
                "min_prefix_ipv4", whole(8, 32), usual.min_prefix_ipv4, was="widest_ipv4"
            ),
            min_prefix_ipv6=guards.take(
                "min_prefix_ipv6", whole(32, 128), usual.min_prefix_ipv6, was="widest_ipv6"
            ),
        ),
        defaults=Defaults(
            types=given.take("addresses", list_of(_address_type), Defaults().types),
            ready_only=given.take("ready", one_of("any", "only"), "any") == "only",
        ),
        mode=apply.mode_of(given, Mode.ENFORCE),
        serve_to=given.take("serve_to", text, None),
        groups=groups,
        node_lists=given.take(
            "node_lists", list_of(partial(_node_list_rule, groups)), (), was="serve"
        ),
        timing=timing,
        grace=guards.take("grace", seconds(0, 86_400), 300.0),
        rules=_rules(guards),
        page_size=given.take("page_size", whole(10, 5000), 500),
    )
    guards.finish()
    given.finish()
    return cluster


def _groups(listed: Options) -> dict[str, NodeGroup]:
    groups = {}
    for name in listed.keys:
        try:
            label = dns_label(name)
        except ValueError as exc:
            listed.problems.append(ConfigError(listed.path, name, f"as a group's name {exc}"))
            continue
        given = listed.below(label)
        groups[label] = NodeGroup(
            labels=given.take("labelSelector", _selector, Selector()),
            types=given.take("addresses", list_of(_address_type), None),
            family={"ipv4": 4, "ipv6": 6}.get(
                given.take("family", one_of("ipv4", "ipv6"), "") or ""
            ),
            ready_only={"any": False, "only": True}.get(
                given.take("ready", one_of("any", "only"), "") or ""
            ),
        )
        given.finish()
    return groups


def _node_list_rule(groups: Mapping[str, NodeGroup], value: object) -> NodeListRule:
    problems: list[ConfigError] = []
    given = Options(value, "", problems)
    rule = NodeListRule(
        to=given.take("to", text, ""),
        group=given.take("group", one_of(*groups), None),
        labels=given.take("labels", list_of(_label_key), ()),
    )
    given.finish()
    if problems or not rule.to:
        raise ValueError(
            "a mapping with `to` (a target), and perhaps `group` (one of this cluster's groups) "
            "and `labels` (a list of label keys)"
        )
    return rule


def _label_key(value: object) -> str:
    if isinstance(value, str) and selector.KEY.fullmatch(value):
        return value
    raise ValueError("a label key such as topology.kubernetes.io/zone")


def _selector(value: object) -> Selector:
    if isinstance(value, str):
        return selector.parse(value)
    raise ValueError("a label selector such as pool=app,tier in (a,b)")


def _rules(given: Options) -> Rules:
    usual = Rules()
    return Rules(
        min_nodes=given.take("min_nodes", whole(0, 100_000), usual.min_nodes),
        shrink_percent=given.take("shrink_percent", whole(0, 100), usual.shrink_percent),
        shrink_nodes=given.take("shrink_nodes", whole(1, 100_000), usual.shrink_nodes),
        shrink_confirm_after=given.take(
            "shrink_confirm_after",
            seconds(1, 86_400),
            usual.shrink_confirm_after,
            was="shrink_wait",
        ),
        growth_percent=given.take("growth_percent", whole(0, 10_000), usual.growth_percent),
        growth_nodes=given.take("growth_nodes", whole(1, 100_000), usual.growth_nodes),
        growth_window=given.take("growth_window", seconds(1, 86_400), usual.growth_window),
    )


def _access(given: Options) -> ClusterAccess:
    access = ClusterAccess(
        kubeconfig=given.take("kubeconfig", options.path, None),
        context=given.take("context", text, None),
        server=given.take("server", https_url, None),
        ca_file=given.take("ca_file", options.path, None),
        # Not the token either, which may stand here by mistake.
        token_file=given.take("token_file", options.path, None, hide=True),
        token=given.take("token", _secret_uri, None, hide=True),
        in_cluster=given.take("in_cluster", flag, False),
        insecure_skip_tls_verify=given.take("insecure_skip_tls_verify", flag, False),
        exec_timeout=given.take("exec_timeout", seconds(1, 90), 30.0),
    )
    ways = [key for key in ("kubeconfig", "server", "in_cluster") if given.has(key)]
    if given.raw("in_cluster") is False:
        ways.remove("in_cluster")
    if len(ways) != 1:
        given.problems.append(
            ConfigError(
                given.path,
                ways or None,
                "exactly one of kubeconfig, server (with ca_file and a token), in_cluster",
            )
        )
        return access
    for key, way in _ONLY_WITH:
        if given.has(key) and way not in ways:
            value = options.HIDDEN if key.startswith("token") else given.raw(key)
            given.problems.append(
                ConfigError(f"{given.path}:{key}", value, f"only together with {way}")
            )
    if ways == ["server"]:
        _check_server(given, access)
    return access


def _check_server(given: Options, access: ClusterAccess) -> None:
    needed = ["ca_file"] if not access.insecure_skip_tls_verify else []
    needed += ["token_file"] if not given.has("token") else []
    for key in needed:
        if not given.has(key):
            given.problems.append(
                ConfigError(f"{given.path}:{key}", None, "an absolute path (required with server)")
            )
    if given.has("token") and given.has("token_file"):
        given.problems.append(
            ConfigError(f"{given.path}:token", options.HIDDEN, "only without token_file")
        )


def _timing(given: Options) -> Timing:
    usual = Timing()
    timing = Timing(
        debounce=given.take("debounce", seconds(0, 60), usual.debounce, was="quiet"),
        max_delay=given.take("max_delay", seconds(0, 600), usual.max_delay, was="longest"),
        inactivity=given.take("inactivity", seconds(1, 3600), usual.inactivity),
        relist=given.take("relist", seconds(10, 86_400), usual.relist),
    )
    given.finish()
    return timing


def https_url(value: object) -> str:
    """Read the URL of an API server, without a user in it: it is shown in logs."""
    if isinstance(value, str) and re.fullmatch(r"https://[^\s@?#/][^\s@?#]*", value):
        return value.rstrip("/")
    raise ValueError("an https:// URL such as https://192.0.2.1:6443")


def _secret_uri(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"sdb://[^/\s]+/\S+", value):
        return value
    raise ValueError(
        "an sdb:// URI such as sdb://vault/k8s/prod, never the token itself "
        "(which token_file can name the file of)"
    )


def _address_type(value: object) -> AddressType:
    if isinstance(value, str):
        try:
            return AddressType(value)
        except ValueError:
            pass
    raise ValueError("one of " + ", ".join(kind.value for kind in AddressType))
