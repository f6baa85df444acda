"""
Provisioning of a world: hosts, the service and firewall of each minion, Kubernetes API, Salt.

.. code-block:: python

    with provision(minions=2, api="emulator") as world:
        node = world.join("node1")
        seen = world.traffic["node1"].connect("minion1").wait("open", since=node.at, within=30)
        print(f"open after {(seen.at - node.at) * 1000:.0f} ms")
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.errors import LabError, MachineUnfit
from lab.kubernetes.backend import BackendError
from lab.kubernetes.client import ApiError
from lab.network import address
from lab.polling import wait_until
from lab.salt import served_files
from lab.salt.extension_config import extension_config
from lab.salt.master import Master
from lab.traffic import service
from lab.world import prerequisites
from lab.world.spec import WorldSpec
from lab.world.world import READY_SECONDS, World

Progress = Callable[[str], None]


def provision(name: str = "lab", *, progress: Progress = lambda _: None, **spec: Any) -> World:
    """
    Create a world and return once its firewalls are in force.

    The keywords are those of :class:`~lab.world.spec.WorldSpec`; ``progress`` receives a line for
    each step. After a failure the world is removed and its logs are kept.
    """
    parts = WorldSpec(**spec)
    if reason := prerequisites.unmet():
        raise MachineUnfit(reason)
    world = World(name)
    world.state_file.create()
    try:
        _provision(world, parts, progress)
        world.state_file.complete(api=parts.api, traffic=parts.traffic)
    except (LabError, BackendError, ApiError) as exc:
        logs = world.save_logs()
        world.down()
        raise LabError(f"{exc}; the logs are in {logs}") from exc
    except BaseException:
        world.down()
        raise
    return world


def _provision(world: World, spec: WorldSpec, progress: Progress) -> None:
    """Everything, in the order in which it is needed."""
    _create_hosts(world, spec)
    progress(
        f"{len(world.hosts)} hosts, each with a network, a kernel firewall and an /etc of its own"
    )
    _start_minions(world, spec)
    world.connect_api(spec.api)
    world.api.start()
    progress(f"Kubernetes API, {spec.api}, at {world.api.endpoint.url}")
    _start_masters(world, spec)
    # A highstate would bring the formula's modules along, the state of an SLS does not.
    world.salt("*", "saltutil.sync_all")
    masters = "Salt master" if spec.masters == 1 else f"{spec.masters} Salt masters"
    progress(f"{masters} and {spec.minions} minions")
    world.apply(within=READY_SECONDS)
    if spec.extension and spec.pillar is None:
        world.settle(within=READY_SECONDS)
    progress("firewalls in force")
    if spec.traffic:
        for name in ("office", "stranger"):
            world.start_traffic(name, kinds=("connect",))


def _create_hosts(world: World, spec: WorldSpec) -> None:
    world.inventory.switch.create()
    places = {
        **{_master_name(n): address.master(n) for n in range(1, spec.masters + 1)},
        "kube": address.KUBE,
        **{f"minion{n}": address.minion(n) for n in range(1, spec.minions + 1)},
        "office": address.OFFICE,
        "stranger": address.STRANGER,
    }
    for name, place in places.items():
        world.inventory.create_host(name, place, known=places)


def _master_name(number: int) -> str:
    return "master" if number == 1 else f"master{number}"


def _start_minions(world: World, spec: WorldSpec) -> None:
    # Before the master: they try again until it is there, and their start takes as long as its.
    served_files.provide(world.srv)
    if spec.pillar is not None:
        world.write_pillar(spec.pillar)
    for minion in world.minions:
        minion.configure(spec.minion, [master.host for master in world.masters])
        minion.start()
    for minion in world.minions:
        service.start(minion.host)


def _start_masters(world: World, spec: WorldSpec) -> None:
    first, *others = world.masters
    for master in world.masters:
        master.configure(spec.master)
        if spec.extension:
            block = extension_config(
                world.api.endpoint, state_dir=master.host.folder / "state", overrides=spec.k8s_nodes
            )
            master.drop_in("k8s_nodes", block)
        master.console.start()
    first.start()
    for other in others:
        _share_key(first, other)
        other.start()
    for master in world.masters:
        master.wait(spec.minions, within=READY_SECONDS)


def _share_key(first: Master, other: Master) -> None:
    """Give a master the first one's key, as Salt asks for where minions have several masters."""
    wait_until(
        lambda: all(map(_complete, first.keys)), within=READY_SECONDS, what="a key of the master"
    )
    other.keys[0].parent.mkdir(parents=True, exist_ok=True)
    for path in first.keys:
        shutil.copy2(path, other.keys[0].parent)


def _complete(path: Path) -> bool:
    return path.exists() and path.read_text().rstrip().endswith("KEY-----")
