"""
After the store was lost: does a view agree with what minions were served last?

The minions are the only ones that know. A view agrees when it has the identity that was pinned, and
differs from what minions were served by no more than the guards would let pass.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from salt_ext.core.cluster.guard import Rules
from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.display import names

FUNCTION = "k8s_firewall.served"
"""What a minion is asked: it answers from its own record."""

KNOWN = "known"
"""The argument with the digests of lists that need not be sent again."""

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What one minion was served last, by its own record."""

    addresses: frozenset[str]
    clusters: frozenset[str]
    """The clusters whose references its last pillar had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How far one cluster's view agrees."""

    agrees: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the judgement is made from."""

    snapshots: Mapping[str, Snapshot]
    """The views that were listed since the loss."""
    pinned: Mapping[str, str]
    """The identity of each cluster that was accepted before."""
    rules: Mapping[str, Rules]
    desired: Mapping[str, Mapping[str, frozenset[str]]]
    """By minion and cluster, the addresses that references would serve now, canonical."""
    served: Mapping[str, Served] = field(default_factory=dict)
    """By minion, what it answered; minions that know nothing, or are silent, are not in it."""
    unasked: int = 0
    """Minions whose pillar was not read yet, or that may still answer."""


def read_served(returned: object, lists: Mapping[str, frozenset[str]]) -> Served | None:
    """
    Read a minion's answer; None where it knows nothing, not all, or lacks the function.

    ``lists`` are the addresses behind each digest that it was told not to send again.
    """
    if not isinstance(returned, Mapping) or not isinstance(returned.get("clusters"), Mapping):
        return None
    clusters = frozenset(map(str, returned["clusters"]))
    listed = returned.get("addresses")
    if listed is None:
        addresses = lists.get(str(returned.get("digest")))
    elif isinstance(listed, list) and not returned.get("truncated"):
        addresses = canonical(listed)
    else:
        addresses = None
    if addresses is None or not (clusters or addresses):
        return None
    return Served(addresses=addresses, clusters=clusters)


def canonical(texts: Iterable[object]) -> frozenset[str]:
    """Return addresses and networks in one spelling; other texts, such as node lists, are not."""
    found = set()
    for text in texts:
        try:
            network = ipaddress.ip_network(str(text))
        except ValueError:
            continue
        single = network.prefixlen == network.max_prefixlen
        found.add(str(network.network_address if single else network))
    return frozenset(found)


def judge(facts: Facts, clusters: Iterable[str]) -> dict[str, Report]:
    """Return for each cluster whether its view agrees, and in words why or why not."""
    views = {
        name: canonical(
            address for member in one.members.values() for address in member.all_addresses()
        )
        for name, one in facts.snapshots.items()
    }
    # Millions of addresses, which are only worth the time once every minion has answered.
    missing = {} if facts.unasked else _missing(facts, views)
    return {name: _judge(name, facts, views, missing) for name in clusters}


def _judge(
    name: str,
    facts: Facts,
    views: Mapping[str, frozenset[str]],
    missing: Mapping[str, frozenset[str]],
) -> Report:
    if name not in facts.snapshots:
        return Report(agrees=False, text="not listed completely since then")
    pinned, identity = facts.pinned.get(name, ""), facts.snapshots[name].identity
    if pinned and pinned != identity:
        return Report(
            agrees=False,
            text=f"another cluster answers: kube-system has the uid {identity}, it was {pinned}",
        )
    if facts.unasked:
        return Report(agrees=False, text=f"waiting for {facts.unasked} minions")
    referring = {minion for minion, of in facts.desired.items() if name in of}
    knowing = {minion for minion, one in facts.served.items() if name in one.clusters}
    if referring and not knowing:
        return Report(
            agrees=False,
            text=f"none of its {len(referring)} minions knows what it was served",
        )
    rules = facts.rules.get(name, Rules())
    had = _union(facts.served[minion].addresses for minion in knowing)
    wanted = _union(facts.desired[minion][name] for minion in referring & facts.served.keys())
    gone = missing.get(name, frozenset())
    # An address that any minion was served is not new, whichever cluster it came from.
    new = wanted - _union(one.addresses for one in facts.served.values())
    kept = len(had & (views[name] | wanted))
    problems = []
    if rules.is_mass_loss(len(gone), kept + len(gone)):
        problems.append(
            f"{len(gone)} of {kept + len(gone)} addresses that minions have are in no view: "
            f"{names(sorted(gone), _SHOWN)}"
        )
    growth = rules.growth_nodes if rules.growth_addresses is None else rules.growth_addresses
    if len(new) > max(growth, (kept + len(gone)) * rules.growth_percent // 100):
        problems.append(
            f"{len(new)} addresses are new to minions that have {kept + len(gone)}: "
            f"{names(sorted(new), _SHOWN)}"
        )
    if problems:
        return Report(agrees=False, text="; ".join(problems))
    return Report(
        agrees=True,
        text=f"agrees with {len(knowing)} minions: {kept} addresses are the same, "
        f"{len(gone)} are gone, {len(new)} are new",
    )


def _missing(facts: Facts, views: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Return the addresses that minions have and no view has, by the cluster they may be of."""
    present = _union(views.values()) | _union(
        texts for of in facts.desired.values() for texts in of.values()
    )
    # A minion does not know which address is of which cluster; several narrow it down.
    distinct = {
        (one.addresses, one.clusters or frozenset(facts.desired.get(minion, ())))
        for minion, one in facts.served.items()
    }
    owners: dict[str, frozenset[str]] = {}
    for addresses, own in distinct:
        for address in addresses - present:
            owners[address] = (owners.get(address, own) & own) or owners[address]
    missing: dict[str, set[str]] = {}
    for address, clusters in owners.items():
        # Perhaps of one that was not listed yet: then that one waits, and its minions with it.
        for name in (clusters - views.keys()) or clusters:
            missing.setdefault(name, set()).add(address)
    return {name: frozenset(found) for name, found in missing.items()}


def _union(parts: Iterable[frozenset[str]]) -> frozenset[str]:
    # Many minions have the same ones.
    return frozenset().union(*set(parts))
