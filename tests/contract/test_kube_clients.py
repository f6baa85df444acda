"""
The official client and the lab's own helpers work against both.
"""

from __future__ import annotations

from pathlib import Path

import kubernetes
import pytest
import urllib3.exceptions

from lab.kubernetes.backend import Backend
from lab.kubernetes.certificates import provide
from lab.kubernetes.client import Client
from lab.kubernetes.endpoint import kubeconfig
from lab.kubernetes.nodes import Nodes
from tests.contract.reading import NODES, names, now, type_and_name


def official(file: Path) -> kubernetes.client.CoreV1Api:
    return kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(str(file)))


def test_the_official_client_lists_and_watches_with_our_kubeconfig(
    backend: Backend, nodes: Nodes, tmp_path: Path
):
    nodes.create("n1", internal=["10.0.0.1", "fd00::1"], external=["192.0.2.1"], labels={"a": "b"})
    file = tmp_path / "kubeconfig"
    file.write_text(kubeconfig(backend.endpoint, "reader"))
    api = official(file)
    [node] = api.list_node().items
    assert node.metadata.labels["a"] == "b"
    assert [one.address for one in node.status.addresses] == [
        "10.0.0.1",
        "fd00::1",
        "192.0.2.1",
        "n1",
    ]
    assert api.read_namespace("kube-system").metadata.uid
    watch = kubernetes.watch.Watch()
    [event] = watch.stream(api.list_node, timeout_seconds=1)
    assert (event["type"], event["object"].metadata.name) == ("ADDED", "n1")


def test_the_official_client_pages_and_patches(backend: Backend, nodes: Nodes, tmp_path: Path):
    for number in range(3):
        nodes.create(f"n{number}")
    file = tmp_path / "kubeconfig"
    file.write_text(kubeconfig(backend.endpoint, "admin"))
    api = official(file)
    first = api.list_node(limit=2)
    rest = api.list_node(limit=2, _continue=first.metadata._continue)
    assert [one.metadata.name for one in [*first.items, *rest.items]] == ["n0", "n1", "n2"]
    api.patch_node("n0", {"metadata": {"labels": {"x": "y"}}})
    assert names(Client(backend.endpoint).get(NODES, labelSelector="x=y")) == ["n0"]


def test_a_client_with_another_ca_refuses_the_server(backend: Backend, tmp_path: Path):
    other = provide(tmp_path / "certs", "127.0.0.1")
    api = kubernetes.client.ApiClient(kubernetes.client.Configuration(host=backend.endpoint.url))
    api.configuration.ssl_ca_cert = str(other.ca_file)
    api = kubernetes.client.ApiClient(api.configuration)
    with pytest.raises(urllib3.exceptions.MaxRetryError, match="CERTIFICATE_VERIFY_FAILED"):
        kubernetes.client.CoreV1Api(api).list_node()


def test_nodes_are_written_as_asked(nodes: Nodes):
    node = nodes.create(
        "n1",
        internal=["10.0.0.1"],
        external=["192.0.2.1"],
        pod_cidrs=["10.1.0.0/24"],
        labels={"pool": "a"},
        ready=False,
    )
    assert node["metadata"]["labels"] == {"kubernetes.io/hostname": "n1", "pool": "a"}
    assert node["spec"]["podCIDRs"] == ["10.1.0.0/24"]
    assert ready(node) == "False"
    assert ready(nodes.set_ready("n1", True)) == "True"
    assert nodes.cordon("n1")["spec"]["unschedulable"] is True
    assert "unschedulable" not in nodes.cordon("n1", False)["spec"]
    assert "pool" not in nodes.label("n1", {"pool": None})["metadata"]["labels"]
    moved = nodes.set_addresses("n1", internal=["10.0.0.2"])["status"]["addresses"]
    assert [one["address"] for one in moved] == ["10.0.0.2", "n1"]
    assert [one["metadata"]["name"] for one in nodes.list()] == ["n1"]
    nodes.delete("n1")
    assert nodes.list() == []


def test_a_node_may_join_at_once_or_in_two_steps(backend: Backend, nodes: Nodes):
    reader = backend.client("reader")
    with reader.watch(NODES, resourceVersion=now(reader)) as stream:
        nodes.create("n1", internal=["10.0.0.1"])
        nodes.create("n2", internal=["10.0.0.2"], at_once=True)
        events = [stream.next() for _ in range(3)]
    assert [type_and_name(event) for event in events] == [
        ("ADDED", "n1"),
        ("MODIFIED", "n1"),
        ("ADDED", "n2"),
    ]
    addresses = [event["object"]["status"].get("addresses", []) for event in events]
    assert [len(one) for one in addresses] == [0, 2, 2]


def test_many_nodes_are_created_side_by_side(nodes: Nodes):
    wanted = {f"n{number:02}": {"internal": [f"10.0.0.{number}"]} for number in range(20)}
    nodes.create_many(wanted)
    assert [one["metadata"]["name"] for one in nodes.list()] == sorted(wanted)


def test_realistic_nodes_are_as_heavy_as_real_ones(backend: Backend):
    nodes = Nodes(backend.endpoint, realistic=True)
    nodes.create("n1", internal=["10.0.0.1"])
    size = len(Client(backend.endpoint).get(f"{NODES}/n1").body)
    assert len(nodes.get("n1")["status"]["images"]) == 20
    assert size > (13_000 if backend.name == "real" else 10_000)  # managedFields are the rest


def ready(node: dict[str, dict[str, list[dict[str, str]]]]) -> str:
    return next(one["status"] for one in node["status"]["conditions"] if one["type"] == "Ready")
