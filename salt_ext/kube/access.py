"""From the configuration of a cluster to a connection pool and its credentials."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from kubernetes import config as kube_config
from kubernetes.client.configuration import Configuration
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import ConfigException

from salt_ext.core.config import Access
from salt_ext.kube.errors import NoAccess

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
    """The official client's transport and authentication for one cluster; no global state."""

    def __init__(self, access: Access) -> None:
        self._configuration = _configuration(access)
        self._rest = RESTClientObject(self._configuration)

    @property
    def host(self) -> str:
        """The API server's URL, without a slash at its end."""
        return str(self._configuration.host).rstrip("/")

    @property
    def pool(self) -> Any:
        """The urllib3 pool manager."""
        return self._rest.pool_manager

    def headers(self) -> dict[str, str]:
        """Return the headers of one request; a rotated token file is read here."""
        headers = {"Accept": "application/json", "User-Agent": "salt-k8s-nodes"}
        try:
            bearer = self._configuration.get_api_key_with_prefix(
                "BearerToken", alias="authorization"
            )
        except (OSError, ConfigException) as exc:
            raise NoAccess("credentials", str(exc)) from exc
        if bearer:
            headers["Authorization"] = bearer
        elif self._configuration.username:
            headers["Authorization"] = self._configuration.get_basic_auth_token()
        return headers

    def close(self) -> None:
        """Close the idle connections."""
        self.pool.clear()


def _configuration(access: Access) -> Any:
    configuration = Configuration()
    configuration.retries = False
    configuration.socket_options = _KEEPALIVE
    try:
        if access.kubeconfig is not None:
            kube_config.load_kube_config(
                config_file=access.kubeconfig,
                context=access.context,
                client_configuration=configuration,
                persist_config=False,
            )
        elif access.in_cluster:
            kube_config.load_incluster_config(client_configuration=configuration)
        else:
            _by_files(access, configuration)
    except ConfigException as exc:
        raise NoAccess(access.kubeconfig or "in-cluster credentials", _one_line(exc)) from exc
    except OSError as exc:
        name = exc.filename or access.kubeconfig
        raise NoAccess(str(name), exc.strerror or str(exc)) from exc
    except Exception as exc:
        # The official loader lets yaml, binascii and type errors through, and quotes the file.
        name = access.kubeconfig or "credentials"
        raise NoAccess(name, f"cannot be read as a kubeconfig ({type(exc).__name__})") from exc
    return configuration


def _by_files(access: Access, configuration: Any) -> None:
    for path in (access.ca_file, access.token_file):
        Path(str(path)).read_bytes()
    configuration.host = access.server
    configuration.ssl_ca_cert = access.ca_file

    def read_token(current: Any) -> None:
        token = Path(str(access.token_file)).read_text(encoding="utf-8").strip()
        current.api_key["authorization"] = f"Bearer {token}"

    configuration.refresh_api_key_hook = read_token


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split())
