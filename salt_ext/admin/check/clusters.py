"""Group ``clusters``: reachability, credentials, rights and clock of each, and its last view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from salt_ext.admin.held import picture
from salt_ext.core import answers
from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.config.clusters import Cluster
from salt_ext.core.config.config import KEY, Config
from salt_ext.core.diagnosis.finding import Finding, error, info, warning
from salt_ext.core.display import names, utc
from salt_ext.kube.credential import SecretLookup
from salt_ext.kube.errors import BadCredentials, RequestFailed, Unauthorized
from salt_ext.kube.preflight import CLUSTER_ADMIN, REQUIRED, ClusterInfo, preflight
from salt_ext.store import Health, Store

_PARALLEL = 16
_SKEW_WARNING = 10.0
_SKEW_ERROR = 120.0
"""Seconds between the clocks of a cluster and of this machine."""

_FIX_RIGHTS = "salt-run k8s_nodes.setup prints the manifest; kubectl apply -f it there"


@dataclass(frozen=True, slots=True)
class ClusterAnswer:
    """The answer of one cluster, or its failure."""

    info: ClusterInfo | None = None
    failure: RequestFailed | None = field(default=None)

    def to_dict(self) -> answers.ClusterInfo | answers.Unreachable:
        """Return it as JSON types."""
        if self.info is None:
            return {"error": str(self.failure)}
        found = self.info
        return {
            "server": found.server,
            "version": found.version,
            "credential": found.credential_source,
            "clock_ahead_seconds": None if found.clock_skew is None else round(found.clock_skew, 1),
            "credential_ends": utc(found.credential_lifetime.expires_at)
            if found.credential_lifetime
            else None,
            "rights": {str(right): granted for right, granted in found.permissions.items()},
        }

    def __str__(self) -> str:
        if self.info is None:
            return "not reached"
        return (
            f"{self.info.version} at {self.info.server}, credential: {self.info.credential_source}"
        )


def ask_all(config: Config, secret: SecretLookup) -> dict[str, ClusterAnswer]:
    """Send a preflight to all clusters in parallel; return their answers by name."""

    def ask(cluster: Cluster) -> ClusterAnswer:
        try:
            return ClusterAnswer(preflight(cluster.access, secret))
        except RequestFailed as exc:
            return ClusterAnswer(failure=exc)

    clusters = list(config.clusters.values())
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return {
            cluster.name: answer
            for cluster, answer in zip(clusters, pool.map(ask, clusters), strict=True)
        }


def findings(
    config: Config, store: Store, clusters: Mapping[str, ClusterAnswer], now: float
) -> Iterator[Finding]:
    """Yield the findings of each cluster, from its answer and from the store."""
    for name, answer in clusters.items():
        where = f"cluster {name}"
        if answer.info is not None:
            yield from _preflight(where, answer.info, now)
        elif answer.failure is not None:
            yield _failure(where, answer.failure, config.clusters[name])
        yield from _stored(name, store, reached=answer.info is not None)


def _failure(where: str, failure: RequestFailed, cluster: Cluster) -> Finding:
    if isinstance(failure, BadCredentials):
        return error(f"{where}: credentials", str(failure), "correct that file or that key")
    if isinstance(failure, Unauthorized):
        return error(
            f"{where}: credentials",
            f"refused: {failure.reason}",
            "make a new token (salt-run k8s_nodes.setup says how) and put it there",
        )
    target = cluster.access.server or cluster.access.kubeconfig or "in_cluster"
    return error(
        f"{where}: reachability",
        f"no answer: {failure.reason}",
        f"check from this machine: the network to {target}, its name, and its CA",
    )


def _preflight(where: str, found: ClusterInfo, now: float) -> Iterator[Finding]:
    if found.permissions_error:
        yield warning(
            f"{where}: RBAC",
            f"the rights cannot be queried: {found.permissions_error}",
            "bind the ClusterRole system:basic-user again; it lets every user query its rights",
        )
    for right in REQUIRED:
        if found.permissions.get(right) is False:
            yield error(
                f"{where}: RBAC", f"{found.credential_source} may not `{right}`", _FIX_RIGHTS
            )
    if found.permissions.get(CLUSTER_ADMIN):
        yield warning(
            f"{where}: RBAC",
            f"{found.credential_source} may do everything in this cluster; reading nodes is enough",
            _FIX_RIGHTS,
        )
    if found.clock_skew is not None and abs(found.clock_skew) >= _SKEW_WARNING:
        ahead = "ahead of" if found.clock_skew > 0 else "behind"
        yield (error if abs(found.clock_skew) >= _SKEW_ERROR else warning)(
            f"{where}: clock",
            f"its clock is {abs(found.clock_skew):.0f} s {ahead} this machine's; tokens and "
            "certificates start and expire at the wrong time",
            "start NTP on the machine whose clock is wrong",
        )
    lifetime = found.credential_lifetime
    if lifetime is not None and lifetime.expires_soon(now):
        hours = (lifetime.expires_at - now) / 3600
        yield warning(
            f"{where}: credentials",
            f"{found.credential_source} expires in {hours:.1f} hours and was not renewed",
            "renew it; a token of a Secret (salt-run k8s_nodes.setup) does not expire",
        )


def _stored(name: str, store: Store, *, reached: bool) -> Iterator[Finding]:
    where = f"cluster {name}"
    snapshot, health = store.snapshots.load(name), store.health.of(name)
    if snapshot is None:
        yield error(
            where,
            "no complete LIST yet: references to it stay in the pillars",
            "fix the other findings of this cluster and of the engine, then check again",
        )
    if reached and health is not None and health.state == "waiting":
        yield warning(
            where,
            f"the engine has failed since {utc(health.lost_since)}: {health.error}",
            "this check reached it: salt-run k8s_nodes.refresh tries again at once",
        )
    for change in picture(store, name):
        yield warning(
            where,
            f"a guard holds a change ({change['what']}): {change['why']}",
            f"salt-run k8s_nodes.status names the nodes; if it is right: {change['release']}"
            if change["release"]
            else "salt-run k8s_nodes.status names the nodes, and what ends it",
        )
    if snapshot is None or health is None:
        return
    if not snapshot.members:
        yield info(where, "has no nodes")
    yield from _refused_addresses(snapshot, health)


def _refused_addresses(snapshot: Snapshot, health: Health) -> Iterator[Finding]:
    where = f"{KEY}:clusters:{snapshot.cluster}:allowed_networks"
    bare = [name for name, member in snapshot.members.items() if not member.all_addresses()]
    if bare and len(bare) == len(snapshot.members):
        yield error(
            where,
            f"accepts no address of {len(bare)} nodes{_reasons(health)}",
            "add the networks of the nodes' addresses",
        )
    elif bare:
        yield warning(
            where,
            f"accepts no address of {names(bare)}{_reasons(health)}",
            "add a network if one is missing, else find out what these nodes are",
        )
    elif health.refused:
        yield info(
            where,
            f"some addresses of present nodes are refused{_reasons(health)}",
            f"salt-run k8s_nodes.nodes {snapshot.cluster} shows the accepted ones",
        )


def _reasons(health: Health) -> str:
    reasons = ", ".join(f"{count} {why}" for why, count in health.refused.items())
    return f" ({reasons})" if reasons else ""
