"""
Nodes as objects: create, change, status, delete.
"""

from __future__ import annotations

import pytest

from lab.kubernetes.client import Client
from lab.kubernetes.nodes import MERGE, Nodes
from tests.contract.reading import NODES, failure, now, take, version

NODE = {"apiVersion": "v1", "kind": "Node"}


def test_a_fresh_node_has_a_status_without_addresses(admin: Client):
    answer = admin.request("POST", NODES, {**NODE, "metadata": {"name": "n1"}})
    assert answer.status == 201
    body = answer.json()
    assert set(body["status"]) == {"daemonEndpoints", "nodeInfo"}
    assert set(body["status"]["nodeInfo"].values()) == {""}
    assert "labels" not in body["metadata"]
    assert body["spec"]["taints"] == [
        {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    ]
    assert {"uid", "creationTimestamp", "resourceVersion"} <= set(body["metadata"])
    assert admin.get(f"{NODES}/n1").json() == body


def test_a_node_may_be_created_with_its_status(admin: Client):
    addresses = [{"type": "InternalIP", "address": "10.0.0.1"}]
    node = {**NODE, "metadata": {"name": "n1"}, "status": {"addresses": addresses}}
    assert admin.request("POST", NODES, node).json()["status"]["addresses"] == addresses


def test_each_write_has_a_larger_version_and_none_when_nothing_changes(admin: Client, nodes: Nodes):
    first = version(nodes.create("n1"))
    second = version(nodes.label("n1", {"a": "b"}))
    same = version(nodes.label("n1", {"a": "b"}))
    assert first < second == same
    assert now(admin) >= second


def test_what_exists_cannot_be_created_again(admin: Client, nodes: Nodes):
    nodes.create("n1")
    answer = admin.request("POST", NODES, {**NODE, "metadata": {"name": "n1"}})
    body = failure(answer, 409, "AlreadyExists")
    assert body["message"] == 'nodes "n1" already exists'
    assert body["details"] == {"name": "n1", "kind": "nodes"}


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH"])
def test_what_does_not_exist_is_not_found(admin: Client, method: str):
    body = {} if method == "PATCH" else None
    answer = admin.request(method, f"{NODES}/none", body, content_type=MERGE)
    status = failure(answer, 404, "NotFound")
    assert status["message"] == 'nodes "none" not found'
    assert status["details"] == {"name": "none", "kind": "nodes"}


def test_a_node_that_comes_back_has_another_uid(nodes: Nodes):
    first = nodes.create("n1")
    nodes.delete("n1")
    again = nodes.create("n1")
    assert again["metadata"]["uid"] != first["metadata"]["uid"]
    assert version(again) > version(first)


def test_the_main_resource_does_not_write_the_status(admin: Client, nodes: Nodes):
    node = nodes.create("n1", internal=["10.0.0.1"])
    node["status"]["addresses"] = []
    node["metadata"]["labels"]["a"] = "b"
    written = admin.must("PUT", f"{NODES}/n1", node)
    assert written["metadata"]["labels"]["a"] == "b"
    assert written["status"]["addresses"][0]["address"] == "10.0.0.1"


def test_the_status_does_not_write_the_main_resource(nodes: Nodes, admin: Client):
    node = nodes.create("n1")
    node["spec"]["unschedulable"] = True
    node["status"]["addresses"] = [{"type": "InternalIP", "address": "10.0.0.2"}]
    written = admin.must("PUT", f"{NODES}/n1/status", node)
    assert "unschedulable" not in written["spec"]
    assert written["status"]["addresses"][0]["address"] == "10.0.0.2"
    # The right to write the status includes labels: a kubelet labels itself.
    change = {"metadata": {"labels": {"own": "label"}}}
    patched = admin.must("PATCH", f"{NODES}/n1/status", change, content_type=MERGE)
    assert patched["metadata"]["labels"]["own"] == "label"


def test_a_status_may_hold_any_lie(nodes: Nodes):
    lies = ["127.0.0.1", "169.254.169.254", "10.0.0.0/8", "010.0.0.5", "1.2.3.4; rm -rf /", "\n"]
    raw = [{"type": "InternalIP", "address": lie} for lie in lies]
    nodes.create("n1")
    assert nodes.set_addresses("n1", raw=raw)["status"]["addresses"] == raw


def test_addresses_may_be_taken_away_again(nodes: Nodes):
    nodes.create("n1", internal=["10.0.0.1"])
    assert "addresses" not in nodes.patch_status("n1", {"addresses": None})["status"]


def test_a_write_on_an_old_version_is_a_conflict(admin: Client, nodes: Nodes):
    old = nodes.create("n1")
    nodes.label("n1", {"a": "b"})
    old["metadata"]["labels"]["a"] = "c"
    body = failure(admin.request("PUT", f"{NODES}/n1", old), 409, "Conflict")
    assert body["message"].startswith('Operation cannot be fulfilled on nodes "n1": the object has')


def test_ranges_of_a_node_are_checked_and_fixed_once_set(admin: Client, nodes: Nodes):
    node = nodes.create("n1", pod_cidrs=["10.1.0.0/24", "fd00::/64"])
    assert node["spec"]["podCIDR"] == "10.1.0.0/24"
    assert nodes.create("n2", pod_cidrs=["0.0.0.0/0", "::/0"])["spec"]["podCIDRs"][0] == "0.0.0.0/0"
    change = {"spec": {"podCIDR": "10.2.0.0/24", "podCIDRs": ["10.2.0.0/24"]}}
    answer = admin.request("PATCH", f"{NODES}/n1", change, content_type=MERGE)
    failure(answer, 422, "Invalid")
    for ranges in (["10.0.0.0/99"], ["10.0.0.5/24"], ["10.0.0.0/24", "10.0.1.0/24"]):
        wrong = {**NODE, "metadata": {"name": "n3"}, "spec": {"podCIDRs": ranges}}
        failure(admin.request("POST", NODES, wrong), 422, "Invalid")


@pytest.mark.parametrize(
    "metadata", [{}, {"name": "Bad_Name"}, {"name": "n1", "labels": {"a b": "c"}}]
)
def test_an_invalid_node_is_refused(admin: Client, metadata: dict[str, object]):
    answer = admin.request("POST", NODES, {**NODE, "metadata": metadata})
    body = failure(answer, 422, "Invalid")
    assert body["details"]["kind"] == "Node"
    assert body["details"]["causes"]


def test_a_finalizer_keeps_a_deleted_node_until_it_is_taken_away(admin: Client, nodes: Nodes):
    nodes.create("n1", internal=["10.0.0.1"], finalizers=["example.com/hold"])
    with admin.watch(NODES, resourceVersion=now(admin)) as stream:
        nodes.delete("n1")
        assert take(stream, 1) == [("MODIFIED", "n1")]
        leaving = nodes.get("n1")
        assert leaving["metadata"]["deletionTimestamp"]
        assert leaving["status"]["addresses"]
        nodes.delete("n1")  # again: nothing happens
        assert version(nodes.get("n1")) == version(leaving)
        nodes.patch("n1", {"metadata": {"finalizers": None}})
        assert take(stream, 1) == [("DELETED", "n1")]
    failure(admin.get(f"{NODES}/n1"), 404, "NotFound")


def test_lists_in_a_strategic_patch_are_merged_and_in_a_merge_patch_replaced(
    admin: Client, nodes: Nodes
):
    nodes.create("n1", internal=["10.0.0.1"])
    change = {"status": {"addresses": [{"type": "ExternalIP", "address": "192.0.2.1"}]}}
    kind = "application/strategic-merge-patch+json"
    merged = admin.must("PATCH", f"{NODES}/n1/status", change, content_type=kind)
    assert {one["type"] for one in merged["status"]["addresses"]} > {"ExternalIP"}
    replaced = admin.must("PATCH", f"{NODES}/n1/status", change, content_type=MERGE)
    assert replaced["status"]["addresses"] == change["status"]["addresses"]


def test_a_body_that_is_no_json_is_refused(admin: Client):
    failure(admin.request("POST", NODES, b"{"), 400, "BadRequest")
    answer = admin.request("PATCH", f"{NODES}/n1", {}, content_type="application/json")
    failure(answer, 415, "UnsupportedMediaType")
