"""
Runs the credential plugin of a kubeconfig's ``exec`` section.

Not with the official client: it continues without credentials when a plugin fails, and waits
forever when one hangs.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import IO

import msgspec

from salt_ext.kube.credential import Credential, bearer
from salt_ext.kube.errors import BadCredentials

_GROUP = "client.authentication.k8s.io"
API_VERSIONS = (f"{_GROUP}/v1", f"{_GROUP}/v1beta1")

_MAX_OUTPUT = 1024 * 1024
_EXPIRY_MARGIN = 10.0
"""Seconds before its expiry that a credential is no longer used."""
_KILL_TIMEOUT = 5.0
"""Seconds to wait for a killed plugin to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecPlugin:
    """A command that prints an ExecCredential."""

    command: str
    arguments: tuple[str, ...] = field(default=(), repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    api_version: str
    cluster_info: Mapping[str, object] | None = field(default=None, repr=False)
    """``spec.cluster`` of the plugin's input; None without ``provideClusterInfo``."""
    install_hint: str = ""
    """``installHint`` of the kubeconfig, added to the error when the plugin is missing."""
    timeout: float = 30.0
    """Seconds until it is killed."""

    @property
    def name(self) -> str:
        """The name in errors; without arguments, which may be secret."""
        return f"exec plugin {self.command}"


class _Status(msgspec.Struct):
    token: str | None = None
    clientCertificateData: str | None = None  # noqa: N815
    clientKeyData: str | None = None  # noqa: N815
    expirationTimestamp: datetime | None = None  # noqa: N815


class _ExecCredential(msgspec.Struct):
    apiVersion: str  # noqa: N815
    kind: str
    status: _Status | None = None


_decode = msgspec.json.Decoder(_ExecCredential).decode


class ExecCredentialSource:
    """A credential source that runs a plugin and reuses its credential until that expires."""

    def __init__(self, plugin: ExecPlugin, *, certificate: bytes = b"") -> None:
        """``certificate`` is sent with the plugin's token when the plugin prints none itself."""
        self._plugin = plugin
        self._certificate = certificate
        self._cached: Credential | None = None
        self._expires_at: float | None = None
        """Monotonic seconds; None when the plugin states no expiry."""

    def __call__(self) -> Credential:
        """Return the credential that is valid now; raises :class:`BadCredentials`."""
        expired = self._expires_at is not None and time.monotonic() >= self._expires_at
        if self._cached is None or expired:
            self._cached, self._expires_at = None, None
            status = _status(self._plugin, _run(self._plugin))
            self._cached = _credential(self._plugin, status, self._certificate)
            if status.expirationTimestamp is not None:
                self._expires_at = time.monotonic() + _seconds_left(status.expirationTimestamp)
        return self._cached


def _run(plugin: ExecPlugin) -> bytes:
    exec_info = {
        "apiVersion": plugin.api_version,
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            **({"cluster": plugin.cluster_info} if plugin.cluster_info else {}),
        },
    }
    environment = {
        **os.environ,
        **plugin.environment,
        "KUBERNETES_EXEC_INFO": json.dumps(exec_info),
    }
    # Files, not pipes: a background process of the plugin may keep a pipe open.
    with _memory_file() as output, _memory_file() as errors:
        try:
            process = subprocess.Popen(
                [plugin.command, *plugin.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
            raise BadCredentials(plugin.name, f"cannot start: {reason}{_hint(plugin)}") from exc
        except ValueError as exc:
            raise BadCredentials(
                plugin.name, "cannot start: its arguments contain a zero byte"
            ) from exc
        try:
            code = process.wait(plugin.timeout)
        except subprocess.TimeoutExpired as exc:
            reason = f"timed out after {plugin.timeout:g} s and was killed"
            raise BadCredentials(plugin.name, reason + _stderr(errors, plugin)) from exc
        finally:
            if process.returncode is None:
                _kill(process)
        if code != 0:
            reason = f"exit status {code}" if code > 0 else f"killed by signal {-code}"
            raise BadCredentials(plugin.name, reason + _stderr(errors, plugin) + _hint(plugin))
        output.seek(0)
        return output.read(_MAX_OUTPUT)


def _memory_file() -> IO[bytes]:
    return os.fdopen(os.memfd_create("exec-plugin", os.MFD_CLOEXEC), "w+b")


def _kill(process: subprocess.Popen[bytes]) -> None:
    # It leads its own session: its group has its id and contains its children.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_KILL_TIMEOUT)


def _status(plugin: ExecPlugin, output: bytes) -> _Status:
    try:
        printed = _decode(output)
    except msgspec.MsgspecError as exc:
        raise BadCredentials(plugin.name, f"printed no valid ExecCredential: {exc}") from exc
    if printed.kind != "ExecCredential" or printed.apiVersion != plugin.api_version:
        raise BadCredentials(
            plugin.name, f"printed another object than an ExecCredential of {plugin.api_version}"
        )
    if printed.status is None:
        raise BadCredentials(plugin.name, "printed an ExecCredential without a status")
    return printed.status


def _credential(plugin: ExecPlugin, status: _Status, default_certificate: bytes) -> Credential:
    certificate, key = status.clientCertificateData, status.clientKeyData
    if bool(certificate) != bool(key):
        raise BadCredentials(plugin.name, "printed a client certificate or a key, but not both")
    pem = f"{certificate}\n{key}\n".encode() if certificate else default_certificate
    if status.token:
        return bearer(status.token, plugin.name, certificate=pem)
    if not certificate:
        raise BadCredentials(plugin.name, "printed neither a token nor a client certificate")
    return Credential(certificate=pem, source=plugin.name)


def _seconds_left(end: datetime) -> float:
    # Converted to a duration now: the wall clock may be set later, the monotonic one not.
    if end.tzinfo is None:
        end = end.replace(tzinfo=timezone.utc)
    return (end - datetime.now(timezone.utc)).total_seconds() - _EXPIRY_MARGIN


def _stderr(errors: IO[bytes], plugin: ExecPlugin) -> str:
    """Return the last line on stderr, without values of the kubeconfig's ``env``: secrets."""
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - 8192))
    lines = [line.strip() for line in errors.read().decode("utf-8", "replace").splitlines()]
    last = next((line for line in reversed(lines) if line), "")
    for value in plugin.environment.values():
        if len(value) > 3:
            last = last.replace(value, "...")
    text = "".join(character for character in last if character.isprintable())[:200]
    return f": {text}" if text else "; no output on stderr"


def _hint(plugin: ExecPlugin) -> str:
    first = plugin.install_hint.strip().partition("\n")[0][:200]
    return f" ({first})" if first else ""
