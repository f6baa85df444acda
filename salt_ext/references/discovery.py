"""Rebuild the subscriptions: compile the pillars of all minions, and forget deleted ones."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Protocol

from salt_ext.core import answers
from salt_ext.core.errors import K8sNodesError
from salt_ext.master.keys import KeysUnreadable
from salt_ext.master.pillar_compiler import NoCachedGrains, PillarFailed
from salt_ext.store import Store
from salt_ext.store.history import HistoryEntry

log = logging.getLogger(__name__)


class ExtPillarMissing(K8sNodesError):
    """The ext_pillar is not configured, so no pillar can refer to anything."""


class MinionPillars(Protocol):
    """The minions of this master, and a compiler of their pillars."""

    @property
    def has_ext_pillar(self) -> bool:
        """Whether this ext_pillar is configured."""

    def accepted_minions(self) -> frozenset[str]:
        """Return the minions whose keys are accepted."""

    def compile(self, minion: str, pillarenv: str) -> None:
        """Compile a pillar, which records what it refers to."""


def discover(
    store: Store, minions: MinionPillars, *, after: str, within: float
) -> answers.Discovered:
    """
    Compile the pillar of every accepted minion from its cached grains; no minion is contacted.

    In the order of names, from the one after ``after``, for ``within`` seconds (at least one
    minion); ``go_on_after`` of the answer is the ``after`` of the next call.
    """
    if not minions.has_ext_pillar:
        raise ExtPillarMissing(
            "`ext_pillar` has no `k8s_nodes`, so no pillar of this master can refer to a cluster"
        )
    accepted = minions.accepted_minions()
    forgotten = forget_deleted(store, accepted)
    todo = sorted(minion for minion in accepted if minion > after)
    until = time.monotonic() + within
    environments = store.subscriptions.environments()
    failed: dict[str, str] = {}
    without_grains: list[str] = []
    done = 0
    for minion in todo:
        if done and time.monotonic() >= until:
            break
        done += 1
        try:
            # The usual environment, and each other one that the minion has asked for.
            for pillarenv in dict.fromkeys(["", *environments.get(minion, ())]):
                minions.compile(minion, pillarenv)
        except NoCachedGrains:
            without_grains.append(minion)
        except PillarFailed as exc:
            failed[minion] = str(exc)
    answer: answers.Discovered = {
        "compiled": done - len(failed) - len(without_grains),
        "referring": _referring(store, todo[:done]),
        "failed": failed,
        "without_grains": without_grains,
        "forgotten": forgotten,
        "left": len(todo) - done,
    }
    if answer["left"]:
        answer["go_on_after"] = todo[done - 1]
    return answer


def forget_deleted(store: Store, accepted: Iterable[str]) -> list[str]:
    """
    Forget the minions without an accepted key, and return them.

    :class:`KeysUnreadable` when that would be all of them: the keys may only be unreadable.
    """
    known, kept = store.subscriptions.known(), frozenset(accepted)
    if known and not kept:
        raise KeysUnreadable("no minion key is accepted on this master; no minion was forgotten")
    deleted = sorted(known - kept)
    for minion in deleted:
        store.subscriptions.delete(minion, time.time())
        log.info("minion %s: its key was deleted; forgotten [minion-forgotten]", minion)
        store.history.record(
            HistoryEntry(at=time.time(), cluster="", what="forgotten", detail={"minion": minion})
        )
    return deleted


def restore(store: Store, minions: MinionPillars, minion: str) -> None:
    """
    Find out what a forgotten minion refers to, whose key is accepted again.

    The minion may not have noticed and asks for no pillar. :class:`NoCachedGrains` when it has to
    be asked for one, since its grains were deleted with its key.
    """
    if minion not in store.subscriptions.known():
        minions.compile(minion, "")
    store.subscriptions.restored(minion)
    log.info("minion %s: its key is accepted again; restored [minion-restored]", minion)


def _referring(store: Store, minions: Iterable[str]) -> dict[str, list[str]]:
    chosen = frozenset(minions)
    referring: dict[str, set[str]] = {}
    for row in store.subscriptions.all():
        if row.minion in chosen and not row.gone:
            referring.setdefault(row.minion, set()).add(row.reference)
    return {minion: sorted(texts) for minion, texts in sorted(referring.items())}
