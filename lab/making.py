"""How a world is made: hosts, service and firewall of each minion, Kubernetes API, Salt."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import address, settings
from lab.errors import LabError
from lab.kubernetes import BACKENDS
from lab.traffic import offer

if TYPE_CHECKING:
    from lab.world import World

HERE = Path(__file__).parent
READY_SECONDS = 180.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a world is to be made of."""

    minions: int = 2
    api: str = "emulator"
    """The Kubernetes API: emulator or real."""
    extension: bool = True
    """Whether the master has our engine, ext_pillar and reactor; without, give a pillar."""
    k8s_nodes: Mapping[str, Any] = field(default_factory=dict)
    """Laid over the block k8s_nodes of the master's configuration."""
    master: Mapping[str, Any] = field(default_factory=dict)
    """Laid over the master's own settings."""
    minion: Mapping[str, Any] = field(default_factory=dict)
    """Laid over every minion's settings."""
    pillar: Mapping[str, Any] | None = None
    """In place of the lab's pillar."""
    traffic: bool = True
    """Whether office, stranger and every node that joins probe all minions throughout."""

    def __post_init__(self) -> None:
        if self.api not in BACKENDS:
            raise LabError(f"{self.api!r} is no Kubernetes API of the lab: {', '.join(BACKENDS)}")
        if not 1 <= self.minions <= 254:
            raise LabError(f"a world has 1 to 254 minions, not {self.minions}")


def make(world: World, plan: Plan, say: Say) -> None:
    """Make everything, in the order in which it is needed; a failure leaves what there is."""
    _make_hosts(world, plan)
    say(f"{len(world.hosts)} hosts, each with a network, a kernel firewall and an /etc of its own")
    _start_minions(world, plan)
    world.connect_api(plan.api)
    world.api.start()
    say(f"Kubernetes API, {plan.api}, at {world.api.endpoint.url}")
    _start_master(world, plan)
    # A highstate would bring the formula's modules along, the state of an SLS does not.
    world.salt("*", "saltutil.sync_all")
    say(f"Salt master and {plan.minions} minions")
    world.apply(within=READY_SECONDS)
    if plan.extension and plan.pillar is None:
        world.settle()
    say("firewalls in force")
    if plan.traffic:
        for name in ("office", "stranger"):
            world.start_traffic(name, how=("connect",))


def _make_hosts(world: World, plan: Plan) -> None:
    world.switch.create()
    places = {
        "master": address.MASTER,
        "kube": address.KUBE,
        **{f"minion{n}": address.minion(n) for n in range(1, plan.minions + 1)},
        "office": address.OFFICE,
        "stranger": address.STRANGER,
    }
    for name, place in places.items():
        world.make_host(name, place, known=places)


def _start_minions(world: World, plan: Plan) -> None:
    # Before the master: they try again until it is there, and their start takes as long as its.
    shutil.copytree(HERE / "states", world.srv / "salt")
    shutil.copytree(HERE / "pillar", world.srv / "pillar")
    if plan.pillar is not None:
        world.write_pillar(plan.pillar)
    for minion in world.minions:
        minion.configure(plan.minion)
        minion.start()
    for minion in world.minions:
        offer(minion.host)


def _start_master(world: World, plan: Plan) -> None:
    master = world.master
    master.configure(plan.master)
    if plan.extension:
        state_dir = master.host.folder / "state"
        block = settings.extension(world.api.endpoint, state_dir=state_dir, more=plan.k8s_nodes)
        master.drop_in("k8s_nodes", block)
    master.console.start()
    master.start()
    master.wait(plan.minions, within=READY_SECONDS)
