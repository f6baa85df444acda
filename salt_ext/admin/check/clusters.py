"""Whether each cluster answers, whom it takes us for, what we may, and what it showed so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from salt_ext.core.cluster.snapshot import Snapshot
from salt_ext.core.config.config import KEY, Cluster, Config
from salt_ext.core.diagnosis.finding import Finding, error, info, warning
from salt_ext.core.display import names, utc
from salt_ext.kube.credential import SecretLookup
from salt_ext.kube.errors import BadCredentials, RequestFailed, Unauthorized
from salt_ext.kube.preflight import EVERYTHING, NEEDED, ClusterInfo, preflight
from salt_ext.store import Health, Store

_AT_ONCE = 16
_SKEW = 10.0
_SKEW_MUCH = 120.0

_RIGHTS = "salt-run k8s_nodes.setup prints the manifest; kubectl apply -f it there"


@dataclass(frozen=True, slots=True)
class ClusterAnswer:
    """What came of asking one cluster."""

    answered: ClusterInfo | None = None
    failed: RequestFailed | None = field(default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        found = self.answered
        if found is None:
            return {"error": str(self.failed)}
        return {
            "server": found.server,
            "version": found.version,
            "asked_with": found.asked_with,
            "clock_ahead_seconds": None if found.skew is None else round(found.skew, 1),
            "credential_ends": utc(found.lifetime.ends) if found.lifetime else None,
            "may": {str(right): yes for right, yes in found.may.items()},
        }

    def __str__(self) -> str:
        found = self.answered
        if found is None:
            return "not reached"
        return f"{found.version} at {found.server}, asked with {found.asked_with}"


def ask_all(config: Config, secret: SecretLookup) -> dict[str, ClusterAnswer]:
    """Ask all clusters at the same time."""

    def one(cluster: Cluster) -> ClusterAnswer:
        try:
            return ClusterAnswer(preflight(cluster.access, secret))
        except RequestFailed as exc:
            return ClusterAnswer(failed=exc)

    clusters = list(config.clusters.values())
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return {
            cluster.name: found
            for cluster, found in zip(clusters, pool.map(one, clusters), strict=True)
        }


def findings(
    config: Config, store: Store, clusters: Mapping[str, ClusterAnswer], now: float
) -> Iterator[Finding]:
    """Yield what is wrong with each."""
    for name, found in clusters.items():
        at = f"cluster {name}"
        if found.answered is not None:
            yield from _answered(at, found.answered, now)
        elif found.failed is not None:
            yield _failed(at, found.failed, config.clusters[name])
        yield from _known(name, store, works=found.answered is not None)


def _failed(at: str, failed: RequestFailed, cluster: Cluster) -> Finding:
    if isinstance(failed, BadCredentials):
        return error(f"{at}: credentials", str(failed), "correct that file or that key")
    if isinstance(failed, Unauthorized):
        return error(
            f"{at}: credentials",
            f"are refused: {failed.why}",
            "make a new token (salt-run k8s_nodes.setup says how) and put it there",
        )
    where = cluster.access.server or cluster.access.kubeconfig or "in_cluster"
    return error(
        f"{at}: reachability",
        f"no answer: {failed.why}",
        f"see whether this machine gets through to it ({where}), and which name and CA it shows",
    )


def _answered(at: str, found: ClusterInfo, now: float) -> Iterator[Finding]:
    if found.error:
        yield warning(
            f"{at}: RBAC",
            f"it cannot be asked what we may: {found.error}",
            "the ClusterRole system:basic-user lets every user ask; bind it again",
        )
    for right in NEEDED:
        if found.may.get(right) is False:
            yield error(
                f"{at}: RBAC",
                f"{found.asked_with} may not `{right}`",
                _RIGHTS,
            )
    if found.may.get(EVERYTHING):
        yield warning(
            f"{at}: RBAC",
            f"{found.asked_with} may do everything in this cluster, where reading nodes is enough",
            _RIGHTS,
        )
    if found.skew is not None and abs(found.skew) >= _SKEW:
        ahead = "ahead of" if found.skew > 0 else "behind"
        yield (error if abs(found.skew) >= _SKEW_MUCH else warning)(
            f"{at}: clock",
            f"its clock is {abs(found.skew):.0f} s {ahead} ours, so that tokens and certificates "
            "begin and end at the wrong time",
            "see which of the two has no NTP",
        )
    ends = found.lifetime
    if ends is not None and ends.nearly_over(now):
        hours = (ends.ends - now) / 3600
        yield warning(
            f"{at}: credentials",
            f"{found.asked_with} ends in {hours:.1f} hours, and nobody has replaced it yet",
            "replace it; a token of a Secret (salt-run k8s_nodes.setup) does not end",
        )


def _known(name: str, store: Store, *, works: bool) -> Iterator[Finding]:
    at = f"cluster {name}"
    snapshot, health = store.snapshots.load(name), store.health.of(name)
    if snapshot is None:
        yield error(
            at,
            "has never been listed completely: references to it stay in the pillars",
            "mend what is said of this cluster and of the engine, then look again",
        )
    if works and health is not None and health.state == "waiting":
        yield warning(
            at,
            f"the engine has failed since {utc(health.lost_since)}: {health.error}",
            "we got through just now: salt-run k8s_nodes.refresh tries again at once",
        )
    for change in store.holds.of(name):
        yield warning(
            at,
            f"a change is held ({change.kind}): {change.why}",
            f"salt-run k8s_nodes.status names it; if it is right: k8s_nodes.confirm {name}",
        )
    if snapshot is None or health is None:
        return
    if not snapshot.members:
        yield info(at, "has no nodes")
    yield from _dropped(snapshot, health)


def _dropped(snapshot: Snapshot, health: Health) -> Iterator[Finding]:
    limits = f"{KEY}:clusters:{snapshot.cluster}:allowed_networks"
    bare = [name for name, one in snapshot.members.items() if not one.all_addresses()]
    if bare and len(bare) == len(snapshot.members):
        yield error(
            limits,
            f"lets no address of {len(bare)} nodes through{_refused(health)}",
            "name the networks that the nodes' addresses lie in",
        )
    elif bare:
        yield warning(
            limits,
            f"lets no address of {names(bare)} through{_refused(health)}",
            "add a network if one is missing, or ask what those nodes are",
        )
    elif health.refused:
        yield info(
            limits,
            f"addresses of present nodes are dropped{_refused(health)}, others of theirs are not",
            f"salt-run k8s_nodes.nodes {snapshot.cluster} shows what is left of each",
        )


def _refused(health: Health) -> str:
    told = ", ".join(f"{count} {why}" for why, count in health.refused.items())
    return f" ({told})" if told else ""
