"""LISTs that are cut, wrong, old or empty: a view is used as a whole or not at all."""

from __future__ import annotations

import logging
import time

import pytest

from lab.kubernetes.emulator import actions
from lab.kubernetes.nodes import Nodes

QUICK = {"timing": {"inactivity": 1, "debounce": 0, "max_delay": 0}, "page_size": 10}


def fill(watched, count: int) -> list[str]:
    addresses = [f"10.0.0.{i + 1}" for i in range(count)]
    for i, address in enumerate(addresses):
        watched.nodes.create(f"n{i:02d}", internal=[address])
    return addresses


@pytest.fixture
def prod(emulator, watch):
    """A cluster of 35 nodes, three and a half pages, not yet under watch."""
    watched = watch(emulator, **QUICK)
    addresses = fill(watched, 35)
    watched.serves(*addresses)
    watched.watching()
    watched.every = addresses
    return watched


@pytest.fixture
def paged(kube, watch):
    """The same on each back end."""
    nodes = Nodes(kube.endpoint)
    addresses = [f"10.0.0.{i + 1}" for i in range(35)]
    for i, address in enumerate(addresses):
        nodes.create(f"n{i:02d}", internal=[address], at_once=True)
    nodes.close()
    watched = watch(kube, **QUICK)
    watched.every = addresses
    return watched


def pages(watched, before=None) -> list[int]:
    """Record the size of each page from now on; ``before`` gets the page's number first."""
    ask, sizes, number = watched.watcher._api.list_page, [], 0

    def page(limit, token):
        nonlocal number
        if limit == 1:
            return ask(limit, token)
        number = number + 1 if token else 1
        if before is not None:
            before(number)
        answer = ask(limit, token)
        sizes.append(len(answer.nodes))
        return answer

    watched.watcher._api.list_page = page
    return sizes


def test_every_page_is_taken_and_none_before_the_last(paged):
    paged.serves(*paged.every)
    # What it serves is stored a moment before the list is counted.
    paged.watching()
    assert paged.revision() == 1
    lists, sizes = paged.health().lists, pages(paged)
    paged.request_list()
    paged.until(lambda: paged.health().lists > lists, "another list")
    assert sizes == [10, 10, 10, 5]
    assert (paged.revision(), paged.addresses()) == (1, set(paged.every))


def test_a_continue_token_that_expires_throws_the_pages_away(paged, kube, caplog):
    paged.serves(*paged.every)
    left = []

    def forget(number: int) -> None:
        if number == 3 and not left:
            # It was on the first page, which has arrived.
            paged.nodes.delete("n00")
            left.append("n00")
            kube.compact()
            kube.restart()

    sizes = pages(paged, forget)
    with caplog.at_level(logging.INFO):
        paged.request_list()
        paged.serves(*paged.every[1:])
    assert "LIST nodes: 410 Expired" in caplog.text
    assert sizes == [10, 10, 10, 10, 10, 4]
    assert paged.revision() == 2


@pytest.mark.parametrize("page", [1, 2, 4])
def test_a_page_that_fails_changes_nothing(prod, emulator, page):
    before = prod.revision()
    emulator.control.on("list", do=actions.respond(500), page=page)
    prod.request_list()
    prod.until(lambda: prod.bus.named("sync/restored"), "restored")
    assert prod.revision() == before
    assert prod.addresses() == set(prod.every)


