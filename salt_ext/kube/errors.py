"""What a request to the Kubernetes API can end in, named after what to do next."""

from __future__ import annotations

from salt_ext.core.errors import K8sNodesError


class RequestFailed(K8sNodesError):
    """The request failed: keep what is known, try again later."""

    def __init__(self, what: str, why: str, *, retry_after: float = 0.0) -> None:
        super().__init__(what, why)
        self.what = what
        self.why = why
        self.retry_after = retry_after
        """Seconds that the server asked to wait."""

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


class Expired(RequestFailed):
    """The version or the continue token is gone from the server: list from the start."""


class Unauthorized(RequestFailed):
    """The credentials are refused or lack a right: someone must look at them."""


class BadCredentials(RequestFailed):
    """The credentials or the CA cannot be read: someone must look at the files."""


class UnexpectedResponse(RequestFailed):
    """The server answered something else than what was asked for."""


class WatchIdle(RequestFailed):
    """Nothing was heard on a watch for long: ask whether the server is still there."""
