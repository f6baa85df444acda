"""Whether what pillars refer to is there, and whether what is there is referred to."""

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
"""Of all labels, a kubelet cannot set these on its own node."""

_BY_GRAINS = re.compile(r"\b[GP]@")


def findings(config: Config, store: Store, meant: TargetMatches) -> Iterator[Finding]:
    """Yield references that mean nothing, and clusters, groups and targets that nobody means."""
    rows = [row for row in store.subscriptions.all() if not row.gone]
    by_text: dict[str, list[Subscription]] = defaultdict(list)
    for row in rows:
        by_text[row.reference].append(row)
    resolver = shared_resolver(store)
    for text, found in sorted(by_text.items()):
        yield from _reference(text, found, config, store, resolver)
    yield from _clusters({row.seen.cluster for row in rows}, config, any_=bool(rows))
    for name, cluster in config.clusters.items():
        snapshot = store.snapshots.load(name)
        if snapshot is not None and snapshot.members:
            yield from _groups(name, config, snapshot)
        at = f"{KEY}:clusters:{name}"
        targets = [*([("serve_to", cluster.serve_to)] if cluster.serve_to else [])]
        targets += [("serve", entry.to) for entry in cluster.node_lists]
        for key, target in targets:
            yield from _target(f"{at}:{key}", target, meant)
            if _BY_GRAINS.search(target):
                yield info(
                    f"{at}:{key}",
                    f"{target!r} goes by grains, which are the minion's own word",
                    "name minions by id where it matters who is served",
                )
        yield from _selectors(name, config, by_text)
    for what in config.apply.classes:
        if what.target is not None:
            yield from _target(f"{KEY}:apply:classes:{what.name}:target", what.target, meant)


def _reference(
    text: str,
    rows: list[Subscription],
    config: Config,
    store: Store,
    resolver: Resolver,
) -> Iterator[Finding]:
    at = f"{text} of {names({row.minion for row in rows})}"
    refused = {row.minion for row in rows if row.seen.answer is Answer.REFUSED}
    if refused:
        yield warning(
            at,
            f"the cluster does not serve {names(refused)} (serve_to)",
            f"add them to {KEY}:clusters:{rows[0].seen.cluster}:serve_to, or take it away there",
        )
    lines = resolver.lines(text, config)
    if isinstance(lines, Unresolved):
        if _is_mistake(text, config):
            yield error(
                at,
                f"stays in the pillar as it is, and opens nothing: {lines.why}",
                "correct the reference, or configure what it means",
            )
    elif not set(lines) - _PLACEHOLDERS:
        snapshot = store.snapshots.load(rows[0].seen.cluster)
        if snapshot is not None and snapshot.members:
            yield warning(
                at,
                f"means none of the {len(snapshot.members)} nodes of {snapshot.cluster}",
                "salt-run k8s_nodes.nodes shows them; compare labels, family, ready and addresses",
            )


_PLACEHOLDERS = {
    text for item in PLACEHOLDERS.values() for text in (str(item), f"{item}/{item.max_prefixlen}")
}


def _is_mistake(text: str, config: Config) -> bool:
    """Whether somebody has to write something else; else the cluster itself is told of."""
    try:
        if text.startswith(node_lists.SCHEME):
            return node_lists.parse(text)[0] not in config.names
        wanted = reference.parse(text)
    except BadReference:
        return True
    cluster = config.clusters.get(wanted.cluster)
    if cluster is None:
        return wanted.cluster not in config.names
    return wanted.group is not None and wanted.group not in cluster.groups


def _clusters(used: set[str], config: Config, *, any_: bool) -> Iterator[Finding]:
    if not any_:
        yield info(
            "references",
            "no minion is known to refer to any cluster",
            "salt-run k8s_nodes.discover looks through the pillars of all minions",
        )
        return
    for name, cluster in config.clusters.items():
        if name not in used and not cluster.node_lists:
            yield info(
                f"cluster {name}",
                "no minion refers to it",
                f"write k8s://{name} where an address stands; docs/references.md has the rest",
            )


def _groups(name: str, config: Config, snapshot: Snapshot) -> Iterator[Finding]:
    cluster = config.clusters[name]
    for label, group in cluster.groups.items():
        wanted = Reference(text="", cluster=name, group=label)
        found = select_members(snapshot, wanted, cluster.defaults, cluster.limits, group)
        if not any(addresses for _, addresses in found):
            yield warning(
                f"{KEY}:clusters:{name}:groups:{label}",
                f"means no address of the {len(snapshot.members)} nodes",
                "compare its labelSelector, family, ready and addresses with the nodes",
            )


def _selectors(name: str, config: Config, texts: Iterable[str]) -> Iterator[Finding]:
    """Yield which selectors keep no dishonest node out."""
    groups = config.clusters[name].groups
    used = [(f"k8s://{name}/{label}", group.labels) for label, group in groups.items()]
    for text in texts:
        with contextlib.suppress(BadReference):
            wanted = reference.parse(text)
            if wanted.cluster == name:
                used.append((text, wanted.labels))
    weak = [
        text
        for text, labels in used
        if labels.requirements
        and not any(one.key.startswith(_RESTRICTED) for one in labels.requirements)
    ]
    if weak:
        yield info(
            f"cluster {name}",
            f"a kubelet sets the labels itself that {names(weak)} select by: that chooses among "
            "honest nodes, and keeps no other out",
            f"where it has to, select by a label that begins with {_RESTRICTED}",
        )


def _target(at: str, target: str, meant: TargetMatches) -> Iterator[Finding]:
    if not meant(target):
        yield warning(
            at,
            f"{target!r} means no minion that this master knows",
            "grains in it are those that the master has cached; salt-key -L has the names",
        )
