"""What is written in the pillars of the minions, as far as formulas make a trap of it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
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


def findings(
    opts: Mapping[str, Any], config: Config, store: Store, meant: TargetMatches, within: float
) -> Iterator[Finding]:
    """Yield the traps in the pillars of minions that refer to a cluster, for some seconds."""
    if within <= 0:
        return
    resolver = shared_resolver(store)
    pillars = PillarCompiler(opts)
    peers = _masters(opts)
    members = {one.target: meant(one.target) for one in config.apply.classes if one.target}

    def lines(text: str) -> tuple[str, ...] | None:
        found = resolver.lines(text, config)
        return None if isinstance(found, Unresolved) else found

    found: dict[Pitfall, set[str]] = defaultdict(set)
    failed: dict[str, set[str]] = defaultdict(set)
    named: dict[str, set[str]] = defaultdict(set)
    minions = sorted({row.minion for row in store.subscriptions.all() if not row.gone})
    until = time.monotonic() + within
    looked = 0
    for minion in minions:
        if looked and time.monotonic() >= until:
            break
        looked += 1
        try:
            pillar = pillars.unexpanded(minion)
            several = known_masters(pillar, pillars.grains(minion))
            for master in several:
                named[master].add(minion)
            published = config.apply.class_of(minion, members)
            for trap in (
                *pitfalls(pillar, lines),
                *lockouts(pillar, several or peers),
                *uncovered(pillar, published, lambda name: sls_text(opts, name)),
            ):
                found[trap].add(minion)
        except NoCachedGrains:
            pass
        except PillarFailed as exc:
            failed[str(exc).partition(": ")[2]].add(minion)
    if named:
        those = set().union(*named.values())
        yield info(
            "masters",
            f"{names(those, 3)} may have any of {', '.join(sorted(named))}: each that compiles "
            "pillars needs an engine with a state_dir of its own, and the same configuration",
            "docs/topologies.md says what else each of them needs",
        )
    for trap, those in found.items():
        make = error if trap.certain else info if trap.hint else warning
        yield make(f"pillar of {names(those, 3)}: {trap.where}", trap.what, trap.fix)
    for why, those in failed.items():
        yield error(f"pillar of {names(those, 3)}", why, "no state runs there until it compiles")
    if looked < len(minions):
        yield info(
            "pillars",
            f"those of {looked} of {len(minions)} minions were looked through in {within:.0f} s",
            f"within={within * 4:.0f} looks through more",
        )


def _masters(opts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return this master and the others of its cluster, if it is in one."""
    peers = opts.get("cluster_peers")
    if not opts.get("cluster_id") or not isinstance(peers, list) or not peers:
        return ()
    return (str(opts.get("id")), *map(str, peers))
