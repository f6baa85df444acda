"""
WATCH: which events come, in which order, and how a watch ends.
"""

from __future__ import annotations

import time

import pytest

from lab.kubernetes.client import Client
from lab.kubernetes.nodes import Nodes
from tests.contract.reading import NODES, failure, now, take, type_and_name, version


def test_events_after_a_version_come_in_order_and_the_watch_stays_open(
    admin: Client, reader: Client, nodes: Nodes
):
    old = now(admin)
    nodes.create("n1")
    with reader.watch(NODES, resourceVersion=old) as stream:
        assert stream.status == 200
        assert stream.headers["Transfer-Encoding"] == "chunked"
        assert take(stream, 2) == [("ADDED", "n1"), ("MODIFIED", "n1")]
        nodes.label("n1", {"a": "b"})
        nodes.delete("n1")
        assert take(stream, 2) == [("MODIFIED", "n1"), ("DELETED", "n1")]
        nodes.create("n2")
        assert take(stream, 1) == [("ADDED", "n2")]


def test_versions_of_events_increase_and_a_deletion_has_its_own(
    admin: Client, reader: Client, nodes: Nodes
):
    with reader.watch(NODES, resourceVersion=now(admin)) as stream:
        nodes.create("n1")
        last = version(nodes.label("n1", {"a": "b"}))
        nodes.delete("n1")
        versions = [version(stream.next()["object"]) for _ in range(4)]
    assert versions == sorted(set(versions))
    assert versions[2] == last
    assert versions[3] > last


@pytest.mark.parametrize("query", [{}, {"resourceVersion": "0"}], ids=["unset", "zero"])
def test_a_watch_without_a_version_begins_with_what_there_is(
    reader: Client, nodes: Nodes, query: dict[str, str]
):
    nodes.create("n1")
    nodes.create("n2")
    with reader.watch(NODES, **query) as stream:
        assert sorted(take(stream, 2)) == [("ADDED", "n1"), ("ADDED", "n2")]
        nodes.delete("n1")
        assert take(stream, 1) == [("DELETED", "n1")]


def test_a_watch_from_the_future_is_accepted_and_silent(admin: Client, nodes: Nodes):
    with admin.watch(NODES, seconds=1, resourceVersion=now(admin) + 100_000) as stream:
        assert stream.status == 200
        nodes.create("n1")
        with pytest.raises(TimeoutError):
            stream.line()


def test_the_server_ends_a_watch_cleanly_at_its_timeout(admin: Client):
    begin = time.monotonic()
    with admin.watch(NODES, resourceVersion=now(admin), timeoutSeconds=1) as stream:
        assert stream.line() == b""
    assert time.monotonic() - begin > 0.5


def test_a_bookmark_comes_before_the_timeout_for_who_asks_and_none_from_the_future(
    admin: Client, nodes: Nodes
):
    old = now(admin)
    present = {"resourceVersion": old, "timeoutSeconds": 4}
    future = {"resourceVersion": old + 100_000, "timeoutSeconds": 4}
    with (
        admin.watch(NODES, allowWatchBookmarks="true", **present) as asked,
        admin.watch(NODES, **present) as did_not_ask,
        admin.watch(NODES, allowWatchBookmarks="true", **future) as ahead,
    ):
        nodes.create("n1")
        assert take(asked, 2) == take(did_not_ask, 2)
        event = asked.next()
        assert (event["type"], event["object"]["kind"]) == ("BOOKMARK", "Node")
        assert version(event["object"]) > old
        assert set(event["object"]["metadata"]) == {"resourceVersion"}
        assert {event["type"] for event in asked} <= {"BOOKMARK"}
        assert did_not_ask.line() == b""
        assert ahead.line() == b""


@pytest.mark.parametrize(
    "query",
    [{}, {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}],
    ids=["plain", "streaming list"],
)
def test_a_bookmark_says_that_what_there_is_has_been_shown(
    admin: Client, nodes: Nodes, query: dict[str, str]
):
    nodes.create("n1")
    with admin.watch(NODES, allowWatchBookmarks="true", **query) as stream:
        assert take(stream, 1) == [("ADDED", "n1")]
        bookmark = stream.next()
        assert bookmark["type"] == "BOOKMARK"
        marks = bookmark["object"]["metadata"]["annotations"]
        assert marks == {"k8s.io/initial-events-end": "true"}


def test_a_node_that_leaves_the_selector_is_deleted_for_the_watch(
    admin: Client, reader: Client, nodes: Nodes
):
    nodes.create("n1", labels={"pool": "a"})
    nodes.create("other")
    query = {"resourceVersion": now(admin), "labelSelector": "pool=a"}
    with reader.watch(NODES, **query) as stream:
        moved = nodes.label("n1", {"pool": "b"})
        event = stream.next()
        assert type_and_name(event) == ("DELETED", "n1")
        # The object is the one that still matched, under the version of the change.
        assert event["object"]["metadata"]["labels"]["pool"] == "a"
        assert version(event["object"]) == version(moved)
        nodes.label("other", {"x": "y"})
        nodes.label("n1", {"pool": "a"})
        assert take(stream, 1) == [("ADDED", "n1")]
        nodes.delete("n1")
        assert take(stream, 1) == [("DELETED", "n1")]


def test_a_watch_for_one_name_hears_of_no_other(admin: Client, nodes: Nodes):
    query = {"resourceVersion": now(admin), "fieldSelector": "metadata.name=n1"}
    with admin.watch(NODES, **query) as stream:
        nodes.create("n0")
        nodes.create("n1")
        assert take(stream, 2) == [("ADDED", "n1"), ("MODIFIED", "n1")]


def test_several_watches_hear_the_same(admin: Client, nodes: Nodes):
    old = now(admin)
    streams = [admin.watch(NODES, resourceVersion=old) for _ in range(5)]
    nodes.create("n1")
    assert [take(stream, 2) for stream in streams] == [[("ADDED", "n1"), ("MODIFIED", "n1")]] * 5
    for stream in streams:
        stream.close()


def test_a_watch_with_a_mistake_is_refused_before_it_opens(admin: Client):
    failure(admin.get(NODES, watch="true", labelSelector="="), 400, "BadRequest")
    failure(admin.get(NODES, watch="true", timeoutSeconds="x"), 400, "BadRequest")
    failure(admin.get(NODES, watch="true", resourceVersionMatch="Exact"), 422, "Invalid")
    # Not 400, as a LIST would say.
    failure(admin.get(NODES, watch="true", resourceVersion="abc"), 500, "")
