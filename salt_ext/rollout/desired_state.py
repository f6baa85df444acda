"""Which minions should have which addresses, and which of them are out of sync."""

from __future__ import annotations

import time
from collections.abc import Mapping

from salt_ext.core.config.config import Config
from salt_ext.core.references.resolution import Unresolved
from salt_ext.core.rollout.drift import (
    Desired,
    DigestCache,
    LedgerEntry,
    MinionCluster,
    OutOfSync,
    SubscribedReference,
    desired_state,
    out_of_sync,
    proof_expired,
)
from salt_ext.references.resolver import Resolver, shared_resolver
from salt_ext.store import Store
from salt_ext.store.subscriptions import Answer


class DesiredState:
    """Every minion with every cluster that its pillar references."""

    def __init__(self, store: Store, resolver: Resolver | None = None) -> None:
        self._store = store
        self.resolver = resolver or shared_resolver(store)
        self._digests = DigestCache()

    def desired(self, config: Config) -> dict[MinionCluster, Desired]:
        """Return the addresses that each should have, and its unresolved references."""

        def resolve(text: str) -> tuple[str, ...] | None:
            lines = self.resolver.lines(text, config)
            return None if isinstance(lines, Unresolved) else lines

        return desired_state(
            (
                SubscribedReference(
                    minion=row.minion,
                    cluster=row.seen.cluster,
                    reference=row.reference,
                    gone=row.gone,
                    refused=row.seen.answer is Answer.REFUSED,
                )
                for row in self._store.subscriptions.all()
            ),
            resolve,
            self._digests,
        )

    def retired(self, config: Config) -> dict[MinionCluster, bool]:
        """
        Return the minions that have references to clusters that are configured no more.

        True where the pillar was compiled since, and still has them.
        """
        if not config.names_clusters:
            return {}
        found: dict[MinionCluster, bool] = {}
        for row in self._store.subscriptions.to_others(config.names):
            pair = row.minion, row.seen.cluster
            found[pair] = found.get(pair, True) and row.seen.answer is not Answer.SERVED
        return found

    def out_of_sync(
        self,
        config: Config,
        ledger: Mapping[MinionCluster, LedgerEntry] | None = None,
        desired: Mapping[MinionCluster, Desired] | None = None,
    ) -> list[OutOfSync]:
        """
        Return those whose proven digest is not the desired one, or whose proof has expired.

        ``desired`` spares another look at the store.
        """
        known = self._store.applied.all() if ledger is None else ledger
        lasts = config.apply.reapply_after
        desired = self.desired(config) if desired is None else desired
        return out_of_sync(desired, known, lambda entry: proof_expired(entry, time.time(), lasts))
