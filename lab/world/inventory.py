"""
The inventory of a world: its hosts and their probes, in memory and in the state file.

Several processes work on one world (``python -m lab`` ends after each command), so each change is
written at once and :meth:`Inventory.refresh` reads what another process has changed.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from lab.errors import LabError
from lab.network.address import Addresses
from lab.network.host import Host
from lab.network.namespace import namespace
from lab.network.switch import Switch
from lab.process import Process
from lab.traffic.probe import Probe
from lab.traffic.traffic import Traffic
from lab.world.state_file import StateFile


class Inventory:
    """The hosts of one world, by name, and the traffic that each of them sends."""

    def __init__(self, state_file: StateFile) -> None:
        self._state_file = state_file
        self._world, self._folder = state_file.name, state_file.folder
        self.switch = Switch(namespace(self._world, "switch"))
        self.hosts: dict[str, Host] = {}
        self.traffic: dict[str, Traffic] = {}

    def __getitem__(self, name: str) -> Host:
        try:
            return self.hosts[name]
        except KeyError:
            raise LabError(f"unknown host {name!r}: there are {', '.join(self.hosts)}") from None

    @property
    def addresses(self) -> dict[str, Addresses]:
        return {name: host.addresses for name, host in self.hosts.items()}

    def of_group(self, group: int) -> list[Host]:
        return [host for host in self.hosts.values() if host.addresses.group == group]

    def create_host(
        self, name: str, addresses: Addresses, *, known: Mapping[str, Addresses]
    ) -> Host:
        """Create a host; its /etc/hosts has the ``known`` names."""
        self.hosts[name] = host = Host.create(
            name,
            addresses,
            namespace=namespace(self._world, name),
            switch=self.switch,
            folder=self._folder / "hosts" / name,
            known=known,
        )
        self._record(name)
        return host

    def remove_host(self, name: str) -> None:
        """Remove a host with its traffic."""
        host = self.hosts.pop(name)
        host.namespace.remove()
        self.switch.unplug(host.addresses)
        shutil.rmtree(host.folder, ignore_errors=True)
        self.traffic.pop(name, None)
        self._record(name)

    def set_traffic(self, name: str, traffic: Traffic) -> None:
        self.traffic[name] = traffic
        self._record(name)

    def refresh(self) -> None:
        """Read the hosts that other processes have created or removed meanwhile."""
        recorded = self._state_file.read()["hosts"]
        for name, host in recorded.items():
            self.hosts[name] = Host(
                name,
                Addresses(*host["place"]),
                namespace(self._world, name),
                self._folder / "hosts" / name,
                Process(*host["holder"]),
            )
            self.traffic[name] = Traffic(tuple(map(Probe.from_json, host["probes"])))
        for name in self.hosts.keys() - recorded.keys():
            del self.hosts[name]
            self.traffic.pop(name, None)

    def _record(self, name: str) -> None:
        with self._state_file.update() as state:
            hosts = state.setdefault("hosts", {})
            if (host := self.hosts.get(name)) is None:
                hosts.pop(name, None)
            else:
                traffic = self.traffic.get(name) or Traffic()
                hosts[name] = {
                    "place": [host.addresses.group, host.addresses.number],
                    "holder": [host.holder.pid, host.holder.started],
                    "probes": [probe.to_json() for probe in traffic.probes],
                }
