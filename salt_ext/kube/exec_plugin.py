"""
Runs a credential plugin, as a kubeconfig's ``exec`` section names it.

Not with the official client, which goes on without any credential when a plugin fails, and waits
for ever when it hangs.
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
from typing import IO, Any

import msgspec

from salt_ext.kube.credential import Credential, bearer
from salt_ext.kube.errors import BadCredentials

_GROUP = "client.authentication.k8s.io"
VERSIONS = (f"{_GROUP}/v1", f"{_GROUP}/v1beta1")

_LARGEST = 1024 * 1024
_EARLY = 10.0
"""Seconds before its end that a credential is not used any more."""
_UNTIL_KILLED = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A command that prints a credential."""

    command: str
    arguments: tuple[str, ...] = field(default=(), repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    version: str
    cluster: Mapping[str, Any] | None = field(default=None, repr=False)
    """What the plugin is told about the cluster."""
    hint: str = ""
    """How to install it, in the words of whoever wrote the kubeconfig."""
    seconds: float = 30.0
    """How long it may take."""

    @property
    def name(self) -> str:
        """What errors call it; arguments may be secret."""
        return f"exec plugin {self.command}"


class _Status(msgspec.Struct):
    token: str | None = None
    clientCertificateData: str | None = None  # noqa: N815
    clientKeyData: str | None = None  # noqa: N815
    expirationTimestamp: datetime | None = None  # noqa: N815


class _Printed(msgspec.Struct):
    apiVersion: str  # noqa: N815
    kind: str
    status: _Status | None = None


_printed = msgspec.json.Decoder(_Printed)


class FromPlugin:
    """Finds the credential; runs the plugin when there is none that is still good."""

    def __init__(self, plugin: Plugin, *, certificate: bytes = b"") -> None:
        """``certificate`` goes with the plugin's token, if it prints none itself."""
        self._plugin = plugin
        self._certificate = certificate
        self._kept: Credential | None = None
        self._good_until: float | None = None

    def __call__(self) -> Credential:
        """Return the credential that is good now."""
        expired = self._good_until is not None and time.monotonic() >= self._good_until
        if self._kept is None or expired:
            self._kept, self._good_until = None, None
            status = _status(self._plugin, _run(self._plugin))
            self._kept = _credential(self._plugin, status, self._certificate)
            if status.expirationTimestamp is not None:
                self._good_until = time.monotonic() + _seconds_left(status.expirationTimestamp)
        return self._kept


def _run(plugin: Plugin) -> bytes:
    told = {
        "apiVersion": plugin.version,
        "kind": "ExecCredential",
        "spec": {"interactive": False, **({"cluster": plugin.cluster} if plugin.cluster else {})},
    }
    environment = {**os.environ, **plugin.environment, "KUBERNETES_EXEC_INFO": json.dumps(told)}
    # Files, not pipes: what a plugin leaves running in the background may keep a pipe open.
    with _nameless() as output, _nameless() as errors:
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
            why = exc.strerror or type(exc).__name__
            raise BadCredentials(plugin.name, f"cannot be started: {why}{_hint(plugin)}") from exc
        except ValueError as exc:
            raise BadCredentials(
                plugin.name, "cannot be started: a zero byte in its arguments"
            ) from exc
        try:
            code = process.wait(plugin.seconds)
        except subprocess.TimeoutExpired as exc:
            why = f"ended by us after {plugin.seconds:g} s without an answer"
            raise BadCredentials(plugin.name, why + _last_line(errors, plugin)) from exc
        finally:
            if process.returncode is None:
                _kill(process)
        if code != 0:
            how = f"exit status {code}" if code > 0 else f"ended by signal {-code}"
            raise BadCredentials(plugin.name, how + _last_line(errors, plugin) + _hint(plugin))
        output.seek(0)
        return output.read(_LARGEST)


def _nameless() -> IO[bytes]:
    return os.fdopen(os.memfd_create("exec-plugin", os.MFD_CLOEXEC), "w+b")


def _kill(process: subprocess.Popen[bytes]) -> None:
    # It leads a session of its own, so its group is its id, and what it started is in there.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_UNTIL_KILLED)


def _status(plugin: Plugin, output: bytes) -> _Status:
    try:
        printed = _printed.decode(output)
    except msgspec.MsgspecError as exc:
        raise BadCredentials(plugin.name, f"printed no ExecCredential: {exc}") from exc
    if printed.kind != "ExecCredential" or printed.apiVersion != plugin.version:
        raise BadCredentials(
            plugin.name, f"printed something else than an ExecCredential of {plugin.version}"
        )
    if printed.status is None:
        raise BadCredentials(plugin.name, "printed an ExecCredential without a status")
    return printed.status


def _credential(plugin: Plugin, status: _Status, known: bytes) -> Credential:
    certificate, key = status.clientCertificateData, status.clientKeyData
    if bool(certificate) != bool(key):
        raise BadCredentials(plugin.name, "printed a client certificate or a key, but not both")
    pair = f"{certificate}\n{key}\n".encode() if certificate else known
    if status.token:
        return bearer(status.token, plugin.name, certificate=pair)
    if not certificate:
        raise BadCredentials(plugin.name, "printed neither a token nor a client certificate")
    return Credential(certificate=pair, origin=plugin.name)


def _seconds_left(end: datetime) -> float:
    # Counted from now on a clock that nobody sets.
    if end.tzinfo is None:
        end = end.replace(tzinfo=timezone.utc)
    return (end - datetime.now(timezone.utc)).total_seconds() - _EARLY


def _last_line(errors: IO[bytes], plugin: Plugin) -> str:
    """Return the last line of what a plugin said, without what its environment was given."""
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - 8192))
    lines = [line.strip() for line in errors.read().decode("utf-8", "replace").splitlines()]
    last = next((line for line in reversed(lines) if line), "")
    for value in plugin.environment.values():
        if len(value) > 3:
            last = last.replace(value, "...")
    text = "".join(letter for letter in last if letter.isprintable())[:200]
    return f": {text}" if text else ", and said nothing"


def _hint(plugin: Plugin) -> str:
    first = plugin.hint.strip().partition("\n")[0][:200]
    return f" ({first})" if first else ""
