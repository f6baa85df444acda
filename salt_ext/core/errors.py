"""Errors that are raised on purpose, named after what the caller or the operator can do."""

from __future__ import annotations

from salt_ext.core.display import quote


class K8sNodesError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(K8sNodesError):
    """A configuration mistake: the operator must edit the named key."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(key, value, allowed)
        self.key = key
        self.value = value
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{self.key}: {quote(self.value)} is not allowed; allowed: {self.allowed}"


class NotConfigured(K8sNodesError):
    """The master has no ``k8s_nodes`` configuration: the operator must write one."""

    def __str__(self) -> str:
        return (
            "the master's configuration has no k8s_nodes; "
            "salt-run k8s_nodes.setup prints what is needed"
        )


class BadArgument(K8sNodesError):
    """An argument of a command has a value that is not allowed."""

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(name, value, allowed)
        self.name = name
        self.value = value
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{self.name}: {quote(self.value)} is not allowed; allowed: {self.allowed}"


class BadReference(K8sNodesError):
    """A ``k8s://`` reference with a syntax error: the operator must edit the pillar."""

    def __init__(self, reference: str, part: str, why: str) -> None:
        super().__init__(reference, part, why)
        self.reference = reference
        self.part = part
        self.why = why

    def __str__(self) -> str:
        return f"{quote(self.reference)}: {quote(self.part)} {self.why}"


class UnknownCluster(K8sNodesError):
    """A cluster that is not configured."""

    def __init__(self, cluster: str, configured: tuple[str, ...]) -> None:
        super().__init__(cluster, configured)
        self.cluster = cluster
        self.configured = configured

    def __str__(self) -> str:
        known = ", ".join(self.configured) or "none"
        return f"cluster {quote(self.cluster)} is not configured; configured: {known}"


class NeverSeen(K8sNodesError):
    """A configured cluster without any complete LIST yet: wait, or look at its health."""

    def __init__(self, cluster: str) -> None:
        super().__init__(cluster)
        self.cluster = cluster

    def __str__(self) -> str:
        return (
            f"cluster {self.cluster!r} has never been listed completely; "
            "salt-run k8s_nodes.status says why"
        )


class NoSecret(K8sNodesError):
    """A secret could not be fetched: the operator must check where it is kept."""

    def __init__(self, uri: str, why: str) -> None:
        super().__init__(uri, why)
        self.uri = uri
        self.why = why

    def __str__(self) -> str:
        return f"{self.uri}: {self.why}"


class StoreError(K8sNodesError):
    """The store cannot be read or written: keep the state in memory, try again later."""


class Overtaken(StoreError):
    """Another process wrote in the meantime: read the store again from the start."""
