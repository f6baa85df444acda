"""
The syntax of references, as in ``k8s://prod?family=ipv4``: a pillar value in place of addresses.

No other module parses or checks them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeGuard
from urllib.parse import unquote

from salt_ext.core.cluster.node import AddressType
from salt_ext.core.errors import BadReference
from salt_ext.core.references import selector
from salt_ext.core.references.selector import Selector

SCHEME = "k8s://"

# What people write in place of k8s://, before the name of a cluster.
_NEAR = re.compile(
    r"""(?P<scheme>[ \t\r\n'"(\[{<]*
    (?:k8s|k8|ks8|8ks|kk8s|k88s|k8ss|k8s[_-]nodes|kubernetes|kube)
    \s*(?:(?P<certain>:+\s*//+)|:+\s*/|//+)\s*)
    (?P<body>[a-z0-9][^\n]*)""",
    re.IGNORECASE | re.VERBOSE,
)
NEAR_MISS_STARTS = frozenset("kK8 \t\r\n'\"([{<")
_MAX_NEAR = 400
"""Longer texts are not references that were misspelt."""

# RFC 1123, as for every name in Kubernetes that may become part of a host name.
DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A cluster, and which addresses of its nodes; None means the cluster's default."""

    text: str
    cluster: str
    group: str | None = None
    """A node group that the cluster's configuration defines."""
    types: tuple[AddressType, ...] | None = None
    family: int | None = None
    """4 or 6; None means both."""
    labels: Selector = Selector()
    ready_only: bool | None = None
    as_network: bool = False
    placeholder: bool = False
    """Whether an empty result is replaced by one address that no packet can come from."""


def is_reference(value: object) -> TypeGuard[str]:
    """Whether a pillar value is a reference, valid or not."""
    return isinstance(value, str) and value.startswith(SCHEME)


def is_near_miss(value: object) -> TypeGuard[str]:
    """Whether a pillar value looks like a reference with a misspelt scheme: ``K8S://prod``."""
    return (
        isinstance(value, str)
        and len(value) <= _MAX_NEAR
        and not value.startswith(SCHEME)
        and _NEAR.match(value) is not None
    )


def is_path(near_miss: str, clusters: Collection[str]) -> bool:
    """
    Whether a near miss is rather a path: ``k8s:/var/lib`` is a folder of a volume or a host.

    It is a reference where it names one of the ``clusters``.
    """
    match = _NEAR.match(near_miss)
    if match is None or match["certain"]:
        return match is None
    return re.split(r"[/?\s'\"]", match["body"].lower(), maxsplit=1)[0] not in clusters


def dns_label(value: object) -> str:
    """Return a DNS label, such as a cluster's name; raises :class:`ValueError`."""
    if isinstance(value, str) and DNS_LABEL.fullmatch(value):
        return value
    raise ValueError(
        "a DNS label: 1 to 63 lower-case letters, digits and '-', not '-' at either end"
    )


@lru_cache(maxsize=4096)
def parse(text: str) -> Reference:
    """Return a parsed reference; :class:`BadReference` names the invalid part."""
    if not text.startswith(SCHEME) and (near := _NEAR.match(text)):
        right = SCHEME + near["body"].rstrip("'\")]}> \t")
        raise BadReference(text, near["scheme"], f"is not {SCHEME}; write {right}")
    body = text[len(SCHEME) :] if text.startswith(SCHEME) else ""
    path, _, query = body.partition("?")
    cluster, slash, group = path.partition("/")
    for name, what in (
        ((cluster, "cluster"), (group, "group")) if slash else ((cluster, "cluster"),)
    ):
        try:
            dns_label(name)
        except ValueError as exc:
            raise BadReference(text, name, f"is not a {what} name; allowed: {exc}") from None
    values: dict[str, Any] = {"group": group} if slash else {}
    for part in query.split("&") if query else ():
        name, equals, raw = part.partition("=")
        parameter = _PARAMETERS.get(name)
        if parameter is None:
            allowed = ", ".join(_PARAMETERS)
            raise BadReference(text, name, f"is not a parameter; allowed: {allowed}")
        field, read = parameter
        if field in values:
            raise BadReference(text, name, "is given twice")
        try:
            values[field] = read(unquote(raw) if equals else "")
        except ValueError as exc:
            raise BadReference(text, part, f"cannot be read; allowed: {exc}") from None
    return Reference(text=text, cluster=cluster, **values)


def _types(raw: str) -> tuple[AddressType, ...]:
    try:
        return tuple(dict.fromkeys(AddressType(item.strip()) for item in raw.split(",")))
    except ValueError:
        names = ", ".join(kind.value for kind in AddressType)
        raise ValueError(f"one or more of {names}, with commas") from None


def _labels(raw: str) -> Selector:
    # It would select every node, and results from a template whose variable is empty.
    if not raw.strip():
        raise ValueError("a label selector that is not empty")
    return selector.parse(raw)


def _choice(**choices: object) -> Callable[[str], object]:
    def read(raw: str) -> object:
        if raw in choices:
            return choices[raw]
        raise ValueError(" or ".join(choices))

    return read


_PARAMETERS: dict[str, tuple[str, Callable[[str], object]]] = {
    "addresses": ("types", _types),
    "family": ("family", _choice(ipv4=4, ipv6=6)),
    "labelSelector": ("labels", _labels),
    "ready": ("ready_only", _choice(any=False, only=True)),
    "empty": ("placeholder", _choice(list=False, placeholder=True)),
    "format": ("as_network", _choice(address=False, cidr=True)),
}
