"""
The store: one SQLite file per master, shared by its processes, on its own disk.

Every process of the master opens it: the engine, the runner, and the workers that compile pillars.
No call waits for a network. A damaged file is set aside, and a new one begins empty.

A table class for each subject, reached as ``store.snapshots``, ``store.jobs`` and so on::

    watch       --> snapshots      nodes of each cluster, by revision  -->  address_history
                --> health         how each watch is doing; also: reactor alarm, heartbeat
                --> holds, sizes   changes that a guard holds; nodes and addresses within a day
    references  --> subscriptions  which minion references what  --> rollout
    rollout     --> jobs           what was published
                --> applied        the ledger: sent to, applied by, failed on each minion
                    |-> address_sets  the addresses behind each digest of the ledger
                    |-> timings       seconds from a change to its proof
                    '-> minion_facts  module version, pacing, problems that the minion reported
    watch, rollout  --> departures  addresses that are served no more, until they are closed
    rollout     --> rollouts, observed  how far each class is; what mode observe did not publish
    admin       --> control        operator to engine: refresh requests
    all         --> history        what changed, when, and by whose hand

A statement is in the module of its table, a transaction over several in that of its subject: a
publish in ``jobs``, a job's result in ``applied``, a deleted key in ``subscriptions``.
``database`` opens the file, ``schema`` has its tables, ``locks`` keep processes apart. Two files
beside the store outlive it: ``decisions`` (a pause, pinned identities, what persons released or
rejected) and ``signing_key``. ``continuity`` notices that the store was lost, and ``store_id``
tells it from its copies.

May use ``salt_ext.core``, and neither Salt nor Kubernetes.
"""

from salt_ext.store.address_history import AddressHistoryTable
from salt_ext.store.address_sets import AddressSetTable
from salt_ext.store.applied import AppliedTable
from salt_ext.store.continuity import Continuity
from salt_ext.store.control import ControlTable
from salt_ext.store.database import Database
from salt_ext.store.decisions import DecisionFile
from salt_ext.store.departures import DepartureTable
from salt_ext.store.health import Health, HealthTable
from salt_ext.store.history import HistoryTable
from salt_ext.store.holds import HoldTable
from salt_ext.store.jobs import JobTable
from salt_ext.store.minion_facts import MinionFactTable
from salt_ext.store.observed import ObservedTable
from salt_ext.store.rollouts import RolloutTable
from salt_ext.store.signing_key import SigningKey
from salt_ext.store.sizes import SizeTable
from salt_ext.store.snapshots import SnapshotTable
from salt_ext.store.subscriptions import SubscriptionTable
from salt_ext.store.timings import TimingTable

__all__ = ["Health", "Store"]


class Store:
    """All tables of one store; cheap to keep, one connection for each thread that uses it."""

    def __init__(self, state_dir: str) -> None:
        self.database = Database(state_dir)
        self.snapshots = SnapshotTable(self.database)
        self.address_history = AddressHistoryTable(self.database)
        self.health = HealthTable(self.database)
        self.holds = HoldTable(self.database)
        self.sizes = SizeTable(self.database)
        self.subscriptions = SubscriptionTable(self.database)
        self.jobs = JobTable(self.database)
        self.applied = AppliedTable(self.database)
        self.departures = DepartureTable(self.database)
        self.address_sets = AddressSetTable(self.database)
        self.timings = TimingTable(self.database)
        self.minion_facts = MinionFactTable(self.database)
        self.observed = ObservedTable(self.database)
        self.rollouts = RolloutTable(self.database)
        self.control = ControlTable(self.database)
        self.history = HistoryTable(self.database)
        self.decisions = DecisionFile(state_dir)
        self.continuity = Continuity(self.database, self.decisions)
        self.signing_key = SigningKey(state_dir)
