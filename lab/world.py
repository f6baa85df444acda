"""
A whole world: a Kubernetes API, a Salt master, minions with firewalls, and hosts with real traffic.

.. code-block:: python

    with World.up(minions=2, api="emulator") as world:
        node = world.join("node1")
        seen = world.traffic["node1"].connect("minion1").wait("open", since=node.at, within=30)
        print(f"open after {(seen.at - node.at) * 1000:.0f} ms")
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from lab import address
from lab.address import Addresses
from lab.errors import HalfMade, LabError, MachineUnfit, TookTooLong
from lab.host import Host
from lab.kubernetes import open_backend
from lab.kubernetes.backend import Backend, BackendError
from lab.kubernetes.client import ApiError
from lab.kubernetes.nodes import Nodes
from lab.kubernetes.process import Process
from lab.machine import unfit
from lab.making import READY_SECONDS, Plan, Say, make
from lab.memory import Memory
from lab.network import Switch, namespace, of_world
from lab.process import end, in_namespace, wait_until
from lab.record import Probe
from lab.salt import Master, Minion
from lab.traffic import HOW, Traffic

SAVED = Path(__file__).parents[1] / "build" / "logs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A node that has joined, and the moment at which the API had confirmed it."""

    name: str
    host: Host
    at: float


class World:
    """One running world; ``up`` makes it, ``open`` finds it, ``down`` takes it away."""

    def __init__(self, name: str) -> None:
        self.name = address.label(name, "world", longest=20)
        self.memory = Memory(name)
        self.folder = self.memory.folder
        self.srv = self.folder / "srv"
        self.switch = Switch(namespace(name, "switch"))
        self.hosts: dict[str, Host] = {}
        self.traffic: dict[str, Traffic] = {}
        self.api: Backend

    @classmethod
    def up(cls, name: str = "lab", *, say: Say = lambda _: None, **plan: Any) -> World:
        """
        Make a world and return when its firewalls are in force.

        The keywords are those of :class:`lab.making.Plan`; ``say`` is told what is done.
        """
        made = Plan(**plan)
        if reason := unfit():
            raise MachineUnfit(reason)
        world = cls(name)
        world.memory.create()
        try:
            make(world, made, say)
            with world.memory.changing() as remembered:
                remembered |= {"api": made.api, "traffic": made.traffic}
        except (LabError, BackendError, ApiError) as exc:
            logs = world.save_logs()
            world.down()
            raise LabError(f"{exc}; the logs are in {logs}") from exc
        except BaseException:
            world.down()
            raise
        return world

    @classmethod
    def open(cls, name: str = "lab") -> World:
        """The world of that name that some process made."""
        world = cls(name)
        remembered = world.memory.read()
        if "api" not in remembered:
            raise HalfMade(name)
        world.refresh()
        world.connect_api(remembered["api"])
        return world

    def down(self) -> None:
        """Remove everything of this name, running, crashed or half made."""
        spaces = of_world(self.name)
        # All at once first, so that nobody has the time to restart anybody.
        end([process for space in spaces for process in in_namespace(space.path)])
        for space in spaces:
            space.remove()
        self.memory.forget()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    # Who is there

    @property
    def master(self) -> Master:
        """The master, or the first of several."""
        return self.masters[0]

    @cached_property
    def masters(self) -> list[Master]:
        """The masters, each complete by itself; they serve the same files."""
        control = [one for one in self.hosts.values() if one.addresses.group == address.CONTROL]
        return [Master(host, srv=self.srv) for host in control if host.addresses != address.KUBE]

    @cached_property
    def minions(self) -> list[Minion]:
        hosts = self.hosts.values()
        return [Minion(host) for host in hosts if host.addresses.group == address.MINIONS]

    @property
    def kube(self) -> Host:
        return self.hosts["kube"]

    @cached_property
    def nodes(self) -> Nodes:
        """The administrator's view of the cluster's nodes; it does not depend on the network."""
        return Nodes(self.api.endpoint, dial=self._dial)

    def host(self, name: str) -> Host:
        try:
            return self.hosts[name]
        except KeyError:
            raise LabError(f"there is no host {name!r}, only {', '.join(self.hosts)}") from None

    # Nodes

    def join(
        self, name: str, *, address: str | None = None, create: bool = True, **node: Any
    ) -> Joined:
        """
        A node joins the cluster: first its host, with traffic that is shut out, then its object.

        A host that has left may join again. ``node`` goes to :meth:`Nodes.create`; ``create=False``
        makes the host alone.
        """
        self.refresh()
        host = self.hosts.get(name) or self._add_node_host(name, address)
        if create:
            given = {"internal": [str(host.addresses.v4), str(host.addresses.v6)], **node}
            self.nodes.create(name, **given)
        return Joined(name=name, host=host, at=time.monotonic())

    def leave(self, name: str, *, remove_host: bool = False) -> float:
        """
        A node leaves the cluster; the moment at which the API had confirmed it.

        Its host stays and goes on sending, which is how one sees that it is shut out.
        """
        self.nodes.delete(name)
        at = time.monotonic()
        if remove_host:
            self.remove_host(name)
        return at

    def remove_host(self, name: str) -> None:
        """Take a node's host away, with its traffic."""
        self.refresh()
        host = self.host(name)
        if host.addresses.group != address.NODES:
            raise LabError(f"{name} is no node host; it stays as long as the world")
        host.namespace.remove()
        self.switch.unplug(host.addresses)
        shutil.rmtree(host.folder, ignore_errors=True)
        del self.hosts[name]
        self.traffic.pop(name, None)
        self._remember(name)

    # Salt

    def salt(self, target: str, function: str, *args: object, **options: Any) -> dict[str, Any]:
        """Run an execution function; what each minion returned, by its name."""
        return self.master.salt(target, function, *args, **options)

    def salt_run(self, function: str, *args: object, **options: Any) -> Any:
        """Run a runner function; what it returned."""
        return self.master.salt_run(function, *args, **options)

    def apply(self, target: str = "minion*", *, within: float = READY_SECONDS) -> None:
        """Apply the firewall state until it is in force on the targets."""
        begin = time.monotonic()
        while True:
            returned = self.salt(target, "state.apply", "firewall")
            failed = {name: what for name, answer in returned.items() if (what := _failure(answer))}
            if returned and not failed:
                return
            if time.monotonic() - begin > within:
                raise TookTooLong(f"the firewall is not in force within {within:g} s: {failed}")
            time.sleep(0.1)

    def settle(self, *, within: float = READY_SECONDS) -> float:
        """Wait until every minion has applied what it is to have; how many seconds it took."""

        def settled(master: Master) -> bool:
            minions = master.salt_run("k8s_nodes.status")["minions"]
            return all(
                one["up_to_date"] for clusters in minions.values() for one in clusters.values()
            )

        def up_to_date() -> bool:
            alive = [master for master in self.masters if master.alive]
            return bool(alive) and all(map(settled, alive))

        return wait_until(
            up_to_date, within=within, what="a status in which all minions are up to date"
        )

    def write_pillar(self, pillar: Mapping[str, Any]) -> None:
        """Replace the pillar of all minions; they use it from their next state run on."""
        text = yaml.safe_dump(dict(pillar), sort_keys=False)
        (self.srv / "pillar" / "firewall.sls").write_text(text)

    # The network and what runs on it

    def cut(self, name: str) -> None:
        """Black-hole a host: its packets vanish, connections stay as they are."""
        self.switch.cut(self.host(name).addresses)

    def mend(self, name: str) -> None:
        self.switch.mend(self.host(name).addresses)

    def start_traffic(self, name: str, *, how: Sequence[str] = HOW) -> Traffic:
        """Let a host probe the service of every minion, from now on."""
        targets = [minion.host for minion in self.minions]
        folder = self.folder / "probes"
        self.traffic[name] = Traffic.start(self.host(name), targets, how=how, folder=folder)
        self._remember(name)
        return self.traffic[name]

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

    def make_host(self, name: str, place: Addresses, *, known: Mapping[str, Addresses]) -> Host:
        """Make a host; it knows the others' addresses by their names."""
        self.hosts[name] = host = Host.create(
            name,
            place,
            namespace=namespace(self.name, name),
            switch=self.switch,
            folder=self.folder / "hosts" / name,
            known=known,
        )
        self._remember(name)
        return host

    def logs(self, host: str = "*") -> list[Path]:
        """The log files of a host, or of all."""
        found = list(self.folder.glob(f"hosts/{host}/logs/*.log"))
        if host in ("*", "kube"):
            found += self.folder.glob("api/**/*.log")
        return sorted(found)

    def save_logs(self) -> Path:
        """Copy every log to where it outlives the world; the folder."""
        folder = SAVED / self.name
        shutil.rmtree(folder, ignore_errors=True)
        for path in self.logs():
            copy = folder / path.relative_to(self.folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        return folder

    def _dial(self, where: tuple[str, int], seconds: float) -> socket.socket:
        # From the API's own host: the administrator's view survives every cut of the network.
        with self.kube.namespace.entered():
            return socket.create_connection(where, seconds)

    def _add_node_host(self, name: str, wanted: str | None) -> Host:
        address.label(name, "node")
        known = {other: host.addresses for other, host in self.hosts.items()}
        place = address.node(wanted) if wanted else address.free_node(known.values())
        if place in known.values():
            raise LabError(f"{place.v4} belongs to another host")
        host = self.make_host(name, place, known=known)
        if self.memory.read()["traffic"]:
            self.start_traffic(name)
        return host

    def refresh(self) -> None:
        """Learn of the hosts that another process has made or removed meanwhile."""
        remembered = self.memory.read()
        for name, one in remembered["hosts"].items():
            self.hosts[name] = Host(
                name,
                Addresses(*one["place"]),
                namespace(self.name, name),
                self.folder / "hosts" / name,
                Process(*one["holder"]),
            )
            self.traffic[name] = Traffic(tuple(map(Probe.from_json, one["probes"])))
        for name in self.hosts.keys() - remembered["hosts"].keys():
            del self.hosts[name]
            self.traffic.pop(name, None)

    def _remember(self, name: str) -> None:
        with self.memory.changing() as remembered:
            hosts = remembered.setdefault("hosts", {})
            if (host := self.hosts.get(name)) is None:
                hosts.pop(name, None)
            else:
                traffic = self.traffic.get(name) or Traffic()
                hosts[name] = {
                    "place": [host.addresses.group, host.addresses.number],
                    "holder": [host.holder.pid, host.holder.started],
                    "probes": [probe.to_json() for probe in traffic.probes],
                }


def _failure(answer: object) -> str:
    """Why the return of a state run is no success; empty when it is one."""
    if not isinstance(answer, dict) or not answer:
        return str(answer)
    return "; ".join(
        str(state.get("comment")) for state in answer.values() if state.get("result") is not True
    )
