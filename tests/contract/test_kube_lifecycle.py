"""
What survives a restart, what a new cluster looks like, and how far back the server remembers.
"""

from __future__ import annotations

import http.client

import pytest

from lab.kubernetes import open_backend
from lab.kubernetes.backend import Backend
from lab.kubernetes.client import Client
from lab.kubernetes.nodes import Nodes
from tests.contract.reading import KUBE_SYSTEM, NODES, failure, names, now, take, version


def test_old_versions_outlive_a_compaction_and_not_the_restart_after_it(
    backend: Backend, admin: Client, nodes: Nodes
):
    uid = admin.get(KUBE_SYSTEM).json()["metadata"]["uid"]
    old = version(nodes.create("n1"))
    nodes.create("n2")
    token = admin.get(NODES, limit=1).json()["metadata"]["continue"]
    nodes.create("n3")
    backend.compact()
    # The watch cache still serves them.
    with admin.watch(NODES, resourceVersion=old) as stream:
        assert take(stream, 2) == [("ADDED", "n2"), ("MODIFIED", "n2")]
    assert names(admin.get(NODES, resourceVersion=old, limit=5)) == ["n1"]
    assert names(admin.get(NODES, limit=5, **{"continue": token})) == ["n2"]

    before = now(admin)
    backend.restart()

    assert now(admin) >= before
    assert names(admin.get(NODES)) == ["n1", "n2", "n3"]
    assert admin.get(KUBE_SYSTEM).json()["metadata"]["uid"] == uid
    # A WATCH answers 200 and an event, a LIST answers with an HTTP status.
    with admin.watch(NODES, resourceVersion=old) as stream:
        assert stream.status == 200
        event = stream.next()
        assert event["type"] == "ERROR"
        status = event["object"]
        assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
        assert status["message"].startswith(f"too old resource version: {old} (")
        assert stream.line() == b""
    failure(admin.get(NODES, resourceVersion=old, limit=5), 410, "Expired")
    body = failure(admin.get(NODES, limit=5, **{"continue": token}), 410, "Expired")
    # One may go on all the same, and does not know then what was missed.
    again = {"continue": body["metadata"]["continue"]}
    assert names(admin.get(NODES, limit=5, **again)) == ["n2", "n3"]
    assert names(admin.get(NODES, resourceVersion=old)) == ["n1", "n2", "n3"]


def test_a_wiped_store_is_another_cluster_with_old_numbers(
    backend: Backend, admin: Client, nodes: Nodes
):
    uid = admin.get(KUBE_SYSTEM).json()["metadata"]["uid"]
    for number in range(20):
        nodes.create(f"n{number}")
    before = now(admin)
    backend.wipe()
    assert names(admin.get(NODES)) == []
    assert now(admin) < before
    assert admin.get(KUBE_SYSTEM).json()["metadata"]["uid"] != uid
    assert backend.client("reader").get(NODES).status == 200


def test_a_restored_store_is_the_same_cluster_at_an_older_version(
    backend: Backend, admin: Client, nodes: Nodes
):
    uid = admin.get(KUBE_SYSTEM).json()["metadata"]["uid"]
    nodes.create("n1", internal=["10.0.0.1"])
    backend.save("before")
    for number in range(20):
        nodes.label("n1", {"changed": str(number)})
    nodes.create("n2")
    nodes.delete("n1")
    after = now(admin)
    stream = admin.watch(NODES, seconds=10, resourceVersion=after)
    backend.restore("before")
    with stream, pytest.raises((OSError, EOFError, http.client.HTTPException)):
        stream.next()  # the server went away
    assert names(admin.get(NODES)) == ["n1"]
    assert now(admin) < after
    assert admin.get(KUBE_SYSTEM).json()["metadata"]["uid"] == uid
    # A watch from a version that is yet to come gets no error.
    with admin.watch(NODES, seconds=1, resourceVersion=after) as stream:
        assert stream.status == 200
        with pytest.raises(TimeoutError):
            stream.line()


def test_a_frozen_server_keeps_connections_and_answers_nothing(
    backend: Backend, admin: Client, nodes: Nodes
):
    nodes.create("n1")
    with admin.watch(NODES, seconds=1) as stream:
        assert stream.next()["type"] == "ADDED"
        impatient = backend.client(seconds=0.5)
        backend.freeze()
        try:
            with pytest.raises(TimeoutError):
                impatient.get(NODES)
            with pytest.raises(TimeoutError):
                stream.line()
        finally:
            backend.thaw()
    assert admin.get(NODES).status == 200


def test_a_new_token_replaces_the_old_one(backend: Backend):
    old = backend.endpoint.token("reader")
    backend.rotate("reader")
    assert backend.endpoint.token("reader") != old
    failure(Client(backend.endpoint, token=old).get(NODES), 401, "Unauthorized")
    assert backend.client("reader").get(NODES).status == 200


def test_another_process_finds_the_running_server_by_its_folder(backend: Backend):
    again = open_backend(backend.name, backend.folder)
    assert again.pids == backend.pids
    assert len(again.pids) >= 1
    assert again.endpoint == backend.endpoint
    assert again.client().get("/readyz").body == b"ok"


def test_a_stopped_server_leaves_no_process_and_refuses_connections(backend: Backend, nodes: Nodes):
    nodes.create("n1")
    pids = backend.pids
    backend.stop()
    backend.stop()  # again: nothing happens
    assert backend.pids == ()
    assert not any(_exists(pid) for pid in pids)
    with pytest.raises(ConnectionRefusedError):
        backend.client().get(NODES)
    backend.start()
    assert names(backend.client().get(NODES)) == ["n1"]


def _exists(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
