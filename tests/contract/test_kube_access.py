"""
Who may ask what, and how a refusal looks.
"""

from __future__ import annotations

import pytest

from lab.kubernetes.backend import Backend
from lab.kubernetes.client import Client
from lab.kubernetes.nodes import Nodes
from tests.contract.reading import KUBE_SYSTEM, NODES, failure

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@pytest.mark.parametrize("path", [NODES, "/readyz", "/version"])
def test_a_wrong_token_is_unauthorized_everywhere(backend: Backend, path: str):
    body = failure(Client(backend.endpoint, token="wrong").get(path), 401, "Unauthorized")
    assert body["message"] == "Unauthorized"


def test_no_token_is_an_anonymous_user_without_rights(backend: Backend):
    # Upstream's default: only a server with --anonymous-auth=false answers 401.
    nobody = backend.client(None)
    body = failure(nobody.get(NODES), 403, "Forbidden")
    assert 'User "system:anonymous" cannot list resource "nodes"' in body["message"]
    assert nobody.get("/readyz").body == b"ok"
    assert nobody.get("/version").json()["major"] == "1"


def test_a_user_without_rights_gets_the_forbidden_request_named(nobody: Client):
    body = failure(nobody.get(NODES), 403, "Forbidden")
    assert body["message"] == (
        'nodes is forbidden: User "nobody" cannot list resource "nodes" in API group "" '
        "at the cluster scope"
    )
    assert body["details"] == {"kind": "nodes"}
    watch = failure(nobody.get(NODES, watch="true"), 403, "Forbidden")
    assert "cannot watch resource" in watch["message"]
    system = failure(nobody.get(KUBE_SYSTEM), 403, "Forbidden")
    assert 'in the namespace "kube-system"' in system["message"]
    path = failure(nobody.get("/metrics"), 403, "Forbidden")
    assert path["message"] == 'forbidden: User "nobody" cannot get path "/metrics"'


def test_the_reader_reads_nodes_and_the_identity_of_the_cluster_and_no_more(
    reader: Client, nodes: Nodes
):
    nodes.create("n1")
    assert reader.get(NODES).status == 200
    assert reader.get(f"{NODES}/n1").status == 200
    assert reader.get(KUBE_SYSTEM).json()["metadata"]["uid"]
    failure(reader.get("/api/v1/namespaces/default"), 403, "Forbidden")
    failure(reader.get("/api/v1/namespaces"), 403, "Forbidden")
    failure(reader.request("DELETE", f"{NODES}/n1"), 403, "Forbidden")
    body = failure(reader.request("PUT", f"{NODES}/n1/status", {}), 403, "Forbidden")
    assert 'cannot update resource "nodes/status"' in body["message"]


@pytest.mark.parametrize(
    ("user", "verb", "resource", "name", "allowed"),
    [
        ("admin", "delete", "nodes", "", True),
        ("reader", "list", "nodes", "", True),
        ("reader", "watch", "nodes", "", True),
        ("reader", "delete", "nodes", "", False),
        ("reader", "get", "namespaces", "kube-system", True),
        ("reader", "get", "namespaces", "default", False),
        ("nobody", "list", "nodes", "", False),
        ("nobody", "get", "namespaces", "kube-system", False),
    ],
)
def test_a_user_can_ask_what_it_may_do(
    backend: Backend, user: str, verb: str, resource: str, name: str, allowed: bool
):
    asked = {"verb": verb, "resource": resource, "name": name}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    answer = backend.client(user).request("POST", REVIEWS, review)
    assert answer.status == 201
    assert answer.json()["status"]["allowed"] is allowed


def test_an_anonymous_user_may_not_even_ask(backend: Backend):
    failure(backend.client(None).request("POST", REVIEWS, {}), 403, "Forbidden")


def test_rights_can_be_taken_away_and_given_back_while_a_watch_is_open(
    backend: Backend, reader: Client, nodes: Nodes
):
    nodes.create("n1")
    with reader.watch(NODES) as stream:
        assert stream.next()["type"] == "ADDED"
        backend.forbid("reader")
        try:
            failure(reader.get(NODES), 403, "Forbidden")
            # Rights are looked at when a watch opens, and never again.
            nodes.delete("n1")
            assert stream.next()["type"] == "DELETED"
        finally:
            backend.permit("reader")
    assert reader.get(NODES).status == 200


def test_unknown_paths_and_methods(admin: Client, nodes: Nodes):
    nodes.create("n1")
    failure(admin.get("/api/v1/unknown"), 404, "NotFound")
    assert admin.get("/unknown").status == 404
    failure(admin.request("POST", f"{NODES}/n1", {}), 405, "MethodNotAllowed")
    for path in ("/readyz", "/livez", "/healthz"):
        assert admin.get(path).body == b"ok"
