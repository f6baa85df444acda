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
from lab.process import wait_until
from lab.salt import Master
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
    masters: int = 1
    """Salt masters that every minion is connected to at once."""
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
        if not 1 <= self.masters <= 9:
            raise LabError(f"a world has 1 to 9 masters, not {self.masters}")


def make(world: World, plan: Plan, say: Say) -> None:
    """Make everything, in the order in which it is needed; a failure leaves what there is."""
    _make_hosts(world, plan)
    say(f"{len(world.hosts)} hosts, each with a network, a kernel firewall and an /etc of its own")
    _start_minions(world, plan)
    world.connect_api(plan.api)
    world.api.start()
    say(f"Kubernetes API, {plan.api}, at {world.api.endpoint.url}")
    _start_masters(world, plan)
    # A highstate would bring the formula's modules along, the state of an SLS does not.
    world.salt("*", "saltutil.sync_all")
    masters = "Salt master" if plan.masters == 1 else f"{plan.masters} Salt masters"
    say(f"{masters} and {plan.minions} minions")
    world.apply(within=READY_SECONDS)
    if plan.extension and plan.pillar is None:
        world.settle(within=READY_SECONDS)
    say("firewalls in force")
    if plan.traffic:
        for name in ("office", "stranger"):
            world.start_traffic(name, how=("connect",))


def _make_hosts(world: World, plan: Plan) -> None:
    world.switch.create()
    places = {
        **{_master(n): address.master(n) for n in range(1, plan.masters + 1)},
        "kube": address.KUBE,
        **{f"minion{n}": address.minion(n) for n in range(1, plan.minions + 1)},
        "office": address.OFFICE,
        "stranger": address.STRANGER,
    }
    for name, place in places.items():
        world.make_host(name, place, known=places)


def _master(number: int) -> str:
    return "master" if number == 1 else f"master{number}"


def _start_minions(world: World, plan: Plan) -> None:
    # Before the master: they try again until it is there, and their start takes as long as its.
    shutil.copytree(HERE / "states", world.srv / "salt")
    shutil.copytree(HERE / "pillar", world.srv / "pillar")
    if plan.pillar is not None:
        world.write_pillar(plan.pillar)
    for minion in world.minions:
        minion.configure(plan.minion, [master.host for master in world.masters])
        minion.start()
    for minion in world.minions:
        offer(minion.host)


def _start_masters(world: World, plan: Plan) -> None:
    first, *others = world.masters
    for master in world.masters:
        master.configure(plan.master)
        if plan.extension:
            state_dir = master.host.folder / "state"
            block = settings.extension(world.api.endpoint, state_dir=state_dir, more=plan.k8s_nodes)
            master.drop_in("k8s_nodes", block)
        master.console.start()
    first.start()
    for other in others:
        _share_key(first, other)
        other.start()
    for master in world.masters:
        master.wait(plan.minions, within=READY_SECONDS)


def _share_key(first: Master, other: Master) -> None:
    """Give a master the first one's key, as Salt asks for where minions have several masters."""
    wait_until(
        lambda: all(map(_whole, first.keys)), within=READY_SECONDS, what="a key of the master"
    )
    other.keys[0].parent.mkdir(parents=True, exist_ok=True)
    for path in first.keys:
        shutil.copy2(path, other.keys[0].parent)


def _whole(path: Path) -> bool:
    return path.exists() and path.read_text().rstrip().endswith("KEY-----")
