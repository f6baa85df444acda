"""When a credential expires, as far as the token or the certificate itself states it."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

import msgspec

from salt_ext.kube.credential import Credential


@dataclass(frozen=True, slots=True)
class CredentialLifetime:
    """The validity of a credential, in seconds since the epoch."""

    not_before: float
    """0 when the credential does not state it."""
    expires_at: float

    def expires_soon(self, now: float) -> bool:
        """Whether less than a tenth is left: every rotation in use replaces it earlier."""
        whole = self.expires_at - self.not_before if self.not_before else _ASSUMED_LIFETIME
        return self.expires_at - now < whole * _LAST_PART


_LAST_PART = 0.1
_ASSUMED_LIFETIME = 140 * 86_400.0
"""Seconds, for a credential without a start: its last tenth is two weeks."""


class _Claims(msgspec.Struct):
    exp: float
    iat: float = 0.0


_claims = msgspec.json.Decoder(_Claims)


def lifetime_of(credential: Credential) -> CredentialLifetime | None:
    """Return the validity of a token or a client certificate, None when it states none."""
    kind, _, token = credential.authorization.partition(" ")
    if kind == "Bearer":
        return _lifetime_of_token(token)
    return _lifetime_of_certificate(credential.certificate) if credential.certificate else None


def _lifetime_of_token(token: str) -> CredentialLifetime | None:
    # Decoded without verification: the API server verifies its own tokens.
    parts = token.split(".")
    if len(parts) != 3 or not re.fullmatch(r"[\w-]+", parts[1]):
        return None
    try:
        claims = _claims.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, msgspec.MsgspecError):
        return None
    return CredentialLifetime(claims.iat, claims.exp)


def _lifetime_of_certificate(pem: bytes) -> CredentialLifetime | None:
    try:
        # Salt depends on it on every platform; without it only this warning is missing.
        from cryptography import x509
    except ImportError:
        return None
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        not_before = certificate.not_valid_before_utc
        expires_at = certificate.not_valid_after_utc
    except (ValueError, AttributeError):
        return None
    return CredentialLifetime(not_before.timestamp(), expires_at.timestamp())
