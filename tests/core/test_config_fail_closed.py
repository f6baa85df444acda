"""
A mistake in the configuration never lets an address in that the valid one kept out.

A valid configuration is mutated as typing errors do it; then nothing opens: not for a node that
claims any address, not for a reference, not for a minion, not by a publish.

What no reader can see is out of scope: a mutation after which the configuration is as valid as
before, and says something else. These are a whole key or item that is deleted; a key that is moved
to another mapping that has it too (`denied_networks` from the block into one cluster, `ready` from
a cluster into a group, `mode` from a cluster into `apply`); a cluster, group or class that is
renamed; a network, target or selector that is replaced by another valid one; and a key that becomes
an argument of a function (`arg`, `kwarg`), unless its name is distinctive: `denied_networks`.
Of two mistakes at once, one is not seen: a key that is moved to the same mapping of another cluster
and is misspelt there is a mistake of that cluster alone, except for `denied_networks`.
"""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from salt_ext.core.cluster.member import admit
from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.config import config
from salt_ext.core.config.apply import Mode
from salt_ext.core.config.config import Config
from salt_ext.core.references.reference import parse
from salt_ext.core.references.resolve import NodeGroup, resolve
from tests.core.build import node

NETWORKS = ["192.0.2.0/24", "198.51.100.0/25", "203.0.113.8/29", "2001:db8:1::/64", "10.1.0.0/16"]
DENIED = ["192.0.2.9", "198.51.100.64/27", "2001:db8:1::9", "10.1.2.0/24", "203.0.113.9/32"]

NODES = [
    node(
        f"n{number}",
        *internal,
        external=external,
        pod_cidrs=cidrs,
        labels={"pool": pool},
        ready=ready,
    )
    for number, (internal, external, cidrs, pool, ready) in enumerate(
        [
            (("192.0.2.1", "2001:db8:1::1"), ("198.51.100.1",), ("10.1.0.0/24",), "app", True),
            (("192.0.2.9",), ("198.51.100.66",), ("10.1.2.0/24",), "app", False),
            (("198.51.100.70", "2001:db8:1::9"), ("203.0.113.9",), ("10.1.0.0/18",), "db", True),
            (("203.0.113.10", "8.8.8.8"), ("192.0.2.77",), ("10.0.0.0/8",), "db", False),
            (("127.0.0.1", "10.1.2.3"), ("2001:db8:2::1",), ("2001:db8:1::/64",), "", True),
        ]
    )
]

OLD_NAMES = {
    "denied_networks": "never",
    "node_lists": "serve",
    "min_prefix_ipv4": "widest_ipv4",
    "max_inline_addresses": "deliver",
}


def some(values: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)


def optional(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=values)


GUARDS = optional(
    min_nodes=st.integers(0, 5),
    addresses_per_node=st.integers(1, 16),
    min_prefix_ipv4=st.sampled_from([16, 22, 24, 28]),
    min_prefix_ipv6=st.sampled_from([48, 64, 96]),
    grace=st.integers(0, 600),
)
GROUP = st.fixed_dictionaries(
    {"labelSelector": st.sampled_from(["pool=app", "pool in (db)", "pool"])},
    optional={
        "addresses": some(["InternalIP", "ExternalIP", "podCIDR"]),
        "family": st.sampled_from(["ipv4", "ipv6"]),
        "ready": st.sampled_from(["any", "only"]),
    },
)
NODE_LIST = st.fixed_dictionaries(
    {"to": st.sampled_from(["lb1", "lb* and not lb9"])},
    optional={"labels": st.just(["pool"])},
)
CLUSTER = st.fixed_dictionaries(
    {"kubeconfig": st.just("/etc/salt/k8s/one.kubeconfig"), "allowed_networks": some(NETWORKS)},
    optional={
        "denied_networks": some(DENIED),
        "addresses": some(["InternalIP", "ExternalIP", "podCIDR"]),
        "ready": st.sampled_from(["any", "only"]),
        "mode": st.sampled_from(["enforce", "observe"]),
        "serve_to": st.sampled_from(["db1", "db* or G@role:proxy"]),
        "groups": st.dictionaries(st.sampled_from(["web", "back"]), GROUP, min_size=1),
        "node_lists": st.lists(NODE_LIST, min_size=1, max_size=2),
        "guards": GUARDS,
        "timing": optional(debounce=st.just(1), relist=st.just(600)),
    },
)
ACTION = {
    "states": st.just(["firewall"]),
    "mode": st.sampled_from(["enforce", "observe"]),
    "kwarg": st.just({"saltenv": "base"}),
}
BLOCK = st.fixed_dictionaries(
    {"clusters": st.dictionaries(st.sampled_from(["prod", "eu", "never"]), CLUSTER, min_size=1)},
    optional={
        "state_dir": st.just("/srv/state"),
        "denied_networks": some(DENIED),
        "metrics": optional(port=st.just(9100), textfile=st.just("/srv/a.prom")),
        "apply": optional(
            **ACTION,
            batch=st.integers(1, 50),
            classes=st.dictionaries(
                st.just("sets"),
                st.fixed_dictionaries({"target": st.just("db*")}, optional=ACTION),
            ),
        ),
    },
)

