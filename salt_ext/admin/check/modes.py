"""Group ``configuration``: what is in mode ``observe``, and what ``enforce`` would publish now."""

from __future__ import annotations

import time
from collections.abc import Iterator

from salt_ext.core.config.apply import Mode
from salt_ext.core.config.config import KEY, Config
from salt_ext.core.diagnosis.finding import Finding, info
from salt_ext.rollout.classes import TargetMatches
from salt_ext.rollout.enforcing import Switch, of_class, of_cluster
from salt_ext.rollout.publishing import publishing_stopped
from salt_ext.store import Store


def findings(config: Config, store: Store, match: TargetMatches) -> Iterator[Finding]:
    """Yield each cluster and class that is only observed."""
    now = time.time()
    stopped = publishing_stopped(config, store)
    for name in config.names:
        if config.mode(name) is Mode.OBSERVE:
            switch = of_cluster(config, store, match, name, now)
            yield _finding(f"{KEY}:clusters:{name}", "for it", switch, stopped, f" {name}")
    for action in (*config.apply.classes, config.apply.default):
        if action.mode is Mode.OBSERVE:
            where = f"{KEY}:apply" + (f":classes:{action.name}" if action.name else "")
            switch = of_class(config, store, match, action.name, now)
            yield _finding(where, "to its minions", switch, stopped, "")


def _finding(
    where: str, whom: str, switch: Switch | None, stopped: str | None, argument: str
) -> Finding:
    after = ""
    if switch is not None:
        begin = f"once publishing goes on ({stopped}), enforce" if stopped else "enforce"
        after = f"; {begin} {switch}"
    return info(
        f"{where}:mode",
        f"observe: nothing is published {whom}{after}",
        f"salt-run k8s_nodes.observed{argument} shows the changes so far; mode: enforce publishes "
        "after a restart of the master",
    )
