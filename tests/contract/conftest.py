"""
Both Kubernetes APIs of the lab, one after the other: what is asserted here holds on each.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.kubernetes import open_backend
from lab.kubernetes.backend import Backend
from lab.kubernetes.client import Client
from lab.kubernetes.nodes import Nodes
from lab.kubernetes.real_backend import unavailable


@pytest.fixture(
    scope="session", params=["emulator", pytest.param("real", marks=pytest.mark.kube_real)]
)
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    """The server, started once; a test that stops it leaves it running again."""
    name = request.param
    if name == "real" and (reason := unavailable()):
        pytest.skip(reason)
    with open_backend(name, tmp_path_factory.mktemp(name)) as backend:
        yield backend


@pytest.fixture
def backend(started: Backend) -> Iterator[Backend]:
    """The server without nodes, whatever the test before did."""
    started.start()
    nodes = Nodes(started.endpoint)
    nodes.delete_all()
    yield started
    nodes.close()


@pytest.fixture
def admin(backend: Backend) -> Iterator[Client]:
    yield from _client(backend, "admin")


@pytest.fixture
def reader(backend: Backend) -> Iterator[Client]:
    yield from _client(backend, "reader")


@pytest.fixture
def nobody(backend: Backend) -> Iterator[Client]:
    yield from _client(backend, "nobody")


@pytest.fixture
def nodes(backend: Backend) -> Iterator[Nodes]:
    found = Nodes(backend.endpoint)
    yield found
    found.close()


def _client(backend: Backend, user: str) -> Iterator[Client]:
    client = backend.client(user, seconds=60)
    yield client
    client.close()
