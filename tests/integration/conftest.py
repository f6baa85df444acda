"""Whole worlds, made once a session; skipped, and says why, on a machine that cannot have them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from lab.world import prerequisites
from lab.world.world import World
from tests.integration.looking import Looking
from tests.integration.surroundings import RULED_PILLAR, STATIC_PILLAR, a_world, of_the_machine


@pytest.fixture(scope="session")
def fit() -> None:
    if reason := prerequisites.unmet():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def machine(fit: None) -> dict[str, Any]:
    """The machine's network before the first world."""
    return of_the_machine()


@pytest.fixture(scope="session")
def world(machine: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[World]:
    """A world with everything."""
    yield from a_world(request, f"t{os.getpid()}")


@pytest.fixture(scope="session")
def plain(machine: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[World]:
    """A world without the extension: the lab and its firewall state by themselves."""
    yield from a_world(request, f"p{os.getpid()}", extension=False, pillar=STATIC_PILLAR)


@pytest.fixture(scope="module")
def ruled(machine: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[World]:
    """
    A world whose minions all have a rule for each address, and nothing of ours.

    For each file a new one: an engine answers only a few starts of a minion at once in an hour.
    """
    # Many nodes come and go at once here; guards have tests of their own.
    guards = {"shrink_percent": 100, "growth_nodes": 1000}
    block = {"apply": {"classes": None}, "clusters": {"prod": {"guards": guards}}}
    # After a key is deleted, its minion hears so by the next publish after a look of the master.
    soon = {"loop_interval": 2}
    plan = {"pillar": RULED_PILLAR, "k8s_nodes": block, "master": soon}
    yield from a_world(request, f"r{os.getpid()}", **plan)


@pytest.fixture
def quiet(world: World) -> World:
    """The world with everything, without nodes, and with nothing left to do."""
    world.api.start()
    world.nodes.delete_all()
    world.settle()
    return world


@pytest.fixture
def looking(quiet: World) -> Iterator[Looking]:
    """The quiet world; its pillar, minions and pause are put back afterwards."""
    pillar = quiet.srv / "pillar" / "firewall.sls"
    before = pillar.read_text()
    found = Looking(quiet)
    yield found
    changed = pillar.read_text() != before
    pillar.write_text(before)
    found.store.decisions.resume()
    for minion in quiet.minions:
        minion.start()
    quiet.master.wait(len(quiet.minions))
    if changed:
        quiet.salt("*", "pillar.items")
