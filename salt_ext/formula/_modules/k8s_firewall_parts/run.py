"""
One run, from a pillar to the applied firewall, and the map of this package.

``_modules/k8s_firewall.py`` is what Salt calls; it makes a ``Run`` and returns its outcome. The
other parts each do one thing, with values between them::

    pillar or delivery ─> desired ──> plan ──> kernel ──> applied ──> status, access
                          │           │        │          │
                          ├ addresses ├ nft    ├ programs └ state_dir: files, lock
                          ├ gates     ├ ipset  └ generation: did nftables change?
                          ├ rules     └ foreign_firewalls: who drops afterwards?
                          ├ prune (its configuration)
                          └ freshness: is this pillar older?

    removed addresses ──> ownership: served once, and no more
                          ├ prune ─> prune_iptables, prune_nft, prune_nft_saved: their rules
                          └ departures ─> connections: their open connections

What reads or writes texts (addresses, desired, gates, rules, nft, ipset, foreign_firewalls, the
three prune parts, delivery, freshness, the parsers of connections) needs neither root nor a
kernel; programs runs other programs, state_dir writes to the disk. There is no ``__init__.py``:
with one, Salt would load this folder as an execution module. The parts import only the standard
library and each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import (
    applied,
    connections,
    delivery,
    departures,
    desired,
    errors,
    foreign_firewalls,
    freshness,
    kernel,
    ownership,
    plan,
    prune,
)
from .desired import Desired, ParsedPillar, Pillar
from .plan import Plan
from .state_dir import StateDir

_FILES = (
    applied.FILE,
    applied.PREVIOUS_FILE,
    freshness.FILE,
    departures.FILE,
    ownership.FILE,
    delivery.FILE,
    connections.ABILITY_FILE,
)

Outcome = dict[str, Any]


class Run:
    """The values of one run; each public method returns ``result``, ``comment``, ``changes``."""

    def __init__(
        self,
        pillar: Pillar,
        state_dir: StateDir,
        masters: Sequence[str],
        version: str,
        *,
        test: bool,
    ) -> None:
        self.pillar = pillar
        self.state_dir = state_dir
        self.masters = masters
        self.version = version
        self.test = test
        self.outcome: Outcome = {
            "result": False,
            "comment": "",
            "changes": {},
            "version": version,
        }
        self._problems: list[str] = []
        self._progress = "firewall unchanged"

    def sync(self) -> Outcome:
        """Apply sets, gates and rules, prune where the pillar says so, end connections."""
        return self._guarded(self._sync)

    def deliver(self, delivered: Any, minion: str) -> Outcome:
        """Apply delivered addresses; raise Rejected where the pillar is needed."""

        def accept() -> None:
            granted = self.state_dir.read(delivery.FILE)
            known = self.state_dir.read(freshness.FILE)
            self.pillar = delivery.accept(granted, known, delivered, minion, desired.PILLAR_KEY)
            self._deliver()

        return self._guarded(accept)

    def prune(self) -> Outcome:
        """Only delete the rules of removed addresses, where a formula only appends rules."""
        return self._guarded(self._prune, "not everything was pruned")

    def record(self) -> Outcome:
        """Only record the served addresses, before a formula lets them in."""
        return self._guarded(self._record, "the served addresses were not recorded")

    def rollback(self) -> Outcome:
        """Apply the state from before the last change."""
        return self._guarded(self._rollback)

    def repair(self) -> Outcome:
        """Apply the recorded state to the kernel again; no pillar is needed."""
        return self._guarded(self._repair, "not repaired")

    def remove(self) -> Outcome:
        """Remove everything that this module has made from the kernel and from the disk."""
        return self._guarded(self._remove, "not everything was removed")

    def _guarded(self, step: Callable[[], None], failed: str = "") -> Outcome:
        outcome = self.outcome
        try:
            with self.state_dir.locked():
                step()
        except delivery.Rejected:
            raise
        except (errors.FirewallError, OSError) as exc:
            outcome["result"] = False
            outcome["comment"] = f"{failed or self._progress}: {exc}"
        outcome["digest"] = self.state_dir.read(applied.FILE).get("digest", "")
        outcome["revision"] = freshness.numbers(self.state_dir.read(freshness.FILE))
        return outcome

    def _parse(self) -> ParsedPillar:
        before = applied.last(self.state_dir)
        sets = before.all_sets() if before else {}
        parsed = desired.parse(self.pillar, sets, self.masters)
        new, known = freshness.revisions_of(self.pillar), self.state_dir.read(freshness.FILE)
        if reasons := freshness.stale_reasons(new, known):
            raise errors.Refused(f"the pillar is older than the applied one: {'; '.join(reasons)}")
        return parsed

    def _sync(self) -> None:
        before = applied.last(self.state_dir) or Desired()
        parsed = self._parse()
        if self.test:
            made = self._plan(parsed.desired)
            kernel.check(made)
            self._prune_removed(parsed)
            self._find_problems(made, parsed)
            self._conclude()
            return
        made, removed = self._apply(before, parsed)
        self._end_connections(removed, parsed.desired)
        self._prune_removed(parsed)
        delivery.record_grant(self.state_dir, self.pillar, desired.PILLAR_KEY)
        self._find_problems(made, parsed)
        self._conclude()
        self._report_blocker()

    def _find_problems(self, made: Plan, parsed: ParsedPillar) -> None:
        # A foreign chain may be new; the removed addresses were closed all the same.
        if not made.replaces_table and (conflict := foreign_firewalls.conflict(parsed.desired)):
            self._problems.append(conflict)
        for name, reason in sorted(parsed.unresolved.items()):
            self._problems.append(f"the set {name} is unchanged: {reason}")

    def _plan(self, wish: Desired) -> Plan:
        made = plan.make(wish, self.state_dir.read(applied.FILE))
        self.outcome["changes"] = made.changes()
        return made

    def _apply(self, before: Desired, parsed: ParsedPillar) -> tuple[Plan, frozenset[str]]:
        """
        Apply the desired state and record it; return the entries that are in no set any more.

        Nothing else may fail in between: what the kernel has is what the record and the next boot
        have, and the next run finds the addresses that are still to be closed.
        """
        made = self._apply_to_kernel(parsed.desired)
        self.outcome["changes"] = made.changes()
        removed = self._removed(before, made, parsed.desired)
        departures.record(self.state_dir, removed)
        self._record_applied(parsed, made)
        return made, removed

    def _apply_to_kernel(self, wish: Desired) -> Plan:
        try:
            made = kernel.apply(wish, self.state_dir)
        except (errors.FirewallError, OSError):
            if self.state_dir.is_dirty():
                self._progress = "firewall may be changed in part"
            raise
        self._progress = "firewall updated, but a later step failed"
        return made

    def _removed(self, before: Desired, made: Plan, now: Desired) -> frozenset[str]:
        found = departures.pending(self.state_dir).union(*(gone for _, gone in made.sets.values()))
        # By the record too: a run may have ended between the kernel and its record.
        return now.removed_since(before).union(one for one in found if not now.has_entry(one))

    def _deliver(self) -> None:
        before = applied.last(self.state_dir)
        try:
            parsed = self._parse()
        except errors.Refused as exc:
            raise delivery.Rejected(str(exc)) from exc
        if before is None or parsed.unresolved or parsed.prune is not None:
            raise delivery.Rejected("the firewall depends on more than the delivered addresses")
        if self.test:
            self._plan(parsed.desired)
            self._conclude()
            return
        _, removed = self._apply(before, parsed)
        self._conclude()
        try:
            any_open = connections.any_open(removed)
        except errors.FirewallError as exc:
            raise delivery.Rejected(
                f"the connections of removed addresses are unknown: {exc}"
            ) from exc
        if any_open:
            # Only the pillar says whether they are allowed for another reason.
            raise delivery.Rejected("removed addresses have open connections")
        departures.record(self.state_dir, frozenset())

    def _prune(self) -> None:
        parsed = self._parse()
        if parsed.prune is None:
            raise errors.Refused(f"the pillar has no {desired.PILLAR_KEY}:prune")
        self._prune_removed(parsed)
        if not self.test and not self._problems:
            self._record_revisions()
        self._conclude()

    def _record(self) -> None:
        desired.block(self.pillar)
        if not self.test:
            self._record_served()
        self.outcome["result"] = True
        self.outcome["comment"] = "served addresses recorded"

    def _rollback(self) -> None:
        before = applied.previous(self.state_dir)
        if before is None:
            raise errors.Refused("no earlier state is recorded")
        self._apply_recorded(before)
        self.outcome["comment"] += "; the next sync applies the pillar again"

    def _repair(self) -> None:
        wish = applied.last(self.state_dir)
        if wish is None:
            raise errors.Refused("nothing is applied yet; run k8s_firewall.sync")
        if self.state_dir.is_dirty():
            raise errors.Refused(
                "a run was interrupted, and the kernel may be newer than the record; "
                "run k8s_firewall.sync"
            )
        self._apply_recorded(wish)

    def _remove(self) -> None:
        self._apply_recorded(Desired())
        if self.test:
            return
        if names := kernel.remaining_ipsets(self.state_dir):
            self._problems.append(
                f"the ipset {', '.join(names)} is empty but not removed: a rule of another program "
                f"uses it; delete that rule, then run k8s_firewall.remove again"
            )
            self._conclude()
        else:
            for name in _FILES:
                self.state_dir.remove(f"{name}.json")

    def _apply_recorded(self, wish: Desired) -> None:
        before = applied.last(self.state_dir) or Desired()
        if self.test:
            made = plan.make(wish, self.state_dir.read(applied.FILE))
        else:
            made = self._apply_to_kernel(wish)
            removed = wish.removed_since(before)
            departures.record(self.state_dir, departures.pending(self.state_dir) | removed)
            applied.record(wish, made, self.state_dir, self.version)
            self._end_connections(removed, wish)
        self.outcome["changes"] = made.changes()
        self._conclude()

    def _report_blocker(self) -> None:
        """Report, before any address is removed, that open connections would not be ended."""
        if not (reason := connections.blocker(self.state_dir)):
            return
        self.outcome["ends_connections"] = False
        if reason not in self.outcome["comment"]:
            self.outcome["comment"] += (
                f"; open connections of removed addresses will not be ended: {reason}"
            )

    def _conclude(self) -> None:
        changed = bool(self.outcome["changes"])
        summary = "firewall would be updated" if self.test else "firewall updated"
        self.outcome["result"] = None if self.test and changed else True
        if self._problems:
            # With test too: the run itself would fail.
            self.outcome["result"] = False
        self.outcome["comment"] = "; ".join(
            [summary if changed else "firewall up to date", *self._problems]
        )

    def _record_served(self) -> frozenset[str]:
        """Add the addresses that are served now to the record; return those that were in it."""
        known = ownership.recorded(self.state_dir)
        ownership.record(self.state_dir, known | ownership.served(self.pillar))
        return known

    def _prune_removed(self, parsed: ParsedPillar) -> None:
        """Delete the rules of removed addresses, where the pillar says so."""
        if parsed.prune is None:
            return
        before = ownership.recorded(self.state_dir) if self.test else self._record_served()
        if unresolved := ownership.unresolved(self.pillar):
            self._problems.append(
                f"nothing was pruned: {unresolved[0]} is not resolved, so its addresses are unknown"
            )
            return
        found = ownership.departures(self.pillar, before, parsed.desired.keep)
        if pruned := prune.prune(parsed.prune, found.removed, test=self.test):
            self.outcome["changes"]["pruned"] = pruned
        if found.spared:
            self.outcome["spared"] = dict(sorted(found.spared.items()))
        if not self.test:
            # Also those that an earlier run could not end.
            removed = found.removed | departures.pending(self.state_dir)
            self._end_connections(removed, parsed.desired)
            # A spared address is closed later, once the reason for it has gone.
            still_recorded = ownership.served(self.pillar) | found.spared.keys()
            ownership.record(self.state_dir, still_recorded)

    def _end_connections(self, removed: frozenset[str], now: Desired) -> None:
        ended = departures.end(
            self.state_dir,
            removed,
            lambda: ownership.StillAllowed(self.pillar, now.all_sets().values()),
        )
        if ended.counts:
            self.outcome.setdefault("connections", {}).update(ended.counts)
        if ended.problem and ended.problem not in self._problems:
            self._problems.append(ended.problem)

    def _record_revisions(self) -> None:
        now = freshness.revisions_of(self.pillar)
        if now != self.state_dir.read(freshness.FILE):
            self.state_dir.write(freshness.FILE, now)

    def _record_applied(self, parsed: ParsedPillar, made: Plan) -> None:
        try:
            applied.record(parsed.desired, made, self.state_dir, self.version)
            self._record_revisions()
        except OSError as exc:
            self._problems.append(f"not recorded, so the next boot will not load it: {exc}")
