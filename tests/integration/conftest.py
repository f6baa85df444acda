"""Whole worlds, made once a session; skipped, and says why, on a machine that cannot have them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from surroundings import RULED_PILLAR, STATIC_PILLAR, of_the_machine

from lab.machine import unfit
from lab.network import of_world
from lab.world import World


@pytest.fixture(scope="session")
def fit() -> None:
    if reason := unfit():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def machine(fit: None) -> dict[str, Any]:
    """The machine's network before the first world."""
    return of_the_machine()


def a_world(request: pytest.FixtureRequest, name: str, **plan: Any) -> Iterator[World]:
    """Make a world, keep its logs when tests fail, and see that nothing is left of it."""
    failed = request.session.testsfailed
    with World.up(name, **plan) as world:
        yield world
        if request.session.testsfailed > failed:
            logs = world.save_logs()
            warnings.warn(f"tests failed; the logs of their world are in {logs}", stacklevel=1)
    assert not of_world(name)
    assert not world.folder.exists()


@pytest.fixture(scope="session")
def world(machine: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[World]:
    """A world with everything."""
    yield from a_world(request, f"t{os.getpid()}")


@pytest.fixture(scope="session")
def plain(machine: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[World]:
    """A world without the extension: the lab and its firewall state by themselves."""
    yield from a_world(request, f"p{os.getpid()}", extension=False, pillar=STATIC_PILLAR)


@pytest.fixture(scope="session")
def ruled(machine: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[World]:
    """A world whose minions all have a rule for each address, and nothing of ours."""
    no_sets = {"apply": {"classes": None}}
    yield from a_world(request, f"r{os.getpid()}", pillar=RULED_PILLAR, k8s_nodes=no_sets)


@pytest.fixture
def quiet(world: World) -> World:
    """The world with everything, without nodes, and with nothing left to do."""
    world.api.start()
    world.nodes.delete_all()
    world.settle()
    return world
