"""
The Kubernetes API of the lab: the real kube-apiserver and an emulator, behind one interface.

:func:`open_backend` gives one by its name; on a folder in which one runs already, that one.
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
