"""
The certificates of a lab's API server: a CA of its own, a server certificate that is valid for its
address, and a second CA for the certificates that clients show.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_YEAR = dt.timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Where the files are; the key files are readable by their owner only."""

    ca_file: Path
    cert_file: Path
    key_file: Path
    service_account_key_file: Path
    client_ca_file: Path
    client_ca_key_file: Path


def provide(folder: Path, address: str) -> Certificates:
    """
    Return the folder's certificates; they are made once, so a restart keeps the CA that clients
    trust.
    """
    files = Certificates(
        ca_file=folder / "ca.crt",
        cert_file=folder / "server.crt",
        key_file=folder / "server.key",
        service_account_key_file=folder / "service-account.key",
        client_ca_file=folder / "client-ca.crt",
        client_ca_key_file=folder / "client-ca.key",
    )
    if not files.cert_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _make(files, address)
    return files


def _make(files: Certificates, address: str) -> None:
    ca_key, ca = _authority("lab CA")
    client_ca_key, client_ca = _authority("lab client CA")
    server_key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [
        x509.DNSName(name) for name in ("localhost", "kubernetes", "kubernetes.default.svc")
    ]
    names += [
        x509.IPAddress(ipaddress.ip_address(one)) for one in sorted({address, "127.0.0.1", "::1"})
    ]
    server = (
        _builder(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")]),
            ca.subject,
            server_key.public_key(),
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        # OpenSSL's strict mode, which Python 3.13 turns on, wants the issuer's key named.
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    files.ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    _private(files.key_file, server_key)
    _private(files.service_account_key_file, ec.generate_private_key(ec.SECP256R1()))
    files.client_ca_file.write_bytes(client_ca.public_bytes(serialization.Encoding.PEM))
    _private(files.client_ca_key_file, client_ca_key)
    files.cert_file.write_bytes(server.public_bytes(serialization.Encoding.PEM))


def issue(files: Certificates, user: str, group: str, to: Path) -> tuple[Path, Path]:
    """Write a client certificate for a user and its key into a folder; return both paths."""
    ca = x509.load_pem_x509_certificate(files.client_ca_file.read_bytes())
    ca_key = serialization.load_pem_private_key(files.client_ca_key_file.read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, group),
            x509.NameAttribute(NameOID.COMMON_NAME, user),
        ]
    )
    certificate = (
        _builder(subject, ca.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    cert_file, key_file = to / f"{user}.crt", to / f"{user}.key"
    _private(key_file, key)
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return cert_file, key_file


def _authority(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(subject, subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + _YEAR)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
