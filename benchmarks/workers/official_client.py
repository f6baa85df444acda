"""Peers: the official client's ways to list and watch nodes, and pages thrown away."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from kubernetes import client, watch
from kubernetes.informer import SharedInformer

from benchmarks.workers.meter import Meter, emit


def core_api(url: str, ca_file: str, token_file: str) -> client.CoreV1Api:
    """Return the typed API."""
    configuration = client.Configuration()
    configuration.host, configuration.ssl_ca_cert = url, ca_file
    configuration.api_key["authorization"] = f"Bearer {Path(token_file).read_text().strip()}"
    return client.CoreV1Api(client.ApiClient(configuration))


def list_typed(api: client.CoreV1Api) -> None:
    """List in pages of 500, as models."""
    meter = Meter()
    token, nodes = None, []
    while True:
        page = api.list_node(limit=500, _continue=token)
        nodes.extend(page.items)
        token = page.metadata._continue  # noqa: SLF001
        if not token:
            break
    emit(**meter.read(), nodes=len(nodes))


def list_bytes(url: str, ca_file: str, token_file: str) -> None:
    """Fetch the same pages on one connection, and throw the bytes away."""
    where = urlsplit(url)
    context = ssl.create_default_context(cafile=ca_file)
    headers = {
        "Authorization": f"Bearer {Path(token_file).read_text().strip()}",
        "Accept": "application/json",
        "User-Agent": "bench",
    }
    meter = Meter()
    connection = http.client.HTTPSConnection(str(where.hostname), where.port, context=context)
    token = ""
    while True:
        connection.request(
            "GET", f"/api/v1/nodes?limit=500&continue={quote(token)}", headers=headers
        )
        body = connection.getresponse().read()
        # The token is in the metadata, before the items.
        head = body[: body.index(b'"items"')]
        token = json.loads(head.rstrip().rstrip(b",") + b"}")["metadata"].get("continue", "")
        if not token:
            break
    emit(**meter.read())


def watch_events(api: client.CoreV1Api, events: int) -> None:
    """Watch with ``watch.Watch``, as models."""
    page = api.list_node()
    stream = watch.Watch().stream(
        api.list_node, resource_version=page.metadata.resource_version, timeout_seconds=300
    )
    emit(ready=True)
    sys.stdin.readline()
    meter = Meter()
    emit(started=True)
    for count, _ in enumerate(stream, start=1):
        if count >= events:
            break
    emit(**meter.read(), events=events)


def inform_events(api: client.CoreV1Api, events: int) -> None:
    """Watch with ``SharedInformer``."""
    seen, ready = [0], threading.Event()

    def count(*_: Any) -> None:
        seen[0] += 1

    informer = SharedInformer(list_func=api.list_node)
    for kind in ("ADDED", "MODIFIED", "DELETED"):
        informer.add_event_handler(kind, count)
    informer.start()
    while not informer.cache.list():
        ready.wait(0.05)
    ready.wait(1.0)
    emit(ready=True)
    sys.stdin.readline()
    first, meter = seen[0], Meter()
    emit(started=True)
    while seen[0] < first + events:
        time.sleep(0.02)
    emit(**meter.read(), events=seen[0] - first)


def main() -> None:
    """Run one measurement: what, URL, CA file, token file, and a number where it takes one."""
    what, url, ca_file, token_file, *rest = sys.argv[1:]
    if what == "typed":
        list_typed(core_api(url, ca_file, token_file))
    elif what == "bare":
        list_bytes(url, ca_file, token_file)
    elif what == "watch":
        watch_events(core_api(url, ca_file, token_file), int(rest[0]))
    elif what == "informer":
        inform_events(core_api(url, ca_file, token_file), int(rest[0]))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
