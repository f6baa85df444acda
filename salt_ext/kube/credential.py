"""What proves who asks: found anew for each request, because it expires and is rotated."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from salt_ext.core.errors import NoSecret
from salt_ext.kube.errors import BadCredentials
from salt_ext.kube.tracked_files import TrackedFiles

# http.client's own error for anything else quotes the whole header.
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """Goes with a request, with the connection, or both."""

    authorization: str = field(default="", repr=False)
    """The header of that name."""
    certificate: bytes = field(default=b"", repr=False)
    """A client certificate and its key, PEM."""

    origin: str = ""
    """Where it came from, for people."""

    def __bool__(self) -> bool:
        return bool(self.authorization or self.certificate)


CredentialSource = Callable[[], Credential]
"""Returns the credential that is good now; raises :class:`BadCredentials`."""

SecretLookup = Callable[[str], str]
"""Returns what an ``sdb://`` URI stands for; raises :class:`NoSecret`."""


def no_secrets(uri: str) -> str:
    """Be the ``SecretLookup`` where there is no Salt to ask."""
    raise NoSecret(uri, "there are no secrets here")


def bearer(text: str, source: str, *, certificate: bytes = b"") -> Credential:
    """Return a token as a credential; ``source`` tells a person where it came from."""
    token = text.strip()
    if not token:
        raise BadCredentials(source, "is empty")
    if not _TOKEN.fullmatch(token):
        raise BadCredentials(
            source, "is no token: it holds a space, a line break or no plain ASCII"
        )
    return Credential(authorization=f"Bearer {token}", certificate=certificate, origin=source)


def basic(username: str, password: str, source: str) -> Credential:
    """Return a name and a password as a credential."""
    pair = base64.b64encode(f"{username}:{password}".encode()).decode()
    return Credential(authorization=f"Basic {pair}", origin=source)


def always(credential: Credential) -> CredentialSource:
    """Return the same credential each time."""
    return lambda: credential


def from_file(path: str, role: str, *, certificate: bytes = b"") -> CredentialSource:
    """Read a token file at each request: kubelet and others replace it once an hour."""

    def find() -> Credential:
        content = TrackedFiles().read(path, role)
        return bearer(content.decode("latin-1"), path, certificate=certificate)

    return find


def from_secret(uri: str, secret: SecretLookup) -> CredentialSource:
    """Ask for a secret once; it is asked for again after the API server has refused it."""
    found: list[Credential] = []

    def find() -> Credential:
        if not found:
            try:
                found.append(bearer(secret(uri), uri))
            except NoSecret as exc:
                raise BadCredentials(exc.uri, exc.why) from exc
        return found[0]

    return find
