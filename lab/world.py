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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab import address, backends, settings
from lab.address import Addresses
from lab.errors import HalfMade, LabError, MachineUnfit, TookTooLong
from lab.host import Host
from lab.kubernetes.backend import Backend
from lab.kubernetes.nodes import Nodes
from lab.kubernetes.process import Process
from lab.machine import unfit
from lab.memory import Memory
from lab.network import Switch, namespace, of_world
from lab.process import end, in_namespace
from lab.salt import Master, Minion
from lab.traffic import HOW, Traffic, offer

HERE = Path(__file__).parent
READY_SECONDS = 90.0

Say = Callable[[str], None]


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
        self.switch = Switch(namespace(name, "switch"))
        self.hosts: dict[str, Host] = {}
        self.minions: list[Minion] = []
        self.traffic: dict[str, Traffic] = {}
        self.master: Master
        self.api: Backend
        self.nodes: Nodes

    # Making, finding, removing

    @classmethod
    def up(
        cls,
        name: str = "lab",
        *,
        minions: int = 2,
        api: str = "emulator",
        extension: bool = True,
        k8s_nodes: Mapping[str, Any] | None = None,
        master: Mapping[str, Any] | None = None,
        minion: Mapping[str, Any] | None = None,
        pillar: Mapping[str, Any] | None = None,
        traffic: bool = True,
        say: Say = lambda _: None,
    ) -> World:
        """
        Make a world and return when its firewalls are in force.

        ``k8s_nodes``, ``master`` and ``minion`` are laid over the settings of the extension, the
        master and every minion; ``pillar`` takes the place of the lab's pillar. ``traffic`` lets
        office, stranger and every node that joins probe all minions throughout.
        """
        if reason := unfit():
            raise MachineUnfit(reason)
        world = cls(name)
        world.memory.create()
        try:
            world._make_hosts(minions, say)
            world._start(
                api,
                extension=extension,
                k8s_nodes=k8s_nodes,
                master=master or {},
                minion=minion or {},
                pillar=pillar,
                traffic=traffic,
                say=say,
            )
        except BaseException as exc:
            ends = world.log_ends() if isinstance(exc, Exception) else ""
            world.down()
            if isinstance(exc, LabError) and ends:
                raise LabError(f"{exc}\n{ends}") from exc
            raise
        return world

    @classmethod
    def open(cls, name: str = "lab") -> World:
        """The world of that name that some process made."""
        world = cls(name)
        world._recall(world.memory.read())
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

    # Nodes

    def join(
        self, name: str, *, address: str | None = None, create: bool = True, **node: Any
    ) -> Joined:
        """
        A node joins the cluster: first its host, with traffic that is shut out, then its object.

        A host that has left may join again. ``node`` goes to :meth:`Nodes.create`; ``create=False``
        makes the host alone.
        """
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
        host = self._host(name)
        if host.addresses.group != address.NODES:
            raise LabError(f"{name} is no node host; it stays as long as the world")
        host.namespace.remove()
        self.switch.unplug(host.addresses)
        shutil.rmtree(host.folder, ignore_errors=True)
        del self.hosts[name]
        self.traffic.pop(name, None)
        self._remember()

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
            returned = self.salt(target, "state.apply", "firewall", timeout=60)
            failed = {name: what for name, answer in returned.items() if (what := _failure(answer))}
            if returned and not failed:
                return
            if time.monotonic() - begin > within:
                raise TookTooLong(f"the firewall is not in force within {within:g} s: {failed}")
            time.sleep(0.1)

    def write_pillar(self, pillar: Mapping[str, Any]) -> None:
        """Replace the pillar of all minions; they use it from their next state run on."""
        text = yaml.safe_dump(dict(pillar), sort_keys=False)
        (self.folder / "srv" / "pillar" / "firewall.sls").write_text(text)

    # Faults of the network

    def cut(self, name: str) -> None:
        """Black-hole a host: its packets vanish, connections stay as they are."""
        self.switch.cut(self._host(name).addresses)

    def mend(self, name: str) -> None:
        self.switch.mend(self._host(name).addresses)

    # Inside

    @property
    def kube(self) -> Host:
        return self.hosts["kube"]

    def log_ends(self, lines: int = 8) -> str:
        """The end of every log, for an error message."""
        parts = []
        for path in self.logs():
            text = path.read_text(errors="replace").splitlines()[-lines:]
            if text:
                parts.append("\n".join([f"--- {path.relative_to(self.folder)}", *text]))
        return "\n".join(parts)

    def logs(self, host: str = "*") -> list[Path]:
        """The log files of a host, or of all."""
        found = list(self.folder.glob(f"hosts/{host}/logs/*.log"))
        if host in ("*", "kube"):
            found += self.folder.glob("api/**/*.log")
        return sorted(found)

    def _host(self, name: str) -> Host:
        try:
            return self.hosts[name]
        except KeyError:
            raise LabError(
                f"there is no host {name!r}; there are {', '.join(self.hosts)}"
            ) from None

    def _make_hosts(self, minions: int, say: Say) -> None:
        begin = time.monotonic()
        self.switch.create()
        plan = {
            "master": address.MASTER,
            "kube": address.KUBE,
            **{f"minion{n}": address.minion(n) for n in range(1, minions + 1)},
            "office": address.OFFICE,
            "stranger": address.STRANGER,
        }
        for name, place in plan.items():
            self._make_host(name, place, plan)
        say(f"{len(plan)} hosts on a network of their own: {time.monotonic() - begin:.1f} s")

    def _make_host(self, name: str, place: Addresses, known: Mapping[str, Addresses]) -> Host:
        self.hosts[name] = host = Host.create(
            name,
            place,
            namespace=namespace(self.name, name),
            switch=self.switch,
            folder=self.folder / "hosts" / name,
            known=known,
        )
        return host

    def _start(
        self,
        api: str,
        *,
        extension: bool,
        k8s_nodes: Mapping[str, Any] | None,
        master: Mapping[str, Any],
        minion: Mapping[str, Any],
        pillar: Mapping[str, Any] | None,
        traffic: bool,
        say: Say,
    ) -> None:
        begin = time.monotonic()
        srv = self.folder / "srv"
        shutil.copytree(HERE / "states", srv / "salt")
        shutil.copytree(HERE / "pillar", srv / "pillar")
        if pillar is not None:
            self.write_pillar(pillar)
        self.master = Master(self.hosts["master"], folder=self.folder)
        self.master.configure(master)
        console = self.master.console()
        console.start()
        self.minions = [
            Minion(host) for host in self.hosts.values() if host.addresses.group == address.MINIONS
        ]
        for one in self.minions:
            one.configure(minion)
            one.start()
            offer(one.host, log=one.host.logs / "service.log")

        self._connect_api(api)
        self.api.start()
        self.nodes = Nodes(self.api.endpoint, dial=self._dial)
        say(f"Kubernetes API ({api}) at {self.api.endpoint.url}: {time.monotonic() - begin:.1f} s")

        if extension:
            state = self.hosts["master"].folder / "state"
            block = settings.extension(self.api.endpoint, state_dir=state, more=k8s_nodes)
            self.master.drop_in("k8s_nodes", block)
        self.master.start()
        self.master.wait([one.name for one in self.minions], within=READY_SECONDS)
        say(f"Salt master and {len(self.minions)} minions: {time.monotonic() - begin:.1f} s")

        with self.memory.changing() as remembered:
            remembered |= {"api": api, "traffic": traffic, "extension": extension}
        if self.minions:
            self.apply()
        say(f"firewalls in force: {time.monotonic() - begin:.1f} s")
        if traffic:
            for name in ("office", "stranger"):
                self._start_traffic(name, how=("connect",))
        self._remember()

    def _connect_api(self, kind: str) -> None:
        self.api = backends.make(
            kind,
            self.folder / "api",
            address=str(address.KUBE.v4),
            launch=self.kube.popen,
            dial=self._dial,
        )

    def _dial(self, where: tuple[str, int], seconds: float) -> socket.socket:
        # From the API's own host: the administrator's view survives every cut of the network.
        with self.kube.namespace.entered():
            return socket.create_connection(where, seconds)

    def _add_node_host(self, name: str, wanted: str | None) -> Host:
        address.label(name, "node")
        taken = {host.addresses for host in self.hosts.values()}
        place = address.node(wanted) if wanted else address.free_node(taken)
        if place in taken:
            raise LabError(f"{place.v4} belongs to another host")
        known = {other: host.addresses for other, host in self.hosts.items()}
        host = self._make_host(name, place, known)
        if self.memory.read()["traffic"]:
            self._start_traffic(name)
        self._remember()
        return host

    def _start_traffic(self, name: str, *, how: Sequence[str] = HOW) -> None:
        targets = {one.name: one.host for one in self.minions}
        folder = self.folder / "probes"
        self.traffic[name] = Traffic.start(self.hosts[name], targets, how=how, folder=folder)

    # Memory

    def _remember(self) -> None:
        with self.memory.changing() as remembered:
            remembered["hosts"] = {
                name: {
                    "place": [host.addresses.group, host.addresses.number],
                    "holder": [host.holder.pid, host.holder.started],
                }
                for name, host in self.hosts.items()
            }
            remembered["daemons"] = {
                daemon.host.name: [daemon.process.pid, daemon.process.started]
                for daemon in (self.master, *self.minions)
                if daemon.process is not None
            }
            remembered["probes"] = {
                name: traffic.to_json() for name, traffic in self.traffic.items()
            }

    def _recall(self, remembered: Mapping[str, Any]) -> None:
        if "hosts" not in remembered:
            raise HalfMade(self.name)
        self.hosts = {
            name: Host(
                name, Addresses(*one["place"]), namespace(self.name, name),
                self.folder / "hosts" / name, Process(*one["holder"]),
            )
            for name, one in remembered["hosts"].items()
        }  # fmt: skip
        daemons = {name: Process(*pair) for name, pair in remembered["daemons"].items()}
        self.master = Master(
            self.hosts["master"], folder=self.folder, process=daemons.get("master")
        )
        self.minions = [
            Minion(host, process=daemons.get(name))
            for name, host in self.hosts.items()
            if host.addresses.group == address.MINIONS
        ]
        self.traffic = {
            name: Traffic.from_json(written) for name, written in remembered["probes"].items()
        }
        self._connect_api(remembered["api"])
        self.nodes = Nodes(self.api.endpoint, dial=self._dial)


def _failure(answer: object) -> str:
    """Why the return of a state run is no success; empty when it is one."""
    if not isinstance(answer, dict) or not answer:
        return str(answer)
    return "; ".join(
        str(state.get("comment")) for state in answer.values() if state.get("result") is not True
    )
