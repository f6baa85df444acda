"""
Let firewalld remove its own settings, from its files and from the kernel.

Nothing else does it well: it writes its rules again from its files at each reload, and while it
runs it may own its table, where the kernel then lets no other program delete a rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from . import errors, programs
from .openings import FirewalldSetting, NftRule, Opening

TABLE = "firewalld"
_ANY_ZONE = ""


def settings_for(openings: Iterable[Opening]) -> list[Opening]:
    """Leave the rules of firewalld's table to firewalld while it runs: it may own the table."""
    rules: list[Opening] = []
    others: list[Opening] = []
    for one in openings:
        owned = isinstance(one.removal, NftRule) and one.removal.table == TABLE
        (rules if owned else others).append(one)
    if not rules or not _runs():
        return [*others, *rules]
    settings = {
        one.sources[0]: replace(one, removal=FirewalldSetting(TABLE, _ANY_ZONE, "", one.sources[0]))
        for one in rules
    }
    return [*others, *settings.values()]


def remove(settings: Sequence[FirewalldSetting]) -> None:
    """Let firewalld remove settings from its files, and from the kernel where it runs."""
    runs = _runs()
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
    if runs and _left() & {one.source for one in settings}:
        programs.run(["firewall-cmd", "--reload"])


def _runs() -> bool:
    try:
        programs.run(["firewall-cmd", "--state"])
    except errors.FirewallError:
        return False
    return True


def _left() -> set[str]:
    """Return the sources in the rules of firewalld's table."""
    try:
        rules = programs.run(["nft", "list", "table", "inet", TABLE])
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
