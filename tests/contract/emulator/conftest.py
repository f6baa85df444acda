"""
An emulator of its own, and a clean one for each test.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.kubernetes.client import Client
from lab.kubernetes.emulator.control import Control
from lab.kubernetes.emulator_backend import EmulatorBackend
from lab.kubernetes.nodes import Nodes


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorBackend]:
    with EmulatorBackend(tmp_path_factory.mktemp("emulator")) as backend:
        yield backend


@pytest.fixture
def control(emulator: EmulatorBackend) -> Control:
    emulator.control.clear()
    emulator.control.wipe()
    emulator.control.forget_requests()
    return emulator.control


@pytest.fixture
def client(emulator: EmulatorBackend, control: Control) -> Iterator[Client]:
    found = emulator.client("reader", seconds=2)
    yield found
    found.close()


@pytest.fixture
def nodes(emulator: EmulatorBackend, control: Control) -> Iterator[Nodes]:
    found = Nodes(emulator.endpoint)
    yield found
    found.close()
