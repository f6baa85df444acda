"""Errors of a request to the Kubernetes API, each named after the next step it asks for."""

from __future__ import annotations

from salt_ext.core.errors import K8sNodesError


class RequestFailed(K8sNodesError):
    """The request failed: keep the last known nodes and try again later."""

    def __init__(self, subject: str, reason: str, *, retry_after: float = 0.0) -> None:
        super().__init__(subject, reason)
        self.subject = subject
        """The request, such as ``LIST nodes``, or the file, secret or plugin that is wrong."""
        self.reason = reason
        self.retry_after = retry_after
        """Seconds from the server's Retry-After header, 0 without one."""

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}"


class Expired(RequestFailed):
    """The server dropped the version or the continue token: list from the start."""


class Unauthorized(RequestFailed):
    """The server refused the credentials or they lack a right: an operator must replace them."""


class BadCredentials(RequestFailed):
    """The credentials or the CA cannot be read: an operator must correct the files."""


class UnexpectedResponse(RequestFailed):
    """The response is not of the requested kind, as from a proxy's login page."""


class WatchIdle(RequestFailed):
    """The watch was silent for too long: probe the server before the next watch."""