Path = tuple[Any, ...]


def entries(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of each key and list item."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key)
            yield from entries(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield (*path, index)
            yield from entries(item, (*path, index))


def at(value: Any, path: Path) -> Any:
    for part in path:
        value = value[part]
    return value


GARBAGE = st.one_of(
    st.sampled_from(
        [
            *(0, 1, 7, -1, 10**30, 1.5, float("nan"), True, False, b"192.0.2.9", "", " ", "x\ny"),
            *([], {}, [[]], [None], [{}], {"x": {}}, {None: None}, {1: 2}, ["192.0.2.300"]),
            *("198.51.100.66/24", ["198.51.100.66/24"], "192.0.2.9-192.0.2.12", "0/0", "0.0.0.0"),
            *(["::/0"], ["0.0.0.0/1", "128.0.0.0/1"], ["::ffff:192.0.2.9"], "not db*", "*"),
        ]
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=5,
    ),
    st.just(0).map(lambda _: deep(2000)),
)


def deep(levels: int) -> Any:
    value: Any = "192.0.2.9"
    for level in range(levels):
        value = [value] if level % 2 else {"x": value}
    return value


def misspelt(name: str, how: int, where: int) -> str:
    where %= len(name)
    return [
        name[:where] + name[where + 1 :] or "x",
        name[: where + 1] + name[where:],
        name.upper() if name.islower() else name.lower(),
        name.replace("_", "-") if "_" in name else f"{name}s",
        f"{name} ",
        name[:where] + "x" + name[where + 1 :],
        OLD_NAMES.get(name, "zzz"),
        "zzz",
    ][how % 8]


def renamed(mapping: dict[Any, Any], old: Any, new: Any) -> None:
    items = [(new if key == old else key, item) for key, item in mapping.items()]
    mapping.clear()
    mapping.update(items)


CERTAIN = frozenset(["null", "host bits", "bare string", "mapped"])
"""Mutations after which there must be a mistake."""


@st.composite
def mutations(draw: st.DrawFn, block: dict[str, Any]) -> tuple[str, Any]:
    """Return the kind of one typing error, and the block with it."""
    mutated = copy.deepcopy(block)
    path = draw(st.sampled_from(sorted(entries(mutated), key=str)))
    holder, last = at(mutated, path[:-1]), path[-1]
    value = holder[last]
    # The arguments of a function are free.
    is_free = "kwarg" in path[:-1]
    kinds = [*([] if is_free else ["null"]), "garbage", "wrapped in a list", "wrapped in a mapping"]
    if isinstance(last, str):
        kinds += ["misspelt", "misspelt", "moved", "moved", "moved", "moved and misspelt", "nested"]
    if isinstance(value, dict):
        kinds += ["hoisted", "hoisted"]
    if isinstance(value, list):
        kinds += ["bare string", "twice"]
    if isinstance(last, int):
        kinds += ["item misread"]
    if isinstance(value, str) and "/" in value and value[0] in "12":
        kinds += ["host bits", "mapped"]
    kind = draw(st.sampled_from(kinds))
    if kind == "null":
        holder[last] = None
    elif kind == "garbage":
        holder[last] = draw(GARBAGE)
    elif kind == "item misread":
        holder[last] = draw(
            st.sampled_from([f"{value}x", f" {value}", [value], {str(value): None}, 1])
        )
    elif kind == "wrapped in a list":
        holder[last] = [value]
    elif kind in ("wrapped in a mapping", "nested"):
        holder[last] = {draw(st.sampled_from(["x", "guards", str(last)])): value}
    elif kind == "misspelt":
        new = misspelt(last, draw(st.integers(0, 7)), draw(st.integers(0, 20)))
        assume(new not in holder)
        renamed(holder, last, new)
    elif kind in ("moved", "moved and misspelt"):
        del holder[last]
        holders = [
            (),
            *(there for there in entries(mutated) if isinstance(at(mutated, there), dict)),
        ]
        there = draw(st.sampled_from(holders))
        target = at(mutated, there)
        how = draw(st.integers(0, 5))
        new = last if kind == "moved" else misspelt(last, how, draw(st.integers(0, 20)))
        if kind != "moved" and last != "denied_networks":
            # There it reads as a mistake of that cluster's own.
            assume(not (there[:1] == path[:1] == ("clusters",) and there[2:] == path[2:-1]))
        # What is overwritten is as good as deleted.
        assume(target is not holder and new not in target)
        target[new] = value
    elif kind == "hoisted":
        del holder[last]
        if isinstance(holder, dict) and draw(st.booleans()):
            holder[last] = None
        for key, item in value.items():
            holder.setdefault(key, item) if isinstance(holder, dict) else holder.append({key: item})
    elif kind == "bare string":
        holder[last] = ", ".join(map(str, value))
    elif kind == "twice":
        holder[last] = [*value, *value]
    elif kind == "host bits":
        holder[last] = f"{value.partition('/')[0][:-1]}7/{value.partition('/')[2]}"
        assume(not value.endswith(("/32", "/128")))
    elif kind == "mapped":
        assume("." in value)
        address, _, prefix = value.partition("/")
        holder[last] = f"::ffff:{address}/{96 + int(prefix)}"
    assume(mutated != block)
    return kind, mutated


def snapshot_of(name: str, found: Config) -> Snapshot:
    """Return what is stored of a cluster that was followed with this configuration."""
    limits = found.clusters[name].limits
    return Snapshot(
        cluster=name,
        revision=1,
        identity="uid",
        resource_version="1",
        observed_at=1.0,
        members={one.name: admit(one, limits)[0] for one in NODES},
    )


def served(name: str, text: str, found: Config, stored: Snapshot) -> frozenset[str]:
    """Return what a reference is answered with, as the resolver does it."""
    reference = parse(text)
    if name not in found.names:
        return frozenset()
    cluster = found.clusters.get(name) or found.broken[name]
    if cluster is None or (reference.group and reference.group not in cluster.groups):
        return frozenset()
    group = cluster.groups.get(reference.group or "", NodeGroup())
    return frozenset(resolve(stored, reference, cluster.defaults, cluster.limits, group))


@dataclass(frozen=True)
class Before:
    """What a valid configuration has let in."""

    config: Config
    stored: dict[str, Snapshot]
    meant: dict[str, frozenset[str]]
    """Addresses by reference."""
    admitted: dict[str, list[frozenset[Any]]]
    """Addresses of each node, by cluster."""


def before_of(valid: Config) -> Before:
    stored = {name: snapshot_of(name, valid) for name in valid.clusters}
    return Before(
        valid,
        stored,
        {
            text: served(name, text, valid, stored[name])
            for name, cluster in valid.clusters.items()
            for text in texts(name, cluster.groups)
        },
        {
            name: [admit(one, cluster.limits)[0].all_addresses() for one in NODES]
            for name, cluster in valid.clusters.items()
        },
    )


def opened(before: Before, mutated: Config) -> Iterator[str]:
    """Yield everything that the mutated configuration lets in, and the valid one does not."""
    valid = before.config
    for name, cluster in mutated.clusters.items():
        if name not in valid.clusters:
            yield f"cluster {name} is followed"
            continue
        for one, admitted in zip(NODES, before.admitted[name], strict=True):
            for item in admit(one, cluster.limits)[0].all_addresses() - admitted:
                yield f"{name}: {one.name} gets {item} in"
        if cluster.limits.addresses_per_node > valid.clusters[name].limits.addresses_per_node:
            yield f"{name}: more addresses per node"
    for name, was in valid.clusters.items():
        stored = snapshot_of(name, mutated) if name in mutated.clusters else before.stored[name]
        for text in texts(name, was.groups):
            for item in served(name, text, mutated, stored) - before.meant[text]:
                yield f"{text} means {item}"
        after = mutated.clusters.get(name) or mutated.broken.get(name)
        if after is None:
            continue
        if was.serve_to is not None and after.serve_to != was.serve_to:
            yield f"{name} is served to {after.serve_to}"
        for rule in set(after.node_lists) - set(was.node_lists):
            yield f"{name}: node list {rule}"
        if valid.mode(name) is Mode.OBSERVE and mutated.mode(name) is Mode.ENFORCE:
            yield f"{name} is published"
    if not mutated.in_doubt:
        for action in (mutated.apply.default, *mutated.apply.classes):
            old = valid.apply.find_class(action.name)
            if old is None or (action.mode is Mode.ENFORCE and old.mode is Mode.OBSERVE):
                yield f"class {action.name} is published to"
            elif action.implicit and not old.implicit:
                yield f"class {action.name} starts a highstate"


def texts(name: str, groups: Any) -> list[str]:
    bases = [f"k8s://{name}", *(f"k8s://{name}/{group}" for group in groups)]
    return [*bases, *(f"{base}?addresses=podCIDR" for base in bases)]


MORE = os.environ.get("FAIL_CLOSED_EXAMPLES")
"""The number of random examples, in place of the few that are the same in every run."""


@settings(
    max_examples=int(MORE or 300),
    derandomize=not MORE,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(st.data())
def test_no_mistake_lets_an_address_in_that_the_valid_configuration_kept_out(data):
    block = data.draw(BLOCK)
    valid = config.read(block)
    assert [str(problem) for problem in valid.problems] == []
    kind, mutated = data.draw(mutations(block))
    found = config.read(mutated)
    for problem in found.problems:
        assert len(str(problem)) < 1000
    event(kind)
    if not found.problems:
        assert kind not in CERTAIN
        return
    assert list(itertools.islice(opened(before_of(valid), found), 3)) == [], (kind, mutated)


WHOLE = {
    "state_dir": "/srv/state",
    "denied_networks": ["192.0.2.9", "198.51.100.64/27", "10.1.2.0/24"],
    "metrics": {"port": 9100},
    "apply": {
        "states": ["firewall"],
        "mode": "observe",
        "classes": {"sets": {"target": "db*", "function": "k8s_firewall.sync", "mode": "observe"}},
    },
    "clusters": {
        name: {
            "kubeconfig": "/etc/salt/k8s/one.kubeconfig",
            "allowed_networks": NETWORKS,
            "denied_networks": ["203.0.113.9/32"],
            "addresses": [kind],
            "ready": "only",
            "mode": "observe",
            "serve_to": "db*",
            "groups": {"web": {"labelSelector": "pool=app", "family": "ipv6", "ready": "only"}},
            "node_lists": [{"to": "lb*", "group": "web"}],
            "guards": {"min_prefix_ipv4": 24, "min_prefix_ipv6": 96, "addresses_per_node": 4},
            "timing": {"relist": 600},
        }
        for name, kind in (("prod", "ExternalIP"), ("eu", "podCIDR"))
    },
}


def single_mistakes(block: dict[str, Any]) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Yield every lost or wrapped value, misspelt key, and key at a wrong level."""
    for path in entries(block):
        value, last = at(block, path), path[-1]
        for kind, new in [
            ("null", None),
            ("wrapped in a list", [value]),
            ("wrapped in a mapping", {str(last): value}),
            ("emptied", type(value)()),
            ("bare string", str(value)),
            ("a number", 7),
        ]:
            mutated = copy.deepcopy(block)
            at(mutated, path[:-1])[last] = new
            yield kind, path, mutated
        if isinstance(last, str):
            for how in range(8):
                mutated = copy.deepcopy(block)
                renamed(at(mutated, path[:-1]), last, misspelt(last, how, len(last) // 2))
                yield "misspelt", path, mutated
            for there in [(), *(one for one in entries(block) if isinstance(at(block, one), dict))]:
                if there[: len(path)] == path or last in at(block, there):
                    continue
                mutated = copy.deepcopy(block)
                at(mutated, there)[last] = value
                del at(mutated, path[:-1])[last]
                yield "moved", path, mutated


def test_no_single_mistake_in_a_configuration_with_every_key_lets_anything_in():
    valid = config.read(WHOLE)
    assert [str(problem) for problem in valid.problems] == []
    before, count = before_of(valid), 0
    for kind, path, mutated in single_mistakes(WHOLE):
        found = config.read(mutated)
        if found.problems:
            count += 1
            assert list(itertools.islice(opened(before, found), 3)) == [], (kind, path)
        else:
            assert kind != "null", path
    assert count > 1000
