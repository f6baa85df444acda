"""What Salt does not hand to an ext_pillar: for whom, and with what, a pillar is compiled."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from salt_ext.master import keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Compile:
    """One compile of a minion's pillar."""

    override: Mapping[Any, Any] = field(default_factory=dict, repr=False)
    """The ``pillar=`` of the command line, which Salt merges once before us and once after us."""
    whole: bool = True
    """No file or ext_pillar failed so far: what is not in the pillar is not meant to be."""
    lasting: bool = True
    """What it refers to is what a minion of this master refers to until told otherwise."""


def current(opts: Mapping[str, Any], minion: object) -> Compile:
    """Return what is known of the compile that the caller serves."""
    override: Mapping[Any, Any] = {}
    whole, asked = True, False
    frame = inspect.currentframe()
    while frame is not None:
        # These three are named alike in Salt 3006, 3007 and 3008. Where a later one renames them,
        # a compile counts as a usual one; tests on every version say so.
        if frame.f_code.co_name == "_external_pillar_data":
            given = getattr(frame.f_locals.get("self"), "pillar_override", None)
            override = given if isinstance(given, Mapping) else {}
        elif frame.f_code.co_name in ("ext_pillar", "compile_pillar"):
            whole = whole and not _errors(frame)
        elif frame.f_code.co_name == "show_pillar":
            # Other grains, or another environment, than the minion's own.
            asked = asked or bool(frame.f_locals.get("kwargs"))
        frame = frame.f_back
    return Compile(
        override=override,
        whole=whole,
        lasting=not override
        and not asked
        and opts.get("__role") == "master"
        # salt-ssh compiles for hosts that no master can publish to.
        and "__master_opts__" not in opts
        and keys.accepted(opts, minion),
    )


def _errors(frame: FrameType) -> bool:
    """Whether a method of Salt's compiler has met an error."""
    found = frame.f_locals
    return bool(found.get("top_errors") or found.get("errors"))
