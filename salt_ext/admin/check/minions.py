"""Group ``minions``: whether they get the ``k8s_firewall`` module of this package."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from salt_ext.admin.check.master import uses_module
from salt_ext.core.config.apply import MODULE
from salt_ext.core.config.config import Config
from salt_ext.core.diagnosis.finding import Finding, error, info, warning
from salt_ext.core.display import names
from salt_ext.master import minion_module
from salt_ext.rollout.classes import TargetMatches
from salt_ext.store import Store

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
    yield from _old_modules(config, store, match, shipped)
    if unable := store.minion_facts.cannot_reset():
        yield warning(
            names(unable),
            "open connections of removed nodes will not be reset: the kernel lacks "
            "CONFIG_INET_DIAG_DESTROY, or the program ss is missing",
            "install iproute2 there (iproute on the RHEL family), or boot a kernel with "
            "CONFIG_INET_DIAG_DESTROY; the next k8s_firewall.sync reports the result",
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
