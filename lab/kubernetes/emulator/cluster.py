"""
The emulated cluster: its objects, users, faults and open watches.
"""

from __future__ import annotations

import json
from pathlib import Path

from lab.kubernetes.emulator import objects
from lab.kubernetes.emulator.access import Access
from lab.kubernetes.emulator.api import Api
from lab.kubernetes.emulator.faults import Faults
from lab.kubernetes.emulator.request_log import RequestLog
from lab.kubernetes.emulator.store import Object, State, Store, born
from lab.kubernetes.emulator.streams import Streams


class Cluster:
    """State that connections and the control socket share."""

    def __init__(self, folder: Path) -> None:
        self.store = Store()
        self.access = Access(folder / "tokens" / "tokens.csv")
        self.api = Api(self.store, self.access)
        self.faults, self.streams, self.log = Faults(), Streams(), RequestLog()
        self._saved: dict[str, State] = {}
        self._file = folder / "state.json"
        if self._file.exists():
            self.store.load(json.loads(self._file.read_text()))

    def write_state(self) -> None:
        """Write the present to the file from which the next start goes on."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(self.store.dump()))
        fresh.rename(self._file)

    def load(self, nodes: list[Object]) -> int:
        """Create nodes without a request for each."""
        with self.store.changed:
            for node in nodes:
                status = {**objects.blank_status(), **node.get("status", {})}
                body = {
                    "metadata": node["metadata"],
                    "spec": node.get("spec", {}),
                    "status": status,
                }
                self.store.put(self.store.nodes, born(body))
            return self.store.version

    def load_missing(self, nodes: list[Object]) -> None:
        """Create those nodes that do not exist."""
        known = self.store.nodes.items
        self.load([node for node in nodes if node["metadata"]["name"] not in known])

    def save(self, name: str) -> None:
        self._saved[name] = self.store.state()

    def restore(self, name: str, *, quietly: bool = False) -> None:
        self.store.restore(self._saved[name], quietly=quietly)

    def api_of(self, name: str) -> Api:
        """The API as it was when it was saved under a name."""
        store = Store()
        store.patience = self.store.patience
        store.restore(self._saved[name])
        return Api(store, self.access)
