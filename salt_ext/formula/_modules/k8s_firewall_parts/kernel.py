"""Apply a plan to the kernel: one call for each of its tools, each all or nothing."""

from __future__ import annotations

from collections.abc import Callable

from . import addresses, applied, errors, generation, ipset, nft, plan, programs
from .desired import Desired
from .plan import Plan
from .state_dir import StateDir

_TRIES = 3


def apply(desired: Desired, state_dir: StateDir, departed: addresses.Content | None = None) -> Plan:
    """
    Bring the kernel to the desired state; return the plan that was applied.

    departed
        See ``plan.make``.
    """
    record = state_dir.read(applied.FILE)
    made = plan.make(desired, record, applied.unchanged_table(state_dir), departed)
    if not made.empty:
        state_dir.mark_dirty()
    try:
        execute(made)
    except errors.CommandFailed:
        # Another program has changed the sets since they were read.
        again = plan.make(desired, record, None, departed)
        if again.nft == made.nft and again.ipset == made.ipset:
            if not made.ipset:
                # nft takes all or nothing.
                state_dir.mark_clean()
            raise
        made = again
        execute(made)
    _list_applied(made)
    return made


def execute(made: Plan, run: Callable[..., str] = programs.run) -> None:
    """Run the programs that carry a plan out."""
    # ipsets first: a rule that names one must find it.
    if made.ipset:
        run(ipset.APPLY, made.ipset)
    if made.nft:
        _load(made, run)
    for name in made.unused_ipsets:
        # A foreign rule may still use it: then it is emptied now and destroyed another time.
        run(["ipset", "flush", name])
        try:
            run(["ipset", "destroy", name])
        except errors.CommandFailed as exc:
            if "in use" not in exc.output:
                raise


def check(made: Plan) -> None:
    """Ask the kernel whether it would take the nft table; raise CommandFailed where not."""
    if made.nft:
        programs.run(nft.CHECK, made.nft)


def remaining_ipsets(state_dir: StateDir) -> list[str]:
    """Return this module's ipsets that are still in the kernel."""
    names = state_dir.read(applied.FILE).get("ipsets", [])
    return sorted(plan.read_ipset_names().intersection(names)) if names else []


def _load(made: Plan, run: Callable[..., str]) -> None:
    run(nft.APPLY, made.nft)
    after = generation.current(nft.TABLE)
    made.generation_after = after if generation.follows(after, made.generation_before) else ""


def _list_applied(made: Plan) -> None:
    """Note how the kernel lists the table that was loaded, and only what was loaded."""
    if not made.replaces_table or made.nft == nft.DELETE:
        return
    for _ in range(_TRIES):
        listed = plan.read_with_handles()
        made.listing = nft.structure_of(listed)
        now = generation.current(nft.TABLE)
        if now and now == made.generation_after:
            return
        # Another program has changed something; mostly a table of its own.
        if nft.is_as_loaded(listed, made.nft):
            break
        made.listing, made.generation_before = "", now
        _load(made, programs.run)
    made.generation_after = ""
