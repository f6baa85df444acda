"""A credential for one request, and where to read it: tokens expire and are rotated."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from salt_ext.core.errors import NoSecret
from salt_ext.kube.errors import BadCredentials
from salt_ext.kube.tracked_files import TrackedFiles

# http.client's own error for any other character quotes the whole header.
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """An Authorization header, a client certificate, or both; false without either."""

    authorization: str = field(default="", repr=False)
    """Value of the Authorization header."""
    certificate: bytes = field(default=b"", repr=False)
    """A client certificate and its key, PEM."""
    source: str = ""
    """The file, secret, plugin or kubeconfig user it was read from, for messages."""

    def __bool__(self) -> bool:
        return bool(self.authorization or self.certificate)


CredentialSource = Callable[[], Credential]
"""Returns the credential that is valid now; raises :class:`BadCredentials`."""

SecretLookup = Callable[[str], str]
"""Returns the value of an ``sdb://`` URI; raises :class:`NoSecret`."""


def no_secrets(uri: str) -> str:
    """Refuse every URI: the ``SecretLookup`` of a process without Salt's configuration."""
    raise NoSecret(uri, "sdb:// URIs cannot be read here: no Salt configuration is loaded")


def bearer(text: str, source: str, *, certificate: bytes = b"") -> Credential:
    """Return a token as a credential; raises :class:`BadCredentials` without quoting it."""
    token = text.strip()
    if not token:
        raise BadCredentials(source, "token is empty")
    if not _TOKEN.fullmatch(token):
        raise BadCredentials(
            source, "not a valid token: it contains spaces, line breaks or non-ASCII characters"
        )
    return Credential(authorization=f"Bearer {token}", certificate=certificate, source=source)


def basic(username: str, password: str, source: str, *, certificate: bytes = b"") -> Credential:
    """Return a username and a password as a credential (HTTP basic authentication)."""
    pair = base64.b64encode(f"{username}:{password}".encode()).decode()
    return Credential(authorization=f"Basic {pair}", certificate=certificate, source=source)


def constant(credential: Credential) -> CredentialSource:
    """Return a source of one credential that never changes."""
    return lambda: credential


def from_file(path: str, role: str, *, certificate: bytes = b"") -> CredentialSource:
    """Return a source that reads a token file at each request: kubelet rotates it hourly."""

    def read() -> Credential:
        content = TrackedFiles().read(path, role)
        return bearer(content.decode("latin-1"), path, certificate=certificate)

    return read


def from_secret(uri: str, secret_lookup: SecretLookup) -> CredentialSource:
    """
    Return a source that looks a secret up once.

    The session makes a new source, and so a new lookup, after the API server refused the token.
    """
    cached: list[Credential] = []

    def read() -> Credential:
        if not cached:
            try:
                cached.append(bearer(secret_lookup(uri), uri))
            except NoSecret as exc:
                raise BadCredentials(exc.uri, exc.why) from exc
        return cached[0]

    return read
