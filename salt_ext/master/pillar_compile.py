"""What Salt does not hand to an ext_pillar: what the compile is for, and whether it is complete."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType

from salt_ext.master import keys


@dataclass(frozen=True, slots=True, kw_only=True)
class PillarCompile:
    """One compile of a minion's pillar."""

    override: Mapping[object, object] = field(default_factory=dict, repr=False)
    """The ``pillar=`` of the command line, which Salt merges before and after each ext_pillar."""
    complete: bool = True
    """No SLS or ext_pillar has failed so far: a key that is missing was removed on purpose."""
    permanent: bool = True
    """The pillar that a minion of this master gets, and not a question with other grains."""


def current_compile(opts: Mapping[str, object], minion: object) -> PillarCompile:
    """Return what the stack tells of the compile that called the ext_pillar."""
    override: Mapping[object, object] = {}
    complete, with_arguments = True, False
    # These are named alike in Salt 3006, 3007 and 3008. Where a later one renames them, a compile
    # counts as a usual one; tests on every version say so.
    frame = _caller(inspect.currentframe(), "_external_pillar_data")
    if frame is not None:
        given = getattr(frame.f_locals.get("self"), "pillar_override", None)
        override = given if isinstance(given, Mapping) else {}
        frame = frame.f_back
    if frame is not None:
        complete = not frame.f_locals.get("errors")
        frame = frame.f_back
    if frame is not None:
        complete = complete and not frame.f_locals.get("top_errors")
        # Other grains, or another environment, than the minion's own.
        frame = _caller(frame, "show_pillar", within=3)
        with_arguments = frame is not None and bool(frame.f_locals.get("kwargs"))
    return PillarCompile(
        override=override,
        complete=complete,
        permanent=not override
        and not with_arguments
        and opts.get("__role") == "master"
        # salt-ssh compiles for hosts that no master can publish to.
        and "__master_opts__" not in opts
        and keys.is_accepted(opts, minion),
    )


def _caller(frame: FrameType | None, name: str, *, within: int = 30) -> FrameType | None:
    """Return the nearest caller of that name, among so many."""
    for _ in range(within):
        if frame is None or frame.f_code.co_name == name:
            return frame
        frame = frame.f_back
    return None
