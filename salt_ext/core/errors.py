"""What can go wrong, named after what the caller can do about it."""

import re
from collections.abc import Mapping


class K8sNodesError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(K8sNodesError):
    """A configuration mistake: someone must edit the named key."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(key, value, allowed)
        self.key = key
        self.value = value
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{self.key}: {shown(self.value)} is not allowed; allowed: {self.allowed}"


class NotConfigured(K8sNodesError):
    """There is no configuration at all: someone must write one."""

    def __str__(self) -> str:
        return (
            "the master's configuration has no k8s_nodes; "
            "salt-run k8s_nodes.setup prints what is needed"
        )


class BadArgument(K8sNodesError):
    """An argument of a command that cannot be read."""

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(name, value, allowed)
        self.name = name
        self.value = value
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{self.name}: {shown(self.value)} is not allowed; allowed: {self.allowed}"


class BadReference(K8sNodesError):
    """A ``k8s://`` reference that cannot be read: someone must edit the pillar."""

    def __init__(self, reference: str, part: str, why: str) -> None:
        super().__init__(reference, part, why)
        self.reference = reference
        self.part = part
        self.why = why

    def __str__(self) -> str:
        return f"{shown(self.reference)}: {shown(self.part)} {self.why}"


class UnknownCluster(K8sNodesError):
    """A cluster that the configuration does not have."""

    def __init__(self, cluster: str, configured: tuple[str, ...]) -> None:
        super().__init__(cluster, configured)
        self.cluster = cluster
        self.configured = configured

    def __str__(self) -> str:
        known = ", ".join(self.configured) or "none"
        return f"cluster {shown(self.cluster)} is not configured; configured: {known}"


class NeverSeen(K8sNodesError):
    """A configured cluster that was never listed completely: wait, or look at its health."""

    def __init__(self, cluster: str) -> None:
        super().__init__(cluster)
        self.cluster = cluster

    def __str__(self) -> str:
        return (
            f"cluster {self.cluster!r} has never been listed completely; "
            "salt-run k8s_nodes.status says why"
        )


class BadAnswer(K8sNodesError):
    """The API answered something that is not what was asked for: keep what is known, ask again."""


class NoSecret(K8sNodesError):
    """A secret that cannot be had: someone must look at where it is kept."""

    def __init__(self, uri: str, why: str) -> None:
        super().__init__(uri, why)
        self.uri = uri
        self.why = why

    def __str__(self) -> str:
        return f"{self.uri}: {self.why}"


class StoreError(K8sNodesError):
    """The store cannot be read or written: keep what is known, try again later."""


class Overtaken(StoreError):
    """Somebody else wrote in the meantime: read the store again from the start."""


def shown(value: object, limit: int = 80) -> str:
    """
    Return ``repr`` of a value that somebody else wrote: cut, and without what may be a secret.

    That is the password in a URL, and whatever stands in a mapping, of which only keys are shown.
    """
    text = without_password(repr(_bare(value)))
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def without_password(text: str) -> str:
    """Return a text without what stands before the hosts of URLs."""

    def bare(found: re.Match[str]) -> str:
        before, at, host = found[0].rpartition("@")
        return f"//...@{host}" if at else before + host

    return re.sub(r"//[^\s'\"]*", bare, text)


class _Left:
    """Stands for a value that is not shown."""

    def __repr__(self) -> str:
        return "..."


_LEFT = _Left()


def _bare(value: object) -> object:
    if isinstance(value, Mapping):
        return dict.fromkeys(value, _LEFT)
    if isinstance(value, (list, tuple)):
        inside = (list, tuple)
        return [
            _bare(item)
            if isinstance(item, Mapping)
            else (_LEFT if isinstance(item, inside) else item)
            for item in value
        ]
    return value
