"""Whether the published function of a class updates the ``k8s_firewall`` block of a pillar."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from salt_ext.core.config.apply import MODULE, Action
from salt_ext.core.diagnosis.formula_pitfalls import Pitfall
from salt_ext.core.references.scan import may_contain

ReadSls = Callable[[str], "str | None"]
"""Returns the text of an SLS by name; None when this master cannot read it."""

_ENFORCED = ("sets", "gates", "rules")
# Such an SLS may have more states than its text.
_INCOMPLETE = re.compile(r"include|extend|import|^#!", re.MULTILINE)
_PUBLISH = (
    f"publish {MODULE}.sync to them: add a class to apply:classes, before the others, with a "
    f"target and function: {MODULE}.sync"
)


def uncovered(pillar: Mapping[str, object], action: Action, read_sls: ReadSls) -> Iterator[Pitfall]:
    """Yield that the published function does not, or may not, update the firewall."""
    block = pillar.get(MODULE)
    if not isinstance(block, Mapping):
        return
    prunes = isinstance(block.get("prune"), Mapping)
    if (not prunes and not may_contain(block)) or _updates(block, action):
        return
    names = _sls_names(action)
    if names == ():
        # A highstate: its top file decides, and the minion evaluates it.
        return
    texts = [read_sls(name) for name in names or ()]
    if any(text and MODULE in text for text in texts):
        return
    certain = names is None or all(
        text is not None and not _INCOMPLETE.search(text) for text in texts
    )
    fix = _PUBLISH
    if names:
        fix += f"; or include the SLS {MODULE}{'.prune' if prunes else ''} in {names[0]}"
    effect = "does not update" if certain else "may not update"
    yield Pitfall(
        where=MODULE,
        what=f"the published function {action} {effect} this firewall",
        fix=fix,
        hint=not certain,
    )


def _updates(block: Mapping[str, object], action: Action) -> bool:
    if action.function == f"{MODULE}.sync":
        return True
    if action.function == f"{MODULE}.prune":
        return not any(block.get(key) for key in _ENFORCED)
    return _names_module([*action.arg, *action.kwarg.values()])


def _names_module(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_names_module, (*value, *value.values())))
    if isinstance(value, (list, tuple)):
        return any(map(_names_module, value))
    return isinstance(value, str) and MODULE in value


def _sls_names(action: Action) -> tuple[str, ...] | None:
    """Return the applied SLS, () for a highstate; None when the function applies no states."""
    if action.function in ("state.highstate", "state.top"):
        return ()
    if action.function not in ("state.apply", "state.sls"):
        return None
    mods = action.kwarg.get("mods", action.arg[0] if action.arg else ())
    names = mods.split(",") if isinstance(mods, str) else mods
    return tuple(map(str, names)) if isinstance(names, (list, tuple)) else ()
