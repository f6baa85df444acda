"""From a cluster's configuration to where its API is, and to what opens it."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from salt_ext.core.config.access import ClusterAccess, https_url
from salt_ext.kube import credential, kubeconfig, tls
from salt_ext.kube.credential import Credential, CredentialSource, SecretLookup
from salt_ext.kube.errors import BadCredentials
from salt_ext.kube.exec_plugin import VERSIONS, FromPlugin, Plugin
from salt_ext.kube.kubeconfig import Chosen
from salt_ext.kube.tracked_files import TrackedFiles

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

_PROXIES = ("http", "https", "socks5", "socks5h")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """How one API server is reached."""

    host: str
    source: str
    """Where it was read, for people."""
    authority: str = field(default="", repr=False)
    """The CA's certificates; empty for the system's."""
    verify: bool = True
    server_name: str = ""
    """The name that the server's certificate must have, where it is not the host's."""
    proxy: str = field(default="", repr=False)
    credential_source: CredentialSource = field(repr=False)


def load(access: ClusterAccess, files: TrackedFiles, secret: SecretLookup) -> ClientConfig:
    """Read what stays the same from request to request; raises :class:`BadCredentials`."""
    if access.kubeconfig is not None:
        way = _by_kubeconfig(access, access.kubeconfig, files)
    elif access.in_cluster:
        way = _in_cluster(files)
    else:
        way = _by_server(access, files, secret)
    return replace(way, verify=False) if access.insecure_skip_tls_verify else way


def _by_server(access: ClusterAccess, files: TrackedFiles, secret: SecretLookup) -> ClientConfig:
    host = str(access.server)
    authority = ""
    if access.ca_file is not None:
        authority = tls.certificates(files.read(access.ca_file, "ca_file"), access.ca_file)
    if access.token is not None:
        source = credential.from_secret(access.token, secret)
    else:
        source = credential.from_file(str(access.token_file), "token_file")
    return ClientConfig(
        host=host, source=access.ca_file or host, authority=authority, credential_source=source
    )


def _in_cluster(files: TrackedFiles) -> ClientConfig:
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{what}", "") for what in ("HOST", "PORT"))
    if not host or not port:
        raise BadCredentials(
            "in_cluster",
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is no pod",
        )
    path = f"{SERVICE_ACCOUNT}/ca.crt"
    return ClientConfig(
        host=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        source=path,
        authority=tls.certificates(files.read(path, "in_cluster"), path),
        credential_source=credential.from_file(f"{SERVICE_ACCOUNT}/token", "in_cluster"),
    )


def _by_kubeconfig(access: ClusterAccess, path: str, files: TrackedFiles) -> ClientConfig:
    chosen = kubeconfig.choose(path, access.context, files)
    cluster = chosen.cluster
    try:
        host = https_url(cluster.server)
    except ValueError as exc:
        raise BadCredentials(
            path, f"the server of its cluster {chosen.cluster_name!r} has to be {exc}"
        ) from None
    if cluster.insecure_skip_tls_verify and not access.insecure_skip_tls_verify:
        raise BadCredentials(
            path,
            f"its cluster {chosen.cluster_name!r} has insecure-skip-tls-verify: true, which turns "
            "off the check of the server's certificate; if that is wanted, set "
            "insecure_skip_tls_verify: true in the cluster's configuration too",
        )
    authority = _material(
        chosen,
        files,
        "certificate-authority",
        cluster.certificate_authority_data,
        cluster.certificate_authority,
    )
    way = ClientConfig(
        host=host,
        source=path,
        authority=tls.certificates(authority, path) if authority else "",
        server_name=cluster.tls_server_name or "",
        proxy=_proxy(chosen),
        credential_source=partial(_nobody, chosen),
    )
    return replace(way, credential_source=_finder(chosen, way, files, access.exec_timeout))


def _nobody(chosen: Chosen) -> Credential:
    raise BadCredentials(
        chosen.path,
        f"no credentials: the user {chosen.user_name!r} of its context {chosen.context!r} has no "
        "token, tokenFile, client-certificate or exec",
    )


def _finder(
    chosen: Chosen, way: ClientConfig, files: TrackedFiles, seconds: float
) -> CredentialSource:
    """Return what finds the user's credential; what wins over what is kubectl's order."""
    user = chosen.user
    _refuse_unsupported(chosen)
    pair = _certificate(chosen, files)
    if user.token_file:
        role = f"tokenFile of {chosen.path}"
        return credential.from_file(chosen.beside(user.token_file), role, certificate=pair)
    if user.token:
        source = f"{chosen.path}: the token of its user {chosen.user_name!r}"
        return credential.always(credential.bearer(user.token, source, certificate=pair))
    if user.username and user.password:
        source = f"{chosen.path}: the password of its user {chosen.user_name!r}"
        known = credential.basic(user.username, user.password, source)
        return credential.always(replace(known, certificate=pair))
    if user.exec is not None:
        return FromPlugin(_plugin(chosen, user.exec, way, seconds), certificate=pair)
    if pair:
        source = f"{chosen.path}: the client certificate of its user {chosen.user_name!r}"
        return credential.always(Credential(certificate=pair, origin=source))
    return partial(_nobody, chosen)


def _refuse_unsupported(chosen: Chosen) -> None:
    user = chosen.user
    if user.auth_provider is not None:
        name = str(user.auth_provider.get("name", ""))[:40]
        raise BadCredentials(
            chosen.path,
            f"its user {chosen.user_name!r} has the auth-provider {name!r}, which is not supported "
            "(Kubernetes has replaced them by exec plugins); use exec, tokenFile or "
            "client-certificate",
        )
    if user.as_ or user.as_uid or user.as_groups or user.as_user_extra:
        raise BadCredentials(
            chosen.path,
            f"its user {chosen.user_name!r} acts as another one (as, as-groups, ...), which is not "
            "supported; use credentials of the one who is meant",
        )


def _certificate(chosen: Chosen, files: TrackedFiles) -> bytes:
    user = chosen.user
    certificate = _material(
        chosen, files, "client-certificate", user.client_certificate_data, user.client_certificate
    )
    key = _material(chosen, files, "client-key", user.client_key_data, user.client_key)
    if bool(certificate) != bool(key):
        has, lacks = ("certificate", "key") if certificate else ("key", "certificate")
        raise BadCredentials(
            chosen.path,
            f"its user {chosen.user_name!r} has a client-{has} without a client-{lacks}",
        )
    return certificate + b"\n" + key if certificate else b""


def _material(
    chosen: Chosen, files: TrackedFiles, key: str, data: str | None, path: str | None
) -> bytes:
    """Return what stands in the kubeconfig itself, or else in the file that it names."""
    if data:
        try:
            return base64.b64decode("".join(data.split()), validate=True)
        except ValueError:
            raise BadCredentials(chosen.path, f"its {key}-data is not base64") from None
    return files.read(chosen.beside(path), f"{key} of {chosen.path}") if path else b""


def _plugin(chosen: Chosen, given: kubeconfig.Exec, way: ClientConfig, seconds: float) -> Plugin:
    # A name without a slash is looked for in PATH; a path is relative to the kubeconfig.
    command = chosen.beside(given.command) if "/" in given.command else given.command
    if given.api_version not in VERSIONS:
        raise BadCredentials(
            chosen.path,
            f"its exec plugin {command} has the apiVersion {given.api_version[:60]!r}; "
            f"supported: {', '.join(VERSIONS)}",
        )
    if given.interactive_mode == "Always":
        raise BadCredentials(
            chosen.path,
            f"its exec plugin {command} has interactiveMode: Always, and there is nobody to ask; "
            "use one that needs no terminal",
        )
    return Plugin(
        command=command,
        arguments=tuple(given.args or ()),
        environment={one.name: one.value for one in given.env or ()},
        version=given.api_version,
        cluster=_told(chosen, way) if given.provide_cluster_info else None,
        hint=given.install_hint or "",
        seconds=seconds,
    )


def _told(chosen: Chosen, way: ClientConfig) -> Mapping[str, Any]:
    cluster = chosen.cluster
    told: dict[str, Any] = {"server": way.host}
    if way.authority:
        told["certificate-authority-data"] = base64.b64encode(way.authority.encode()).decode()
    if way.server_name:
        told["tls-server-name"] = way.server_name
    if cluster.insecure_skip_tls_verify:
        told["insecure-skip-tls-verify"] = True
    if way.proxy:
        told["proxy-url"] = way.proxy
    for extension in cluster.extensions or ():
        if extension.get("name") == "client.authentication.k8s.io/exec":
            told["config"] = extension.get("extension")
    return told


def _proxy(chosen: Chosen) -> str:
    given = chosen.cluster.proxy_url
    if not given:
        return ""
    try:
        parts = urlsplit(given)
        usable = parts.scheme in _PROXIES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise BadCredentials(
            chosen.path,
            f"the proxy-url of its cluster {chosen.cluster_name!r} has to be a URL with one of "
            f"the schemes {', '.join(_PROXIES)}",
        )
    return given
