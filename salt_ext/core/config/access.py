"""How the API of a cluster is reached: its server, its CA and the credentials."""

from __future__ import annotations

import re
from dataclasses import dataclass

from salt_ext.core.config import options
from salt_ext.core.config.options import Options, flag, seconds, text
from salt_ext.core.errors import ConfigError

_ONLY_WITH = (
    *(("context", "kubeconfig"), ("exec_timeout", "kubeconfig")),
    *(("ca_file", "server"), ("token_file", "server"), ("token", "server")),
)

_NOT_VERIFIED = (
    "the API server's certificate is not verified (insecure_skip_tls_verify: true): "
    "an attacker on the network can read the credentials and impersonate the server"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAccess:
    """How one cluster's API is reached: exactly one of kubeconfig, server, in_cluster."""

    kubeconfig: str | None = None
    context: str | None = None
    server: str | None = None
    ca_file: str | None = None
    token_file: str | None = None
    token: str | None = None
    """An ``sdb://`` URI from which the token is fetched, never the token itself."""
    in_cluster: bool = False
    insecure_skip_tls_verify: bool = False
    exec_timeout: float = 30.0
    """Time limit of a credential plugin, in seconds."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Settings that are allowed but dangerous, each as a sentence."""
        if not self.insecure_skip_tls_verify:
            return ()
        return (_NOT_VERIFIED,)


def read(given: Options) -> ClusterAccess:
    """Read how a cluster's API is reached; mistakes go to the cluster's ``problems``."""
    access = ClusterAccess(
        kubeconfig=given.take("kubeconfig", options.path, None),
        context=given.take("context", text, None),
        server=given.take("server", https_url, None),
        ca_file=given.take("ca_file", options.path, None),
        # Hidden as well: the token itself may be written here by mistake.
        token_file=given.take("token_file", options.path, None, hide=True),
        token=given.take("token", _secret_uri, None, hide=True),
        in_cluster=given.take("in_cluster", flag, False),
        insecure_skip_tls_verify=given.take("insecure_skip_tls_verify", flag, False),
        exec_timeout=given.take("exec_timeout", seconds(1, 90), 30.0),
    )
    methods = [key for key in ("kubeconfig", "server", "in_cluster") if given.has(key)]
    if given.raw("in_cluster") is False:
        methods.remove("in_cluster")
    if len(methods) != 1:
        given.problems.append(
            ConfigError(
                given.path,
                methods or None,
                "exactly one of kubeconfig, server (with ca_file and a token), in_cluster",
            )
        )
        return access
    for key, required in _ONLY_WITH:
        if given.has(key) and required not in methods:
            value = options.HIDDEN if key.startswith("token") else given.raw(key)
            given.problems.append(
                ConfigError(f"{given.path}:{key}", value, f"only together with {required}")
            )
    if methods == ["server"]:
        _check_server(given, access)
    return access


def _check_server(given: Options, access: ClusterAccess) -> None:
    required = ["ca_file"] if not access.insecure_skip_tls_verify else []
    required += ["token_file"] if not given.has("token") else []
    for key in required:
        if not given.has(key):
            given.problems.append(
                ConfigError(f"{given.path}:{key}", None, "an absolute path (required with server)")
            )
    if given.has("token") and given.has("token_file"):
        given.problems.append(
            ConfigError(f"{given.path}:token", options.HIDDEN, "only without token_file")
        )


def https_url(value: object) -> str:
    """Return the URL of an API server; no user name is allowed, since logs show the URL."""
    if isinstance(value, str) and re.fullmatch(r"https://[^\s@?#/][^\s@?#]*", value):
        return value.rstrip("/")
    raise ValueError("an https:// URL such as https://192.0.2.1:6443")


def _secret_uri(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"sdb://[^/\s]+/\S+", value):
        return value
    raise ValueError(
        "an sdb:// URI such as sdb://vault/k8s/prod, never the token itself "
        "(use token_file for a file that contains the token)"
    )
