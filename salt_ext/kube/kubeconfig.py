"""
Reads a kubeconfig file by kubectl's rules, and names the part that is wrong.

Not with the official client: it keeps certificates in temporary files that the whole process
shares, reads ``tokenFile`` once, and ignores sections that it does not support.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import msgspec
import yaml

from salt_ext.kube.errors import BadCredentials
from salt_ext.kube.tracked_files import TrackedFiles


class Cluster(msgspec.Struct, rename="kebab"):
    """The API server and how to verify it."""

    server: str | None = None
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    insecure_skip_tls_verify: bool | None = None
    tls_server_name: str | None = None
    proxy_url: str | None = None
    extensions: list[dict[str, object]] | None = None


class EnvVar(msgspec.Struct):
    """One environment variable of an exec plugin."""

    name: str
    value: str


class Exec(msgspec.Struct, rename="camel"):
    """A command that prints a credential."""

    command: str
    api_version: str
    args: list[str] | None = None
    env: list[EnvVar] | None = None
    install_hint: str | None = None
    interactive_mode: str | None = None
    provide_cluster_info: bool | None = None


class User(msgspec.Struct, rename="kebab"):
    """The credentials of a user."""

    token: str | None = None
    token_file: str | None = msgspec.field(default=None, name="tokenFile")
    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    username: str | None = None
    password: str | None = None
    exec: Exec | None = None
    auth_provider: dict[str, object] | None = None
    as_: str | None = msgspec.field(default=None, name="as")
    as_uid: str | None = None
    as_groups: list[str] | None = None
    as_user_extra: dict[str, object] | None = None


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
class Context:
    """One context of a kubeconfig, with the cluster and the user that it refers to."""

    path: str
    """The kubeconfig file."""
    name: str
    cluster: Cluster
    cluster_name: str
    user: User
    user_name: str

    def absolute(self, path: str) -> str:
        """Return a path of the file as an absolute one: it is relative to the file's folder."""
        return str(Path(self.path).parent / path)

    def inline_or_file(
        self, files: TrackedFiles, key: str, *, data: str | None, path: str | None
    ) -> bytes:
        """
        Return a certificate or a key: the base64 of ``<key>-data``, else the file of ``<key>``.

        Empty when the kubeconfig has neither; raises :class:`BadCredentials`.
        """
        if data:
            try:
                return base64.b64decode("".join(data.split()), validate=True)
            except ValueError:
                raise BadCredentials(self.path, f"{key}-data is not valid base64") from None
        return files.read(self.absolute(path), f"{key} of {self.path}") if path else b""


def read_context(path: str, name: str | None, files: TrackedFiles) -> Context:
    """
    Read a kubeconfig and return one of its contexts, by default the current one.

    Raises :class:`BadCredentials`, which never quotes the file: it contains secrets.
    """
    kubeconfig = _read(path, files)
    name = name or kubeconfig.current_context
    # As in kubectl, the first entry of a name is the one that counts.
    contexts = {
        entry.name: entry.context or _Context() for entry in reversed(kubeconfig.contexts or [])
    }
    if not name:
        raise BadCredentials(
            path, f"has no current-context; set context (available: {_joined(contexts)})"
        )
    if name not in contexts:
        raise BadCredentials(path, f"has no context {name!r} (available: {_joined(contexts)})")
    context = contexts[name]
    clusters = {
        entry.name: entry.cluster or Cluster() for entry in reversed(kubeconfig.clusters or [])
    }
    users = {entry.name: entry.user or User() for entry in reversed(kubeconfig.users or [])}
    if context.cluster not in clusters:
        raise BadCredentials(path, _undefined(name, "cluster", context.cluster))
    if context.user and context.user not in users:
        raise BadCredentials(path, _undefined(name, "user", context.user))
    return Context(
        path=path,
        name=name,
        cluster=clusters[context.cluster],
        cluster_name=context.cluster,
        user=users[context.user] if context.user else User(),
        user_name=context.user or "",
    )


def _undefined(context: str, kind: str, name: str | None) -> str:
    return f"context {context!r} refers to {kind} {name!r}, which this kubeconfig does not define"


def _read(path: str, files: TrackedFiles) -> _Kubeconfig:
    content = files.read(path, "kubeconfig")
    try:
        return msgspec.convert(yaml.safe_load(content), _Kubeconfig)
    except yaml.MarkedYAMLError as exc:
        # The text of this error quotes the file.
        line = f" (line {exc.problem_mark.line + 1})" if exc.problem_mark else ""
        raise BadCredentials(path, f"not a valid kubeconfig: YAML syntax error{line}") from None
    # msgspec errors are ValueErrors only since 0.22.
    except (yaml.YAMLError, msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise BadCredentials(path, f"not a valid kubeconfig: {_without_values(exc)}") from None


def _without_values(exc: Exception) -> str:
    # msgspec names types and places, never values; the other errors may quote the file.
    text = str(exc) if isinstance(exc, msgspec.ValidationError) else ""
    return text or "YAML syntax error"


def _joined(names: dict[str, _Context]) -> str:
    return ", ".join(sorted(names)) or "none"
