"""
One run, from a pillar to the applied firewall, and the map of this package.

``_modules/k8s_firewall.py`` is what Salt calls; it makes a ``Run`` and returns its outcome. The
other parts each do one thing, with values between them. First the objects that this module has in
the kernel::

    pillar or delivery ─> desired ─> plan ─> kernel ─> applied ─> status
                          │          │       apply     record
                          │          └ observes and plans with each backend:
                          │            ├ nft_table ─> nft: gates, rules, sets as text
                          │            │              └ reverse_flows, service_ports
                          │            └ ipset_sets ─> ipset: sets as text
                          ├ addresses, gates, rules: what the pillar may say
                          ├ prune: its limits
                          └ freshness: is this pillar older?

    foreign_firewalls: who drops afterwards? by foreign_rules, which foreign_nft_rules reads from
    the kernel and foreign_saved_rules from a text

Then rules of others, and addresses that get in by them::

    removed addresses ──> closing ──> departures: the record of what is to be closed
                          ├ ownership: served once, and not allowed for another reason
                          ├ reading: what lets addresses in ─> openings
                          │ ├ read_nft (nft_text), read_iptables, read_ipset: the kernel
                          │ ├ read_saved (read_nft_file): files of the next boot
                          │ ├ chains: rules in one form, over intervals of addresses
                          │ └ nft_bytes: nothing to read where no byte of an address is there
                          ├ verify: which openings name an address?
                          │ ├ access: does a packet get in?
                          │ └ traffic: which connections and flows go on?
                          ├ prune ─> removals ─> firewalld: delete rules, each kind in its way
                          └ connections (sock_diag), flows: end what is open

    programs runs other programs; netlink asks the kernel without one (generation: did nftables
    change?); state_dir has the files and the lock; errors has what can go wrong

Parts that read or write texts need neither root nor a kernel. There is no ``__init__.py``: with
one, Salt would load this folder as an execution module. The parts import only the standard library
and each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import (
    addresses,
    applied,
    closing,
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
        departed: object = None,
    ) -> None:
        self.pillar = pillar
        self.state_dir = state_dir
        self.masters = masters
        self.version = version
        self.test = test
        self.departed = departed
        """Addresses that the master names as removed, as it gave them."""
        self.outcome: Outcome = {
            "result": False,
            "comment": "",
            "changes": {},
            "version": version,
        }
        self._problems: list[str] = []
        self._progress = "firewall unchanged"
        self._begun: tuple[frozenset[str], dict[str, departures.Departure]] | None = None

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
        """Only close removed addresses, where a formula only appends rules."""
        return self._guarded(self._prune, "not everything was pruned")

    def close(self) -> Outcome:
        """Only close removed addresses; the pillar need not have a block of this module."""
        return self._guarded(self._close, "not everything was closed")

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

    def _parse(self, *, required: bool = True) -> ParsedPillar:
        before = applied.last(self.state_dir)
        sets = before.all_sets() if before else {}
        parsed = desired.parse(self.pillar, sets, self.masters, required=required)
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
            self._close_departed(parsed, parsed.desired.removed_since(before))
            self._find_problems(made, parsed)
            self._conclude()
            return
        made, removed = self._apply(before, parsed)
        self._close_departed(parsed, removed)
        delivery.record_grant(self.state_dir, self.pillar, desired.PILLAR_KEY)
        self._find_problems(made, parsed)
        self._conclude()
        self._report_blocker()

    def _find_problems(self, made: Plan, parsed: ParsedPillar) -> None:
        # A foreign chain may be new; the removed addresses were closed all the same.
        if not made.replaces and (conflict := foreign_firewalls.conflict(parsed.desired)):
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
        self._record_served()
        found = self._begin_closing(parsed, parsed.desired.removed_since(before))
        made = self._apply_to_kernel(parsed.desired, departures.content(found))
        self.outcome["changes"] = made.changes()
        removed = self._removed(before, made, parsed.desired)
        self._begin_closing(parsed, removed)
        self._record_applied(parsed, made)
        return made, removed

    def _apply_to_kernel(self, wish: Desired, departed: addresses.Content | None = None) -> Plan:
        try:
            made = kernel.apply(wish, self.state_dir, departed)
        except (errors.FirewallError, OSError):
            if self.state_dir.is_dirty():
                self._progress = "firewall may be changed in part"
            raise
        self._progress = "firewall updated, but a later step failed"
        return made

    def _removed(self, before: Desired, made: Plan, now: Desired) -> frozenset[str]:
        found = {one for _, gone in made.sets.values() for one in gone}
        # By the record too: a run may have ended between the kernel and its record.
        return now.removed_since(before).union(one for one in found if not now.has_entry(one))

    def _deliver(self) -> None:
        before = applied.last(self.state_dir)
        try:
            parsed = self._parse()
        except errors.Refused as exc:
            raise delivery.Rejected(str(exc)) from exc
        if before is None or parsed.unresolved:
            raise delivery.Rejected("the firewall depends on more than the delivered addresses")
        if self.test:
            self._plan(parsed.desired)
            self._conclude()
            return
        _, removed = self._apply(before, parsed)
        self._conclude()
        self._prove_delivered(removed)

    def _prove_delivered(self, removed: frozenset[str]) -> None:
        """Prove that a delivery has closed what it removed; else the pillar is needed."""
        found = departures.recorded(self.state_dir)
        to_prove = {address for address, one in found.items() if one.state != departures.SPARED}
        if not to_prove:
            return
        open_now = {address for address in to_prove if found[address].state == departures.OPEN}
        try:
            any_open = connections.any_open(frozenset(open_now))
        except errors.FirewallError as exc:
            raise delivery.Rejected(
                f"the connections of removed addresses are unknown: {exc}"
            ) from exc
        if any_open:
            # Only the pillar says whether they are allowed for another reason.
            raise delivery.Rejected("removed addresses have open connections")
        judged = closing.read_again(found)
        if any(one.state == departures.OPEN for one in judged.values()):
            raise delivery.Rejected("removed addresses are not closed by sets alone")
        self._finish_closing(closing.Outcome(judged, news=set(removed)))

    def _prune(self) -> None:
        parsed = self._parse()
        if parsed.prune is None:
            raise errors.Refused(f"{desired.PILLAR_KEY}:prune is false in the pillar")
        self._close_all(parsed)

    def _close(self) -> None:
        self._close_all(self._parse(required=False))

    def _close_all(self, parsed: ParsedPillar) -> None:
        if not self.test:
            self._record_served(opens=False)
        self._close_departed(parsed)
        if not self.test and not self._problems:
            self._record_revisions()
        self._conclude()
        found = self.outcome.get("departures", {})
        for kind in ("open", "unknown"):
            if found.get(kind):
                self.outcome["result"] = False

    def _record(self) -> None:
        desired.block(self.pillar, required=False)
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
        if left := kernel.leftovers(self.state_dir):
            self._problems += left
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
            applied.record(wish, made, self.state_dir, self.version)
            if not self._end_connections(removed, wish):
                # The next run tries again.
                closing.left_sets(self.state_dir, removed)
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
        parts = [summary if changed else "firewall up to date", *self._problems]
        if still_open := departures.sentence(self.outcome.get("departures", {})):
            parts.append(still_open)
        self.outcome["comment"] = "; ".join(parts)

    def _record_served(self, *, opens: bool = True) -> None:
        """
        Add the addresses that are served now to the record.

        opens
            Whether they are let in after this, so that their connections of now are older. Where
            another formula may have let them in already, none of these is spared later: the run
            only closes, or this module has recorded nothing here before.
        """
        files = (applied.FILE, freshness.FILE, ownership.FILE)
        opens = opens and any(map(self.state_dir.read, files))
        known, served = ownership.recorded(self.state_dir), ownership.served(self.pillar)
        before = connections.existing(served - known) if opens else {}
        ownership.record(self.state_dir, known | served, before)

    def _begin_closing(
        self, parsed: ParsedPillar, removed: Iterable[str]
    ) -> dict[str, departures.Departure]:
        """Record what is to be closed, before anything is deleted for it."""
        removed = frozenset(removed)
        if self._begun and self._begun[0] == removed:
            # Under one lock, from one pillar: nothing else has changed since.
            return self._begun[1]
        named = self._named()
        last = applied.last(self.state_dir)
        found = closing.begin(self.state_dir, self.pillar, parsed, named, removed, last)
        if not self.test:
            departures.record(self.state_dir, found)
            if not ownership.unresolved(self.pillar):
                ownership.record(self.state_dir, ownership.served(self.pillar))
        self._begun = (removed, found)
        return found

    def _named(self) -> Mapping[str, float]:
        try:
            return departures.of_master(self.departed)
        except addresses.InvalidAddress as exc:
            raise errors.Refused(f"departed: {exc}") from exc

    def _close_departed(self, parsed: ParsedPillar, removed: frozenset[str] = frozenset()) -> None:
        """Close removed addresses, and say of each whether the kernel proves it."""
        found = self._begin_closing(parsed, removed)
        named = self._named()
        done = closing.close(self.state_dir, self.pillar, parsed, found, named, test=self.test)
        # The master is answered also for what this minion knew already.
        done.news |= named.keys() & found.keys()
        self._finish_closing(done)

    def _finish_closing(self, done: closing.Outcome) -> None:
        if not self.test:
            departures.record(self.state_dir, done.departures)
        if done.pruned:
            self.outcome["changes"]["pruned"] = done.pruned
        if done.connections:
            self.outcome.setdefault("connections", {}).update(done.connections)
        if answer := done.answer():
            self.outcome["departures"] = answer
        self._problems += [one for one in done.problems if one not in self._problems]

    def _end_connections(self, removed: frozenset[str], now: Desired) -> bool:
        """End connections; False where it is not known whether they are ended."""
        allowed = ownership.StillAllowed(self.pillar, now.all_sets().values())
        try:
            counts = connections.end(removed, allowed)
        except errors.FirewallError as exc:
            self._problems.append(f"connections of removed addresses were not ended: {exc}")
            return False
        if counts:
            self.outcome.setdefault("connections", {}).update(counts)
        if problem := connections.still_open(counts):
            self._problems.append(problem)
        return True

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
