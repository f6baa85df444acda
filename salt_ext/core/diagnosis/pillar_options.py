"""Options of a master with which references in pillars cannot work, or not as people expect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from salt_ext.core.config.config import KEY
from salt_ext.core.diagnosis.finding import Finding, error, warning


def findings(opts: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Return each, with what to do."""
    found = []
    listed = opts.get("ext_pillar") or []
    names = [name for entry in listed if isinstance(entry, Mapping) for name in entry]
    if KEY not in names:
        found.append(
            error(
                "ext_pillar",
                f"has no {KEY}, so that references stay in the pillars",
                f"add `- {KEY}: {{}}` to the list, behind the others",
            )
        )
    elif names[-1] != KEY:
        behind = ", ".join(names[names.index(KEY) + 1 :])
        found.append(
            warning(
                "ext_pillar",
                f"{behind} comes after {KEY}, so that references in what it adds stay as they are",
                f"put {KEY} last",
            )
        )
    if opts.get("ext_pillar_first"):
        found.append(
            error(
                "ext_pillar_first",
                "true compiles the ext_pillars before the pillar's files, so that references in "
                "those stay as they are",
                "set it to false",
            )
        )
    if opts.get("pillar_cache"):
        found.append(
            error(
                "pillar_cache",
                "true hands out a pillar as it was for pillar_cache_ttl seconds "
                f"({opts.get('pillar_cache_ttl', 3600)}), with addresses of nodes that may have "
                "left",
                "set it to false",
            )
        )
    return tuple(found)
