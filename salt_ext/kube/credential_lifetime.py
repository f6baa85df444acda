"""When a credential ends, as far as it says so itself."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

import msgspec

from salt_ext.kube.credential import Credential


@dataclass(frozen=True, slots=True)
class CredentialLifetime:
    """From when to when a credential is good, in seconds since the epoch; 0 for unknown."""

    begins: float
    ends: float

    def nearly_over(self, now: float) -> bool:
        """Whether nobody has replaced it although it was time: whoever rotates does so earlier."""
        whole = self.ends - self.begins if self.begins else _USUAL
        return self.ends - now < whole * _LAST_PART


_LAST_PART = 0.1
_USUAL = 140 * 86_400.0
"""Counts as the whole life of what does not tell when it began: two weeks are its last part."""


class _Claims(msgspec.Struct):
    exp: float
    iat: float = 0.0


_claims = msgspec.json.Decoder(_Claims)


def lifetime(credential: Credential) -> CredentialLifetime | None:
    """Return how long a credential is good, None where it does not say so."""
    kind, _, token = credential.authorization.partition(" ")
    if kind == "Bearer":
        return _of_token(token)
    return _of_certificate(credential.certificate) if credential.certificate else None


def _of_token(token: str) -> CredentialLifetime | None:
    # Only read, not verified: it is our own, and the API server does that.
    parts = token.split(".")
    if len(parts) != 3 or not re.fullmatch(r"[\w-]+", parts[1]):
        return None
    try:
        claims = _claims.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, msgspec.MsgspecError):
        return None
    return CredentialLifetime(claims.iat, claims.exp)


def _of_certificate(pem: bytes) -> CredentialLifetime | None:
    try:
        # Salt brings it along on every platform; nothing depends on it here.
        from cryptography import x509
    except ImportError:
        return None
    try:
        found = x509.load_pem_x509_certificate(pem)
        begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
    except (ValueError, AttributeError):
        return None
    return CredentialLifetime(begins.timestamp(), ends.timestamp())
