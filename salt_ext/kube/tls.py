"""TLS contexts from certificates in memory: no secret is written to a disk."""

from __future__ import annotations

import os
import re
import ssl
from typing import Any, NoReturn

from salt_ext.kube.errors import BadCredentials

_CERTIFICATE = re.compile(
    rb"-----BEGIN CERTIFICATE-----[\x00-\x7f]*?-----END CERTIFICATE-----", re.DOTALL
)


def pem_certificates(content: bytes, source: str) -> str:
    """
    Return the certificates of a PEM file, without comments or keys.

    Raises :class:`BadCredentials` when there is none; ``source`` names the file.
    """
    certificates = _CERTIFICATE.findall(content)
    if not certificates:
        raise BadCredentials(source, "contains no PEM certificate")
    return b"\n".join(certificates).decode("ascii")


class _VerifyingContext(ssl.SSLContext):
    """Verifies one name, also for IP addresses, for which urllib3 1.26 passes no name."""

    server_name = ""

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """Wrap a socket, with the server's name in any case."""
        options["server_hostname"] = options.get("server_hostname") or self.server_name
        return super().wrap_socket(*args, **options)


def ssl_context(
    *,
    server_name: str,
    ca_certificates: str,
    client_certificate: bytes,
    verify: bool,
    source: str,
) -> ssl.SSLContext:
    """
    Return the TLS context of a cluster's connections.

    ``server_name`` is the name that the server's certificate must have. ``ca_certificates`` is
    PEM; empty means the system's CAs. ``client_certificate`` is PEM with its key, or empty.
    Raises :class:`BadCredentials`, in which ``source`` names the file.
    """
    context = _VerifyingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.server_name = server_name
    # As in kubectl, any certificate in the CA file is trusted, also one that is not a CA.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca_certificates:
        try:
            context.load_verify_locations(cadata=ca_certificates)
        except ssl.SSLError as exc:
            raise BadCredentials(
                source, f"the CA certificate cannot be read ({_name(exc)})"
            ) from exc
    else:
        context.load_default_certs()
    if client_certificate:
        _load_client_certificate(context, client_certificate, source)
    return context


def _load_client_certificate(context: ssl.SSLContext, pem: bytes, source: str) -> None:
    # The ssl module reads it from a file only; this one has no name and no disk behind it.
    descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as writer:
            writer.write(pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_refuse_password)
    except ssl.SSLError as exc:
        reason = (
            "the client key does not belong to the client certificate"
            if exc.reason == "KEY_VALUES_MISMATCH"
            else f"the client certificate and key cannot be read ({_name(exc)})"
        )
        raise BadCredentials(source, reason) from exc
    except _EncryptedKey as exc:
        raise BadCredentials(
            source, "the client key is encrypted; use a key without a password"
        ) from exc
    finally:
        os.close(descriptor)


class _EncryptedKey(Exception):
    """OpenSSL asks for the key's password."""


def _refuse_password() -> NoReturn:
    # Without this callback OpenSSL asks at the terminal and waits.
    raise _EncryptedKey


def _name(exc: ssl.SSLError) -> str:
    return exc.reason or type(exc).__name__
