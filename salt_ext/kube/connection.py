"""From a cluster's configuration to the API server's URL, its CA and a source of credentials."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from salt_ext.core.config.access import ClusterAccess, https_url
from salt_ext.kube import credential, tls, user_auth
from salt_ext.kube.credential import CredentialSource, SecretLookup
from salt_ext.kube.errors import BadCredentials
from salt_ext.kube.kubeconfig import Context, read_context
from salt_ext.kube.tracked_files import TrackedFiles

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """How to reach one API server (client-go's rest.Config)."""

    host: str
    """URL of the API server, without a slash at its end."""
    source: str
    """The file or URL it was read from, for messages."""
    ca_certificates: str = field(default="", repr=False)
    """CA certificates, PEM; empty for the system's."""
    verify: bool = True
    server_name: str = ""
    """The name in the server's certificate, where it differs from the host's."""
    proxy_url: str = field(default="", repr=False)
    credential_source: CredentialSource = field(repr=False)


def load(access: ClusterAccess, files: TrackedFiles, secret_lookup: SecretLookup) -> ClientConfig:
    """Read everything that is constant between requests; raises :class:`BadCredentials`."""
    if access.kubeconfig is not None:
        config = _from_kubeconfig(access, access.kubeconfig, files)
    elif access.in_cluster:
        config = _from_service_account(files)
    else:
        config = _from_server(access, files, secret_lookup)
    return replace(config, verify=False) if access.insecure_skip_tls_verify else config


def _from_server(
    access: ClusterAccess, files: TrackedFiles, secret_lookup: SecretLookup
) -> ClientConfig:
    host = str(access.server)
    ca_certificates = ""
    if access.ca_file is not None:
        content = files.read(access.ca_file, "ca_file")
        ca_certificates = tls.pem_certificates(content, access.ca_file)
    if access.token is not None:
        source = credential.from_secret(access.token, secret_lookup)
    else:
        source = credential.from_file(str(access.token_file), "token_file")
    return ClientConfig(
        host=host,
        source=access.ca_file or host,
        ca_certificates=ca_certificates,
        credential_source=source,
    )


def _from_service_account(files: TrackedFiles) -> ClientConfig:
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
    if not host or not port:
        raise BadCredentials(
            "in_cluster",
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; "
            "in_cluster works only inside a pod",
        )
    path = f"{SERVICE_ACCOUNT}/ca.crt"
    return ClientConfig(
        host=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        source=path,
        ca_certificates=tls.pem_certificates(files.read(path, "in_cluster"), path),
        credential_source=credential.from_file(f"{SERVICE_ACCOUNT}/token", "in_cluster"),
    )


def _from_kubeconfig(access: ClusterAccess, path: str, files: TrackedFiles) -> ClientConfig:
    context = read_context(path, access.context, files)
    cluster = context.cluster
    try:
        host = https_url(cluster.server)
    except ValueError as exc:
        raise BadCredentials(
            path, f"server of cluster {context.cluster_name!r} must be {exc}"
        ) from None
    if cluster.insecure_skip_tls_verify and not access.insecure_skip_tls_verify:
        raise BadCredentials(
            path,
            f"cluster {context.cluster_name!r} has insecure-skip-tls-verify: true, which turns "
            "off verification of the server's certificate; to allow that, set "
            "insecure_skip_tls_verify: true in the k8s_nodes configuration too",
        )
    content = context.inline_or_file(
        files,
        "certificate-authority",
        data=cluster.certificate_authority_data,
        path=cluster.certificate_authority,
    )
    ca_certificates = tls.pem_certificates(content, path) if content else ""
    proxy_url = _proxy_url(context)
    return ClientConfig(
        host=host,
        source=path,
        ca_certificates=ca_certificates,
        server_name=cluster.tls_server_name or "",
        proxy_url=proxy_url,
        credential_source=user_auth.credential_source(
            context,
            files,
            cluster_info=_cluster_info(context, host, ca_certificates, proxy_url),
            exec_timeout=access.exec_timeout,
        ),
    )


def _cluster_info(
    context: Context, host: str, ca_certificates: str, proxy_url: str
) -> dict[str, object]:
    """Return ``spec.cluster`` of an ExecCredential (client.authentication.k8s.io/v1)."""
    cluster = context.cluster
    info: dict[str, object] = {"server": host}
    if ca_certificates:
        info["certificate-authority-data"] = base64.b64encode(ca_certificates.encode()).decode()
    if cluster.tls_server_name:
        info["tls-server-name"] = cluster.tls_server_name
    if cluster.insecure_skip_tls_verify:
        info["insecure-skip-tls-verify"] = True
    if proxy_url:
        info["proxy-url"] = proxy_url
    for extension in cluster.extensions or ():
        if extension.get("name") == "client.authentication.k8s.io/exec":
            info["config"] = extension.get("extension")
    return info


def _proxy_url(context: Context) -> str:
    url = context.cluster.proxy_url
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in _PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        # The URL may contain a password, so it is not quoted.
        raise BadCredentials(
            context.path,
            f"proxy-url of cluster {context.cluster_name!r} must be a URL with one of the schemes "
            f"{', '.join(_PROXY_SCHEMES)}",
        )
    return url
