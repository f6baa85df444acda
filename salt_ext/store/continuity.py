"""
Whether the store is the one that the decisions were made with: a lost store must not go unnoticed.

The file of decisions names the store that it belongs to, and the store knows that there is such a
file. Each notices the loss of the other. Only the loss of the whole folder looks like a first
start.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from salt_ext.core.errors import StoreError
from salt_ext.store import store_id
from salt_ext.store.database import FILE, Database
from salt_ext.store.decisions import DecisionFile, Decisions, Recovery, StoreMark, UnusableDecisions

DELETED = "it was deleted or replaced: the store knows that there was another one"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLoss:
    """The store is not the one that the decisions were made with."""

    mark: StoreMark
    """The store that is there now."""
    why: str
    earlier: bool
    """Whether it is an earlier state of the lost one, or a copy: its ledger is of the past."""
    aside: str = ""
    """The file that the lost store was set aside as."""


class Continuity:
    """Compares the store with the file beside it."""

    def __init__(self, database: Database, decisions: DecisionFile) -> None:
        self._database = database
        self._decisions = decisions

    def mark(self) -> StoreMark:
        """Return what tells the store that is there now from others, and from copies of it."""
        identity = store_id.read(self._database)
        try:
            return StoreMark(id=identity, inode=self._database.path.stat().st_ino)
        except OSError as exc:
            raise StoreError(f"{self._database.path}: {exc.strerror}") from exc

    def loss(self) -> StoreLoss | None:
        """
        Return what was lost; None while the store is the one that the decisions belong to.

        :class:`UnusableDecisions` when the decisions themselves were lost.
        """
        known = self._known()
        if known.store is None:
            return None
        mark = self.mark()
        if known.store == mark:
            return None
        copied = self._has_decisions()
        aside = self._aside_of(known.store)
        if aside:
            why = f"the store was set aside as {aside}"
        elif known.store.id == mark.id:
            why = "the file of the store was replaced, by a backup or a copy"
        elif copied:
            why = "the store was copied from another machine or folder"
        else:
            why = "the store was deleted or emptied"
        return StoreLoss(mark=mark, why=why, earlier=copied, aside=aside)

    def check(self) -> None:
        """Raise :class:`UnusableDecisions` when the decisions were lost."""
        self._known()

    def recovery(self, loss: StoreLoss) -> Recovery | None:
        """Return how far the recovery from a loss has come; None before it began."""
        recovery = self._decisions.read().recovery
        return recovery if recovery is not None and recovery.store == loss.mark else None

    def bind_first(self) -> bool:
        """Have the decisions belong to the store, where they belong to none; whether that was."""
        if self._known().store is not None:
            if not self._has_decisions() and self.loss() is None:
                store_id.set_has_decisions(self._database)
            return False
        self.bind()
        return True

    def bind(self) -> None:
        """Have the decisions belong to the store that is there now: a recovery ends."""
        mark = self.mark()
        self._decisions.change(lambda old: msgspec.structs.replace(old, store=mark, recovery=None))
        store_id.set_has_decisions(self._database)

    def _known(self) -> Decisions:
        decisions = self._decisions.read()
        if decisions.store is None and self._has_decisions():
            # A pin may have begun a new file since.
            raise UnusableDecisions(self._decisions.path, DELETED)
        return decisions

    def _has_decisions(self) -> bool:
        return store_id.has_decisions(self._database)

    def _aside_of(self, mark: StoreMark) -> str:
        """Return the name that a store was set aside as; empty where it was not."""
        newest = 0.0, ""
        try:
            decided_at = self._decisions.path.stat().st_mtime
            for path in self._database.path.parent.glob(f"{FILE}.aside-*"):
                status = path.stat()
                if status.st_ino == mark.inode:
                    return path.name
                # What replaced the store may have been damaged. An aside file of an earlier loss
                # is older than the decisions, which were written when that was over.
                if status.st_ctime > decided_at and not path.name.endswith(("-wal", "-shm")):
                    newest = max(newest, (status.st_ctime, path.name))
        except OSError:
            return ""
        return newest[1]
