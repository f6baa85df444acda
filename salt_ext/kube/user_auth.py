"""The credentials of a kubeconfig's user: token, password, exec plugin or client certificate."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from salt_ext.kube import credential
from salt_ext.kube.credential import Credential, CredentialSource
from salt_ext.kube.errors import BadCredentials
from salt_ext.kube.exec_plugin import API_VERSIONS, ExecCredentialSource, ExecPlugin
from salt_ext.kube.kubeconfig import Context, Exec
from salt_ext.kube.tracked_files import TrackedFiles


def credential_source(
    context: Context,
    files: TrackedFiles,
    *,
    cluster_info: Mapping[str, object],
    exec_timeout: float,
) -> CredentialSource:
    """
    Return the source of the user's credential; kubectl's order decides between several kinds.

    ``cluster_info`` goes to an exec plugin with ``provideClusterInfo``, which may run for
    ``exec_timeout`` seconds. Raises :class:`BadCredentials` for unsupported sections.
    """
    user = context.user
    _refuse_unsupported(context)
    certificate = _client_certificate(context, files)
    if user.token_file:
        role = f"tokenFile of {context.path}"
        path = context.absolute(user.token_file)
        return credential.from_file(path, role, certificate=certificate)
    if user.token:
        source = _source(context, "token")
        token = credential.bearer(user.token, source, certificate=certificate)
        return credential.constant(token)
    if user.username and user.password:
        source = _source(context, "password")
        return credential.constant(
            credential.basic(user.username, user.password, source, certificate=certificate)
        )
    if user.exec is not None:
        info = cluster_info if user.exec.provide_cluster_info else None
        plugin = _plugin(context, user.exec, info, exec_timeout)
        return ExecCredentialSource(plugin, certificate=certificate)
    if certificate:
        source = _source(context, "client certificate")
        return credential.constant(Credential(certificate=certificate, source=source))
    return partial(_no_credentials, context)


def _source(context: Context, kind: str) -> str:
    return f"{context.path}: {kind} of user {context.user_name!r}"


def _no_credentials(context: Context) -> Credential:
    raise BadCredentials(
        context.path,
        f"no credentials: user {context.user_name!r} of context {context.name!r} has no token, "
        "tokenFile, client-certificate or exec",
    )


def _refuse_unsupported(context: Context) -> None:
    user = context.user
    if user.auth_provider is not None:
        name = str(user.auth_provider.get("name", ""))[:40]
        raise BadCredentials(
            context.path,
            f"user {context.user_name!r} has auth-provider {name!r}, which is not supported "
            "(removed from Kubernetes); use exec, tokenFile or client-certificate",
        )
    if user.as_ or user.as_uid or user.as_groups or user.as_user_extra:
        raise BadCredentials(
            context.path,
            f"user {context.user_name!r} uses impersonation (as, as-groups, ...), which is not "
            "supported; use the credentials of the impersonated user",
        )


def _client_certificate(context: Context, files: TrackedFiles) -> bytes:
    """Return the client certificate and its key as one PEM text, empty without them."""
    user = context.user
    certificate = context.inline_or_file(
        files,
        "client-certificate",
        data=user.client_certificate_data,
        path=user.client_certificate,
    )
    key = context.inline_or_file(
        files, "client-key", data=user.client_key_data, path=user.client_key
    )
    if bool(certificate) != bool(key):
        present, missing = ("certificate", "key") if certificate else ("key", "certificate")
        raise BadCredentials(
            context.path,
            f"user {context.user_name!r} has a client-{present} without a client-{missing}",
        )
    return certificate + b"\n" + key if certificate else b""


def _plugin(
    context: Context, section: Exec, cluster_info: Mapping[str, object] | None, timeout: float
) -> ExecPlugin:
    # A name without a slash is searched in PATH; a path is relative to the kubeconfig.
    command = context.absolute(section.command) if "/" in section.command else section.command
    if section.api_version not in API_VERSIONS:
        raise BadCredentials(
            context.path,
            f"exec plugin {command} has apiVersion {section.api_version[:60]!r}; "
            f"supported: {', '.join(API_VERSIONS)}",
        )
    if section.interactive_mode == "Always":
        raise BadCredentials(
            context.path,
            f"exec plugin {command} has interactiveMode: Always, but no terminal is available; "
            "use a plugin that needs none",
        )
    return ExecPlugin(
        command=command,
        arguments=tuple(section.args or ()),
        environment={variable.name: variable.value for variable in section.env or ()},
        api_version=section.api_version,
        cluster_info=cluster_info,
        install_hint=section.install_hint or "",
        timeout=timeout,
    )