WRONG = {
    "an empty list of something else": {
        "kind": "PodList",
        "metadata": {"resourceVersion": "9"},
        "items": [],
    },
    "an empty object": {},
    "html": "<html><body>Welcome</body></html>",
    "a status": {"kind": "Status", "status": "Success", "metadata": {"resourceVersion": "9"}},
    "null items": {"kind": "NodeList", "metadata": {"resourceVersion": "999999"}, "items": None},
    "no items": {"kind": "NodeList", "metadata": {"resourceVersion": "999999"}},
    "no version": {"kind": "NodeList", "metadata": {}, "items": []},
    "nothing": "",
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_a_200_with_something_else_is_an_error_and_no_empty_cluster(prod, emulator, body):
    emulator.control.on("list", do=actions.respond(200, body), times=None)
    prod.request_list()
    prod.waiting("LIST nodes: answered")
    assert prod.addresses() == set(prod.every)
    emulator.control.clear()
    prod.watching()
    assert prod.addresses() == set(prod.every)


OF_ANOTHER_KIND = {
    "html": "<html><body>Welcome</body></html>",
    "an empty object": {},
    "no uid": {"kind": "Namespace", "metadata": {"name": "kube-system"}},
    "something else": {"kind": "Pod", "metadata": {"name": "kube-system", "uid": "of a pod"}},
}


@pytest.mark.parametrize("body", OF_ANOTHER_KIND.values(), ids=OF_ANOTHER_KIND)
def test_a_200_without_the_clusters_identity_is_an_error_and_no_other_cluster(prod, emulator, body):
    emulator.control.on("get", path="kube-system", do=actions.respond(200, body), times=None)
    prod.request_list()
    prod.waiting("GET namespace kube-system: answered")
    assert (prod.held(), prod.addresses()) == ([], set(prod.every))
    emulator.control.clear()
    prod.watching()
    assert (prod.held(), prod.addresses()) == ([], set(prod.every))


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_a_refused_list_is_no_storm(prod, emulator, status):
    emulator.control.on("list", do=actions.respond(status, {"kind": "Status"}), times=None)
    known = len(emulator.control.requests(verb="list"))
    prod.request_list()
    seen = emulator.control.wait_for_requests(known + 3, verb="list", seconds=60)[known:]
    assert seen[1].time - seen[0].time >= 0.4
    assert seen[2].time - seen[1].time >= 0.8


def test_retry_after_of_a_list_is_honoured(prod, emulator):
    refuse = actions.respond(429, {"kind": "Status"}, headers={"Retry-After": "2"})
    emulator.control.on("list", do=refuse)
    known = len(emulator.control.requests(verb="list"))
    prod.request_list()
    seen = emulator.control.wait_for_requests(known + 2, verb="list", seconds=60)[known:]
    assert seen[1].time - seen[0].time >= 2.0


def test_a_cut_list_changes_nothing(prod, emulator):
    before = prod.revision()
    emulator.control.on("list", do=actions.cut_body())
    prod.request_list()
    prod.until(lambda: prod.bus.named("sync/restored"), "restored")
    assert prod.revision() == before


def test_full_lists_correct_missed_watch_events(emulator, watch):
    watched = watch(emulator, timing={"relist": 10, "inactivity": 1, "debounce": 0, "max_delay": 0})
    fill(watched, 3)
    watched.serves("10.0.0.1", "10.0.0.2", "10.0.0.3")
    emulator.control.drop_events(["DELETED"])
    watched.nodes.delete("n01")
    # No LIST is requested: only the periodic one can find it.
    watched.serves("10.0.0.1", "10.0.0.3")


def test_a_busy_watch_delays_no_full_list(emulator, watch):
    timing = {"inactivity": 60, "debounce": 0, "max_delay": 0}
    watched = watch(emulator, relist=1.0, timing=timing)
    fill(watched, 3)
    watched.serves("10.0.0.1", "10.0.0.2", "10.0.0.3")
    emulator.control.drop_events(["DELETED"])
    watched.nodes.delete("n01")

    def node_is_gone() -> bool:
        watched.nodes.label("n00", {"turn": str(time.monotonic())})
        return watched.addresses() == {"10.0.0.1", "10.0.0.3"}

    watched.until(node_is_gone, "the leave")


def test_an_old_answer_changes_nothing_and_is_gone_with_the_next_right_one(prod, emulator):
    emulator.control.save("old")
    prod.nodes.delete("n00")
    prod.nodes.create("late", internal=["10.0.1.1"])
    now = {*prod.every, "10.0.1.1"} - {"10.0.0.1"}
    prod.serves(*now)
    emulator.control.on("list", do=actions.from_state("old"), times=None)
    # Else the watch soon delivers the events that the old state lacks.
    emulator.control.on("watch", do=actions.hang(), times=None)
    prod.request_list()
    prod.holds("rollback")
    assert prod.addresses() == now
    emulator.control.clear()
    prod.request_list()
    prod.holds()
    assert prod.addresses() == now


def test_old_and_new_answers_in_turn_change_nothing(emulator, watch):
    watched = watch(emulator, timing=QUICK["timing"])
    fill(watched, 3)
    watched.serves("10.0.0.1", "10.0.0.2", "10.0.0.3")
    emulator.control.save("old")
    watched.nodes.delete("n00")
    watched.nodes.create("late", internal=["10.0.1.1"])
    now = {"10.0.0.2", "10.0.0.3", "10.0.1.1"}
    watched.serves(*now)
    revision, announced = watched.revision(), len(watched.bus.named("changed"))
    rule = emulator.control.on("list", do=actions.from_state("old"), times=None, every=2)
    # Else the watch soon delivers the events that the old state lacks.
    emulator.control.on("watch", do=actions.hang(), times=None)
    for _ in range(3):
        # The idle watch lists too: which of the two comes next is chance.
        watched.until(
            lambda: watched.request_list() or watched.held() == ["rollback"], "an old one"
        )
        watched.until(lambda: watched.request_list() or watched.held() == [], "a new one")
    assert emulator.control.fired(rule) >= 3
    assert watched.addresses() == now
    assert (watched.revision(), len(watched.bus.named("changed"))) == (revision, announced)


def test_what_happened_while_the_engine_was_down_is_a_change(prod, emulator):
    prod.stop()
    prod.nodes.delete("n00")
    prod.nodes.create("late", internal=["10.0.1.1"])
    prod.bus.fired.clear()
    prod.start()
    prod.serves(*({*prod.every, "10.0.1.1"} - {"10.0.0.1"}))
    prod.until(lambda: prod.bus.named("node/left"), "the leave")
    (changed,) = prod.bus.named("changed")
    assert (changed["added"], changed["removed"]) == (["10.0.1.1"], ["10.0.0.1"])
