"""The whole loop on the real kube-apiserver, as ``make demo API=real`` shows it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from lab.kubernetes.real_backend import unavailable
from lab.world.world import World
from tests.integration.surroundings import a_world

pytestmark = [pytest.mark.root, pytest.mark.kube_real]

WITHIN = 180.0


@pytest.fixture(scope="module")
def real_world(machine: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[World]:
    """As small as can be: it is one more world."""
    if reason := unavailable():
        pytest.skip(reason)
    yield from a_world(request, f"a{os.getpid()}", api="real", minions=1)


def test_a_node_of_a_real_cluster_joins_and_leaves(real_world: World) -> None:
    assert real_world.api.name == "real"
    node = real_world.join("node1")
    traffic = real_world.traffic["node1"]
    traffic.connect("minion1").wait("open", since=node.at, within=WITHIN)
    traffic.flow("minion1").wait("flowing", within=WITHIN)
    left = real_world.leave("node1")
    traffic.connect("minion1").wait("closed", since=left, within=WITHIN)
    # Silent, and then reset.
    traffic.flow("minion1").wait("ended", since=left, within=WITHIN)
