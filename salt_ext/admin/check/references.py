"""Group ``references``: references, groups and targets that match nothing, and unused clusters."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.config.config import KEY, Config
from salt_ext.core.diagnosis.finding import Finding, error, info, warning
from salt_ext.core.display import names
from salt_ext.core.errors import BadReference
from salt_ext.core.references import node_lists, reference
from salt_ext.core.references.reference import Reference
from salt_ext.core.references.resolution import Unresolved
from salt_ext.core.references.resolve import PLACEHOLDERS, select_members
from salt_ext.references.resolver import Resolver, shared_resolver
from salt_ext.rollout.classes import TargetMatches
from salt_ext.store import Store
from salt_ext.store.subscriptions import Answer, Subscription

_RESTRICTED = "node-restriction.kubernetes.io/"
"""Prefix of the labels that a kubelet cannot set on its own node."""

_GRAIN_MATCH = re.compile(r"\b[GP]@")

_PLACEHOLDER_LINES = {
    text for item in PLACEHOLDERS.values() for text in (str(item), f"{item}/{item.max_prefixlen}")
}


def findings(config: Config, store: Store, match: TargetMatches) -> Iterator[Finding]:
    """Yield the findings of all references in pillars, and of what the configuration offers."""
    rows = [row for row in store.subscriptions.all() if not row.gone]
    by_text: dict[str, list[Subscription]] = defaultdict(list)
    for row in rows:
        by_text[row.reference].append(row)
    resolver = shared_resolver(store)
    for text, subscriptions in sorted(by_text.items()):
        yield from _reference(text, subscriptions, config, store, resolver)
    yield from _clusters({row.seen.cluster for row in rows}, config, any_reference=bool(rows))
    for name in config.clusters:
        snapshot = store.snapshots.load(name)
        if snapshot is not None and snapshot.members:
            yield from _groups(name, config, snapshot)
        yield from _cluster_targets(name, config, match)
        yield from _selectors(name, config, by_text)
    for action in config.apply.classes:
        if action.target is not None:
            where = f"{KEY}:apply:classes:{action.name}:target"
            yield from _target(where, action.target, match)


def _reference(
    text: str,
    subscriptions: list[Subscription],
    config: Config,
    store: Store,
    resolver: Resolver,
) -> Iterator[Finding]:
    where = f"{text} of {names({row.minion for row in subscriptions})}"
    cluster = subscriptions[0].seen.cluster
    refused = {row.minion for row in subscriptions if row.seen.answer is Answer.REFUSED}
    if refused:
        yield warning(
            where,
            f"{KEY}:clusters:{cluster}:serve_to excludes {names(refused)}",
            "add the minions to serve_to, or remove the reference from their pillars",
        )
    lines = resolver.lines(text, config)
    if isinstance(lines, Unresolved):
        if _is_mistake(text, config):
            yield error(
                where,
                f"stays in the pillar and allows nothing: {lines.why}",
                "correct the reference, or configure the cluster or group that it names",
            )
    elif not set(lines) - _PLACEHOLDER_LINES:
        snapshot = store.snapshots.load(cluster)
        if snapshot is not None and snapshot.members:
            yield warning(
                where,
                f"matches none of the {len(snapshot.members)} nodes of {snapshot.cluster}",
                f"compare its labels, family, ready and addresses with salt-run k8s_nodes.nodes "
                f"{snapshot.cluster}",
            )


def _is_mistake(text: str, config: Config) -> bool:
    """Return whether the text or the configuration is wrong; else its cluster has a finding."""
    try:
        if text.startswith(node_lists.SCHEME):
            return node_lists.parse(text)[0] not in config.names
        parsed = reference.parse(text)
    except BadReference:
        return True
    cluster = config.clusters.get(parsed.cluster)
    if cluster is None:
        return parsed.cluster not in config.names
    return parsed.group is not None and parsed.group not in cluster.groups


def _clusters(referenced: set[str], config: Config, *, any_reference: bool) -> Iterator[Finding]:
    if not any_reference:
        yield info(
            "references",
            "no minion is known to reference a cluster",
            "salt-run k8s_nodes.discover compiles the pillars of all minions",
        )
        return
    for name, cluster in config.clusters.items():
        if name not in referenced and not cluster.node_lists:
            yield info(
                f"cluster {name}",
                "no minion references it",
                f"write k8s://{name} in place of an address; see docs/references.md",
            )


def _groups(name: str, config: Config, snapshot: Snapshot) -> Iterator[Finding]:
    cluster = config.clusters[name]
    for label, group in cluster.groups.items():
        members = select_members(
            snapshot,
            Reference(text="", cluster=name, group=label),
            cluster.defaults,
            cluster.limits,
            group,
        )
        if not any(addresses for _, addresses in members):
            yield warning(
                f"{KEY}:clusters:{name}:groups:{label}",
                f"matches no address of the {len(snapshot.members)} nodes",
                "compare its labelSelector, family, ready and addresses with the nodes",
            )


def _cluster_targets(name: str, config: Config, match: TargetMatches) -> Iterator[Finding]:
    cluster = config.clusters[name]
    targets = [("serve_to", cluster.serve_to)] if cluster.serve_to else []
    targets += [("node_lists", rule.to) for rule in cluster.node_lists]
    for key, target in targets:
        where = f"{KEY}:clusters:{name}:{key}"
        yield from _target(where, target, match)
        if _GRAIN_MATCH.search(target):
            yield info(
                where,
                f"{target!r} matches by grains, which a minion sets itself",
                "match by minion id where a minion must not get the addresses",
            )


def _selectors(name: str, config: Config, texts: Iterable[str]) -> Iterator[Finding]:
    """Yield the selectors on labels that a kubelet can set itself."""
    groups = config.clusters[name].groups
    selectors = [(f"k8s://{name}/{label}", group.labels) for label, group in groups.items()]
    for text in texts:
        with contextlib.suppress(BadReference):
            parsed = reference.parse(text)
            if parsed.cluster == name:
                selectors.append((text, parsed.labels))
    weak = [
        text
        for text, labels in selectors
        if labels.requirements
        and not any(item.key.startswith(_RESTRICTED) for item in labels.requirements)
    ]
    if weak:
        yield info(
            f"cluster {name}",
            f"the labels of {names(weak)} can be set by any kubelet on its own node: they keep no "
            "dishonest node out",
            f"where that matters, select by a label that begins with {_RESTRICTED}",
        )


def _target(where: str, target: str, match: TargetMatches) -> Iterator[Finding]:
    if not match(target):
        yield warning(
            where,
            f"{target!r} matches no minion of this master",
            "compare it with salt-key -L; grains match only where the master has cached them",
        )
