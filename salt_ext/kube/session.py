"""The connections and the credentials of one cluster."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, cast
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
from salt_ext.kube.exec_plugin import ExecCredentialSource
from salt_ext.kube.tracked_files import TrackedFiles

if TYPE_CHECKING:
    from salt_ext.kube.http_response import HttpResponse

# The kernel detects a dead peer after about 30 s, idle or with data in flight.
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
    The official client's transport for one cluster, with the credentials of that cluster alone.

    Files and credentials are read again when a file was replaced, when a credential expired and
    when the API server refused it, so a session lives as long as its watcher.
    """

    def __init__(self, access: ClusterAccess, secret_lookup: SecretLookup = no_secrets) -> None:
        self._access = access
        self._secret_lookup = secret_lookup
        self._files = TrackedFiles()
        self._config: ClientConfig | None = None
        self._pool: urllib3.PoolManager | None = None
        self._pool_certificate = b""
        """The client certificate of the pool's connections."""
        self.last_credential = Credential()
        """The credential of the last request."""

    @property
    def host(self) -> str:
        """URL of the API server as far as it is known, without a slash at its end."""
        return self._config.host if self._config else self._access.server or "the API server"

    @property
    def uses_exec_plugin(self) -> bool:
        """Whether an exec plugin supplies the credentials and renews them itself."""
        return self._config is not None and isinstance(
            self._config.credential_source, ExecCredentialSource
        )

    def send(self, path: str, timeout: urllib3.Timeout, body: bytes | None = None) -> HttpResponse:
        """
        Send a GET, or a POST with a ``body``, and return the response with its body unread.

        Raises :class:`BadCredentials` before anything is sent, else urllib3's own errors.
        """
        config, pool, credential = self._prepare()
        self.last_credential = credential
        headers = {"Accept": "application/json", "User-Agent": "salt-k8s-nodes"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if credential.authorization:
            headers["Authorization"] = credential.authorization
        try:
            response = pool.request(
                "GET" if body is None else "POST",
                config.host + path,
                body=body,
                headers=headers,
                preload_content=False,
                redirect=False,
                timeout=timeout,
            )
        except HTTPError as exc:
            # A server refuses a client certificate with a TLS alert, which a reset may overtake.
            if _is_tls(exc) or (credential.certificate and isinstance(exc, ProtocolError)):
                self.reset()
            raise
        if response.status in (401, 403):
            self.reset()
        return cast("HttpResponse", response)

    def reset(self) -> None:
        """Read everything again before the next request, and open a new connection for it."""
        self.close()
        self._config = self._pool = None

    def close(self) -> None:
        """Close the idle connections."""
        if self._pool is not None:
            self._pool.clear()

    def _prepare(self) -> tuple[ClientConfig, urllib3.PoolManager, Credential]:
        """Return the current configuration, credential and a pool that matches both."""
        if self._config is None or self._files.changed():
            self.reset()
            self._files = TrackedFiles()
            config = connection.load(self._access, self._files, self._secret_lookup)
        else:
            config = self._config
        credential = config.credential_source()
        if not credential:
            raise BadCredentials(config.source, "no credentials")
        pool = self._pool
        if pool is None or credential.certificate != self._pool_certificate:
            self.close()
            pool = self._pool = _new_pool(config, credential)
            self._pool_certificate = credential.certificate
        self._config = config
        return config, pool, credential


def _new_pool(config: ClientConfig, credential: Credential) -> urllib3.PoolManager:
    configuration = Configuration(host=config.host)
    configuration.retries = False
    configuration.socket_options = _KEEPALIVE
    configuration.verify_ssl = config.verify
    configuration.tls_server_name = config.server_name or None
    if config.proxy_url:
        _use_proxy(configuration, config.proxy_url)
    context = tls.ssl_context(
        server_name=config.server_name or urlsplit(config.host).hostname or "",
        ca_certificates=config.ca_certificates,
        client_certificate=credential.certificate,
        verify=config.verify,
        source=config.source,
    )
    try:
        pool: urllib3.PoolManager = RESTClientObject(configuration).pool_manager
    except ImportError as exc:
        raise BadCredentials(
            config.source,
            "proxy-url needs the Python package PySocks: run salt-pip install pysocks",
        ) from exc
    # The client itself reads certificates from files only.
    pool.connection_pool_kw["ssl_context"] = context
    return pool


def _use_proxy(configuration: Configuration, url: str) -> None:
    parts = urlsplit(url)
    # As in kubectl, a kubeconfig's proxy is used for every host.
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
