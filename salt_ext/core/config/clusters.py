"""One cluster of the configuration, an entry of ``clusters:``, and its reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from salt_ext.core.cluster.address import Network
from salt_ext.core.cluster.guard import Rules
from salt_ext.core.cluster.member import Limits
from salt_ext.core.cluster.node import AddressType
from salt_ext.core.config import access, apply, targets
from salt_ext.core.config.access import ClusterAccess
from salt_ext.core.config.apply import Mode
from salt_ext.core.config.networks import (
    EVERYTHING,
    allowed_networks,
    denied_networks,
    too_wide,
)
from salt_ext.core.config.options import Options, list_of, one_of, seconds, whole
from salt_ext.core.errors import ConfigError
from salt_ext.core.references import selector
from salt_ext.core.references.node_lists import NodeListRule
from salt_ext.core.references.reference import dns_label
from salt_ext.core.references.resolve import Defaults, NodeGroup
from salt_ext.core.references.selector import Selector

_NO_NETWORKS: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Times, in seconds."""

    debounce: float = 0.1
    """Time without a change before the next announcement."""
    max_delay: float = 2.0
    """Longest time that a change waits while others follow."""
    inactivity: float = 90.0
    """Idle time of a watch after which the API server is probed."""
    relist: float = 3600.0
    """Time between full LISTs, which verify the result of the watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One cluster of the configuration."""

    name: str
    access: ClusterAccess
    limits: Limits
    defaults: Defaults = Defaults()
    timing: Timing = Timing()
    mode: Mode = Mode.ENFORCE
    """Whether a change of this cluster is published."""
    serve_to: str | None = None
    """Compound target of the minions that may resolve references; None means every minion."""
    groups: Mapping[str, NodeGroup] = field(default_factory=dict)
    node_lists: tuple[NodeListRule, ...] = ()
    rules: Rules = Rules()
    grace: float = 300.0
    """Seconds that a node keeps addresses after it stopped reporting them."""
    page_size: int = 500

    @property
    def warnings(self) -> tuple[str, ...]:
        """Settings that are allowed but dangerous, each as a sentence."""
        return (*self.access.warnings, *(sentence for _, sentence, _ in self.risks))

    @property
    def risks(self) -> tuple[tuple[str, str, str], ...]:
        """Settings that let in too much, each with its key, a sentence and what to do."""
        found = []
        if wide := too_wide(self.limits.allowed):
            found.append(
                ("allowed_networks", wide, "write only the networks that your nodes are in")
            )
        if self.serve_to is not None and targets.matches_everybody(self.serve_to):
            found.append(("serve_to", targets.EVERY_MINION, "name the minions, or remove the key"))
        return tuple(found)


