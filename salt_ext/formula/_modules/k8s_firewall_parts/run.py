"""One run: from a pillar to what is in force, or the reason why it stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import connections, delivery, desired, errors, freshness, kernel, ownership, prune
from .state_dir import StateDir

LEAVING = "leaving"
"""Who has left with connections that are not judged or not ended yet, under this name."""

_WRITTEN = (kernel.APPLIED, kernel.PREVIOUS)
_OTHERS = (ownership.NAME, delivery.NAME, connections.ABILITY)

Pillar = desired.Pillar
Outcome = dict[str, Any]


class Run:
    """What one run knows; each of its functions returns ``result``, ``comment`` and ``changes``."""

    def __init__(
        self, pillar: Pillar, record: StateDir, masters: Sequence[str], version: str, *, test: bool
    ) -> None:
        self.pillar = pillar
        self.record = record
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
        self._so_far = "what is in force stays as it is"

    def sync(self) -> Outcome:
        """Bring sets and gates into force, prune where that is asked for, end connections."""
        return self._guarded(self._sync)

    def deliver(self, told: Any, minion: str) -> Outcome:
        """Bring delivered addresses into force; raise NotTaken where the pillar is to be asked."""

        def take() -> None:
            self.pillar = delivery.pillar(self.record, told, minion, desired.KEY)
            self._deliver()

        return self._guarded(take)

    def prune(self) -> Outcome:
        """Only close who has left, where a formula only appends."""
        return self._guarded(self._prune, "not everything of who has left is closed")

    def remember(self) -> Outcome:
        """Only write down who is served, before a formula lets them in."""
        return self._guarded(self._remember, "who is served is not written down")

    def rollback(self) -> Outcome:
        """Bring back what was in force before the last change."""
        return self._guarded(self._rollback)

    def repair(self) -> Outcome:
        """Bring back into the kernel what is in force by the record; no pillar is asked."""
        return self._guarded(self._repair, "the kernel is not as it should be")

    def remove(self) -> Outcome:
        """Take everything of ours out of the kernel and off the disk."""
        return self._guarded(self._remove, "not everything is removed")

    def _guarded(self, what: Callable[[], None], failed: str = "") -> Outcome:
        outcome = self.outcome
        try:
            with self.record.locked():
                what()
        except delivery.NotTaken:
            raise
        except (errors.FirewallError, OSError) as exc:
            outcome["result"] = False
            outcome["comment"] = f"{failed or self._so_far}: {exc}"
        outcome["digest"] = self.record.read(kernel.APPLIED).get("digest", "")
        outcome["revision"] = freshness.numbers(self.record.read(freshness.NAME))
        return outcome

    def _read(self) -> desired.Reading:
        before = kernel.in_force(self.record)
        reading = desired.read(self.pillar, before.contents() if before else {}, self.masters)
        now, known = freshness.of(self.pillar), self.record.read(freshness.NAME)
        if behind := freshness.older(now, known):
            raise errors.Refused(f"the pillar is older than what is in force: {'; '.join(behind)}")
        return reading

    def _sync(self) -> None:
        before = kernel.in_force(self.record) or desired.Wanted()
        reading = self._read()
        this = reading.wanted
        if self.test:
            made = self._plan(this)
            kernel.check(made)
            self._close(reading)
            self._find_problems(made, reading)
            self._conclude()
            return
        made, gone = self._enforce(before, reading)
        self._leave(gone, this)
        self._close(reading)
        delivery.remember(self.record, self.pillar, desired.KEY)
        self._find_problems(made, reading)
        self._conclude()
        self._tell_hindrance()

    def _find_problems(self, made: kernel.Plan, reading: desired.Reading) -> None:
        # Somebody's chain may have come since; what is to be closed is closed all the same.
        if not made.structure and (foreign := kernel.refusing(reading.wanted)):
            self._problems.append(foreign)
        for name, why in sorted(reading.held.items()):
            self._problems.append(f"the set {name} is left as it is: {why}")

    def _plan(self, this: desired.Wanted) -> kernel.Plan:
        made = kernel.plan(this, self.record.read(kernel.APPLIED))
        self.outcome["changes"] = made.told()
        return made

    def _enforce(
        self, before: desired.Wanted, reading: desired.Reading
    ) -> tuple[kernel.Plan, frozenset[str]]:
        """
        Let the kernel have it, and write that down; return who is in no set any more.

        Before anything else can fail: what the kernel has is what the record and the next boot
        have, and who is still to be shut out is found again.
        """
        made = self._bring_to_kernel(reading.wanted)
        self.outcome["changes"] = made.told()
        gone = self._gone(before, made, reading.wanted)
        self._note_leaving(gone)
        self._write_down(reading, made)
        return made, gone

    def _bring_to_kernel(self, this: desired.Wanted) -> kernel.Plan:
        try:
            made = kernel.bring(this, self.record)
        except (errors.FirewallError, OSError):
            if self.record.doubtful():
                self._so_far = "what is in force may have changed in part"
            raise
        self._so_far = "in force, but not everything that comes after it is done"
        return made

    def _gone(
        self, before: desired.Wanted, made: kernel.Plan, this: desired.Wanted
    ) -> frozenset[str]:
        left = self._leaving().union(*(gone for _, gone in made.sets.values()))
        # By the record too: a run may have ended between the kernel and this.
        return this.lacks(before).union(one for one in left if not this.has(one))

    def _deliver(self) -> None:
        before = kernel.in_force(self.record)
        try:
            reading = self._read()
        except errors.Refused as exc:
            raise delivery.NotTaken(str(exc)) from exc
        if before is None or reading.held or reading.prune is not None:
            raise delivery.NotTaken("the pillar tells more than addresses")
        if self.test:
            self._plan(reading.wanted)
            self._conclude()
            return
        _, gone = self._enforce(before, reading)
        self._conclude()
        try:
            open_ones = connections.open_of(gone)
        except errors.FirewallError as exc:
            raise delivery.NotTaken(f"connections of who has left are not known: {exc}") from exc
        if open_ones:
            # Whether they are let in for another reason stands in the pillar.
            raise delivery.NotTaken("connections of who has left are open")
        self._note_leaving(frozenset())

    def _prune(self) -> None:
        reading = self._read()
        if reading.prune is None:
            raise errors.Refused(f"the pillar has no {desired.KEY}:prune")
        self._close(reading)
        if not self.test and not self._problems:
            self._note_revisions()
        self._conclude()

    def _remember(self) -> None:
        desired.block(self.pillar)
        if not self.test:
            self._note()
        self.outcome["result"] = True
        self.outcome["comment"] = "who is served is written down"

    def _rollback(self) -> None:
        before = kernel.recorded(self.record.read(kernel.PREVIOUS).get("wanted"))
        if before is None:
            raise errors.Refused("nothing was in force before the last change")
        self._bring(before)
        self.outcome["comment"] += "; the next sync brings the pillar into force again"

    def _repair(self) -> None:
        this = kernel.in_force(self.record)
        if this is None:
            raise errors.Refused("nothing was brought into force yet: k8s_firewall.sync")
        if self.record.doubtful():
            raise errors.Refused(
                "a run was cut off, so that the kernel may have newer than the record: "
                "k8s_firewall.sync asks for the pillar"
            )
        self._bring(this)

    def _remove(self) -> None:
        self._bring(desired.Wanted())
        if self.test:
            return
        if left := kernel.left(self.record):
            self._problems.append(
                f"the ipset {', '.join(left)} stays, and is empty: a rule of somebody's names it; "
                f"delete that rule, then call this again"
            )
            self._conclude()
        else:
            for name in (*_WRITTEN, freshness.NAME, LEAVING, *_OTHERS):
                self.record.forget(f"{name}.json")

    def _bring(self, this: desired.Wanted) -> None:
        before = kernel.in_force(self.record) or desired.Wanted()
        if self.test:
            made = kernel.plan(this, self.record.read(kernel.APPLIED))
        else:
            made = self._bring_to_kernel(this)
            gone = this.lacks(before)
            self._note_leaving(self._leaving() | gone)
            kernel.remember(this, made, self.record, self.version)
            self._leave(gone, this)
        self.outcome["changes"] = made.told()
        self._conclude()

    def _tell_hindrance(self) -> None:
        """Tell before anybody leaves that their connections would stay; all else is in force."""
        if not (why := connections.hindrance(self.record)):
            return
        self.outcome["ends_connections"] = False
        if why not in self.outcome["comment"]:
            self.outcome["comment"] += f"; connections of who leaves stay open: {why}"

    def _conclude(self) -> None:
        changed = bool(self.outcome["changes"])
        said = "this would be changed" if self.test else "in force"
        self.outcome["result"] = None if self.test and changed else True
        if self._problems:
            # With test too: the run itself would fail.
            self.outcome["result"] = False
        self.outcome["comment"] = "; ".join(
            [said if changed else "in force already", *self._problems]
        )

    def _note(self) -> frozenset[str]:
        """Add who is served now to who was served before; return who was."""
        known = ownership.recorded(self.record)
        ownership.remember(self.record, known | ownership.now(self.pillar))
        return known

    def _close(self, reading: desired.Reading) -> None:
        """Prune, where the pillar asks for it."""
        if reading.prune is None:
            return
        before = ownership.recorded(self.record) if self.test else self._note()
        if unresolved := ownership.unresolved(self.pillar):
            self._problems.append(
                f"nothing is pruned while {unresolved[0]} is not resolved: who it means may be in"
            )
            return
        leaving = ownership.leaving(self.pillar, before, reading.wanted.keep)
        deleted = prune.prune(reading.prune, leaving.gone, test=self.test)
        if deleted:
            self.outcome["changes"]["pruned"] = deleted
        if leaving.spared:
            self.outcome["spared"] = dict(sorted(leaving.spared.items()))
        if not self.test:
            # And whom a run before could not end.
            self._leave(leaving.gone | self._leaving(), reading.wanted)
            # Who is spared is still to be closed, once there is no reason to spare them.
            still = ownership.now(self.pillar) | leaving.spared.keys()
            ownership.remember(self.record, still)

    def _leave(self, gone: frozenset[str], this: desired.Wanted) -> None:
        """End their connections, the next time where it is not possible now."""
        ended = self._end(gone, this)
        self._note_leaving(self._leaving() - gone if ended else self._leaving() | gone)

    def _leaving(self) -> frozenset[str]:
        return frozenset(self.record.read(LEAVING).get("addresses", []))

    def _note_leaving(self, these: frozenset[str]) -> None:
        if not these:
            self.record.forget(f"{LEAVING}.json")
        elif these != self._leaving():
            self.record.write(LEAVING, {"addresses": sorted(these)})

    def _end(self, gone: frozenset[str], this: desired.Wanted) -> bool:
        """End the connections of who is let in by nothing any more; False to try it again."""
        if not gone:
            return True
        try:
            told = connections.end(gone, ownership.Staying(self.pillar, this.contents().values()))
        except errors.FirewallError as exc:
            problem = f"connections of who has left are not ended: {exc}"
            if problem not in self._problems:
                self._problems.append(problem)
            # Said once; status goes on saying it.
            return isinstance(exc, errors.Missing)
        if told:
            self.outcome.setdefault("connections", {}).update(told)
        if problem := connections.problem(told):
            self._problems.append(problem)
        return True

    def _note_revisions(self) -> None:
        now = freshness.of(self.pillar)
        if now != self.record.read(freshness.NAME):
            self.record.write(freshness.NAME, now)

    def _write_down(self, reading: desired.Reading, made: kernel.Plan) -> None:
        try:
            kernel.remember(reading.wanted, made, self.record, self.version)
            self._note_revisions()
        except OSError as exc:
            self._problems.append(f"not written down, so the next boot will not have it: {exc}")
