"""The ``k8s_nodes:`` block of the master's configuration, read and checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from salt_ext.core.cluster.address import RESERVED_NETWORKS, Network
from salt_ext.core.config import apply, clusters, doubt, options, places
from salt_ext.core.config.apply import ApplyConfig, Mode
from salt_ext.core.config.clusters import Cluster
from salt_ext.core.config.networks import denied_networks
from salt_ext.core.config.options import NotAMapping, Options, UnknownKey, whole
from salt_ext.core.errors import ConfigError, UnknownCluster

KEY = "k8s_nodes"
STATE_DIR = "/var/lib/salt-k8s-nodes"

_NO_NETWORKS: tuple[Network, ...] = ()

_REQUIRED = ("kubeconfig", "server", "in_cluster", "allowed_networks")
"""Keys without any of which an entry is no cluster."""

# The keys of a cluster that do not change which addresses a reference means.
_NOT_IN_REFERENCES = (
    *("kubeconfig", "context", "server", "ca_file", "token_file", "token", "in_cluster"),
    *("insecure_skip_tls_verify", "exec_timeout"),
    *("allowed_networks", "denied_networks", "never", "guards", "timing", "page_size", "mode"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Where the engine's metrics are exported to."""

    textfile: str | None = None
    """Path of a ``.prom`` file in the folder of node_exporter's textfile collector."""
    port: int | None = None
    """Port that the engine listens on when Salt's exporter is ``prometheus``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The readable part of the block, and every mistake in it."""

    state_dir: str = STATE_DIR
    apply: ApplyConfig = field(default_factory=ApplyConfig)
    metrics: Metrics = Metrics()
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    broken: Mapping[str, Cluster | None] = field(default_factory=dict)
    """
    Clusters with a mistake, as far as they could be read: the last known addresses stay in force.

    None when the mistake makes the meaning of references to the cluster uncertain.
    """
    problems: tuple[ConfigError, ...] = ()
    stopped_by: tuple[ConfigError, ...] = ()
    """Mistakes that may be about any cluster: all are in ``broken``."""
    in_doubt: tuple[ConfigError, ...] = ()
    """Mistakes that leave it uncertain what to publish, and to which minions."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all clusters, valid or broken, in order."""
        return tuple(sorted({*self.clusters, *self.broken}))

    def mode(self, name: str) -> Mode:
        """
        Return the mode of a cluster; an unreadable cluster is only observed.

        A cluster that was taken out of the configuration is enforced: what it has opened has to be
        closed.
        """
        if name not in self.clusters and name not in self.broken:
            return Mode.ENFORCE if self.names_clusters else Mode.OBSERVE
        cluster = self.clusters.get(name) or self.broken.get(name)
        return cluster.mode if cluster else Mode.OBSERVE

    @property
    def names_clusters(self) -> bool:
        """Whether it is certain which clusters there are, even if there are none."""
        if any(isinstance(problem, (UnknownKey, NotAMapping)) for problem in self.stopped_by):
            return False
        return bool(self.names) or all(
            problem.key == f"{KEY}:clusters" and problem.value is None for problem in self.problems
        )

    def why_stopped(self, name: str) -> str:
        """Return why a cluster is not followed, with the key of the mistake; else ""."""
        if name not in self.broken:
            return ""
        own = [problem for problem in self.problems if f"{problem.key}:".startswith(_path(name))]
        if own:
            return f"the configuration of cluster {name!r} has a mistake: {own[0].key}"
        return f"no cluster is followed while {self.stopped_by[0].key} has a mistake"

    @property
    def with_node_lists(self) -> dict[str, Cluster]:
        """The readable clusters that have ``node_lists``."""
        readable = {**self.broken, **self.clusters}
        return {
            name: cluster
            for name, cluster in sorted(readable.items())
            if cluster and cluster.node_lists
        }

    def known(self, name: str) -> str:
        """Return the name of a configured cluster, valid or broken; else raise UnknownCluster."""
        if name in self.clusters or name in self.broken:
            return name
        raise UnknownCluster(name, self.names)


def read(raw: object, own_addresses: tuple[Network, ...] = ()) -> Config:
    """
    Read the block as Salt provides it; mistakes are collected, none is raised.

    ``own_addresses`` are the master's: they are never opened for a node that claims them.
    """
    problems: list[ConfigError] = []
    block = Options(raw, KEY, problems)
    state_dir = block.take("state_dir", options.path, STATE_DIR)
    apply_config = apply.read(block.below("apply"))
    metrics = _metrics(block.below("metrics"))
    denied = block.take("denied_networks", denied_networks, _NO_NETWORKS, was="never")
    entries = block.below("clusters", may_be_null=True)
    block.finish()
    elsewhere = doubt.denied_elsewhere(raw, [str(name) for name in entries.keys])
    never_open = (*RESERVED_NETWORKS, *own_addresses, *denied, *elsewhere.get("", ()))
    read_clusters = {str(name): _read_cluster(name, entries, never_open) for name in entries.keys}
    if not entries.keys and not problems:
        problems.append(ConfigError(f"{KEY}:clusters", None, "at least one cluster (required)"))
    own = [_path(name) for name, one in read_clusters.items() if one.cluster]
    doubts = doubt.judge(problems, KEY, own)
    stopped_by = doubts.every_cluster
    valid: dict[str, Cluster] = {}
    broken: dict[str, Cluster | None] = {}
    for name, one in read_clusters.items():
        if one.cluster and not one.bad_keys and not stopped_by:
            valid[name] = one.cluster
        elif one.cluster and one.keeps_references and not doubts.meaning:
            broken[name] = clusters.in_force(one.cluster, one.bad_keys, elsewhere.get(name, ()))
        else:
            broken[name] = None
    return Config(
        state_dir=state_dir,
        apply=apply_config,
        metrics=metrics,
        clusters=valid,
        broken=broken,
        problems=tuple(problems),
        stopped_by=stopped_by,
        in_doubt=doubts.publishing,
    )


@dataclass(frozen=True, slots=True)
class _ReadCluster:
    """An entry of ``clusters:``, as far as it could be read."""

    cluster: Cluster | None
    bad_keys: tuple[str, ...]
    has_content: bool = True
    """False where all that is required is missing: so may be anything that was beside it."""

    @property
    def keeps_references(self) -> bool:
        """Whether references keep their meaning despite the mistakes."""
        return self.has_content and all(map(_keeps_references, self.bad_keys))


def _read_cluster(name: object, entries: Options, never_open: tuple[Network, ...]) -> _ReadCluster:
    problem_count = len(entries.problems)
    cluster = clusters.read(name, entries, never_open)
    path = f"{entries.path}:{name}"
    bad_keys = tuple(
        problem.key.removeprefix(path).lstrip(":") for problem in entries.problems[problem_count:]
    )
    written = entries.raw(str(name))
    has_content = isinstance(written, Mapping) and any(map(written.get, _REQUIRED))
    return _ReadCluster(cluster, bad_keys, has_content)


def _path(name: str) -> str:
    return f"{KEY}:clusters:{name}:"


def _keeps_references(key: str) -> bool:
    """Whether references keep their meaning despite a mistake in this key of a cluster."""
    top = key.partition(":")[0]
    if top in ("", *_NOT_IN_REFERENCES):
        return True
    # An unknown key may be `serve_to` or `addresses`, misspelt.
    return places.subjects([top]) in (frozenset([places.DENIED]), frozenset([places.OTHER]))


def _metrics(given: Options) -> Metrics:
    metrics = Metrics(
        textfile=given.take("textfile", options.path, None),
        port=given.take("port", whole(1, 65_535), None),
    )
    given.finish()
    return metrics
