"""What our own block of the configuration says, and what a person has said since."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from salt_ext.core.config.apply import Mode
from salt_ext.core.config.config import KEY, Config
from salt_ext.core.diagnosis import filesystems
from salt_ext.core.diagnosis.finding import Finding, error, info, warning
from salt_ext.core.display import quote, utc
from salt_ext.store import Store


def findings(config: Config, store: Store) -> Iterator[Finding]:
    """Yield mistakes, what is dangerous, and what keeps anything from being published."""
    for problem in config.problems:
        yield error(
            problem.key, f"{quote(problem.value)} is not allowed", f"allowed: {problem.allowed}"
        )
    for name, cluster in config.clusters.items():
        for sentence in cluster.access.warnings:
            yield warning(
                f"{KEY}:clusters:{name}",
                sentence,
                "name the CA in ca_file, or in the kubeconfig, and take the key out",
            )
    if config.in_doubt:
        yield error(f"{KEY}:apply", "nothing is published while it has a mistake", "see above")
    if kind := _far(config.state_dir):
        yield error(
            f"{KEY}:state_dir",
            f"{config.state_dir} is on {kind}: locks and the store need a disk of this machine, "
            "and each master a folder of its own",
            "name a folder on a local disk",
        )
    paused = store.control.paused()
    if paused is not None:
        yield warning(
            "publishing",
            f"paused by {paused.by} since {utc(paused.at)}",
            "salt-run k8s_nodes.resume goes on",
        )
    silent_since = store.health.reactor_silent_since()
    if silent_since is not None:
        yield error(
            "publishing",
            f"nobody has acted on the engine's events since {utc(silent_since)}",
            "the master's log says why the reactor does not call k8s_nodes.apply, or why that "
            "fails; until then salt-run k8s_nodes.apply does it by hand",
        )
    for name, wave in store.rollouts.all().items():
        if wave.stopped:
            yield warning(
                f"class {name or '(none)'}",
                f"stopped: {wave.stopped}",
                "mend what fails there; salt-run k8s_nodes.status says when one of it is tried",
            )
    yield from _observing(config)


def _far(state_dir: str) -> str:
    try:
        return filesystems.network_filesystem(
            os.path.realpath(state_dir), Path("/proc/self/mounts").read_text()
        )
    except OSError:
        return ""


def _observing(config: Config) -> Iterator[Finding]:
    mend = "mode: enforce publishes"
    for name in config.names:
        if config.mode(name) is Mode.OBSERVE:
            yield info(f"{KEY}:clusters:{name}:mode", "observe: nothing is published for it", mend)
    for what in (*config.apply.classes, config.apply.default):
        if what.mode is Mode.OBSERVE:
            at = f"{KEY}:apply" + (f":classes:{what.name}" if what.name else "")
            yield info(f"{at}:mode", "observe: nothing is published to its minions", mend)
    usual = config.apply.default
    if usual.implicit and usual.mode is not Mode.OBSERVE:
        yield warning(
            f"{KEY}:apply",
            "says nothing of what to publish: the first node that joins starts a highstate, all "
            "states of the top file, on every minion behind that no class takes, and so does "
            "each change after it",
            "states: [...] names the SLS of the firewall; highstate: true says that it is meant",
        )
    elif usual.function == "state.apply" and not usual.arg:
        yield info(
            f"{KEY}:apply",
            "a change publishes a highstate to the minions that no class takes",
            "name the SLS of the firewall in states",
        )
