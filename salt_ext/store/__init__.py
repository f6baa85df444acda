"""The store: one SQLite file per master, shared by its processes, never waiting on a network."""

from salt_ext.store.control import ControlTable
from salt_ext.store.database import Database
from salt_ext.store.health import Health, HealthTable
from salt_ext.store.history import HistoryTable
from salt_ext.store.holds import HoldTable
from salt_ext.store.ledger import LedgerTable
from salt_ext.store.rollouts import RolloutTable
from salt_ext.store.signing_key import SigningKey
from salt_ext.store.snapshots import SnapshotTable
from salt_ext.store.subscriptions import SubscriptionTable

__all__ = ["Health", "Store"]


class Store:
    """All tables of one store; cheap to keep, one connection for each thread that uses it."""

    def __init__(self, state_dir: str) -> None:
        self.database = Database(state_dir)
        self.snapshots = SnapshotTable(self.database)
        self.subscriptions = SubscriptionTable(self.database)
        self.ledger = LedgerTable(self.database)
        self.health = HealthTable(self.database)
        self.holds = HoldTable(self.database)
        self.history = HistoryTable(self.database)
        self.rollouts = RolloutTable(self.database)
        self.control = ControlTable(self.database)
        self.signing_key = SigningKey(state_dir)
