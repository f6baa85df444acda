"""One run: from a pillar to what is in force, or the reason why it stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import errors, force, revision, wanted
from .record import Record

SERVED_BY = "served_by"
"""The revisions that are in force, under this name in the record."""


def sync(
    pillar: Mapping[str, Any],
    record: Record,
    masters: Sequence[str],
    version: str,
    *,
    test: bool,
) -> dict[str, Any]:
    """Return what was done, with ``result`` and ``comment`` as a state has them."""
    outcome: dict[str, Any] = {"result": False, "comment": "", "version": version, "changes": {}}
    try:
        with record.locked():
            _run(pillar, record, masters, version, outcome, test=test)
    except (errors.FirewallError, OSError) as exc:
        outcome["result"] = False
        outcome["comment"] = f"what is in force stays as it is: {exc}"
    outcome["digest"] = record.read(force.APPLIED).get("digest", "")
    outcome["revision"] = revision.numbers(record.read(SERVED_BY))
    return outcome


def _run(
    pillar: Mapping[str, Any],
    record: Record,
    masters: Sequence[str],
    version: str,
    outcome: dict[str, Any],
    *,
    test: bool,
) -> None:
    before = force.in_force(record)
    reading = wanted.read(pillar, before.sets if before else {}, masters)
    now, known = revision.of(pillar), record.read(SERVED_BY)
    if behind := revision.older(now, known):
        raise errors.Refused(f"the pillar is older than what is in force: {'; '.join(behind)}")
    if test:
        made = force.plan(reading.wanted, record.read(force.APPLIED))
        force.check(made)
        outcome["changes"] = made.told()
        outcome["result"] = True if made.empty else None
        outcome["comment"] = "in force already" if made.empty else "this would be changed"
        return
    made = force.bring(reading.wanted, record)
    outcome["changes"] = made.told()
    try:
        force.remember(reading.wanted, made, record, version)
        if now != known:
            record.write(SERVED_BY, now)
    except OSError as exc:
        outcome["comment"] = f"in force, but not for the next boot: {exc}"
        return
    outcome["result"] = not reading.held
    outcome["comment"] = "in force already" if made.empty else "in force"
    if reading.held:
        held = "; ".join(f"{name}: {why}" for name, why in sorted(reading.held.items()))
        outcome["comment"] += f", but for sets that are left as they are: {held}"
