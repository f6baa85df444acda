"""Close who has left where a formula only appends: rules in force, saved rules, connections."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import errors, programs, prune_iptables, prune_nft, prune_nft_saved, state_dir

_SAVED = (
    "/etc/iptables/rules.v4",
    "/etc/iptables/rules.v6",
    "/etc/sysconfig/iptables",
    "/etc/sysconfig/ip6tables",
    # Salt's own nftables.save; the other one where that is a folder.
    "/etc/nftables",
    "/etc/nftables/salt-all-in-one.nft",
    "/etc/nftables.conf",
    "/etc/sysconfig/nftables.conf",
)
_VARIANTS = ("iptables", "iptables-nft", "iptables-legacy")
_TABLE = re.compile(r"(?:ip|ip6|inet) [A-Za-z0-9_][A-Za-z0-9_./-]*")
KEYS = frozenset({"iptables", "nft", "saved", "commands"})


@dataclass(frozen=True)
class Where:
    """The pillar k8s_firewall:prune."""

    iptables: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"filter": ["INPUT"]})
    nft: Mapping[str, Sequence[str]] = field(default_factory=dict)
    saved: Sequence[str] = _SAVED
    commands: Sequence[str] = ("iptables",)


def read(told: object, problems: list[str]) -> Where | None:
    """Read the pillar; None where nothing is to be pruned."""
    where = "k8s_firewall:prune"
    if told is None or told is False:
        return None
    if not isinstance(told, Mapping):
        problems.append(f"{where} is no mapping; write {{}} for the defaults")
        return None
    if unknown := sorted(set(map(str, told)) - KEYS):
        problems.append(f"{where}:{unknown[0]} is no key of it: {', '.join(sorted(KEYS))}")
    given: dict[str, Any] = {}
    for key in ("iptables", "nft"):
        if key in told:
            given[key] = _chains(told[key], f"{where}:{key}", problems)
    for key in ("saved", "commands"):
        if key in told:
            given[key] = _names(told[key], f"{where}:{key}", problems)
    problems.extend(
        f"{where}:nft:{name} is no table such as 'inet filter'"
        for name in given.get("nft", {})
        if not _TABLE.fullmatch(name)
    )
    problems.extend(
        f"{where}:commands has {name!r}, which is not one of {', '.join(_VARIANTS)}"
        for name in given.get("commands", ())
        if name not in _VARIANTS
    )
    return Where(**given)


def _chains(told: object, where: str, problems: list[str]) -> dict[str, Sequence[str]]:
    if not isinstance(told, Mapping):
        problems.append(f"{where} is no mapping of tables to lists of chains")
        return {}
    return {
        str(table): _names(names, f"{where}:{table}", problems) for table, names in told.items()
    }


def _names(told: object, where: str, problems: list[str]) -> Sequence[str]:
    if isinstance(told, (list, tuple)) and all(isinstance(one, str) for one in told):
        return list(told)
    problems.append(f"{where} is not a list of names")
    return []


def prune(where: Where, gone: frozenset[str], *, test: bool) -> dict[str, list[str]]:
    """Delete the rules that let them in, in force and saved; what was deleted, by where it was."""
    told: dict[str, list[str]] = {}
    if not gone:
        return told
    for command in where.commands if where.iptables else ():
        for family in ("iptables", "ip6tables"):
            program = command.replace("iptables", family, 1)
            if programs.installed(program):
                found = _iptables(program, where.iptables, gone, test=test)
                if found:
                    told[program] = [str(one) for one in found]
    for table, chains in where.nft.items():
        found = _nft(table, chains, gone, test=test)
        if found:
            told[f"nft {table}"] = [f"{one.chain}: saddr {one.source}" for one in found]
    for name in where.saved:
        found = _file(Path(name), where, gone, test=test)
        if found:
            told[name] = [str(one) for one in found]
    return told


def _iptables(
    program: str, chains: prune_iptables.Chains, gone: frozenset[str], *, test: bool
) -> list[prune_iptables.Stale]:
    def look() -> list[prune_iptables.Stale]:
        return prune_iptables.rules(programs.run([f"{program}-save"]), chains, gone)

    found = look()
    if found and not test:
        restore = [f"{program}-restore", "-w", "--noflush"]
        try:
            programs.run(restore, prune_iptables.deletion(found))
        except errors.CommandFailed:
            # Somebody else has taken one of them out meanwhile, and so none is deleted.
            if (again := look()) == found:
                raise
            programs.run(restore, prune_iptables.deletion(again))
    return found


def _nft(
    table: str, chains: Sequence[str], gone: frozenset[str], *, test: bool
) -> list[prune_iptables.Stale]:
    try:
        listing = programs.run(["nft", "-j", "list", "table", *table.split()])
    except errors.CommandFailed as exc:
        if "No such file or directory" in exc.output:
            return []
        raise
    found = prune_nft.rules(json.loads(listing), table, chains, gone)
    if found and not test:
        programs.run(["nft", "-f", "-"], prune_nft.deletion(found))
    return found


def _file(
    path: Path, where: Where, gone: frozenset[str], *, test: bool
) -> list[prune_iptables.Stale]:
    try:
        # A link stays one.
        path = path.resolve(strict=True)
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return []
    rules, without, chains = (
        (prune_nft_saved.rules, prune_nft_saved.without, where.nft)
        if prune_nft_saved.of_nft(text)
        else (prune_iptables.rules, prune_iptables.without, where.iptables)
    )
    found = rules(text, chains, gone)
    if found and not test:
        state_dir.replace(path, without(text, chains, gone), like=path)
    return found
