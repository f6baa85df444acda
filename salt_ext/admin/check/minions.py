"""Whether minions get our execution module from this master, and have the one that it ships."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from salt_ext.admin.check.master import uses_module
from salt_ext.core.config.apply import MODULE
from salt_ext.core.config.config import Config
from salt_ext.core.diagnosis.finding import Finding, error, info, warning
from salt_ext.core.display import names
from salt_ext.master import minion_module
from salt_ext.rollout.classes import TargetMatches
from salt_ext.store import Store

_PRINTS = "python3 -m salt_ext.formula prints the file_roots entry; so does k8s_nodes.setup"


def findings(
    opts: Mapping[str, Any], config: Config, store: Store, meant: TargetMatches
) -> Iterator[Finding]:
    """Yield what keeps minions from the module, or at an old one."""
    shipped = minion_module.shipped_version()
    roots = minion_module.copies_in_file_roots(opts)
    if not roots:
        yield (error if uses_module(config) else info)(
            "file_roots",
            f"has no folder with the module {MODULE}"
            + (
                ", which a class publishes"
                if uses_module(config)
                else ": there are no sets, gates "
                "and rules on minions, and nothing closes what a formula leaves open"
            ),
            _PRINTS,
        )
    for path, version in roots:
        if version != shipped:
            yield warning(
                "file_roots",
                f"{path} has version {version or 'unknown'} of {MODULE}, this package {shipped}",
                f"take that folder out of file_roots; {_PRINTS}",
            )
    yield from _minions(config, store, meant, shipped)
    if endless := store.minion_facts.cannot_reset():
        yield warning(
            names(endless),
            "cannot end connections: who leaves is shut out, and goes on with what is open (ss is "
            "missing, or the kernel has no CONFIG_INET_DIAG_DESTROY)",
            "install iproute2 there (iproute on the RHEL family), or run a kernel with "
            "CONFIG_INET_DIAG_DESTROY; the next k8s_firewall.sync tells whether it helped",
        )


def _minions(config: Config, store: Store, meant: TargetMatches, shipped: str) -> Iterator[Finding]:
    known = store.minion_facts.module_versions()
    minions = sorted({row.minion for row in store.subscriptions.all() if not row.gone})
    members = {one.target: meant(one.target) for one in config.apply.classes if one.target}
    late: dict[str, list[str]] = defaultdict(list)
    for minion in minions:
        if config.apply.class_of(minion, members).sync and known.get(minion) != shipped:
            late[known.get(minion, "")].append(minion)
    for version, those in late.items():
        yield (warning if version else info)(
            names(those),
            f"has version {version} of our modules, this package has {shipped}"
            if version
            else "has not been brought our modules by us yet",
            "saltutil.sync_all goes out before its next run, of itself",
        )
