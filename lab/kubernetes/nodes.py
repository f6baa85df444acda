"""
Nodes of the lab's cluster, written as a kubelet and its cloud controller write them: join, change,
leave.

The same for both back ends. Every method returns after the API's 2xx, so the caller can start a
clock on it.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lab.kubernetes import sample
from lab.kubernetes.client import ApiError, Client, Dial, dial
from lab.kubernetes.endpoint import Endpoint

PATH = "/api/v1/nodes"
MERGE = "application/merge-patch+json"

Node = dict[str, Any]
NodeList = list[Node]  # a class with a method "list" cannot name the type


class Nodes:
    """The administrator's view of the cluster's nodes; not for several threads at once."""

    def __init__(self, endpoint: Endpoint, *, realistic: bool = False, dial: Dial = dial) -> None:
        """``realistic`` nodes have what a busy node has, about 14 KB of it, 20 images included."""
        self._endpoint, self._realistic, self._dial = endpoint, realistic, dial
        self._client = Client(endpoint, "admin", dial=dial)

    def create(
        self,
        name: str,
        *,
        internal: Iterable[str] = (),
        external: Iterable[str] = (),
        pod_cidrs: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        ready: bool = True,
        finalizers: Sequence[str] = (),
        at_once: bool = False,
    ) -> Node:
        """
        A node joins: the object first, then its status, the way a kubelet registers behind a cloud
        controller; ``at_once`` with its status, as a kubelet does that knows its addresses.
        """
        metadata: Node = {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, **(labels or {})},
        }
        if finalizers:
            metadata["finalizers"] = list(finalizers)
        node: Node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}}
        if pod_cidrs:
            node["spec"] = {"podCIDR": pod_cidrs[0], "podCIDRs": list(pod_cidrs)}
        if self._realistic:
            sample.adorn(node)
        status: Node = {"conditions": sample.conditions(ready=ready)}
        if internal or external:
            status["addresses"] = _addresses(name, internal, external)
        if self._realistic:
            status.update(sample.status(name))
        if at_once:
            created: Node = self._client.must("POST", PATH, {**node, "status": status})
            return created
        self._client.must("POST", PATH, node)
        return self.patch_status(name, status)

    def create_many(self, nodes: Mapping[str, Mapping[str, Any]], *, threads: int = 4) -> None:
        """Create nodes side by side; each value holds the keywords of :meth:`create`."""
        pending = iter(list(nodes.items()))

        def work() -> None:
            mine = Nodes(self._endpoint, realistic=self._realistic, dial=self._dial)
            try:
                # next() on one list iterator is a single step of the interpreter
                while (item := next(pending, None)) is not None:
                    mine.create(item[0], **item[1])
            finally:
                mine.close()

        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            for worker in [pool.submit(work) for _ in range(threads)]:
                worker.result()

    def delete(self, name: str) -> None:
        """A node leaves (or is marked as leaving, while finalizers hold it)."""
        self._client.must("DELETE", f"{PATH}/{name}")

    def delete_all(self) -> None:
        for node in self.list():
            if node["metadata"].get("finalizers"):
                self.patch(node["metadata"]["name"], {"metadata": {"finalizers": None}})
            try:
                self.delete(node["metadata"]["name"])
            except ApiError as error:
                if error.answer.status != 404:
                    raise

    def label(self, name: str, labels: Mapping[str, str | None]) -> Node:
        """Set labels; None takes one away."""
        return self.patch(name, {"metadata": {"labels": dict(labels)}})

    def heartbeat(self, name: str, *, ready: bool = True) -> Node:
        """
        What a kubelet writes every few minutes when nothing has changed: new times in the
        conditions.
        """
        return self.patch_status(name, {"conditions": sample.conditions(ready=ready)})

    def set_ready(self, name: str, ready: bool) -> Node:
        return self.heartbeat(name, ready=ready)

    def set_addresses(
        self,
        name: str,
        *,
        internal: Iterable[str] = (),
        external: Iterable[str] = (),
        raw: Sequence[Mapping[str, str]] | None = None,
    ) -> Node:
        """
        Replace all addresses; ``raw`` writes ``[{"type": ..., "address": ...}]`` as it is, also a
        wrong one.
        """
        addresses = (
            _addresses(name, internal, external) if raw is None else [dict(one) for one in raw]
        )
        return self.patch_status(name, {"addresses": addresses})

    def cordon(self, name: str, cordoned: bool = True) -> Node:
        return self.patch(name, {"spec": {"unschedulable": cordoned or None}})

    def patch(self, name: str, change: Mapping[str, Any]) -> Node:
        node: Node = self._client.must("PATCH", f"{PATH}/{name}", change, content_type=MERGE)
        return node

    def patch_status(self, name: str, status: Mapping[str, Any]) -> Node:
        node: Node = self._client.must(
            "PATCH", f"{PATH}/{name}/status", {"status": status}, content_type=MERGE
        )
        return node

    def get(self, name: str) -> Node:
        node: Node = self._client.must("GET", f"{PATH}/{name}")
        return node

    def list(self) -> NodeList:
        items: NodeList = self._client.must("GET", PATH)["items"]
        return items

    def close(self) -> None:
        self._client.close()


def _addresses(name: str, internal: Iterable[str], external: Iterable[str]) -> list[dict[str, str]]:
    found = [{"type": "InternalIP", "address": one} for one in internal]
    found += [{"type": "ExternalIP", "address": one} for one in external]
    return [*found, {"type": "Hostname", "address": name}]
