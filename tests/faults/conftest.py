"""A Kubernetes API of its own for each test, and the engine's threads on it."""

from __future__ import annotations

import contextlib

import pytest

from lab.kubernetes import open_backend
from lab.kubernetes.real import unavailable
from tests.faults.watched import Watched


@pytest.fixture
def emulator(tmp_path):
    with open_backend("emulator", tmp_path / "kube") as backend:
        yield backend


@pytest.fixture(params=["emulator", pytest.param("real", marks=pytest.mark.kube_real)])
def kube(request, tmp_path):
    """Each of the two back ends."""
    if request.param == "real" and (reason := unavailable()):
        pytest.skip(reason)
    with open_backend(request.param, tmp_path / "kube") as backend:
        yield backend


@pytest.fixture
def watch(tmp_path):
    """Start the engine's threads on a back end; they end with the test."""
    with contextlib.ExitStack() as stack:

        def start(backend, folder="state", **cluster):
            watched = Watched(tmp_path / folder, backend, **cluster).start()
            stack.callback(watched.stop)
            return watched

        yield start
