"""``confirm`` and ``reject``: what a person decides about the changes that guards hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from msgspec.structs import replace

from salt_ext.admin import held
from salt_ext.admin.controls import By
from salt_ext.core import answers
from salt_ext.core.cluster.hold import Kind
from salt_ext.core.config.config import Config
from salt_ext.store import Store
from salt_ext.store.decisions import ClusterDecisions, Decided
from salt_ext.store.holds import HeldChange
from salt_ext.store.locks import ENGINE, lock_holder

_NOT_RUNNING = "when the engine runs: it is not running now"


def confirm(
    config: Config,
    store: Store,
    cluster: str,
    by: By,
    tokens: Collection[str] = (),
) -> answers.Confirmed:
    """
    Release the held changes with these tokens; without a token, only show what is held.

    A release stands for exactly what its token was shown with: the nodes, their uids and their
    addresses. When any token is not that of a change that is held now, nothing is released, and
    the answer shows what is held. :class:`UnknownCluster` when the cluster is not configured.
    """
    name = config.known(cluster)
    chosen, refused = _choose(name, store, tokens, _not_confirmable)
    answer: answers.Confirmed = {"released": [], "still_held": held.picture(store, name)}
    if refused:
        return {**answer, "refused": refused, "retcode": 1}
    if not chosen:
        return answer
    answer["released"] = _recorded(name, store, chosen, "confirmed", by)
    answer["still_held"] = [
        change for change in answer["still_held"] if change["token"] not in tokens
    ]
    answer["takes_effect"] = _when(config)
    return answer


def reject(
    config: Config, store: Store, cluster: str, by: By, tokens: Collection[str]
) -> answers.Rejected:
    """
    Keep out what is held with these tokens until it changes; refused as ``confirm`` refuses.

    :class:`UnknownCluster` when the cluster is not configured.
    """
    name = config.known(cluster)
    chosen, refused = _choose(name, store, tokens, _not_rejectable)
    if refused or not chosen:
        return {
            "rejected": [],
            "still_held": held.picture(store, name),
            "refused": refused or "reject needs the token of a held change",
            "retcode": 1,
        }
    rejected = _recorded(name, store, chosen, "rejected", by)
    return {
        "rejected": rejected,
        "still_held": [
            change for change in held.picture(store, name) if change["token"] not in tokens
        ],
        "takes_effect": _when(config),
    }


def _choose(
    name: str, store: Store, tokens: Collection[str], refusal: Callable[[str, HeldChange], str]
) -> tuple[list[HeldChange], str]:
    """Return the held changes with these tokens, or why one of them is refused."""
    by_token = {change.token: change for change in store.holds.of(name)}
    for token in tokens:
        if token not in by_token:
            return [], (
                f"{token} is not the token of a change that is held now: what is held has "
                "changed since, or the token is mistyped. Nothing was done; look at still_held"
            )
        if why := refusal(name, by_token[token]):
            return [], f"{why}. Nothing was done"
    return [by_token[token] for token in dict.fromkeys(tokens)], ""


def _not_confirmable(name: str, change: HeldChange) -> str:
    if Kind(change.kind).confirmable:
        return ""
    return (
        f"a held change of kind {change.kind} cannot be confirmed: {change.why}. Raise the limit "
        f"under clusters:{name}:guards if it is right"
    )


def _not_rejectable(_: str, change: HeldChange) -> str:
    if Kind(change.kind).rejectable:
        return "" if not change.rejected else f"{change.token} is rejected already"
    return (
        f"a held change of kind {change.kind} cannot be rejected: only nodes or a cluster that "
        "would come in can. What is held changes nothing; `salt-run k8s_nodes.pause` stops all "
        "publishing"
    )


def _recorded(
    name: str, store: Store, chosen: Sequence[HeldChange], what: str, by: By
) -> list[answers.Release]:
    """Record a decision, once, and return its changes."""
    now = time.time()
    minions = store.subscriptions.count(name)
    shown = [_shown(change, minions) for change in chosen]
    waiting = {one.token for one in store.decisions.of(name).confirmations}
    fresh = [change for change in chosen if what == "rejected" or change.token not in waiting]
    for change in fresh:
        # Before the engine can act on it, so that the history has cause and effect in order.
        store.history.record_action(
            what,
            by.name,
            now,
            cluster=name,
            reason=by.reason,
            automatic=by.automatic,
            token=change.token,
            changes=[_shown(change, minions)],
        )
    decided = [
        Decided(
            kind=change.kind,
            subjects=change.subjects,
            token=change.token,
            by=by.name,
            at=now,
            reason=by.reason,
            why=change.why,
        )
        for change in fresh
    ]
    if not decided:
        return shown
    record = _confirmed if what == "confirmed" else _rejected
    store.decisions.update(name, lambda old: record(old, decided))
    return shown


def _shown(change: HeldChange, minions: int) -> answers.Release:
    return {
        "what": change.kind,
        "why": change.why,
        "keys": change.keys,
        "if_released": change.effect.text(minions),
    }


def _confirmed(old: ClusterDecisions, decided: Sequence[Decided]) -> ClusterDecisions:
    known = {one.token for one in old.confirmations}
    return replace(
        old,
        confirmations=[*old.confirmations, *(one for one in decided if one.token not in known)],
    )


def _rejected(old: ClusterDecisions, decided: Sequence[Decided]) -> ClusterDecisions:
    rejected = {kind: dict(subjects) for kind, subjects in old.rejected.items()}
    released = {kind: dict(subjects) for kind, subjects in old.released.items()}
    for one in decided:
        rejected.setdefault(one.kind, {}).update(one.subjects)
        for subject in one.subjects:
            released.get(one.kind, {}).pop(subject, None)
    tokens = {one.token for one in decided}
    return replace(
        old,
        rejected=rejected,
        released={kind: subjects for kind, subjects in released.items() if subjects},
        confirmations=[one for one in old.confirmations if one.token not in tokens],
    )


def _when(config: Config) -> str:
    runs = lock_holder(Path(config.state_dir) / ENGINE) is not None
    return "within a second" if runs else _NOT_RUNNING
