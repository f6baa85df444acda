"""A Kubernetes API of its own for each test, and the engine's threads on it."""

from __future__ import annotations

import contextlib

import pytest

from lab.kubernetes import open_backend
from lab.kubernetes.nodes import Nodes
from lab.kubernetes.real_backend import unavailable
from tests.faults.network import Network
from tests.faults.watched import Watched


@pytest.fixture
def emulator(tmp_path):
    with open_backend("emulator", tmp_path / "kube") as backend:
        yield backend


@pytest.fixture(scope="session")
def real_server(tmp_path_factory):
    """One real API server for all tests: it takes seconds to start."""
    if reason := unavailable():
        pytest.skip(reason)
    with open_backend("real", tmp_path_factory.mktemp("kube")) as backend:
        yield backend


@pytest.fixture
def real(real_server):
    """The real API server, running and without nodes."""
    real_server.start()
    real_server.permit("reader")
    nodes = Nodes(real_server.endpoint)
    nodes.delete_all()
    nodes.close()
    return real_server


@pytest.fixture(params=["emulator", pytest.param("real", marks=pytest.mark.kube_real)])
def kube(request):
    """Each of the two back ends."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def network(kube):
    """A network to the API server, for faults that no server can produce."""
    network = Network(kube.endpoint)
    yield network
    network.close()


@pytest.fixture
def watch(tmp_path):
    """Start the engine's threads on a back end; they end with the test."""
    with contextlib.ExitStack() as stack:

        def start(backend, folder="state", **cluster):
            watched = Watched(tmp_path / folder, backend, **cluster).start()
            stack.callback(watched.stop)
            return watched

        yield start
