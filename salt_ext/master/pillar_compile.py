"""What Salt does not hand to an ext_pillar: for whom, and with what, a pillar is compiled."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from salt_ext.master import keys


@dataclass(frozen=True, slots=True, kw_only=True)
class PillarCompile:
    """One compile of a minion's pillar."""

    override: Mapping[Any, Any] = field(default_factory=dict, repr=False)
    """The ``pillar=`` of the command line, which Salt merges once before us and once after us."""
    whole: bool = True
    """No file or ext_pillar failed so far: what is not in the pillar is not meant to be."""
    lasting: bool = True
    """What it refers to is what a minion of this master refers to until told otherwise."""


def current(opts: Mapping[str, Any], minion: object) -> PillarCompile:
    """Return what is known of the compile that the caller serves."""
    override: Mapping[Any, Any] = {}
    whole, asked = True, False
    # These are named alike in Salt 3006, 3007 and 3008. Where a later one renames them, a compile
    # counts as a usual one; tests on every version say so.
    frame = _outward(inspect.currentframe(), "_external_pillar_data")
    if frame is not None:
        given = getattr(frame.f_locals.get("self"), "pillar_override", None)
        override = given if isinstance(given, Mapping) else {}
        frame = frame.f_back
    if frame is not None:
        whole = not frame.f_locals.get("errors")
        frame = frame.f_back
    if frame is not None:
        whole = whole and not frame.f_locals.get("top_errors")
        # Other grains, or another environment, than the minion's own.
        frame = _outward(frame, "show_pillar", within=3)
        asked = frame is not None and bool(frame.f_locals.get("kwargs"))
    return PillarCompile(
        override=override,
        whole=whole,
        lasting=not override
        and not asked
        and opts.get("__role") == "master"
        # salt-ssh compiles for hosts that no master can publish to.
        and "__master_opts__" not in opts
        and keys.accepted(opts, minion),
    )


def _outward(frame: FrameType | None, name: str, *, within: int = 30) -> FrameType | None:
    """Return the nearest caller of that name."""
    for _ in range(within):
        if frame is None or frame.f_code.co_name == name:
            return frame
        frame = frame.f_back
    return None
