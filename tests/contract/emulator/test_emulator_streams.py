"""
Watches that go wrong in the ways that watches do.
"""

from __future__ import annotations

import http.client

import pytest

from lab.kubernetes.client import Client
from lab.kubernetes.emulator import actions
from lab.kubernetes.emulator.control import Control
from lab.kubernetes.nodes import Nodes
from tests.contract.reading import NODES, now, take, version


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
