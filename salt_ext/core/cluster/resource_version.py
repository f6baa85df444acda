"""Compares resourceVersions, which Kubernetes writes as growing numbers since its first release."""

from __future__ import annotations


def is_older(one: str, other: str) -> bool:
    """Whether ``one`` is certainly older; False when either is no number."""
    return one.isdecimal() and other.isdecimal() and int(one) < int(other)
