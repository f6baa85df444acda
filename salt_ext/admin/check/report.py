"""Asks every group for its findings, and puts them in order for a person or for a program."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from salt_ext.admin.check import (
    clusters,
    configuration,
    engine,
    master,
    minions,
    pillars,
    references,
)
from salt_ext.core.config.config import KEY, Config
from salt_ext.core.diagnosis.finding import Finding, Level, by_severity, error
from salt_ext.core.errors import K8sNodesError, NotConfigured
from salt_ext.master.config_files import config_files
from salt_ext.master.secrets import SecretResolver
from salt_ext.master.settings import engine_settings
from salt_ext.master.targets import TargetMatcher
from salt_ext.store import Store

_MOST = {Level.ERROR: 8, Level.WARNING: 4, Level.INFO: 3}
"""Findings that a person is shown on one screen; the program gets all of them."""

GROUPS = ("configuration", "master", "engine", "clusters", "references", "minions", "pillars")

_TITLES = {Level.ERROR: "errors", Level.WARNING: "warnings", Level.INFO: "notes"}


def check(opts: dict[str, Any], *, within: float, brief: bool) -> dict[str, Any]:
    """
    Return what is wrong and how to mend it; ``retcode`` is 1 when there is an error.

    ``within`` is how many seconds the pillars of minions may be looked through; ``brief`` is for
    a person's screen.
    """
    if opts.get(KEY) is None:
        raise NotConfigured
    config = engine_settings(opts)
    store = Store(config.state_dir)
    written = config_files(opts)
    asked_clusters = clusters.ask_all(config, SecretResolver(opts))
    meant = TargetMatcher(opts, keep=60)
    groups: tuple[Callable[[], Iterable[Finding]], ...] = (
        lambda: configuration.findings(config, store),
        lambda: master.findings(opts, config, written),
        lambda: engine.findings(opts, config, store, written, time.time()),
        lambda: clusters.findings(config, store, asked_clusters, time.time()),
        lambda: references.findings(config, store, meant),
        lambda: minions.findings(opts, config, store, meant),
        lambda: pillars.findings(opts, config, store, meant, within),
    )
    asked = zip(GROUPS, groups, strict=True)
    found = by_severity(one for name, group in asked for one in _of(name, group))
    bad = any(one.level is Level.ERROR for one in found)
    told = {"result": _summary(found), "retcode": int(bad)}
    if brief:
        return {**told, **dict(_brief(found)), **_shown(config, asked_clusters)}
    return {
        **told,
        "findings": [one.to_dict() for one in found],
        "clusters": {name: one.to_dict() for name, one in asked_clusters.items()},
        "looked_at": list(GROUPS),
    }


def _of(name: str, group: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield the findings of one group; one that cannot be asked does not hide the others."""
    try:
        yield from group()
    except K8sNodesError as exc:
        yield error(name, f"could not be looked at: {exc}")


def _summary(found: Iterable[Finding]) -> str:
    levels = [one.level for one in found]
    counts = {title: levels.count(level) for level, title in _TITLES.items()}
    told = [
        f"{count} {title if count > 1 else title[:-1]}" for title, count in counts.items() if count
    ]
    return ", ".join(told) or "everything is right"


def _brief(found: tuple[Finding, ...]) -> Iterator[tuple[str, list[str]]]:
    for level, title in _TITLES.items():
        lines = [_lines(one) for one in found if one.level is level]
        most = _MOST[level]
        more = len(lines) - most
        if more > 1:
            lines = [*lines[:most], f"and {more} more: --out=json has all of them"]
        if lines:
            yield title, lines


def _lines(one: Finding) -> str:
    return f"{one.where}: {one.what}" + (f"\n-> {one.fix}" if one.fix else "")


def _shown(config: Config, clusters: dict[str, clusters.ClusterAnswer]) -> dict[str, Any]:
    if not config.names:
        return {}
    return {"clusters": {name: str(one) for name, one in clusters.items()}}
