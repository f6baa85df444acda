"""From the configuration of a cluster to answers of its API server."""

from __future__ import annotations

import socket
import ssl
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from kubernetes.client.configuration import Configuration
from kubernetes.client.rest import RESTClientObject
from urllib3.exceptions import HTTPError, ProtocolError

from salt_ext.core.config.access import ClusterAccess
from salt_ext.kube import connection, tls
from salt_ext.kube.connection import ClientConfig
from salt_ext.kube.credential import Credential, SecretLookup, no_secrets
from salt_ext.kube.errors import BadCredentials
from salt_ext.kube.exec_plugin import FromPlugin
from salt_ext.kube.tracked_files import TrackedFiles

# A dead peer is found by the kernel after about 30 s, idle or with data on the way.
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
]


class Session:
    """
    The official client's transport for one cluster, and that cluster's credentials alone.

    What it read is read again when a file was replaced, when a credential has expired, and when
    the API server has refused it; so it lives as long as whoever follows the cluster.
    """

    def __init__(self, access: ClusterAccess, secret: SecretLookup = no_secrets) -> None:
        self._access = access
        self._secret = secret
        self._files = TrackedFiles()
        self._way: ClientConfig | None = None
        self._pool: Any = None
        self._certificate = b""
        """The client certificate of the connections in the pool."""
        self.asked_with = ""
        """Where the credential of the last request came from, for people."""
        self.presented = Credential()
        """That credential."""

    @property
    def host(self) -> str:
        """The API server's URL as far as it is known, without a slash at its end."""
        return self._way.host if self._way else self._access.server or "the API server"

    @property
    def by_plugin(self) -> bool:
        """Whether a plugin gives the credentials, and new ones as soon as those have expired."""
        return self._way is not None and isinstance(self._way.credential_source, FromPlugin)

    def open(self, path: str, timeout: urllib3.Timeout, body: bytes | None = None) -> Any:
        """
        Send a GET, or a POST of a body, and return the answer, its own body unread.

        Raises :class:`BadCredentials` before anything is sent when there is no credential, and what
        urllib3 raises.
        """
        found, credential = self._ready()
        self.asked_with, self.presented = credential.origin, credential
        headers = {"Accept": "application/json", "User-Agent": "salt-k8s-nodes"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if credential.authorization:
            headers["Authorization"] = credential.authorization
        try:
            response = self._pool.request(
                "GET" if body is None else "POST",
                found.host + path,
                body=body,
                headers=headers,
                preload_content=False,
                redirect=False,
                timeout=timeout,
            )
        except HTTPError as exc:
            # A client certificate is refused with an alert of TLS, which a reset may overtake.
            if _is_tls(exc) or (credential.certificate and isinstance(exc, ProtocolError)):
                self.forget()
            raise
        if response.status in (401, 403):
            self.forget()
        return response

    def forget(self) -> None:
        """Read everything again before the next request, and send it on a new connection."""
        self.close()
        self._way = self._pool = None

    def close(self) -> None:
        """Close the idle connections."""
        if self._pool is not None:
            self._pool.clear()

    def _ready(self) -> tuple[ClientConfig, Credential]:
        """See to it that the pool is the right one for what is to be sent now."""
        if self._way is None or self._files.replaced():
            self.forget()
            self._files = TrackedFiles()
            found = connection.load(self._access, self._files, self._secret)
        else:
            found = self._way
        credential = found.credential_source()
        if not credential:
            raise BadCredentials(found.source, "no credentials")
        if self._pool is None or credential.certificate != self._certificate:
            self.close()
            self._pool = _pool(found, credential)
            self._certificate = credential.certificate
        self._way = found
        return found, credential


def _pool(found: ClientConfig, credential: Credential) -> Any:
    configuration = Configuration(host=found.host)
    configuration.retries = False
    configuration.socket_options = _KEEPALIVE
    configuration.verify_ssl = found.verify
    configuration.tls_server_name = found.server_name or None
    if found.proxy:
        _use_proxy(configuration, found.proxy)
    context = tls.context(
        name=found.server_name or urlsplit(found.host).hostname or "",
        authority=found.authority,
        certificate=credential.certificate,
        verify=found.verify,
        source=found.source,
    )
    try:
        pool = RESTClientObject(configuration).pool_manager
    except ImportError as exc:
        raise BadCredentials(
            found.source, "its proxy-url needs the Python package PySocks: salt-pip install pysocks"
        ) from exc
    # The client itself would only take certificates from files.
    pool.connection_pool_kw["ssl_context"] = context
    return pool


def _use_proxy(configuration: Any, url: str) -> None:
    parts = urlsplit(url)
    # A proxy that the kubeconfig names is used for every host, as kubectl does it.
    configuration.no_proxy = ""
    configuration.proxy = url
    if parts.username and parts.scheme.startswith("http"):
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        configuration.proxy_headers = urllib3.make_headers(proxy_basic_auth=login)
        configuration.proxy = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _is_tls(exc: BaseException | None) -> bool:
    while exc is not None:
        if isinstance(exc, ssl.SSLError):
            return True
        exc = exc.__cause__ or exc.__context__
    return False
