"""
The real thing: kube-apiserver on etcd, with TLS, tokens and RBAC, and nothing else of a cluster.

No controllers, no kubelets: objects stay as they are written, which is what tests want.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, ClassVar

from lab.kubernetes import build, certificates, endpoint, etcd
from lab.kubernetes.backend import Backend, BackendError
from lab.kubernetes.build import PROGRAMS, BuildError, Progress
from lab.kubernetes.client import ApiError
from lab.kubernetes.unix_socket import socket_path

_RBAC = "/apis/rbac.authorization.k8s.io/v1"


def unavailable() -> str | None:
    """Why the real back end cannot be used right now, or None; never builds anything."""
    if named := os.environ.get("KUBEBUILDER_ASSETS"):
        missing = [program for program in PROGRAMS if not (Path(named) / program).is_file()]
        return f"KUBEBUILDER_ASSETS={named} lacks {' and '.join(missing)}" if missing else None
    if build.is_built():
        return None
    if reason := build.obstacle():
        return f"no real kube-apiserver: KUBEBUILDER_ASSETS is not set, and {reason}"
    return "no real kube-apiserver yet: build it once with python -m lab.kubernetes.build"


def assets(progress: Progress = print) -> Path:
    """The folder with kube-apiserver and etcd, which are built if necessary."""
    if named := os.environ.get("KUBEBUILDER_ASSETS"):
        if reason := unavailable():
            raise BackendError(reason)
        return Path(named)
    try:
        return build.build(progress)
    except BuildError as error:
        raise BackendError(str(error)) from error


class RealBackend(Backend):
    """A kube-apiserver and its etcd."""

    name: ClassVar[str] = "real"
    # Asked to stop, kube-apiserver closes its socket and waits a minute for open watches to end.
    grace: ClassVar[float] = 2.0
    _server = "kube-apiserver"

    def wipe(self) -> None:
        self._power_off()
        shutil.rmtree(self._data)
        self.start()

    def save(self, name: str = "saved") -> None:
        # Held still, etcd's files are what a power cut would leave, and it is made to start from
        # those.
        store = self._processes["etcd"]
        store.freeze()
        try:
            shutil.rmtree(self._saved(name), ignore_errors=True)
            shutil.copytree(self._data, self._saved(name))
        finally:
            store.thaw()

    def restore(self, name: str = "saved") -> None:
        self._power_off()
        shutil.rmtree(self._data)
        shutil.copytree(self._saved(name), self._data)
        self.start()

    def compact(self) -> None:
        etcd.compact(self._etcd_socket)

    def forbid(self, user: str) -> None:
        client = self.client()
        for kind, name in _bindings(user):
            answer = client.request("DELETE", f"{_RBAC}/{kind}/{name}")
            if answer.status not in (200, 404):
                raise ApiError(answer)
        self._wait("forbidden", lambda: self._may_list(user) == 403)

    def permit(self, user: str) -> None:
        self._grant(user)
        self._wait("permitted", lambda: self._may_list(user) == 200)

    def rotate(self, user: str) -> None:
        # kube-apiserver reads its token file once, at start.
        files = self.endpoint.tokens
        endpoint.new_token(files[user])
        endpoint.write_table(self._tokens, files)
        self._processes.pop(self._server).stop(self.grace)
        self.start()

    def _power_off(self) -> None:
        """Kill all processes: their data is removed, so they need not end in order."""
        for name in reversed(tuple(self._processes)):
            self._processes.pop(name).kill()

    @property
    def _data(self) -> Path:
        return self.folder / "etcd-data"

    @property
    def _etcd_socket(self) -> Path:
        return socket_path(self.folder, "etcd.sock")

    def _saved(self, name: str) -> Path:
        return self.folder / "saved" / name

    def _start(self) -> None:
        programs = assets()
        if not self._runs("etcd"):
            etcd.clear(self._etcd_socket)
        self._run("etcd", etcd.command(programs / "etcd", self._data, self._etcd_socket))
        self._wait("serving (etcd)", lambda: etcd.healthy(self._etcd_socket))
        self._run(self._server, self._command(programs / "kube-apiserver"))

    def _command(self, program: Path) -> list[str]:
        files = certificates.provide(self.folder / "certs", self.address)
        return [
            str(program),
            f"--etcd-servers={etcd.url(self._etcd_socket)}",
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--secure-port={self.port}",
            f"--tls-cert-file={files.cert_file}",
            f"--tls-private-key-file={files.key_file}",
            f"--cert-dir={self.folder / 'certs'}",
            f"--client-ca-file={files.client_ca_file}",
            f"--token-auth-file={self._tokens / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={files.service_account_key_file}",
            f"--service-account-signing-key-file={files.service_account_key_file}",
            "--service-cluster-ip-range=192.0.2.0/24",
            # No controller makes service accounts, or watches endpoints.
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            "--profiling=false",
        ]

    def _ready(self) -> None:
        self._grant("reader")
        reader = self.client("reader")
        self._wait("serving kube-system", lambda: reader.get(_KUBE_SYSTEM).status == 200)
        self._wait("letting the reader in", lambda: self._may_list("reader") == 200)

    def _may_list(self, user: str) -> int:
        client = self.client(user)
        try:
            return client.get("/api/v1/nodes", limit=1).status
        finally:
            client.close()

    def _grant(self, user: str) -> None:
        client = self.client()
        for kind, body in _grants(user):
            answer = client.request("POST", f"{_RBAC}/{kind}", body)
            if answer.status not in (201, 409):
                raise ApiError(answer)
        client.close()


_KUBE_SYSTEM = "/api/v1/namespaces/kube-system"


def _bindings(user: str) -> list[tuple[str, str]]:
    return [("clusterrolebindings", f"lab:{user}")]


def _grants(user: str) -> list[tuple[str, dict[str, Any]]]:
    """A cluster role and its binding, as the documentation asks operators to create them."""
    name = f"lab:{user}"
    api = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
        {
            "apiGroups": [""],
            "resources": ["namespaces"],
            "resourceNames": ["kube-system"],
            "verbs": ["get"],
        },
    ]
    head = {"apiVersion": f"{api}/v1", "metadata": {"name": name}}
    role = {"apiGroup": api, "kind": "ClusterRole", "name": name}
    subject = {"apiGroup": api, "kind": "User", "name": user}
    return [
        ("clusterroles", {**head, "kind": "ClusterRole", "rules": rules}),
        (
            "clusterrolebindings",
            {**head, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": [subject]},
        ),
    ]
