"""
A running world: a Kubernetes API, Salt masters, minions with firewalls, and hosts that send.

:func:`lab.world.provisioning.provision` creates one; another process opens it again by its name.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lab.errors import IncompleteWorld, LabError
from lab.kubernetes import open_backend
from lab.kubernetes.backend import Backend
from lab.kubernetes.nodes import Nodes
from lab.network import address
from lab.network.host import Host
from lab.network.namespace import of_world
from lab.process import end, in_namespace
from lab.salt import served_files
from lab.salt.master import Master
from lab.salt.minion import Minion
from lab.traffic.traffic import KINDS, Traffic
from lab.world import convergence, logs
from lab.world.inventory import Inventory
from lab.world.state_file import StateFile

READY_SECONDS = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedNode:
    """A node that has joined, and when the API confirmed it."""

    name: str
    host: Host
    at: float


class World:
    """One running world; ``open`` finds it, ``down`` removes it."""

    def __init__(self, name: str) -> None:
        self.name = address.label(name, "world", longest=20)
        self.state_file = StateFile(name)
        self.folder = self.state_file.folder
        self.srv = self.folder / "srv"
        self.inventory = Inventory(self.state_file)
        self.api: Backend

    @classmethod
    def open(cls, name: str = "lab") -> World:
        """The world of that name, provisioned by any process."""
        world = cls(name)
        state = world.state_file.read()
        if "api" not in state:
            raise IncompleteWorld(name)
        world.inventory.refresh()
        world.connect_api(state["api"])
        return world

    def down(self) -> None:
        """Remove everything of this name: running, crashed or incomplete."""
        spaces = of_world(self.name)
        # All at once first: a supervisor must not have the time to restart its child.
        end([process for space in spaces for process in in_namespace(space.path)])
        for space in spaces:
            space.remove()
        self.state_file.remove()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    # Hosts

    @property
    def hosts(self) -> dict[str, Host]:
        return self.inventory.hosts

    @property
    def traffic(self) -> dict[str, Traffic]:
        """The probes of each host, by the host's name."""
        return self.inventory.traffic

    def host(self, name: str) -> Host:
        return self.inventory[name]

    @property
    def kube(self) -> Host:
        return self.hosts["kube"]

    @property
    def master(self) -> Master:
        """The master, or the first of several."""
        return self.masters[0]

    @cached_property
    def masters(self) -> list[Master]:
        """The masters, each complete by itself; they serve the same files."""
        control = self.inventory.of_group(address.CONTROL)
        return [Master(host, srv=self.srv) for host in control if host.addresses != address.KUBE]

    @cached_property
    def minions(self) -> list[Minion]:
        return [Minion(host) for host in self.inventory.of_group(address.MINIONS)]

    # Kubernetes

    @cached_property
    def nodes(self) -> Nodes:
        """The administrator's view of the cluster's nodes; it does not depend on the network."""
        return Nodes(self.api.endpoint, dial=self._dial)

    def join(
        self, name: str, *, address: str | None = None, create: bool = True, **node: Any
    ) -> JoinedNode:
        """
        A node joins the cluster: first its host, with traffic that is shut out, then its object.

        A host that has left may join again. ``node`` goes to :meth:`Nodes.create`; ``create=False``
        creates the host alone.
        """
        self.inventory.refresh()
        host = self.hosts.get(name) or self._add_node_host(name, address)
        if create:
            addresses = [str(host.addresses.v4), str(host.addresses.v6)]
            self.nodes.create(name, **{"internal": addresses, **node})
        return JoinedNode(name=name, host=host, at=time.monotonic())

    def leave(self, name: str, *, remove_host: bool = False) -> float:
        """
        A node leaves the cluster; returns the time at which the API had confirmed it.

        Its host stays and goes on sending, which shows that it is shut out.
        """
        self.nodes.delete(name)
        at = time.monotonic()
        if remove_host:
            self.remove_host(name)
        return at

    def remove_host(self, name: str) -> None:
        """Remove a node's host with its traffic."""
        self.inventory.refresh()
        if self.host(name).addresses.group != address.NODES:
            raise LabError(f"cannot remove {name}: only hosts of nodes can be removed")
        self.inventory.remove_host(name)

    def connect_api(self, kind: str) -> None:
        """Find or prepare the Kubernetes API on the host kube."""
        self.api = open_backend(
            kind,
            self.folder / "api",
            address=str(address.KUBE.v4),
            port=6443,
            launch=self.kube.popen,
            dial=self._dial,
        )

    def _dial(self, where: tuple[str, int], seconds: float) -> socket.socket:
        # From the API's own host: the administrator's view survives every cut of the network.
        with self.kube.namespace.entered():
            return socket.create_connection(where, seconds)

    def _add_node_host(self, name: str, ipv4: str | None) -> Host:
        address.label(name, "node")
        known = self.inventory.addresses
        place = address.node(ipv4) if ipv4 else address.free_node(known.values())
        if place in known.values():
            raise LabError(f"{place.v4} belongs to another host")
        host = self.inventory.create_host(name, place, known=known)
        if self.state_file.read()["traffic"]:
            self.start_traffic(name)
        return host

    # Salt

    def salt(self, target: str, function: str, *args: object, **options: Any) -> dict[str, Any]:
        """Run an execution function; what each minion returned, by its name."""
        return self.master.salt(target, function, *args, **options)

    def salt_run(self, function: str, *args: object, **options: Any) -> Any:
        """Run a runner function; what it returned."""
        return self.master.salt_run(function, *args, **options)

    def apply(self, target: str = "minion*", *, within: float = READY_SECONDS) -> None:
        """Apply the firewall state until it is in force on the targets."""
        convergence.apply_state(self.master, target, within=within)

    def settle(self, *, within: float = READY_SECONDS) -> float:
        """Wait until every minion is up to date; how many seconds it took."""
        return convergence.wait_until_up_to_date(self.masters, within=within)

    def write_pillar(self, pillar: Mapping[str, Any]) -> None:
        """Replace the pillar of all minions; they use it from their next state run on."""
        served_files.write_pillar(self.srv, pillar)

    # Network

    def cut(self, name: str) -> None:
        """Black-hole a host: its packets vanish, connections stay as they are."""
        self.inventory.switch.cut(self.host(name).addresses)

    def reconnect(self, name: str) -> None:
        """Undo :meth:`cut`."""
        self.inventory.switch.reconnect(self.host(name).addresses)

    def start_traffic(self, name: str, *, kinds: Sequence[str] = KINDS) -> Traffic:
        """Let a host probe the service of every minion, from now on."""
        targets = [minion.host for minion in self.minions]
        folder = self.folder / "probes"
        traffic = Traffic.start(self.host(name), targets, kinds=kinds, folder=folder)
        self.inventory.set_traffic(name, traffic)
        return traffic

    # Logs

    def logs(self, host: str = "*") -> list[Path]:
        """The log files of a host, or of all."""
        return logs.files(self.folder, host)

    def save_logs(self) -> Path:
        """Copy all log files to a folder that outlives the world, and return it."""
        return logs.save(self.folder, self.name)
