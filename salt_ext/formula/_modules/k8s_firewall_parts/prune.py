"""
Delete the rules that let removed addresses in: in the kernel, and in the files of the next boot.

Each rule is deleted by its handle, its number or its lines, whoever made it. One that cannot be
deleted is reported, and the others are deleted all the same.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from . import errors, programs, state_dir
from .openings import (
    ACCEPTS,
    FileLines,
    FirewalldSetting,
    IpsetMember,
    NftRule,
    Opening,
    XtRule,
)

_COMMANDS = ("iptables", "iptables-nft", "iptables-legacy")
_TABLE = re.compile(r"(?:ip|ip6|inet) [A-Za-z0-9_][A-Za-z0-9_./-]*")
_IPTABLES = ("iptables ", "ip6tables ")
"""How the place of a rule begins that iptables has made, with nf_tables too."""
_FIREWALLD = "firewalld"
_ANY_ZONE = ""
_OWN_TABLE = ("inet", "k8s_firewall")
_BATCH = 1000
"""Deletions in one transaction."""
KEYS = frozenset({"iptables", "nft", "saved", "commands"})

Chains = Mapping[str, Sequence[str]]
"""Names of chains by their table."""

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class PruneConfig:
    """The pillar ``k8s_firewall:prune``: limits to where rules are deleted; None for no limit."""

    iptables: Chains | None = None
    nft: Chains | None = None
    saved: Sequence[str] | None = None
    commands: Sequence[str] | None = None

    def covers(self, opening: Opening) -> bool:
        """Whether a rule is deleted: it accepts one address, and no limit excludes it."""
        rule = opening.removal
        if rule is None or opening.effect != ACCEPTS:
            return False
        if isinstance(rule, IpsetMember):
            # There are no limits for sets: whoever limits means only what he names.
            return self == PruneConfig()
        if isinstance(rule, (FileLines, FirewalldSetting)):
            return self.saved is None or _target(rule.path) in map(_target, self.saved)
        if isinstance(rule, XtRule):
            listed = self.commands is None or "legacy" not in rule.program
            listed = listed or bool({"iptables", "iptables-legacy"} & set(self.commands or ()))
            return listed and _within(self.iptables, rule.table, rule.chain)
        if (rule.family, rule.table) == _OWN_TABLE:
            # Only sync changes this module's own table.
            return False
        if opening.place.startswith(_IPTABLES):
            return _within(self.iptables, rule.table, rule.chain)
        return _within(self.nft, f"{rule.family} {rule.table}", rule.chain)


@dataclass
class Pruned:
    """The outcome of deleting rules."""

    deleted: dict[str, list[str]] = field(default_factory=dict)
    """The deleted rules, by where they were."""
    problems: list[str] = field(default_factory=list)
    """A sentence for each rule that could not be deleted."""


def parse(value: object, problems: list[str]) -> PruneConfig | None:
    """Read the pillar; None where nothing is to be pruned. Mistakes are added to the problems."""
    where = "k8s_firewall:prune"
    if value is None or value is True:
        return PruneConfig()
    if value is False:
        return None
    if not isinstance(value, Mapping):
        problems.append(f"{where} is not a mapping; write true for the defaults, false for none")
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


def prune(config: PruneConfig, openings: Iterable[Opening], *, test: bool) -> Pruned:
    """
    Delete what lets addresses in, where the configuration covers it.

    test
        Only return what would be deleted.
    """
    done = Pruned()
    covered = _by_firewalld(dict.fromkeys(one for one in openings if config.covers(one)))
    # First firewalld, which fails where the rule of its setting is gone already.
    covered.sort(key=lambda one: (not isinstance(one.removal, FirewalldSetting), _group(one)))
    for place, group in itertools.groupby(covered, _group):
        rules = list(group)
        deleted = rules if test else _delete(rules, done.problems)
        if deleted:
            done.deleted[place] = [one.text for one in deleted]
    return done


def _target(name: str) -> str:
    return str(Path(name).resolve())


def _within(limits: Chains | None, table: str, chain: str) -> bool:
    return limits is None or chain in limits.get(table, ())


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


def _group(opening: Opening) -> str:
    """Return where a rule is: what one program deletes in one transaction."""
    rule = opening.removal
    if isinstance(rule, NftRule):
        if opening.place.startswith(_IPTABLES):
            return opening.place.partition(" ")[0]
        return f"nft {rule.family} {rule.table}"
    if isinstance(rule, XtRule):
        return rule.program
    if isinstance(rule, IpsetMember):
        return f"ipset {rule.name}"
    return rule.path if rule else ""


def _delete(rules: Sequence[Opening], problems: list[str]) -> list[Opening]:
    """Delete rules of one place; return those that are deleted, add a problem for the others."""
    kind = type(rules[0].removal)
    if kind is FileLines:
        return _delete_lines(rules, problems)
    delete: Callable[[Sequence[Any]], None] = _DELETE[kind]
    deleted: list[Opening] = []
    for at in range(0, len(rules), _BATCH):
        deleted += _bisect(rules[at : at + _BATCH], delete, problems)
    return deleted


def _bisect(
    rules: Sequence[Opening], delete: Callable[[Sequence[Any]], None], problems: list[str]
) -> list[Opening]:
    """Delete rules in one transaction, or in halves of it, so that one keeps back no other."""
    try:
        delete([rule.removal for rule in rules])
    except errors.FirewallError as exc:
        if len(rules) == 1:
            problems.append(f"not deleted: {rules[0]}: {exc}")
            return []
        middle = len(rules) // 2
        halves = rules[:middle], rules[middle:]
        return [one for half in halves for one in _bisect(half, delete, problems)]
    return list(rules)


def _delete_nft(rules: Sequence[NftRule]) -> None:
    lines = (
        f"delete rule {one.family} {one.table} {one.chain} handle {one.handle}\n" for one in rules
    )
    try:
        programs.run(["nft", "-f", "-"], "".join(lines))
    except errors.CommandFailed as exc:
        # Another program has deleted it meanwhile.
        if len(rules) > 1 or "No such file or directory" not in exc.output:
            raise


def _delete_xt(rules: Sequence[XtRule]) -> None:
    """Delete rules by their text, a transaction for each table; a single one by number too."""
    program = rules[0].program
    lines: list[str] = []
    for table in dict.fromkeys(one.table for one in rules):
        of_table = (f"-D{one.rule[2:]}" for one in rules if one.table == table)
        lines += [f"*{table}", *of_table, "COMMIT"]
    try:
        text = "".join(f"{line}\n" for line in lines)
        programs.run([f"{program}-restore", "-w", "--noflush"], text)
    except errors.CommandFailed:
        if len(rules) > 1:
            raise
        _delete_by_number(rules[0])


def _delete_by_number(rule: XtRule) -> None:
    """Delete a rule whose own text the program does not take back, such as one with -m recent."""
    saved = programs.run([f"{rule.program}-save", "-t", rule.table])
    in_chain = [line for line in saved.splitlines() if line.startswith(f"-A {rule.chain} ")]
    if rule.rule in in_chain:
        number = in_chain.index(rule.rule) + 1
        programs.run([rule.program, "-w", "-t", rule.table, "-D", rule.chain, str(number)])


def _delete_members(members: Sequence[IpsetMember]) -> None:
    lines = (f"del {one.name} {one.member} -exist\n" for one in members)
    programs.run(["ipset", "restore"], "".join(lines))


def _by_firewalld(openings: Iterable[Opening]) -> list[Opening]:
    """Leave the rules of firewalld's table to firewalld while it runs: it may own the table."""
    found = list(openings)
    rules = [
        one for one in found if isinstance(one.removal, NftRule) and one.removal.table == _FIREWALLD
    ]
    if not rules or not _firewalld_runs():
        return found
    settings = {
        one.sources[0]: replace(
            one, removal=FirewalldSetting(_FIREWALLD, _ANY_ZONE, "", one.sources[0])
        )
        for one in rules
    }
    return [*(one for one in found if one not in rules), *settings.values()]


