"""Compares resourceVersions; Kubernetes has written them as growing numbers since version 1.0."""

from __future__ import annotations


def is_older(first: str, second: str) -> bool:
    """Whether ``first`` is certainly older; False when either is not a decimal number."""
    return first.isdecimal() and second.isdecimal() and int(first) < int(second)
