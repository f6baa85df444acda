"""
The Kubernetes API of the lab: the real kube-apiserver and an emulator, behind one interface.

Worlds, contract tests, functional tests and benchmarks call :func:`open_backend`; on a folder whose
server runs already, it returns that one. A back end writes only to its folder::

    open_backend("emulator" | "real", folder)
        |
        v
    backend            start, stop, freeze, kill, wipe, save and restore, compact, forbid, rotate
     |  emulator_backend -> emulator/       a program of its own, with faults on command
     |  real_backend     -> etcd, build     kube-apiserver, built from apiserver/go.mod
     |
     +- certificates, endpoint     files from which clients learn address, CA and tokens
     +- client                     plain HTTPS, byte by byte, from any network namespace
     +- nodes, sample              what kubelets and cloud controllers write

Node objects are written through the API of either back end, never into its data.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.kubernetes.backend import Backend

# Imported when used: the emulator's own process is in this package too, and starts faster without.
BACKENDS = {
    "emulator": ("lab.kubernetes.emulator_backend", "EmulatorBackend"),
    "real": ("lab.kubernetes.real_backend", "RealBackend"),
}


def open_backend(name: str, folder: Path, **options: Any) -> Backend:
    """The back end of that name in a folder; the options are those of ``Backend``."""
    module, kind = BACKENDS[name]
    found: Backend = getattr(import_module(module), kind)(folder, **options)
    return found
