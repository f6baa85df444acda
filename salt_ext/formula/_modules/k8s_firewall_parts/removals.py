"""
Delete rules that are not this module's, one kind for each way in which they are deleted.

This is another interface than ``backend``: the rules of others have no desired state and no file
that this module writes. ``reading`` reads them, all kinds at once: what a rule lets in depends on
chains, sets and tables of every kind.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from . import errors, firewalld, programs, state_dir
from .openings import FileLines, FirewalldSetting, IpsetMember, NftRule, Opening, XtRule

_IPTABLES = ("iptables ", "ip6tables ")
"""How the place of a rule begins that iptables has made, with nf_tables too."""
_OWN_TABLE = ("inet", "k8s_firewall")
_BATCH = 1000
"""Deletions in one transaction."""

Chains = Mapping[str, Sequence[str]]
"""Names of chains by their table."""


@dataclass(frozen=True)
class Limits:
    """Where rules may be deleted; None for no limit."""

    iptables: Chains | None = None
    nft: Chains | None = None
    saved: Sequence[str] | None = None
    commands: Sequence[str] | None = None


Rule = TypeVar("Rule")


class Removals(ABC, Generic[Rule]):
    """Rules of one kind, and how they are deleted."""

    def rule(self, opening: Opening) -> Rule:
        """Return the rule of an opening of this kind."""
        return cast("Rule", opening.removal)

    @abstractmethod
    def covers(self, limits: Limits, opening: Opening) -> bool:
        """Whether the limits let a rule be deleted."""

    @abstractmethod
    def place(self, opening: Opening) -> str:
        """Return where a rule is: what is deleted in one transaction."""

    @abstractmethod
    def delete(self, rules: Sequence[Rule]) -> None:
        """Delete rules of one place; raise FirewallError where none of them is deleted."""

    def delete_each(self, openings: Sequence[Opening], problems: list[str]) -> list[Opening]:
        """Delete rules of one place; return the deleted ones, add a problem for each other."""
        deleted: list[Opening] = []
        for at in range(0, len(openings), _BATCH):
            deleted += self._bisect(openings[at : at + _BATCH], problems)
        return deleted

    def _bisect(self, openings: Sequence[Opening], problems: list[str]) -> list[Opening]:
        """Delete rules in one transaction, or in halves of it, so that one keeps back no other."""
        try:
            self.delete([self.rule(one) for one in openings])
        except errors.FirewallError as exc:
            if len(openings) == 1:
                problems.append(f"not deleted: {openings[0]}: {exc}")
                return []
            middle = len(openings) // 2
            halves = openings[:middle], openings[middle:]
            return [one for half in halves for one in self._bisect(half, problems)]
        return list(openings)


class NftRules(Removals[NftRule]):
    """Rules in nf_tables, by their handles: those of nft and of iptables-nft."""

    def covers(self, limits: Limits, opening: Opening) -> bool:
        """Whether the chain is within the limits of the program that people use for it."""
        rule = self.rule(opening)
        if (rule.family, rule.table) == _OWN_TABLE:
            # Only sync changes this module's own table.
            return False
        if opening.place.startswith(_IPTABLES):
            return _within(limits.iptables, rule.table, rule.chain)
        return _within(limits.nft, f"{rule.family} {rule.table}", rule.chain)

    def place(self, opening: Opening) -> str:
        """Return the program iptables, or the table."""
        if opening.place.startswith(_IPTABLES):
            return opening.place.partition(" ")[0]
        rule = self.rule(opening)
        return f"nft {rule.family} {rule.table}"

    def delete(self, rules: Sequence[NftRule]) -> None:
        """Delete rules by their handles."""
        lines = (
            f"delete rule {one.family} {one.table} {one.chain} handle {one.handle}\n"
            for one in rules
        )
        try:
            programs.run(["nft", "-f", "-"], "".join(lines))
        except errors.CommandFailed as exc:
            # Another program has deleted it meanwhile.
            if len(rules) > 1 or "No such file or directory" not in exc.output:
                raise


class IptablesRules(Removals[XtRule]):
    """Rules that only a program of iptables shows, by their text or their number."""

    def covers(self, limits: Limits, opening: Opening) -> bool:
        """Whether the chain and the program are within the limits."""
        rule = self.rule(opening)
        listed = limits.commands is None or "legacy" not in rule.program
        listed = listed or bool({"iptables", "iptables-legacy"} & set(limits.commands or ()))
        return listed and _within(limits.iptables, rule.table, rule.chain)

    def place(self, opening: Opening) -> str:
        """Return the program."""
        return self.rule(opening).program

    def delete(self, rules: Sequence[XtRule]) -> None:
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


class SavedLines(Removals[FileLines]):
    """Lines of a file that is loaded at boot."""

    def covers(self, limits: Limits, opening: Opening) -> bool:
        """Whether the file is listed."""
        rule = self.rule(opening)
        return limits.saved is None or _target(rule.path) in map(_target, limits.saved)

    def place(self, opening: Opening) -> str:
        """Return the path."""
        return self.rule(opening).path

    def delete_each(self, openings: Sequence[Opening], problems: list[str]) -> list[Opening]:
        """Replace the file once, however many lines go."""
        # A member of a set is an opening of each rule that names the set.
        spans = list(dict.fromkeys(self.rule(one) for one in openings))
        try:
            self.delete(spans)
        except (OSError, errors.FirewallError) as exc:
            problems.append(f"not deleted from {_target(spans[0].path)}: {exc}")
            return []
        return list(openings)

    def delete(self, rules: Sequence[FileLines]) -> None:
        """Delete lines; the file stays byte for byte as it is but for them."""
        # Write to the target: a link stays a link.
        path = Path(rules[0].path).resolve(strict=True)
        lines = re.findall(r"[^\n]*\n|[^\n]+", path.read_bytes().decode("utf-8", "surrogateescape"))
        for span in sorted(rules, key=lambda one: one.first, reverse=True):
            if "".join(lines[span.first : span.end]) != span.text:
                raise errors.Refused("another program has changed it meanwhile")
            del lines[span.first : span.end]
        state_dir.replace_file(path, "".join(lines), like=path)


class IpsetMembers(Removals[IpsetMember]):
    """Members of ipsets that others fill."""

    def covers(self, limits: Limits, _opening: Opening) -> bool:
        """Whether nothing is limited: no limit names a set, so a limited pillar means none."""
        return all(
            one is None for one in (limits.iptables, limits.nft, limits.saved, limits.commands)
        )

    def place(self, opening: Opening) -> str:
        """Return the set."""
        return f"ipset {self.rule(opening).name}"

    def delete(self, rules: Sequence[IpsetMember]) -> None:
        """Delete members; one that is gone already is fine."""
        lines = (f"del {one.name} {one.member} -exist\n" for one in rules)
        programs.run(["ipset", "restore"], "".join(lines))


class FirewalldSettings(Removals[FirewalldSetting]):
    """Settings that firewalld removes itself."""

    def covers(self, limits: Limits, opening: Opening) -> bool:
        """Whether the file is listed."""
        rule = self.rule(opening)
        return limits.saved is None or _target(rule.path) in map(_target, limits.saved)

    def place(self, opening: Opening) -> str:
        """Return the path."""
        return self.rule(opening).path

    def delete(self, rules: Sequence[FirewalldSetting]) -> None:
        """Remove settings."""
        firewalld.remove(rules)


_KINDS: Mapping[type, Removals[Any]] = {
    NftRule: NftRules(),
    XtRule: IptablesRules(),
    FileLines: SavedLines(),
    IpsetMember: IpsetMembers(),
    FirewalldSetting: FirewalldSettings(),
}


def of(opening: Opening) -> Removals[Any] | None:
    """Return how an opening is deleted; None where it is not one rule for one address."""
    return _KINDS.get(type(opening.removal))


def _target(name: str) -> str:
    return str(Path(name).resolve())


def _within(limits: Chains | None, table: str, chain: str) -> bool:
    return limits is None or chain in limits.get(table, ())


def _delete_by_number(rule: XtRule) -> None:
    """Delete a rule whose own text the program does not take back, such as one with -m recent."""
    saved = programs.run([f"{rule.program}-save", "-t", rule.table])
    in_chain = [line for line in saved.splitlines() if line.startswith(f"-A {rule.chain} ")]
    if rule.rule in in_chain:
        number = in_chain.index(rule.rule) + 1
        programs.run([rule.program, "-w", "-t", rule.table, "-D", rule.chain, str(number)])
