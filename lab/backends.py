"""Which Kubernetes API a world has: the emulator, always there, or the real one, once built."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from lab.errors import LabError
from lab.kubernetes.backend import Backend
from lab.kubernetes.client import Dial
from lab.kubernetes.process import Launch

KINDS = {"emulator": "EmulatorBackend", "real": "RealBackend"}
PORT = 6443


def make(kind: str, folder: Path, *, address: str, launch: Launch, dial: Dial) -> Backend:
    """The back end of that kind on a folder; it is not started yet, or was by another process."""
    if kind not in KINDS:
        raise LabError(f"{kind!r} is no Kubernetes API of the lab; there are {', '.join(KINDS)}")
    # Only the one that is used is imported: building the real one needs more than running neither.
    found = getattr(import_module(f"lab.kubernetes.{kind}"), KINDS[kind])
    backend: Backend = found(folder, address=address, port=PORT, launch=launch, dial=dial)
    return backend