def read(name: object, entries: Options, denied: tuple[Network, ...]) -> Cluster | None:
    """
    Read one entry of ``clusters:``; mistakes go to its ``problems``.

    ``denied`` are networks that are never opened, beside the cluster's own. None when the name or
    the whole entry is unreadable.
    """
    try:
        label = dns_label(name)
    except ValueError as exc:
        entries.refuse_name(name, f"as a cluster's name {exc}")
        return None
    problem_count = len(entries.problems)
    given = entries.below(label)
    if len(entries.problems) > problem_count:
        return None
    cluster_access = access.read(given)
    allowed = given.take("allowed_networks", allowed_networks)
    timing = _timing(given.below("timing"))
    guards = given.below("guards")
    default = Limits(allowed=(), denied=())
    groups = _groups(given.below("groups"))
    cluster = Cluster(
        name=label,
        access=cluster_access,
        limits=Limits(
            allowed=allowed if isinstance(allowed, tuple) else (),
            denied=(
                *denied,
                *given.take("denied_networks", denied_networks, _NO_NETWORKS, was="never"),
            ),
            addresses_per_node=guards.take(
                "addresses_per_node", whole(1, 1000), default.addresses_per_node
            ),
            min_prefix_ipv4=guards.take(
                "min_prefix_ipv4", whole(8, 32), default.min_prefix_ipv4, was="widest_ipv4"
            ),
            min_prefix_ipv6=guards.take(
                "min_prefix_ipv6", whole(32, 128), default.min_prefix_ipv6, was="widest_ipv6"
            ),
        ),
        defaults=Defaults(
            types=given.take("addresses", list_of(_address_type), Defaults().types),
            ready_only=given.take("ready", one_of("any", "only"), "any") == "only",
        ),
        mode=apply.read_mode(given, Mode.ENFORCE),
        serve_to=given.take("serve_to", targets.serving_target, None),
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


def in_force(cluster: Cluster, bad_keys: Sequence[str], denied: tuple[Network, ...]) -> Cluster:
    """
    Return a cluster that is not followed, so that what is stored stays in force, and no more.

    What is certainly denied closes. A limit with a mistake closes nothing: a typing error in
    ``allowed_networks`` must not take every node out of the firewalls.
    """
    limits = replace(cluster.limits, denied=(*cluster.limits.denied, *denied))
    mistaken = {key.partition(":")[0] for key in bad_keys}
    if "allowed_networks" in mistaken:
        limits = replace(limits, allowed=EVERYTHING)
    if "guards" in mistaken:
        limits = replace(limits, min_prefix_ipv4=0, min_prefix_ipv6=0)
    return replace(cluster, limits=limits)


def _groups(entries: Options) -> dict[str, NodeGroup]:
    groups = {}
    for name in entries.keys:
        try:
            label = dns_label(name)
        except ValueError as exc:
            entries.refuse_name(name, f"as a group's name {exc}")
            continue
        problem_count = len(entries.problems)
        given = entries.below(label)
        group = NodeGroup(
            labels=given.take("labelSelector", partial(_selector, label)),
            types=given.take("addresses", list_of(_address_type), None),
            family={"ipv4": 4, "ipv6": 6}.get(
                given.take("family", one_of("ipv4", "ipv6"), "") or ""
            ),
            ready_only={"any": False, "only": True}.get(
                given.take("ready", one_of("any", "only"), "") or ""
            ),
        )
        given.finish()
        # A group with a mistake selects nothing, never every node.
        if len(entries.problems) == problem_count:
            groups[label] = group
    return groups


def _node_list_rule(groups: Mapping[str, NodeGroup], value: object) -> NodeListRule:
    problems: list[ConfigError] = []
    given = Options(value, "", problems)
    rule = NodeListRule(
        to=given.take("to", targets.serving_target, ""),
        group=given.take("group", one_of(*groups), None),
        labels=given.take("labels", list_of(_label_key), ()),
    )
    given.finish()
    if problems or not rule.to:
        raise ValueError(
            "a mapping with `to` (a target), optionally `group` (one of this cluster's groups) "
            "and `labels` (a list of label keys)"
        )
    return rule


def _label_key(value: object) -> str:
    if isinstance(value, str) and selector.KEY.fullmatch(value):
        return value
    raise ValueError("a label key such as topology.kubernetes.io/zone")


def _selector(group: str, value: object) -> Selector:
    if isinstance(value, str) and value.strip():
        return selector.parse(value)
    raise ValueError(
        f"a label selector such as pool=app,tier in (a,b); without one the group {group} would be "
        "every node, which k8s://<cluster> is already"
    )


def _rules(given: Options) -> Rules:
    default = Rules()
    return Rules(
        min_nodes=given.take("min_nodes", whole(0, 100_000), default.min_nodes),
        shrink_percent=given.take("shrink_percent", whole(0, 100), default.shrink_percent),
        shrink_nodes=given.take("shrink_nodes", whole(1, 100_000), default.shrink_nodes),
        shrink_confirm_after=given.take(
            "shrink_confirm_after",
            seconds(1, 86_400),
            default.shrink_confirm_after,
            was="shrink_wait",
        ),
        growth_percent=given.take("growth_percent", whole(0, 10_000), default.growth_percent),
        growth_nodes=given.take("growth_nodes", whole(1, 100_000), default.growth_nodes),
        growth_window=given.take("growth_window", seconds(1, 86_400), default.growth_window),
        growth_addresses=given.take("growth_addresses", whole(1, 1_000_000), None),
        growth_addresses_per_day=given.take("growth_addresses_per_day", whole(1, 1_000_000), None),
    )


def _timing(given: Options) -> Timing:
    default = Timing()
    timing = Timing(
        debounce=given.take("debounce", seconds(0, 60), default.debounce, was="quiet"),
        max_delay=given.take("max_delay", seconds(0, 600), default.max_delay, was="longest"),
        inactivity=given.take("inactivity", seconds(1, 3600), default.inactivity),
        relist=given.take("relist", seconds(10, 86_400), default.relist),
    )
    given.finish()
    return timing


def _address_type(value: object) -> AddressType:
    if isinstance(value, str):
        try:
            return AddressType(value)
        except ValueError:
            pass
    raise ValueError("one of " + ", ".join(kind.value for kind in AddressType))
