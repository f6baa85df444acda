"""Finds out anew which minions refer to which clusters, and forgets those that are gone."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Protocol

from salt_ext.core import answers
from salt_ext.core.errors import K8sNodesError
from salt_ext.master.keys import NoKeys
from salt_ext.master.pillar_compiler import NoGrains, NotCompiled
from salt_ext.store import Store
from salt_ext.store.history import HistoryEntry

log = logging.getLogger(__name__)


class NotOurs(K8sNodesError):
    """The ext_pillar is not switched on, so that no pillar can refer to anything."""


class Minions(Protocol):
    """Who compiles pillars."""

    @property
    def ours(self) -> bool:
        """Whether our ext_pillar is switched on."""

    def accepted(self) -> frozenset[str]:
        """Return the minions whose keys are accepted."""

    def compile(self, minion: str, pillarenv: str) -> None:
        """Compile a pillar, which records what it refers to."""


def discover(store: Store, minions: Minions, *, after: str, within: float) -> answers.Discovered:
    """
    Compile the pillar of every accepted minion from its kept grains; none of them is touched.

    In order of their names, from the one that follows ``after``, until ``within`` seconds have
    gone by; the answer says where to go on.
    """
    if not minions.ours:
        raise NotOurs("`ext_pillar` has no `k8s_nodes`: no pillar of this master refers to a node")
    accepted = minions.accepted()
    forgotten = forget_gone(store, accepted)
    todo = sorted(minion for minion in accepted if minion > after)
    until = time.monotonic() + within
    environments = store.subscriptions.environments()
    failed: dict[str, str] = {}
    without: list[str] = []
    done = 0
    for minion in todo:
        if done and time.monotonic() >= until:
            break
        done += 1
        try:
            # The usual environment, and each other that the minion has asked for.
            for pillarenv in dict.fromkeys(["", *environments.get(minion, ())]):
                minions.compile(minion, pillarenv)
        except NoGrains:
            without.append(minion)
        except NotCompiled as exc:
            failed[minion] = str(exc)
    told: answers.Discovered = {
        "compiled": done - len(failed) - len(without),
        "referring": _referring(store, todo[:done]),
        "failed": failed,
        "without_grains": without,
        "forgotten": forgotten,
        "left": len(todo) - done,
    }
    if told["left"]:
        told["go_on_after"] = todo[done - 1]
    return told


def forget_gone(store: Store, accepted: Iterable[str]) -> list[str]:
    """Forget the minions whose keys are gone; :class:`NoKeys` when that would be every one."""
    known, kept = store.subscriptions.known(), frozenset(accepted)
    if known and not kept:
        raise NoKeys("no key of a minion is accepted on this master: nobody is forgotten for that")
    gone = sorted(known - kept)
    for minion in gone:
        store.subscriptions.forget(minion, time.time())
        log.info("%s: its key is gone, it is forgotten", minion)
        store.history.record(
            HistoryEntry(at=time.time(), cluster="", what="forgotten", detail={"minion": minion})
        )
    return gone


def learn_again(store: Store, minions: Minions, minion: str) -> None:
    """
    Find out what a minion refers to that was forgotten and whose key is accepted again.

    One that never noticed asks for no pillar by itself. :class:`NoGrains` when it has to be asked,
    since its grains went with its key.
    """
    if minion not in store.subscriptions.known():
        minions.compile(minion, "")
    store.subscriptions.learned(minion)
    log.info("%s: its key is accepted again", minion)


def _referring(store: Store, minions: Iterable[str]) -> dict[str, list[str]]:
    chosen = frozenset(minions)
    found: dict[str, set[str]] = {}
    for row in store.subscriptions.all():
        if row.minion in chosen and not row.gone:
            found.setdefault(row.minion, set()).add(row.reference)
    return {minion: sorted(texts) for minion, texts in sorted(found.items())}
