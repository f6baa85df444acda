"""The ``k8s_nodes:`` block of the master's configuration, read and checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from salt_ext.core.cluster.address import RESERVED_NETWORKS, Network, network
from salt_ext.core.config import apply, clusters, options
from salt_ext.core.config.apply import ApplyConfig, Mode
from salt_ext.core.config.clusters import Cluster
from salt_ext.core.config.options import Options, list_of, whole
from salt_ext.core.errors import ConfigError, UnknownCluster

KEY = "k8s_nodes"
STATE_DIR = "/var/lib/salt-k8s-nodes"

_NO_NETWORKS: tuple[Network, ...] = ()

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
    def in_doubt(self) -> tuple[ConfigError, ...]:
        """Mistakes in ``apply:``: it is uncertain what to publish, and to which minions."""
        prefix = f"{KEY}:apply:"
        return tuple(problem for problem in self.problems if f"{problem.key}:".startswith(prefix))

    @property
    def names_clusters(self) -> bool:
        """Whether it is certain which clusters there are, even if there are none."""
        return bool(self.names) or all(
            problem.key == f"{KEY}:clusters" and problem.value is None for problem in self.problems
        )

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
    denied = block.take("denied_networks", list_of(network), _NO_NETWORKS, was="never")
    entries = block.below("clusters")
    block.finish()
    valid: dict[str, Cluster] = {}
    broken: dict[str, Cluster | None] = {}
    for name in entries.keys:
        problem_count = len(problems)
        cluster = clusters.read(name, entries, (*RESERVED_NETWORKS, *own_addresses, *denied))
        path = f"{entries.path}:{name}"
        bad_keys = [
            problem.key.removeprefix(path).lstrip(":") for problem in problems[problem_count:]
        ]
        if cluster is None or bad_keys:
            broken[str(name)] = cluster if all(map(_keeps_references, bad_keys)) else None
        else:
            valid[cluster.name] = cluster
    if not entries.keys and not problems:
        problems.append(ConfigError(f"{KEY}:clusters", None, "at least one cluster (required)"))
    return Config(
        state_dir=state_dir,
        apply=apply_config,
        metrics=metrics,
        clusters=valid,
        broken=broken,
        problems=tuple(problems),
    )


def _keeps_references(key: str) -> bool:
    """Whether references keep their meaning despite a mistake in this key of a cluster."""
    # An unknown key may be `serve_to` or `addresses`, misspelt.
    return key.partition(":")[0] in ("", *_NOT_IN_REFERENCES)


def _metrics(given: Options) -> Metrics:
    metrics = Metrics(
        textfile=given.take("textfile", options.path, None),
        port=given.take("port", whole(1, 65_535), None),
    )
    given.finish()
    return metrics
