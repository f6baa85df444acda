"""The real kube-apiserver that most parts measure with."""

from __future__ import annotations

from lab.errors import LabError
from lab.kubernetes.real_backend import unavailable


def require_real_api() -> None:
    """Raise an error that says what is missing where no real kube-apiserver can run."""
    if why := unavailable():
        raise LabError(f"a real kube-apiserver is needed: {why}")
