"""
The emulator's data, users and network, and what it was asked.
"""

from __future__ import annotations

import http.client
import time
from pathlib import Path

import pytest

from lab.kubernetes.client import Client
from lab.kubernetes.emulator.control import Control, ControlError
from lab.kubernetes.emulator_backend import EmulatorBackend
from lab.kubernetes.nodes import Nodes
from tests.contract.reading import KUBE_SYSTEM, NODES, failure, names, now, take, version


def test_versions_can_go_back_under_an_open_watch(control: Control, client: Client, nodes: Nodes):
    nodes.create("n1")
    control.save()
    nodes.create("n2")
    with client.watch(NODES, seconds=0.5, resourceVersion=now(client)) as stream:
        control.restore(quietly=True)
        assert names(client.get(NODES)) == ["n1"]
        nodes.create("n3")  # under a version that the watch has passed
        with pytest.raises(TimeoutError):
            stream.line()


def test_old_versions_can_expire_without_a_restart(control: Control, client: Client, nodes: Nodes):
    old = now(client)
    nodes.create("n1")
    control.expire()
    with client.watch(NODES, resourceVersion=old) as stream:
        assert stream.next()["object"]["code"] == 410
    assert client.get(NODES, resourceVersion=old, limit=1).status == 200
    control.compact()
    failure(client.get(NODES, resourceVersion=old, limit=1), 410, "Expired")


def test_thousands_of_nodes_appear_in_a_moment(control: Control, client: Client):
    streams = [client.watch(NODES, seconds=5, resourceVersion=now(client)) for _ in range(3)]
    last = control.load(
        {"metadata": {"name": f"n{number:04}", "labels": {"pool": "a"}}} for number in range(5000)
    )
    answer = client.get(NODES)
    assert len(names(answer)) == 5000
    assert version(answer) == last
    for stream in streams:
        assert [name for _, name in take(stream, 5000)] == [f"n{n:04}" for n in range(5000)]
        stream.close()


def test_data_survives_a_stop_and_a_kill(tmp_path: Path):
    with EmulatorBackend(tmp_path) as backend:
        nodes = Nodes(backend.endpoint)
        nodes.create("n1")
        backend.restart()
        nodes.create("n2")
        backend.kill()
        backend.start()
        assert [node["metadata"]["name"] for node in nodes.list()] == ["n1", "n2"]


def test_a_token_can_be_revoked_and_reinstated(control: Control, client: Client):
    control.revoke("reader")
    failure(client.get(NODES), 401, "Unauthorized")
    control.reinstate("reader")
    assert client.get(NODES).status == 200


def test_connections_can_be_refused_and_dropped(control: Control, client: Client):
    with client.watch(NODES) as stream:
        control.drop_connections()
        with pytest.raises((ConnectionError, OSError, http.client.IncompleteRead)):
            stream.body()
    control.refuse()
    with pytest.raises(ConnectionRefusedError):
        client.get(NODES)
    control.listen()
    assert client.get(NODES).status == 200


def test_requests_are_counted_with_who_asked_what_and_when(control: Control, client: Client):
    begin = time.monotonic()
    client.get(NODES, limit=1)
    client.get(NODES, limit=2, labelSelector="a=b")
    client.get(KUBE_SYSTEM)
    seen = control.requests(verb="list")
    assert [one.query for one in seen] == [{"limit": "1"}, {"limit": "2", "labelSelector": "a=b"}]
    assert {one.user for one in seen} == {"reader"}
    assert {one.status for one in seen} == {200}
    assert begin < seen[0].time < seen[1].time < time.monotonic()
    assert [one.path for one in control.requests(since=seen[-1].number)] == [KUBE_SYSTEM]
    with pytest.raises(TimeoutError):
        control.wait_for_requests(3, verb="list", seconds=0.1)
    control.forget_requests()
    assert control.requests() == []


def test_an_order_that_makes_no_sense_is_an_error(control: Control):
    with pytest.raises(ControlError, match="KeyError: 'unknown'"):
        control.restore("unknown")
    with pytest.raises(ControlError, match="unexpected keyword argument"):
        control.do("wipe", much=True)
