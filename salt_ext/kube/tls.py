"""TLS from certificates in memory: nothing secret is written to a disk for it."""

from __future__ import annotations

import os
import re
import ssl
from typing import Any, NoReturn

from salt_ext.kube.errors import BadCredentials

_CERTIFICATE = re.compile(
    rb"-----BEGIN CERTIFICATE-----[\x00-\x7f]*?-----END CERTIFICATE-----", re.DOTALL
)


def certificates(content: bytes, source: str) -> str:
    """Return the certificates in a PEM file, without what else is in it; at least one."""
    found = _CERTIFICATE.findall(content)
    if not found:
        raise BadCredentials(source, "holds no certificate (PEM is wanted)")
    return b"\n".join(found).decode("ascii")


class _Context(ssl.SSLContext):
    """Verifies one name, also where urllib3 1.26 tells none because it is an IP address."""

    name = ""

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """Do what the base does, with a name in any case."""
        options["server_hostname"] = options.get("server_hostname") or self.name
        return super().wrap_socket(*args, **options)


def context(
    *, name: str, authority: str, certificate: bytes, verify: bool, source: str
) -> ssl.SSLContext:
    """
    Return what connections are made with.

    ``name`` is whom the server's certificate has to be for; ``authority`` is the CA's
    certificates, and the system's when there are none; ``certificate`` is the client's with its
    key, if it has one; ``source`` tells a person where they came from.
    """
    made = _Context(ssl.PROTOCOL_TLS_CLIENT)
    made.name = name
    # Any certificate that the operator names is trusted, a CA or not, as kubectl has it.
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif authority:
        try:
            made.load_verify_locations(cadata=authority)
        except ssl.SSLError as exc:
            raise BadCredentials(
                source, f"the CA's certificate cannot be read ({_name(exc)})"
            ) from exc
    else:
        made.load_default_certs()
    if certificate:
        _present(made, certificate, source)
    return made


def _present(made: ssl.SSLContext, certificate: bytes, source: str) -> None:
    # The ssl module takes it from a file only; this one has no name and is gone when it is closed.
    file = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(file, "wb", closefd=False) as writer:
            writer.write(certificate)
        made.load_cert_chain(f"/proc/self/fd/{file}", password=_no_password)
    except ssl.SSLError as exc:
        why = (
            "the client's key does not belong to its certificate"
            if exc.reason == "KEY_VALUES_MISMATCH"
            else f"the client's certificate and key cannot be read ({_name(exc)})"
        )
        raise BadCredentials(source, why) from exc
    except _Encrypted as exc:
        raise BadCredentials(
            source, "the client's key has a password, which nobody is here to type"
        ) from exc
    finally:
        os.close(file)


class _Encrypted(Exception):
    """OpenSSL asks for a password."""


def _no_password() -> NoReturn:
    # Without this, OpenSSL asks at the terminal, and waits.
    raise _Encrypted


def _name(exc: ssl.SSLError) -> str:
    return exc.reason or type(exc).__name__
