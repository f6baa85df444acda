"""Watches that break in every way a network, a proxy or a server can break them."""

from __future__ import annotations

import socket
from itertools import pairwise

import pytest

from lab.kubernetes.emulator import actions
from lab.kubernetes.emulator.actions import stream
from salt_ext.kube import request

QUICK = {"timing": {"inactivity": 1, "debounce": 0, "max_delay": 0}}


@pytest.fixture
def prod(emulator, watch):
    """A cluster with one node, under watch."""
    watched = watch(emulator, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    watched.watching()
    return watched


def lists(emulator) -> list:
    return [one for one in emulator.control.requests(verb="list") if one.query.get("limit") != "1"]


def test_a_watch_asks_for_bookmarks_and_an_end_and_the_kernel_looks_after_its_connection(
    emulator, watch
):
    watched = watch(emulator)
    watched.watching()
    (asked,) = emulator.control.requests(verb="watch")
    query = dict(asked.query)
    assert 300 <= int(query.pop("timeoutSeconds")) <= 600
    assert int(query.pop("resourceVersion"))
    assert query == {"watch": "1", "allowWatchBookmarks": "true"}
    connection = watched.watcher._api._open_watch.connection.sock
    tcp = socket.IPPROTO_TCP
    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    idle, every, times = (
        connection.getsockopt(tcp, option)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    )
    # Both well before the silence that a watch may have: a peer that is gone is known by then.
    assert idle + every * times <= 30
    assert 0 < connection.getsockopt(tcp, socket.TCP_USER_TIMEOUT) <= 30_000


def test_a_silent_stream_is_probed_and_opened_again(prod, emulator):
    emulator.control.stop_streams(actions.FREEZE)
    prod.nodes.create("n2", internal=["10.0.0.2"])
    prod.serves("10.0.0.1", "10.0.0.2")
    probes = [one for one in emulator.control.requests(verb="list") if one.query["limit"] == "1"]
    assert probes
    assert all("resourceVersion" not in one.query for one in probes)
    assert prod.bus.named("sync/lost") == []


def test_a_dead_connection_is_left_within_the_inactivity_limit(kube, watch, network):
    watched = watch(kube, server=network.url, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    watched.watching()
    lists = watched.health().lists
    network.strand()
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.until(lambda: "10.0.0.2" in watched.addresses(), "the new node")
    assert watched.health().lists == lists
    assert watched.bus.named("sync/lost") == []


def test_a_network_that_drops_everything_changes_nothing_and_recovers(
    kube, watch, network, monkeypatch
):
    monkeypatch.setattr(request, "_CONNECT_TIMEOUT", 0.5)
    monkeypatch.setattr(request, "_READ_TIMEOUT", 0.5)
    watched = watch(kube, server=network.url, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    watched.watching()
    network.hold()
    watched.waiting("request timed out")
    assert watched.status()["stale"]
    assert watched.addresses() == {"10.0.0.1"}
    watched.nodes.create("n2", internal=["10.0.0.2"])
    network.flow()
    watched.serves("10.0.0.1", "10.0.0.2")
    watched.watching()


def test_a_server_that_is_held_still_is_taken_for_lost_and_then_followed_on(
    kube, watch, monkeypatch
):
    monkeypatch.setattr(request, "_CONNECT_TIMEOUT", 0.5)
    watched = watch(kube, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    kube.freeze()
    try:
        watched.waiting("request timed out")
        assert watched.addresses() == {"10.0.0.1"}
    finally:
        kube.thaw()
    watched.watching()
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.serves("10.0.0.1", "10.0.0.2")


def test_the_silence_is_counted_from_each_line_and_not_from_the_first(prod, emulator):
    before = len(emulator.control.requests(user="reader"))
    emulator.control.disturb(stream(pause=0.4))
    for i in range(2, 7):
        prod.nodes.create(f"n{i}", internal=[f"10.0.0.{i}"], at_once=True)
    prod.serves(*(f"10.0.0.{i}" for i in range(1, 7)))
    assert len(emulator.control.requests(user="reader")) == before


def test_a_quiet_cluster_is_asked_and_never_listed_again(prod, emulator):
    before = len(lists(emulator))
    known = len(emulator.control.requests(verb="watch"))
    emulator.control.wait_for_requests(known + 2, verb="watch", seconds=60)
    assert len(lists(emulator)) == before


def test_a_server_that_closes_each_watch_at_once_is_asked_ever_less_often(prod, emulator):
    emulator.control.on("watch", do=stream(then=actions.END), times=None)
    known = len(emulator.control.requests(verb="watch"))
    emulator.control.stop_streams(actions.END)
    seen = emulator.control.wait_for_requests(known + 4, verb="watch", seconds=60)[known:]
    gaps = [later.time - earlier.time for earlier, later in pairwise(seen)]
    assert gaps[0] >= 0.4
    assert gaps[1] >= 0.8
    assert gaps[2] >= 1.6
    # Without a single event the cluster does not count as watched.
    assert prod.health().state == "waiting"
    assert [data["error"] for data in prod.bus.named("sync/lost")] == [
        "WATCH nodes: the server accepts each watch and ends it"
    ]
    emulator.control.clear()
    prod.nodes.create("n2", internal=["10.0.0.2"])
    prod.serves("10.0.0.1", "10.0.0.2")
    prod.watching()


def test_a_watch_of_something_else_changes_nothing_and_is_asked_ever_less_often(prod, emulator):
    known = len(emulator.control.requests(verb="watch"))
    emulator.control.on("watch", do=actions.respond(200, "<html>\nWelcome\n</html>"), times=None)
    emulator.control.stop_streams(actions.END)
    seen = emulator.control.wait_for_requests(known + 3, verb="watch", seconds=60)[known:]
    assert [seen[1].time - seen[0].time >= 0.4, seen[2].time - seen[1].time >= 0.8] == [True, True]
    assert prod.addresses() == {"10.0.0.1"}


@pytest.mark.parametrize("how", [actions.CUT, actions.TRUNCATE, actions.RESET, actions.END])
def test_after_a_stream_that_ends_in_any_way_nothing_is_lost_and_nothing_listed(
    prod, emulator, how
):
    before = len(lists(emulator))
    emulator.control.disturb(stream(after=1, then=how))
    prod.nodes.create("n2", internal=["10.0.0.2"])
    prod.nodes.create("n3", internal=["10.0.0.3"])
    prod.serves("10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert len(lists(emulator)) == before


def test_a_connection_that_is_cut_at_any_byte_loses_nothing(kube, watch, network):
    watched = watch(kube, server=network.url, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    watched.watching()
    lists = watched.health().lists
    expected = ["10.0.0.1"]
    for i, count in ((2, 1), (3, 700)):
        network.cut_after(count)
        watched.nodes.create(f"n{i}", internal=[f"10.0.0.{i}"])
        expected.append(f"10.0.0.{i}")
        watched.serves(*expected)
    assert watched.health().lists == lists
    assert watched.bus.named("sync/lost")
    assert [data["node"] for data in watched.bus.named("node/joined")] == ["n1", "n2", "n3"]


def test_lines_that_mean_nothing_are_counted_and_change_nothing(prod, emulator):
    before = prod.revision()
    emulator.control.send(
        "",
        "not json",
        {"type": "WEIRD", "object": {}},
        {"type": "ADDED", "object": {}},
        {"type": "MODIFIED", "object": {"metadata": {"name": "n1", "uid": "x"}}},
        {"type": "DELETED"},
    )
    prod.until(lambda: prod.watcher.counters.ignored == 5, "5 ignored lines")
    assert prod.revision() == before
    prod.nodes.create("n2", internal=["10.0.0.2"])
    prod.serves("10.0.0.1", "10.0.0.2")


def test_gone_as_an_event_lists_again(prod, emulator):
    before = len(lists(emulator))
    emulator.control.drop_events(["ADDED", "MODIFIED"])
    prod.nodes.create("n2", internal=["10.0.0.2"])
    emulator.control.stop_streams(actions.GONE)
    prod.serves("10.0.0.1", "10.0.0.2")
    assert len(lists(emulator)) == before + 1
    assert all("resourceVersion" not in one.query for one in lists(emulator))
    assert prod.bus.named("sync/lost") == []


def test_gone_as_a_status_lists_again(prod, emulator):
    before = len(lists(emulator))
    emulator.control.on("watch", do=actions.gone())
    emulator.control.stop_streams(actions.END)
    prod.until(lambda: len(lists(emulator)) == before + 1, "another list")
    prod.nodes.create("n2", internal=["10.0.0.2"])
    prod.serves("10.0.0.1", "10.0.0.2")


def test_a_server_that_forgets_each_version_at_once_is_no_storm(prod, emulator):
    emulator.control.on("watch", do=actions.gone(), times=None)
    known = len(lists(emulator))
    emulator.control.stop_streams(actions.END)
    prod.until(lambda: len(lists(emulator)) >= known + 3, "three more lists")
    seen = lists(emulator)[known:]
    assert seen[1].time - seen[0].time >= 0.4
    assert seen[2].time - seen[1].time >= 0.8
    assert prod.addresses() == {"10.0.0.1"}


def test_another_error_as_an_event_is_tried_later_without_listing_again(prod, emulator):
    before = len(lists(emulator))
    status = {"kind": "Status", "code": 500, "reason": "InternalError", "message": "etcd is away"}
    emulator.control.send({"type": "ERROR", "object": status})
    prod.until(lambda: prod.bus.named("sync/lost"), "lost")
    assert "etcd is away" in prod.bus.named("sync/lost")[0]["error"]
    prod.watching()
    assert len(lists(emulator)) == before


def test_an_old_version_after_a_restart_lists_again(kube, watch, network):
    watched = watch(kube, server=network.url, **QUICK)
    watched.nodes.create("n1", internal=["10.0.0.1"])
    watched.serves("10.0.0.1")
    watched.watching()
    lists = watched.health().lists
    network.refuse()
    watched.nodes.create("n2", internal=["10.0.0.2"])
    watched.nodes.delete("n1")
    kube.restart()
    network.listen()
    # The server no longer has these events: the leave comes from the difference.
    watched.serves("10.0.0.2")
    watched.until(lambda: watched.health().lists == lists + 1, "one more list")
    assert [data["node"] for data in watched.bus.named("node/left")] == ["n1"]


def test_a_deletion_that_was_never_heard_is_a_leave_once(prod, emulator):
    prod.nodes.create("n2", internal=["10.0.0.2"])
    prod.nodes.create("n3", internal=["10.0.0.3"])
    prod.serves("10.0.0.1", "10.0.0.2", "10.0.0.3")
    emulator.control.drop_events(["DELETED"])
    prod.nodes.delete("n2")
    prod.request_list()
    prod.serves("10.0.0.1", "10.0.0.3")
    prod.request_list()
    prod.until(lambda: prod.health().lists >= 3, "another list")
    assert [data["node"] for data in prod.bus.named("node/left")] == ["n2"]


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_a_refused_watch_is_tried_later_without_listing_again(prod, emulator, status):
    before = len(lists(emulator))
    emulator.control.on("watch", do=actions.respond(status, {"kind": "Status"}), times=2)
    emulator.control.stop_streams(actions.END)
    prod.until(lambda: prod.bus.named("sync/lost"), "lost")
    prod.until(lambda: prod.bus.named("sync/restored"), "restored")
    assert str(status) in prod.bus.named("sync/lost")[0]["error"]
    prod.nodes.create("n2", internal=["10.0.0.2"])
    prod.serves("10.0.0.1", "10.0.0.2")
    assert len(lists(emulator)) == before


def test_retry_after_is_honoured(prod, emulator):
    refuse = actions.respond(429, {"kind": "Status"}, headers={"Retry-After": "2"})
    emulator.control.on("watch", do=refuse)
    known = len(emulator.control.requests(verb="watch"))
    emulator.control.stop_streams(actions.END)
    seen = emulator.control.wait_for_requests(known + 2, verb="watch", seconds=60)[known:]
    assert seen[1].time - seen[0].time >= 2.0


def test_a_connection_that_is_refused_changes_nothing_and_recovers(prod, emulator):
    emulator.control.refuse()
    prod.waiting("refused")
    assert prod.addresses() == {"10.0.0.1"}
    emulator.control.listen()
    prod.watching()
    assert len(prod.bus.named("sync/lost")) == len(prod.bus.named("sync/restored")) == 1
