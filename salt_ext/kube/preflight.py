"""Asks an API server everything that tells whether a cluster can be followed."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from salt_ext.core.config.access import ClusterAccess
from salt_ext.kube import credential_lifetime, wire
from salt_ext.kube.credential import SecretLookup, no_secrets
from salt_ext.kube.credential_lifetime import CredentialLifetime
from salt_ext.kube.errors import RequestFailed
from salt_ext.kube.request import Requests, decoded
from salt_ext.kube.session import Session

_READ = 10.0
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """Something that a user of the API may do, or not."""

    verb: str
    resource: str
    name: str = ""
    namespace: str = ""
    group: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f" {self.name}" if self.name else "")


NEEDED = (
    Right(verb="list", resource="nodes"),
    Right(verb="watch", resource="nodes"),
    Right(verb="get", resource="namespaces", name="kube-system", namespace="kube-system"),
)
"""Everything that the engine asks for."""

EVERYTHING = Right(verb="*", resource="*", group="*")
"""What an administrator of the cluster may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterInfo:
    """What an API server told."""

    server: str
    version: str
    asked_with: str
    """Where the credential came from, for people."""
    skew: float | None
    """Seconds that the server's clock is ahead of ours, to about a second; None if untold."""
    lifetime: CredentialLifetime | None
    """Of the credential."""
    may: Mapping[Right, bool] = field(default_factory=dict)
    error: str = ""
    """Why rights could not be asked for."""


def preflight(access: ClusterAccess, secret: SecretLookup = no_secrets) -> ClusterInfo:
    """Ask; raises :class:`RequestFailed` when the server is not reached or lets nobody in."""
    session = Session(access, secret)
    try:
        requests = Requests(session)
        what = "GET version"
        begun = time.time()
        response = requests.open("/version", {}, what, read=_READ)
        middle = (begun + time.time()) / 2
        told = response.headers.get("Date", "")
        version = decoded(wire.version, requests.read(response, what), what, "version")
        may: dict[Right, bool] = {}
        error = ""
        try:
            may = {right: _may(requests, right) for right in (*NEEDED, EVERYTHING)}
        except RequestFailed as exc:
            error = str(exc)
        return ClusterInfo(
            server=session.host,
            version=version.gitVersion,
            asked_with=session.asked_with,
            skew=_skew(told, middle),
            lifetime=credential_lifetime.lifetime(session.presented)
            if not session.by_plugin
            else None,
            may=may,
            error=error,
        )
    finally:
        session.close()


def _may(requests: Requests, right: Right) -> bool:
    what = f"may I {right}"
    attributes = {
        key: value
        for key in ("verb", "resource", "name", "namespace", "group")
        if (value := getattr(right, key))
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    response = requests.open(_REVIEWS, {}, what, read=_READ, body=_encode(review))
    answer = decoded(wire.review, requests.read(response, what), what, "SelfSubjectAccessReview")
    return bool(answer.status.allowed)


def _skew(told: str, now: float) -> float | None:
    try:
        # The header has no fraction of a second: what it tells is half a second ago, on average.
        return email.utils.parsedate_to_datetime(told).timestamp() + 0.5 - now
    except ValueError:
        return None
