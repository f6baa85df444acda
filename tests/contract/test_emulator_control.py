"""
What the emulator can be made to do that a real server cannot be asked for.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from reading import KUBE_SYSTEM, NODES, failure, names, now, take, version

from lab.kubernetes.client import Client
from lab.kubernetes.emulated import EmulatorBackend
from lab.kubernetes.emulator import actions
from lab.kubernetes.emulator.control import Control, ControlError
from lab.kubernetes.nodes import Nodes


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorBackend]:
    with EmulatorBackend(tmp_path_factory.mktemp("emulator")) as backend:
        yield backend


@pytest.fixture
def control(emulator: EmulatorBackend) -> Control:
    emulator.control.clear()
    emulator.control.wipe()
    emulator.control.forget_requests()
    return emulator.control


@pytest.fixture
def client(emulator: EmulatorBackend, control: Control) -> Iterator[Client]:
    found = emulator.client("reader", seconds=2)
    yield found
    found.close()


@pytest.fixture
def nodes(emulator: EmulatorBackend, control: Control) -> Iterator[Nodes]:
    found = Nodes(emulator.endpoint)
    yield found
    found.close()


# Answers


def test_any_answer_can_be_given_to_the_requests_that_are_meant(control: Control, client: Client):
    control.on("list", do=actions.respond(429, "slow down", headers={"Retry-After": "7"}), times=2)
    assert client.get(KUBE_SYSTEM).status == 200
    answers = [client.get(NODES) for _ in range(3)]
    assert [answer.status for answer in answers] == [429, 429, 200]
    assert (answers[0].headers["Retry-After"], answers[0].body) == ("7", b"slow down")


def test_an_answer_can_be_anything_with_status_200(control: Control, client: Client):
    wrong = ["<html>", {}, {"kind": "PodList", "items": []}, {"kind": "NodeList", "items": None}]
    for body in wrong:
        control.on("list", do=actions.respond(200, body))
    bodies = [client.get(NODES).body.decode() for _ in wrong]
    assert bodies == ["<html>", *(json.dumps(body) for body in wrong[1:])]


def test_a_rule_can_let_some_pass_and_come_back(control: Control, client: Client):
    rule = control.on("list", do=actions.respond(500), skip=1, every=2, times=None)
    assert [client.get(NODES).status for _ in range(6)] == [200, 500, 200, 500, 200, 500]
    assert control.fired(rule) == 3
    control.clear(rule)
    assert client.get(NODES).status == 200


def test_one_page_of_a_list_can_be_gone(control: Control, client: Client, nodes: Nodes):
    for number in range(5):
        nodes.create(f"n{number}")
    control.on("list", page=3, do=actions.gone())
    token = ""
    for status in (200, 200, 410):
        answer = client.get(NODES, limit=2, **({"continue": token} if token else {}))
        assert answer.status == status
        token = answer.json()["metadata"].get("continue", "")


def test_an_answer_can_be_late_or_never(
    control: Control, client: Client, emulator: EmulatorBackend
):
    control.on("list", do=actions.delay(0.3))
    begin = time.monotonic()
    assert client.get(NODES).status == 200
    assert time.monotonic() - begin > 0.3
    control.on("list", do=actions.hang())
    with pytest.raises(TimeoutError):
        emulator.client(seconds=0.3).get(NODES)


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_can_be_closed_without_an_answer(
    control: Control, client: Client, reset: bool
):
    control.on("list", do=actions.close(reset=reset))
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        client.get(NODES)
    assert client.get(NODES).status == 200


def test_an_answer_can_end_in_the_middle(control: Control, client: Client, nodes: Nodes):
    nodes.create("n1")
    control.on("list", do=actions.cut_body(0.5))
    with pytest.raises(http.client.IncompleteRead):
        client.get(NODES)


def test_old_and_new_states_can_alternate(control: Control, client: Client, nodes: Nodes):
    nodes.create("n1")
    control.save("old")
    nodes.create("n2")
    control.on("list", do=actions.from_state("old"), every=2, times=None)
    answers = [client.get(NODES) for _ in range(4)]
    assert [names(one) for one in answers] == [["n1"], ["n1", "n2"], ["n1"], ["n1", "n2"]]
    assert version(answers[0]) < version(answers[1])


# Streams


def test_a_stream_can_freeze_and_thaw(control: Control, client: Client, nodes: Nodes):
    control.on("watch", do=actions.stream(after=1, then=actions.FREEZE))
    with client.watch(NODES, seconds=0.5, resourceVersion=now(client)) as stream:
        nodes.create("n1")
        assert take(stream, 1) == [("ADDED", "n1")]
        with pytest.raises(TimeoutError):
            stream.line()
        assert len(control.streams()) == 1


def test_watches_can_be_closed_at_once(control: Control, client: Client):
    control.on("watch", do=actions.stream(then=actions.END), times=None)
    for _ in range(3):
        with client.watch(NODES, resourceVersion=now(client)) as stream:
            assert (stream.status, stream.line()) == (200, b"")


def test_a_stream_can_be_cut_inside_a_chunk(control: Control, client: Client, nodes: Nodes):
    control.on("watch", do=actions.stream(after=1, then=actions.CUT))
    with client.watch(NODES, resourceVersion=now(client)) as stream:
        nodes.create("n1")
        assert take(stream, 1) == [("ADDED", "n1")]
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            stream.body()


def test_a_stream_can_end_cleanly_in_half_a_line(control: Control, client: Client, nodes: Nodes):
    control.on("watch", do=actions.stream(after=1, then=actions.TRUNCATE))
    with client.watch(NODES, resourceVersion=now(client)) as stream:
        nodes.create("n1")
        assert take(stream, 1) == [("ADDED", "n1")]
        half = stream.line()
        assert half.startswith(b'{"type":"MODIFIED"')
        assert not half.endswith(b"\n")
        assert stream.line() == b""


def test_a_stream_can_be_reset(control: Control, client: Client):
    with client.watch(NODES, resourceVersion=now(client)) as stream:
        assert control.stop_streams(actions.RESET) == 1
        # Python's TLS makes a plain end of a reset.
        with pytest.raises((ConnectionError, http.client.IncompleteRead)):
            stream.line()


def test_a_stream_can_expire(control: Control, client: Client):
    with client.watch(NODES, resourceVersion=now(client)) as stream:
        assert control.stop_streams(actions.GONE) == 1
        event = stream.next()
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        assert stream.line() == b""


def test_a_stream_can_carry_anything(control: Control, client: Client, nodes: Nodes):
    odd = ["", "junk", {"type": "STRANGE", "object": {}}, {"type": "ADDED", "object": {"a": 1}}]
    control.on("watch", do=actions.stream(lines=odd))
    with client.watch(NODES, resourceVersion=now(client)) as stream:
        assert [stream.line() for _ in range(3)] == [
            b"\n",
            b"junk\n",
            b'{"type": "STRANGE", "object": {}}\n',
        ]
        stream.line()
        assert control.send("more") == 1
        assert stream.line() == b"more\n"
        nodes.create("n1")
        assert take(stream, 1) == [("ADDED", "n1")]


def test_events_can_be_swallowed(control: Control, client: Client, nodes: Nodes):
    nodes.create("n1")
    nodes.create("n2")
    with client.watch(NODES, resourceVersion=now(client)) as stream:
        assert control.drop_events(["DELETED"], names=["n1"]) == 1
        nodes.delete("n1")
        nodes.delete("n2")
        assert take(stream, 1) == [("DELETED", "n2")]


def test_bookmarks_come_on_demand_and_by_the_clock(control: Control, client: Client):
    query = {"resourceVersion": now(client), "allowWatchBookmarks": "true"}
    with client.watch(NODES, **query) as stream, client.watch(NODES) as deaf:
        assert control.bookmark() == 2
        assert stream.next()["object"]["metadata"]["resourceVersion"] == str(now(client))
        control.bookmark(5)
        assert stream.next()["object"]["metadata"]["resourceVersion"] == "5"
        control.send("next")
        assert deaf.line() == b"next\n"
    control.tune(bookmark_seconds=0.1)
    try:
        with client.watch(NODES, **query) as stream:
            later = control.advance(10)
            assert version(stream.next()["object"]) == later
    finally:
        control.tune(bookmark_seconds=60)


# Data


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


# Who may ask, and the network


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


# What was asked


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
        control._do("wipe", much=True)
