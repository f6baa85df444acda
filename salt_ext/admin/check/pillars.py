"""Group ``pillars``: pitfalls of formulas in the pillars of the minions, and failed compiles."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from salt_ext.core.config.config import Config
from salt_ext.core.diagnosis.finding import Finding, error, info, warning
from salt_ext.core.diagnosis.formula_pitfalls import Pitfall, pitfalls
from salt_ext.core.diagnosis.multi_master import known_masters, lockouts
from salt_ext.core.diagnosis.publish_coverage import uncovered
from salt_ext.core.display import names
from salt_ext.core.references.resolution import Unresolved
from salt_ext.master.file_roots import sls_text
from salt_ext.master.pillar_compiler import NoCachedGrains, PillarCompiler, PillarFailed
from salt_ext.references.resolver import shared_resolver
from salt_ext.rollout.classes import TargetMatches
from salt_ext.store import Store


@dataclass(slots=True)
class _Survey:
    """The minions of each pitfall, of each error, and of each master that they know."""

    pitfalls: dict[Pitfall, set[str]] = field(default_factory=lambda: defaultdict(set))
    failed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    masters: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    compiled: int = 0


def findings(
    opts: Mapping[str, Any], config: Config, store: Store, match: TargetMatches, within: float
) -> Iterator[Finding]:
    """
    Compile the pillars of minions that reference a cluster, and yield their pitfalls.

    No further pillar is begun after ``within`` seconds; 0 compiles none.
    """
    if within <= 0:
        return
    minions = sorted({row.minion for row in store.subscriptions.all() if not row.gone})
    survey = _survey(opts, config, store, match, minions, within)
    if survey.masters:
        named = set().union(*survey.masters.values())
        yield info(
            "masters",
            f"{names(named, 3)} may have any of {', '.join(sorted(survey.masters))}: each master "
            "that compiles pillars needs an engine, its own state_dir, and the same configuration",
            "docs/topologies.md lists what else each of them needs",
        )
    for pitfall, found_in in survey.pitfalls.items():
        make = error if pitfall.certain else info if pitfall.hint else warning
        yield make(f"pillar of {names(found_in, 3)}: {pitfall.where}", pitfall.what, pitfall.fix)
    for why, found_in in survey.failed.items():
        yield error(
            f"pillar of {names(found_in, 3)}", why, "fix it: no state runs there until it compiles"
        )
    if survey.compiled < len(minions):
        yield info(
            "pillars",
            f"only {survey.compiled} of {len(minions)} minions were checked in {within:.0f} s",
            f"within={within * 4:.0f} checks more",
        )


def _survey(
    opts: Mapping[str, Any],
    config: Config,
    store: Store,
    match: TargetMatches,
    minions: list[str],
    within: float,
) -> _Survey:
    resolver = shared_resolver(store)
    compiler = PillarCompiler(opts)
    peers = _peers(opts)
    members = {
        action.target: match(action.target) for action in config.apply.classes if action.target
    }

    def lines(text: str) -> tuple[str, ...] | None:
        resolved = resolver.lines(text, config)
        return None if isinstance(resolved, Unresolved) else resolved

    survey = _Survey()
    until = time.monotonic() + within
    for minion in minions:
        if survey.compiled and time.monotonic() >= until:
            break
        survey.compiled += 1
        try:
            pillar = compiler.unexpanded(minion)
            known = known_masters(pillar, compiler.grains(minion))
            for master in known:
                survey.masters[master].add(minion)
            published = config.apply.class_of(minion, members)
            for pitfall in (
                *pitfalls(pillar, lines),
                *lockouts(pillar, known or peers),
                *uncovered(pillar, published, lambda name: sls_text(opts, name)),
            ):
                survey.pitfalls[pitfall].add(minion)
        except NoCachedGrains:
            pass
        except PillarFailed as exc:
            survey.failed[str(exc).partition(": ")[2]].add(minion)
    return survey


def _peers(opts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the masters of this master's cluster, itself included; none outside a cluster."""
    peers = opts.get("cluster_peers")
    if not opts.get("cluster_id") or not isinstance(peers, list) or not peers:
        return ()
    return (str(opts.get("id")), *map(str, peers))
