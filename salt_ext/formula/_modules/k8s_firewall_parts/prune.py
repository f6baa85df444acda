"""
Delete rules of other formulas that accept removed addresses: in the kernel and in saved files.

This is for formulas that only append rules, and never delete one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import errors, programs, prune_iptables, prune_nft, prune_nft_saved, state_dir
from .prune_iptables import Chains, StaleRule

_SAVED = (
    "/etc/iptables/rules.v4",
    "/etc/iptables/rules.v6",
    "/etc/sysconfig/iptables",
    "/etc/sysconfig/ip6tables",
    # Salt's own nftables.save; the second one where the first is a folder.
    "/etc/nftables",
    "/etc/nftables/salt-all-in-one.nft",
    "/etc/nftables.conf",
    "/etc/sysconfig/nftables.conf",
)
_COMMANDS = ("iptables", "iptables-nft", "iptables-legacy")
_TABLE = re.compile(r"(?:ip|ip6|inet) [A-Za-z0-9_][A-Za-z0-9_./-]*")
KEYS = frozenset({"iptables", "nft", "saved", "commands"})


@dataclass(frozen=True)
class PruneConfig:
    """The pillar ``k8s_firewall:prune``: where to look for stale rules."""

    iptables: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"filter": ["INPUT"]})
    nft: Mapping[str, Sequence[str]] = field(default_factory=dict)
    saved: Sequence[str] = _SAVED
    commands: Sequence[str] = ("iptables",)


def parse(value: object, problems: list[str]) -> PruneConfig | None:
    """Read the pillar; None where nothing is to be pruned. Mistakes are added to the problems."""
    where = "k8s_firewall:prune"
    if value is None or value is False:
        return None
    if not isinstance(value, Mapping):
        problems.append(f"{where} is not a mapping; write {{}} for the defaults")
        return None
    if unknown := sorted(set(map(str, value)) - KEYS):
        known = ", ".join(sorted(KEYS))
        problems.append(f"{where}:{unknown[0]} is not a known key; known keys: {known}")
    given: dict[str, Any] = {}
    for key in ("iptables", "nft"):
        if key in value:
            given[key] = _chains(value[key], f"{where}:{key}", problems)
    for key in ("saved", "commands"):
        if key in value:
            given[key] = _names(value[key], f"{where}:{key}", problems)
    problems.extend(
        f"{where}:nft:{name} is not a table; example: inet filter"
        for name in given.get("nft", {})
        if not _TABLE.fullmatch(name)
    )
    problems.extend(
        f"{where}:commands: {name!r} is not one of {', '.join(_COMMANDS)}"
        for name in given.get("commands", ())
        if name not in _COMMANDS
    )
    return PruneConfig(**given)


def _chains(value: object, where: str, problems: list[str]) -> dict[str, Sequence[str]]:
    if not isinstance(value, Mapping):
        problems.append(f"{where} is not a mapping of tables to lists of chains")
        return {}
    return {
        str(table): _names(names, f"{where}:{table}", problems) for table, names in value.items()
    }


def _names(value: object, where: str, problems: list[str]) -> Sequence[str]:
    if isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value):
        return list(value)
    problems.append(f"{where} is not a list of names")
    return []


def prune(config: PruneConfig, removed: frozenset[str], *, test: bool) -> dict[str, list[str]]:
    """
    Delete the rules that accept a removed address; return the deleted rules by where they were.

    test
        Only return what would be deleted.
    """
    deleted: dict[str, list[str]] = {}
    if not removed:
        return deleted
    for command in config.commands if config.iptables else ():
        for family in ("iptables", "ip6tables"):
            program = command.replace("iptables", family, 1)
            if programs.installed(program):
                stale = _prune_iptables(program, config.iptables, removed, test=test)
                if stale:
                    deleted[program] = [str(rule) for rule in stale]
    for table, chains in config.nft.items():
        stale = _prune_nft(table, chains, removed, test=test)
        if stale:
            deleted[f"nft {table}"] = [f"{rule.chain}: saddr {rule.source}" for rule in stale]
    for name in config.saved:
        stale = _prune_file(Path(name), config, removed, test=test)
        if stale:
            deleted[name] = [str(rule) for rule in stale]
    return deleted


def prune_text(
    saved: str, config: PruneConfig, removed: frozenset[str]
) -> tuple[list[StaleRule], str]:
    """Return the stale rules of a saved file, and the file without them."""
    if prune_nft_saved.is_nft(saved):
        return (
            prune_nft_saved.stale_rules(saved, config.nft, removed),
            prune_nft_saved.without_stale(saved, config.nft, removed),
        )
    return (
        prune_iptables.stale_rules(saved, config.iptables, removed),
        prune_iptables.without_stale(saved, config.iptables, removed),
    )


def _prune_iptables(
    program: str, chains: Chains, removed: frozenset[str], *, test: bool
) -> list[StaleRule]:
    def read() -> list[StaleRule]:
        saved = programs.run([f"{program}-save"])
        return prune_iptables.stale_rules(saved, chains, removed)

    stale = read()
    if stale and not test:
        restore = [f"{program}-restore", "-w", "--noflush"]
        try:
            programs.run(restore, prune_iptables.deletion(stale))
        except errors.CommandFailed:
            # Another program has deleted one of them meanwhile, and so none was deleted here.
            if (again := read()) == stale:
                raise
            programs.run(restore, prune_iptables.deletion(again))
    return stale


def _prune_nft(
    table: str, chains: Sequence[str], removed: frozenset[str], *, test: bool
) -> list[StaleRule]:
    try:
        listing = programs.run(["nft", "-j", "list", "table", *table.split()])
    except errors.CommandFailed as exc:
        if "No such file or directory" in exc.output:
            return []
        raise
    stale = prune_nft.stale_rules(json.loads(listing), table, chains, removed)
    if stale and not test:
        programs.run(["nft", "-f", "-"], prune_nft.deletion(stale))
    return stale


def _prune_file(
    path: Path, config: PruneConfig, removed: frozenset[str], *, test: bool
) -> list[StaleRule]:
    try:
        # Write to the target: a link stays a link.
        path = path.resolve(strict=True)
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return []
    stale, rest = prune_text(text, config, removed)
    if stale and not test:
        state_dir.replace_file(path, rest, like=path)
    return stale
