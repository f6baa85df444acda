"""
Reads a kubeconfig file, with kubectl's rules, and says which part of it is wrong.

Not with the official client: it keeps certificates in temporary files that the whole process
shares, reads ``tokenFile`` once, and stays silent about sections that it does not understand.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from salt_ext.kube.errors import BadCredentials
from salt_ext.kube.tracked_files import TrackedFiles


class Cluster(msgspec.Struct, rename="kebab"):
    """Where the API server is and how to know it."""

    server: str | None = None
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    insecure_skip_tls_verify: bool | None = None
    tls_server_name: str | None = None
    proxy_url: str | None = None
    extensions: list[dict[str, Any]] | None = None


class Variable(msgspec.Struct):
    """One environment variable of a plugin."""

    name: str
    value: str


class Exec(msgspec.Struct, rename="camel"):
    """A credential plugin."""

    command: str
    api_version: str
    args: list[str] | None = None
    env: list[Variable] | None = None
    install_hint: str | None = None
    interactive_mode: str | None = None
    provide_cluster_info: bool | None = None


class User(msgspec.Struct, rename="kebab"):
    """Who asks."""

    token: str | None = None
    token_file: str | None = msgspec.field(default=None, name="tokenFile")
    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    username: str | None = None
    password: str | None = None
    exec: Exec | None = None
    auth_provider: dict[str, Any] | None = None
    as_: str | None = msgspec.field(default=None, name="as")
    as_uid: str | None = None
    as_groups: list[str] | None = None
    as_user_extra: dict[str, Any] | None = None


class _Context(msgspec.Struct):
    cluster: str | None = None
    user: str | None = None


class _NamedCluster(msgspec.Struct):
    name: str
    cluster: Cluster | None = None


class _NamedUser(msgspec.Struct):
    name: str
    user: User | None = None


class _NamedContext(msgspec.Struct):
    name: str
    context: _Context | None = None


class _Kubeconfig(msgspec.Struct):
    clusters: list[_NamedCluster] | None = None
    users: list[_NamedUser] | None = None
    contexts: list[_NamedContext] | None = None
    current_context: str | None = msgspec.field(default=None, name="current-context")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What one context of a kubeconfig names."""

    path: str
    context: str
    cluster: Cluster
    cluster_name: str
    user: User
    user_name: str

    def beside(self, path: str) -> str:
        """Return a path in the file as an absolute one: it is relative to the file's folder."""
        return str(Path(self.path).parent / path)


def choose(path: str, context: str | None, files: TrackedFiles) -> Chosen:
    """Read a kubeconfig and return what a context names, by default the file's current one."""
    config = _read(path, files)
    name = context or config.current_context
    contexts = {one.name: one.context or _Context() for one in reversed(config.contexts or [])}
    if not name:
        raise BadCredentials(path, f"has no current-context; set context, to {_one_of(contexts)}")
    if name not in contexts:
        raise BadCredentials(path, f"has no context {name!r}; it has {_one_of(contexts)}")
    chosen = contexts[name]
    clusters = {one.name: one.cluster or Cluster() for one in reversed(config.clusters or [])}
    users = {one.name: one.user or User() for one in reversed(config.users or [])}
    if chosen.cluster not in clusters:
        raise BadCredentials(
            path, f"context {name!r} names the cluster {chosen.cluster!r}, which it has not"
        )
    if chosen.user and chosen.user not in users:
        raise BadCredentials(
            path, f"context {name!r} names the user {chosen.user!r}, which it has not"
        )
    return Chosen(
        path=path,
        context=name,
        cluster=clusters[chosen.cluster],
        cluster_name=chosen.cluster,
        user=users[chosen.user] if chosen.user else User(),
        user_name=chosen.user or "",
    )


def _read(path: str, files: TrackedFiles) -> _Kubeconfig:
    content = files.read(path, "kubeconfig")
    try:
        return msgspec.convert(yaml.safe_load(content), _Kubeconfig)
    except yaml.MarkedYAMLError as exc:
        # Its text quotes the file, in which there are secrets.
        where = f" at line {exc.problem_mark.line + 1}" if exc.problem_mark else ""
        raise BadCredentials(path, f"is no kubeconfig: it cannot be read as YAML{where}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise BadCredentials(path, f"is no kubeconfig: {_harmless(exc)}") from None


def _harmless(exc: Exception) -> str:
    # msgspec tells types and places, never values.
    text = str(exc) if isinstance(exc, msgspec.ValidationError) else ""
    return text or "it cannot be read as YAML"


def _one_of(names: dict[str, _Context]) -> str:
    return ", ".join(sorted(names)) or "none"
