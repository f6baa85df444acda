"""Group ``configuration``: mistakes in the block, and everything that stops publishing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from salt_ext.admin.check import modes
from salt_ext.core.config.apply import Mode
from salt_ext.core.config.config import KEY, Config
from salt_ext.core.diagnosis import filesystems
from salt_ext.core.diagnosis.finding import Finding, error, info, warning
from salt_ext.core.display import quote, utc
from salt_ext.rollout.classes import TargetMatches, no_minions
from salt_ext.rollout.publishing import recovering
from salt_ext.store import Store
from salt_ext.store.decisions import UnusableDecisions


def findings(config: Config, store: Store, match: TargetMatches = no_minions) -> Iterator[Finding]:
    """Yield mistakes, risks, and what stops publishing."""
    for problem in config.problems:
        yield error(
            problem.key, f"{quote(problem.value)} is not allowed", f"allowed: {problem.allowed}"
        )
    if config.stopped_by:
        yield error(
            f"{KEY}:clusters",
            f"no cluster is followed while {config.stopped_by[0].key} has a mistake; "
            "what is stored stays in force",
            "correct that key; then restart the master",
        )
    for name, cluster in config.clusters.items():
        for sentence in cluster.access.warnings:
            yield warning(
                f"{KEY}:clusters:{name}",
                sentence,
                "put the CA into ca_file or the kubeconfig, and remove that key",
            )
        for key, sentence, fix in cluster.risks:
            yield warning(f"{KEY}:clusters:{name}:{key}", sentence, fix)
    if config.in_doubt:
        yield error(
            f"{KEY}:apply",
            f"nothing is published while {config.in_doubt[0].key} has a mistake",
            "fix the errors above",
        )
    if kind := _network_filesystem(config.state_dir):
        yield error(
            f"{KEY}:state_dir",
            f"{config.state_dir} is on {kind}; its locks and database need a local disk",
            "set a folder on a local disk, a different one for each master",
        )
    yield from _stopped(config, store)
    yield from modes.findings(config, store, match)
    yield from _highstate(config)


def _network_filesystem(state_dir: str) -> str:
    try:
        return filesystems.network_filesystem(
            os.path.realpath(state_dir), Path("/proc/self/mounts").read_text()
        )
    except OSError:
        return ""


def _stopped(config: Config, store: Store) -> Iterator[Finding]:
    """Yield a pause, a reactor that does not work, and stopped classes."""
    try:
        store.continuity.check()
        paused = store.decisions.paused()
    except UnusableDecisions as exc:
        yield error("publishing", f"{exc.path} cannot be used: {exc.why}", exc.cure)
        paused = None
    if paused is not None:
        yield warning(
            "publishing",
            f"paused by {paused.by} since {utc(paused.at)}"
            + (f": {paused.reason}" if paused.reason else ""),
            "salt-run k8s_nodes.resume",
        )
    if (found := recovering(config, store)) is not None:
        compared = "; ".join(f"{name}: {found.clusters[name]}" for name in sorted(found.waiting))
        yield error(
            "publishing",
            f"nothing is published for {', '.join(sorted(found.waiting))}: {found.why}. {compared}",
            "compare `salt-run k8s_nodes.nodes` with what the firewalls allow; if it is right, run "
            "salt-run k8s_nodes.resume",
        )
    silent = store.health.reactor_silent_since()
    if silent is not None:
        yield error(
            "publishing",
            "reactor not working: minions are out of date and nothing was published since "
            f"{utc(silent)}",
            "the master's log says why its reactor does not call k8s_nodes.apply, or why that "
            "fails; until then run salt-run k8s_nodes.apply by hand",
        )
    for name, rollout in store.rollouts.all().items():
        if rollout.stopped:
            yield warning(
                f"class {name or '(none)'}",
                f"stopped: {rollout.stopped}",
                "fix the minions that fail; salt-run k8s_nodes.status shows the next try",
            )


def _highstate(config: Config) -> Iterator[Finding]:
    default = config.apply.default
    if default.implicit and default.mode is not Mode.OBSERVE:
        yield warning(
            f"{KEY}:apply",
            "names no states: every change starts a highstate (all states of the top file) on all "
            "minions that no class matches",
            "states: [...] with the SLS of the firewall; highstate: true if it is intended",
        )
    elif default.function == "state.apply" and not default.arg:
        yield info(
            f"{KEY}:apply",
            "a change publishes a highstate to the minions that no class matches",
            "states: [...] with the SLS of the firewall publishes only that",
        )