def _firewalld_runs() -> bool:
    try:
        programs.run(["firewall-cmd", "--state"])
    except errors.FirewallError:
        return False
    return True


def _delete_settings(settings: Sequence[FirewalldSetting]) -> None:
    """Let firewalld remove settings from its files, and from the kernel where it runs."""
    runs = _firewalld_runs()
    files = ["firewall-cmd", "--permanent"] if runs else ["firewall-offline-cmd"]
    for one in settings:
        if one.owner != _ANY_ZONE:
            _remove_setting(files, one)
            if runs:
                _remove_setting(["firewall-cmd"], one)
    in_any_zone = {one.source for one in settings if one.owner == _ANY_ZONE}
    if in_any_zone:
        _remove_until_reload(in_any_zone)
    # Firewalld leaves rules for packets from a removed source to the other sources of its zone.
    if runs and _left_by_firewalld() & {one.source for one in settings}:
        programs.run(["firewall-cmd", "--reload"])


def _left_by_firewalld() -> set[str]:
    """Return the sources in the rules of firewalld's table."""
    try:
        rules = programs.run(["nft", "list", "table", "inet", _FIREWALLD])
    except errors.FirewallError:
        return set()
    return set(re.findall(r"\bip6? saddr (\S+)", rules))


def _remove_setting(command: Sequence[str], one: FirewalldSetting) -> None:
    # What is not set gives a warning, and no error.
    if one.option:
        programs.run([*command, one.owner, f"{one.option}={one.source}"])
        return
    # Firewalld compares rich rules as it prints them.
    for rule in programs.run([*command, one.owner, "--list-rich-rules"]).splitlines():
        if _accepted(rule) == one.source:
            programs.run([*command, one.owner, f"--remove-rich-rule={rule}"])


