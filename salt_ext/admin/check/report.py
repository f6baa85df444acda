"""``check``: the findings of all groups, sorted, for a terminal or for a program."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from salt_ext.admin.check import (
    clusters,
    configuration,
    engine,
    master,
    minions,
    pillars,
    references,
)
from salt_ext.core import answers
from salt_ext.core.config.config import KEY, Config
from salt_ext.core.diagnosis.finding import Finding, Level, by_severity, error
from salt_ext.core.errors import K8sNodesError, NotConfigured
from salt_ext.master.config_files import config_files
from salt_ext.master.secrets import SecretResolver
from salt_ext.master.settings import engine_settings
from salt_ext.master.targets import TargetMatcher
from salt_ext.store import Store

_MAX_SHOWN = {Level.ERROR: 8, Level.WARNING: 4, Level.INFO: 3}
"""Findings at a terminal, so that they fit on one screen."""

GROUPS = ("configuration", "master", "engine", "clusters", "references", "minions", "pillars")

_TITLES = {Level.ERROR: "errors", Level.WARNING: "warnings", Level.INFO: "notes"}


def check(
    opts: dict[str, object], *, within: float, brief: bool
) -> answers.Checked | answers.CheckScreen:
    """
    Return the findings of all groups; ``retcode`` is 1 when one of them is an error.

    ``within`` is the limit in seconds for compiling pillars; ``brief`` is for a terminal.
    :class:`NotConfigured` without a ``k8s_nodes`` block.
    """
    if opts.get(KEY) is None:
        raise NotConfigured
    config = engine_settings(opts)
    store = Store(config.state_dir)
    files = config_files(opts)
    cluster_answers = clusters.ask_all(config, SecretResolver(opts))
    match = TargetMatcher(opts, keep=60)
    groups: tuple[Callable[[], Iterable[Finding]], ...] = (
        lambda: configuration.findings(config, store, match),
        lambda: master.findings(opts, config, files),
        lambda: engine.findings(opts, config, store, files, time.time()),
        lambda: clusters.findings(config, store, cluster_answers, time.time()),
        lambda: references.findings(config, store, match),
        lambda: minions.findings(opts, config, store, match),
        lambda: pillars.findings(opts, config, store, match, within),
    )
    named_groups = zip(GROUPS, groups, strict=True)
    found = by_severity(finding for name, group in named_groups for finding in _of(name, group))
    retcode = int(any(finding.level is Level.ERROR for finding in found))
    if brief:
        return _screen(found, retcode, config, cluster_answers)
    return {
        "result": _summary(found),
        "retcode": retcode,
        "findings": [cast("answers.FindingItem", finding.to_dict()) for finding in found],
        "clusters": {name: answer.to_dict() for name, answer in cluster_answers.items()},
        "groups": list(GROUPS),
    }


def _of(name: str, group: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield the findings of one group; its failure does not hide the other groups."""
    try:
        yield from group()
    except K8sNodesError as exc:
        yield error(name, f"could not be checked: {exc}")


def _summary(found: Iterable[Finding]) -> str:
    levels = [finding.level for finding in found]
    counts = {title: levels.count(level) for level, title in _TITLES.items()}
    parts = [
        f"{count} {title if count > 1 else title[:-1]}" for title, count in counts.items() if count
    ]
    return ", ".join(parts) or "no problems found"


def _screen(
    found: tuple[Finding, ...],
    retcode: int,
    config: Config,
    cluster_answers: dict[str, clusters.ClusterAnswer],
) -> answers.CheckScreen:
    screen: answers.CheckScreen = {"result": _summary(found), "retcode": retcode}
    if lines := _lines(found, Level.ERROR):
        screen["errors"] = lines
    if lines := _lines(found, Level.WARNING):
        screen["warnings"] = lines
    if lines := _lines(found, Level.INFO):
        screen["notes"] = lines
    if config.names:
        screen["clusters"] = {name: str(answer) for name, answer in cluster_answers.items()}
    return screen


def _lines(found: tuple[Finding, ...], level: Level) -> list[str]:
    """Return the findings of a level as lines, and how many do not fit."""
    lines = [_line(finding) for finding in found if finding.level is level]
    limit = _MAX_SHOWN[level]
    hidden = len(lines) - limit
    return [*lines[:limit], f"and {hidden} more: see --out=json"] if hidden > 1 else lines


def _line(finding: Finding) -> str:
    return f"{finding.where}: {finding.what}" + (f"\n-> {finding.fix}" if finding.fix else "")
