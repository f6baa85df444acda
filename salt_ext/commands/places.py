"""Who should have which addresses, and who proved to have them."""

from __future__ import annotations

from salt_ext.commands.resolving import Resolving
from salt_ext.core.config import Config
from salt_ext.core.convergence import Behind, Place, Wanted, behind, desired
from salt_ext.core.expand import Unresolved
from salt_ext.store import Store
from salt_ext.store.subscriptions import Answer


class Places:
    """Every minion with every cluster that it references."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._resolving = Resolving(store)

    def desired(self, config: Config) -> dict[Place, tuple[str, tuple[str, ...]]]:
        """Return the digest that each should have, and its unresolved references."""

        def resolve(text: str) -> tuple[str, ...] | None:
            found = self._resolving.lines(text, config)
            return None if isinstance(found, Unresolved) else found

        return desired(
            (
                Wanted(
                    minion=row.minion,
                    cluster=row.seen.cluster,
                    reference=row.reference,
                    gone=row.gone,
                    refused=row.seen.answer is Answer.REFUSED,
                )
                for row in self._store.subscriptions.all()
            ),
            resolve,
        )

    def behind(self, config: Config) -> list[Behind]:
        """Return those whose proven digest is not the desired one."""
        return behind(self.desired(config), self._store.ledger.all())