def _remove_until_reload(sources: Iterable[str]) -> None:
    """Remove sources and rich rules from all zones as they are now: no file may have them."""
    zone = ""
    for line in programs.run(["firewall-cmd", "--list-all-zones"]).splitlines():
        name, _, value = line.strip().partition(":")
        if line[:1].strip():
            zone = line.split()[0]
        elif name == "sources":
            for source in set(value.split()) & set(sources):
                programs.run(["firewall-cmd", f"--zone={zone}", f"--remove-source={source}"])
        elif _accepted(line.strip()) in sources:
            rule = f"--remove-rich-rule={line.strip()}"
            programs.run(["firewall-cmd", f"--zone={zone}", rule])


def _accepted(rule: str) -> str:
    """Return the source that a rich rule accepts; empty where it does another thing."""
    source = re.search(r' source address="([^"]+)"', rule)
    return source[1] if source and "accept" in rule.split() else ""


_DELETE: Mapping[type, Callable[[Sequence[Any]], None]] = {
    NftRule: _delete_nft,
    XtRule: _delete_xt,
    IpsetMember: _delete_members,
    FirewalldSetting: _delete_settings,
}


def _delete_lines(rules: Sequence[Opening], problems: list[str]) -> list[Opening]:
    """Delete lines of one file, which stays byte for byte as it is but for them."""
    # A member of a set is an opening of each rule that names the set.
    spans = {one.removal for one in rules if isinstance(one.removal, FileLines)}
    path = Path(next(iter(spans)).path)
    try:
        # Write to the target: a link stays a link.
        path = path.resolve(strict=True)
        lines = re.findall(r"[^\n]*\n|[^\n]+", path.read_bytes().decode("utf-8", "surrogateescape"))
        for span in sorted(spans, key=lambda one: one.first, reverse=True):
            if "".join(lines[span.first : span.end]) != span.text:
                raise errors.Refused("another program has changed it meanwhile")
            del lines[span.first : span.end]
        state_dir.replace_file(path, "".join(lines), like=path)
    except (OSError, errors.FirewallError) as exc:
        problems.append(f"not deleted from {path}: {exc}")
        return []
    return list(rules)
