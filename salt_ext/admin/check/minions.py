"""Group ``minions``: whether they get the ``k8s_firewall`` module of this package."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

from salt_ext.admin.check.master import uses_module
from salt_ext.core.config.apply import MODULE
from salt_ext.core.config.config import Config
from salt_ext.core.diagnosis.finding import Finding, error, info, warning
from salt_ext.core.display import names
from salt_ext.core.rollout.departures import Closing, Departure
from salt_ext.master import minion_module
from salt_ext.rollout.classes import TargetMatches
from salt_ext.store import Store

_OPEN_FOR = 60.0
"""Seconds that a departure may be open: the run, the close and the reading take some."""

_FIX_ROOTS = "python3 -m salt_ext.formula prints the file_roots entry; so does k8s_nodes.setup"


def findings(
    opts: Mapping[str, object], config: Config, store: Store, match: TargetMatches
) -> Iterator[Finding]:
    """Yield missing and old copies of the module, and kernels that reset no connections."""
    shipped = minion_module.shipped_version()
    copies = minion_module.copies_in_file_roots(opts)
    if not copies:
        yield _no_copy(published=uses_module(config))
    for path, version in copies:
        if version != shipped:
            yield warning(
                "file_roots",
                f"{path} has version {version or 'unknown'} of {MODULE}, this package {shipped}",
                f"remove that folder from file_roots; {_FIX_ROOTS}",
            )
    yield from _open_departures(store, time.time())
    yield from _failing_parts(store)
    yield from _old_modules(config, store, match, shipped)
    if unable := store.minion_facts.cannot_reset():
        yield warning(
            names(unable),
            "open connections of removed nodes will not be reset: the kernel lacks "
            "CONFIG_INET_DIAG_DESTROY, or the program ss is missing",
            "install iproute2 there (iproute on the RHEL family), or boot a kernel with "
            "CONFIG_INET_DIAG_DESTROY; the next k8s_firewall.sync reports the result",
        )


def _open_departures(store: Store, now: float) -> Iterator[Finding]:
    """Yield the addresses that have left and can still get in, by what lets them in."""
    closings = store.departures.closings()
    groups: dict[tuple[str, str], list[Departure]] = defaultdict(list)
    for one in store.departures.open():
        closing = closings.get(one.minion) or Closing(minion=one.minion)
        if closing.attempts or abs(now - one.since) > _OPEN_FOR:
            why = one.open_by or closing.error or "not checked yet"
            groups[one.cluster, why].append(one)
    for (cluster, why), rows in groups.items():
        minions = {row.minion for row in rows}
        addresses = {row.address for row in rows}
        minion, address = min((row.minion, row.address) for row in rows)
        yield error(
            names(minions),
            f"{names(addresses, 3)} left {cluster} ({rows[0].cause}) and can still get in: {why}",
            _closing_fix(rows[0], minion, address),
        )
    for name, closing in sorted(closings.items()):
        if closing.dropped:
            yield error(
                name,
                f"{closing.dropped} departed addresses are not tracked: too many are open",
                f"find out why they stay open; `salt {name} {MODULE}.status` has the minion's list",
            )


def _closing_fix(one: Departure, minion: str, address: str) -> str:
    again = f"`salt-run k8s_nodes.apply minions='{minion}' force=True` tries it now"
    if not one.open_by:
        return f"nothing was read on the minion yet; {again}, and shows why not in status"
    verify = f"`salt {minion} {MODULE}.verify '[{address}]'` shows everything that lets it in"
    if one.open_by.startswith("unknown"):
        return f"correct what could not be read; {again}; {verify}"
    return f"delete that rule, or remove `prune: false` from the minion's pillar; {again}; {verify}"


def _failing_parts(store: Store) -> Iterator[Finding]:
    for minion, problems in store.minion_facts.problems().items():
        for problem in problems:
            yield error(
                minion, problem, f"`salt {minion} {MODULE}.status` shows the state of the minion"
            )


def _no_copy(*, published: bool) -> Finding:
    if published:
        return error(
            "file_roots", f"no folder has the module {MODULE}, which a class publishes", _FIX_ROOTS
        )
    return info(
        "file_roots",
        f"no folder has the module {MODULE}: minions have no sets, gates and rules, and old rules "
        "of formulas stay open",
        _FIX_ROOTS,
    )


def _old_modules(
    config: Config, store: Store, match: TargetMatches, shipped: str
) -> Iterator[Finding]:
    versions = store.minion_facts.module_versions()
    minions = sorted({row.minion for row in store.subscriptions.all() if not row.gone})
    members = {
        action.target: match(action.target) for action in config.apply.classes if action.target
    }
    outdated: dict[str, list[str]] = defaultdict(list)
    for minion in minions:
        if config.apply.class_of(minion, members).sync and versions.get(minion) != shipped:
            outdated[versions.get(minion, "")].append(minion)
    for version, group in outdated.items():
        yield (warning if version else info)(
            names(group),
            f"has version {version} of this extension's modules, this package has {shipped}"
            if version
            else "has not received this extension's modules yet",
            "nothing to do: saltutil.sync_all is published before its next run",
        )
