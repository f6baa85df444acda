"""Asks an API server for all that ``check`` reports: version, clock, permissions, expiry."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from salt_ext.core.config.access import ClusterAccess
from salt_ext.kube import wire
from salt_ext.kube.credential import SecretLookup, no_secrets
from salt_ext.kube.credential_lifetime import CredentialLifetime, lifetime_of
from salt_ext.kube.errors import RequestFailed
from salt_ext.kube.request import ApiClient, decode
from salt_ext.kube.session import Session

_READ_TIMEOUT = 10.0
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """One verb on one resource, the attributes of a SelfSubjectAccessReview."""

    verb: str
    resource: str
    name: str = ""
    namespace: str = ""
    group: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f" {self.name}" if self.name else "")


REQUIRED = (
    Permission(verb="list", resource="nodes"),
    Permission(verb="watch", resource="nodes"),
    Permission(verb="get", resource="namespaces", name="kube-system", namespace="kube-system"),
)
"""The permissions of every request that the engine sends."""

CLUSTER_ADMIN = Permission(verb="*", resource="*", group="*")
"""The permission of a cluster administrator, which the engine should not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterInfo:
    """The result of a preflight."""

    server: str
    """URL of the API server."""
    version: str
    """``gitVersion``, such as ``v1.31.2``."""
    credential_source: str
    """The file, secret, plugin or kubeconfig user of the credential, for messages."""
    clock_skew: float | None
    """Seconds that the server's clock is ahead of this host's, to about 1 s; None if unknown."""
    credential_lifetime: CredentialLifetime | None
    """None when the credential states no expiry, or when an exec plugin renews it."""
    permissions: Mapping[Permission, bool] = field(default_factory=dict)
    """Which permissions the server grants; empty after ``permissions_error``."""
    permissions_error: str = ""
    """The error of the permission reviews, empty if they were answered."""


def preflight(access: ClusterAccess, secret_lookup: SecretLookup = no_secrets) -> ClusterInfo:
    """
    Return what an API server reports about itself and about the credential's permissions.

    Raises :class:`RequestFailed` when it is unreachable or refuses the credential.
    """
    session = Session(access, secret_lookup)
    try:
        client = ApiClient(session)
        name = "GET version"
        sent_at = time.time()
        response = client.send("/version", {}, name, read_timeout=_READ_TIMEOUT)
        answered_at = (sent_at + time.time()) / 2
        date = response.headers.get("Date", "")
        version = decode(wire.version, client.read_body(response, name), name, "version")
        permissions: dict[Permission, bool] = {}
        permissions_error = ""
        try:
            permissions = {
                permission: _is_granted(client, permission)
                for permission in (*REQUIRED, CLUSTER_ADMIN)
            }
        except RequestFailed as exc:
            permissions_error = str(exc)
        credential = session.last_credential
        return ClusterInfo(
            server=session.host,
            version=version.gitVersion,
            credential_source=credential.source,
            clock_skew=_clock_skew(date, answered_at),
            credential_lifetime=None if session.uses_exec_plugin else lifetime_of(credential),
            permissions=permissions,
            permissions_error=permissions_error,
        )
    finally:
        session.close()


def _is_granted(client: ApiClient, permission: Permission) -> bool:
    name = f"POST SelfSubjectAccessReview ({permission})"
    attributes = {
        key: value
        for key in ("verb", "resource", "name", "namespace", "group")
        if (value := getattr(permission, key))
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    response = client.send(_REVIEWS, {}, name, read_timeout=_READ_TIMEOUT, body=_encode(review))
    body = client.read_body(response, name)
    return decode(wire.access_review, body, name, "SelfSubjectAccessReview").status.allowed


def _clock_skew(date: str, now: float) -> float | None:
    try:
        # The Date header has whole seconds: on average it is half a second old.
        return email.utils.parsedate_to_datetime(date).timestamp() + 0.5 - now
    except ValueError:
        return None
