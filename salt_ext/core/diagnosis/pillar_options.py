"""Options of a master that keep references in pillars from being replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from salt_ext.core.config.config import KEY
from salt_ext.core.diagnosis.finding import Finding, error, warning


def findings(opts: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Return one finding for each wrong option of the master."""
    found = []
    entries = opts.get("ext_pillar") or []
    names = [name for entry in entries if isinstance(entry, Mapping) for name in entry]
    if KEY not in names:
        found.append(
            error(
                "ext_pillar",
                f"has no {KEY}, so references in pillars are not replaced",
                f"add `- {KEY}: {{}}` at the end of the list",
            )
        )
    elif names[-1] != KEY:
        behind = ", ".join(names[names.index(KEY) + 1 :])
        found.append(
            warning(
                "ext_pillar",
                f"{behind} comes after {KEY}, so references that it adds are not replaced",
                f"move {KEY} to the end of the list",
            )
        )
    if opts.get("ext_pillar_first"):
        found.append(
            error(
                "ext_pillar_first",
                "true compiles the ext_pillars before the pillar's files, so references in those "
                "files are not replaced",
                "set it to false",
            )
        )
    if opts.get("pillar_cache"):
        found.append(
            error(
                "pillar_cache",
                "true serves cached pillars for pillar_cache_ttl seconds "
                f"({opts.get('pillar_cache_ttl', 3600)}): with addresses of removed nodes",
                "set it to false",
            )
        )
    return tuple(found)
