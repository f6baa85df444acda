"""
The etcd behind the lab's kube-apiserver: how it is started, and the few calls of the lab
to it.

It listens on a Unix socket in the back end's folder, so it takes no port and can be reached from
any network namespace.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
from pathlib import Path
from typing import Any


def url(path: Path) -> str:
    return f"unix://{path}"


def command(program: Path, data: Path, path: Path) -> list[str]:
    peers = _peers(path)
    return [
        str(program),
        f"--data-dir={data}",
        f"--listen-client-urls={url(path)}",
        f"--advertise-client-urls={url(path)}",
        f"--listen-peer-urls={url(peers)}",
        f"--initial-advertise-peer-urls={url(peers)}",
        f"--initial-cluster=default={url(peers)}",
        "--log-level=warn",
        # The lab's data need not survive a power cut, and a disk that is busy must not slow down a
        # test.
        "--unsafe-no-fsync",
    ]


def clear(path: Path) -> None:
    """Take away the sockets that a killed etcd leaves, on which the next one could not listen."""
    for one in (path, _peers(path)):
        one.unlink(missing_ok=True)


def _peers(path: Path) -> Path:
    return path.with_name(f"peers-{path.name}")


def healthy(path: Path) -> bool:
    return bool(_call(path, "GET", "/health").get("health") == "true")


def revision(path: Path) -> int:
    key = base64.b64encode(b"/none").decode()
    return int(_call(path, "POST", "/v3/kv/range", {"key": key})["header"]["revision"])


def compact(path: Path) -> int:
    """Forget all versions but the current one, which is returned."""
    now = revision(path)
    _call(path, "POST", "/v3/kv/compaction", {"revision": str(now), "physical": True})
    return now


def _call(path: Path, method: str, target: str, body: object = None) -> Any:
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(10)
        connection.sock.connect(str(path))
        connection.request(method, target, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise OSError(f"etcd answered {answer.status} to {target}: {content[:200]!r}")
        return json.loads(content)
    finally:
        connection.close()
