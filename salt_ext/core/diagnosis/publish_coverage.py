"""Whether what a class publishes brings the sets, gates and rules of a pillar up to date."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from salt_ext.core.config.apply import MODULE, Action
from salt_ext.core.diagnosis.formula_pitfalls import Pitfall
from salt_ext.core.references.scan import may_contain

Text = Callable[[str], "str | None"]
"""What the SLS of a name says; None where it cannot be read here."""

_ENFORCED = ("sets", "gates", "rules")
# A text with one of these may have more states than it shows.
_MORE = re.compile(r"include|extend|import|^#!", re.MULTILINE)
_PUBLISH = (
    f"publish {MODULE}.sync to them: a class under apply:classes, before the others, with a target "
    f"and function: {MODULE}.sync"
)


def uncovered(pillar: Mapping[str, Any], what: Action, text: Text) -> Iterator[Pitfall]:
    """Yield that a change of a cluster does not get into a firewall of ours, or may not."""
    block = pillar.get(MODULE)
    if not isinstance(block, Mapping):
        return
    prunes = isinstance(block.get("prune"), Mapping)
    if (not prunes and not may_contain(block)) or _brings(block, what):
        return
    names = _states(what)
    if names == ():
        # A highstate: its top file is the minion's matter.
        return
    texts = [text(name) for name in names or ()]
    if any(one and MODULE in one for one in texts):
        return
    sure = names is None or all(one is not None and not _MORE.search(one) for one in texts)
    mend = _PUBLISH
    if names:
        mend += f"; or include the SLS {MODULE}{'.prune' if prunes else ''} in {names[0]}"
    told = "which does not bring that up to date" if sure else "which may not bring that up to date"
    yield Pitfall(
        where=MODULE,
        what=f"changes of clusters are published as {what}, {told}",
        mend=mend,
        hint=not sure,
    )


def _brings(block: Mapping[str, Any], what: Action) -> bool:
    if what.function == f"{MODULE}.sync":
        return True
    if what.function == f"{MODULE}.prune":
        return not any(block.get(key) for key in _ENFORCED)
    return _names_us([*what.arg, *what.kwarg.values()])


def _names_us(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_names_us, (*value, *value.values())))
    if isinstance(value, (list, tuple)):
        return any(map(_names_us, value))
    return isinstance(value, str) and MODULE in value


def _states(what: Action) -> tuple[str, ...] | None:
    """Return the SLS that are applied, none for a highstate; None where it is no states."""
    if what.function in ("state.highstate", "state.top"):
        return ()
    if what.function not in ("state.apply", "state.sls"):
        return None
    given = what.kwarg.get("mods", what.arg[0] if what.arg else ())
    listed = given.split(",") if isinstance(given, str) else given
    return tuple(map(str, listed)) if isinstance(listed, (list, tuple)) else ()
