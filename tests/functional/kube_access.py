"""Kubeconfigs, exec plugins and a proxy to reach the lab's API server."""

from __future__ import annotations

import base64
import contextlib
import json
import select
import socket
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

from lab.kubernetes.backend import Backend
from salt_ext.core.config.access import ClusterAccess
from salt_ext.kube.api import NodesApi
from salt_ext.kube.session import Session


def ask(session: Session) -> str:
    """Request the cluster's identity, which every valid credential may read."""
    return NodesApi(session).identity()


def kubeconfig(
    folder: Path,
    backend: Backend,
    user: dict[str, Any] | None,
    *,
    cluster: dict[str, Any] | None = None,
    **access: Any,
) -> ClusterAccess:
    """Write a kubeconfig of one user, and return an access that names it."""
    path = folder / "kubeconfig"
    authority = base64.b64encode(backend.endpoint.ca_file.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "lab", "user": "me"}}],
        "clusters": [
            {
                "name": "lab",
                "cluster": {
                    "server": backend.endpoint.url,
                    "certificate-authority-data": authority,
                    **(cluster or {}),
                },
            }
        ],
        "users": [{"name": "me", "user": user}] if user is not None else [],
    }
    path.write_text(json.dumps(config))
    return ClusterAccess(kubeconfig=str(path), **access)


def plugin(folder: Path, body: str, **section: Any) -> dict[str, Any]:
    """Write a credential plugin in Python, and return the user that runs it."""
    script = folder / "plugin"
    script.write_text(f"#!{sys.executable} -IS\n{_PRELUDE}{textwrap.dedent(body)}")
    script.chmod(0o755)
    version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": version, "command": str(script), **section}}


_PRELUDE = """\
import json, os, sys

def say(**status):
    version = json.loads(os.environ["KUBERNETES_EXEC_INFO"])["apiVersion"]
    print(json.dumps({"kind": "ExecCredential", "apiVersion": version, "status": status}))

"""


class Proxy:
    """A proxy that connects every request to one address, and records the request heads."""

    def __init__(self, to: tuple[str, int]) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.requests: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """URL of the proxy."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends the accept of the other thread
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        self.requests.append(head)
        with client, socket.create_connection(self._to) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            other = {client: server, server: client}
            while True:
                for end in select.select(list(other), [], [])[0]:
                    piece = end.recv(65536)
                    if not piece:
                        return
                    other[end].sendall(piece)
