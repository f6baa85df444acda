"""Apply a plan to the kernel: one call for each backend."""

from __future__ import annotations

from . import addresses, applied, errors, plan
from .desired import Desired
from .plan import Plan
from .state_dir import StateDir


def apply(desired: Desired, state_dir: StateDir, departed: addresses.Content | None = None) -> Plan:
    """
    Bring the kernel to the desired state; return the plan as it was applied.

    departed
        See ``NftTable``.
    """
    record = state_dir.read(applied.FILE)
    made = plan.make(desired, record, applied.last(state_dir), departed)
    if not made.empty:
        state_dir.mark_dirty()
    try:
        done = execute(made)
    except errors.CommandFailed:
        # Another program has changed something since it was read.
        again = plan.make(desired, record, None, departed)
        if _texts(again) == _texts(made):
            if all(one.all_or_nothing or not change.text for one, change in made.parts):
                state_dir.mark_clean()
            raise
        done = execute(again)
    return Plan(tuple((one, one.confirm(change)) for one, change in done.parts))


def execute(made: Plan) -> Plan:
    """Run the programs that carry a plan out; return the plan as it was applied."""
    # ipsets first: a rule that names one must find it.
    done = [(one, one.apply(change)) for one, change in reversed(made.parts)]
    for one, change in done:
        one.remove_unused(change)
    return Plan(tuple(reversed(done)))


def check(made: Plan) -> None:
    """Ask the kernel whether it would take the changes; raise CommandFailed where not."""
    for one, change in made.parts:
        one.check(change)


def leftovers(state_dir: StateDir) -> list[str]:
    """Return a sentence on each thing that this module has made and that cannot be removed."""
    found = plan.backends(state_dir.read(applied.FILE))
    return [sentence for one in found if (sentence := one.leftover())]


def _texts(made: Plan) -> list[str]:
    return [change.text for change in made.each]
