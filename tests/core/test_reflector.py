"""The requests to an API server and their order, by the rules of client-go."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from salt_ext.core.cluster.node import Node
from salt_ext.core.cluster.reflector import Change, ListPage, Probe, Reflector, Step, Wait, Watch
from salt_ext.core.cluster.resource_version import is_older
from tests.core.build import node

ADDED, MODIFIED, DELETED = Change.ADDED, Change.MODIFIED, Change.DELETED
N1, N2, N3 = (node(f"n{n}", f"192.0.2.{n}") for n in (1, 2, 3))


@pytest.fixture
def reflector():
    return Reflector(relist_every=3600.0, rng=random.Random(7))


def watching(reflector: Reflector, *nodes: Node, now: float = 0.0) -> Watch:
    """Take a reflector to its first watch."""
    assert reflector.next(now) == ListPage()
    assert reflector.listed(nodes, "100", "", now)
    step = reflector.next(now)
    assert isinstance(step, Watch)
    return step


def names(reflector: Reflector) -> list[str]:
    return sorted(reflector.nodes or ())


class TestList:
    def test_it_begins_with_a_list(self, reflector):
        assert reflector.nodes is None
        assert reflector.next(0.0) == ListPage("")

    def test_then_it_watches_from_the_version_of_the_list(self, reflector):
        step = watching(reflector, N1)
        assert step.resource_version == "100"
        assert 300 <= step.server_timeout <= 600

    def test_watches_of_many_masters_end_at_different_times(self, reflector):
        watching(reflector)
        seen = {reflector.next(float(n)) for n in range(10, 30)}
        assert len(seen) > 10

    def test_a_list_in_pages_counts_when_it_is_complete(self, reflector):
        assert reflector.listed([N1], "100", "page2", 0.0) is False
        assert reflector.nodes is None
        assert reflector.next(0.0) == ListPage("page2")
        assert reflector.listed([N2], "100", "page3", 0.0) is False
        assert reflector.next(0.0) == ListPage("page3")
        assert reflector.listed([N3], "100", "", 0.0) is True
        assert names(reflector) == ["n1", "n2", "n3"]

    def test_an_empty_list_is_a_complete_view(self, reflector):
        assert reflector.listed([], "100", "", 0.0) is True
        assert reflector.nodes == {}

    @pytest.mark.parametrize("what", ["failed", "expired"])
    def test_an_aborted_list_drops_its_pages(self, reflector, what):
        reflector.listed([N1, N2], "100", "page2", 0.0)
        getattr(reflector, what)(0.0)
        step = reflector.next(0.0)
        assert isinstance(step, Wait)
        assert reflector.next(step.until) == ListPage("")
        assert reflector.listed([N3], "200", "", 1.0) is True
        assert names(reflector) == ["n3"]

    def test_a_list_that_fails_leaves_the_view_before_it(self, reflector):
        watching(reflector, N1)
        reflector.next(3600.0)
        reflector.listed([N2], "200", "page2", 3600.0)
        reflector.failed(3600.0)
        assert names(reflector) == ["n1"]

    def test_it_lists_again_after_the_interval(self, reflector):
        watching(reflector, N1, now=50.0)
        assert isinstance(reflector.next(3649.0), Watch)
        assert reflector.next(3650.0) == ListPage("")
        assert names(reflector) == ["n1"]
        reflector.listed([N2], "300", "", 3651.0)
        assert names(reflector) == ["n2"]
        step = reflector.next(3651.0)
        assert isinstance(step, Watch)
        assert step.resource_version == "300"

    def test_a_list_can_be_requested(self, reflector):
        watching(reflector, N1)
        assert not reflector.list_requested
        reflector.request_list()
        assert reflector.list_requested
        assert reflector.next(1.0) == ListPage("")
        assert not reflector.list_requested

    def test_a_request_during_a_list_causes_another_one(self, reflector):
        watching(reflector, N1)
        reflector.request_list()
        reflector.next(1.0)
        reflector.listed([N1], "100", "page2", 1.0)
        reflector.request_list()
        assert reflector.next(1.0) == ListPage("page2")
        reflector.listed([N2], "100", "", 1.0)
        assert reflector.next(1.0) == ListPage("")


class TestWatch:
    def test_events_change_the_view(self, reflector):
        watching(reflector, N1)
        assert reflector.changed(ADDED, N2, "101", 1.0) is True
        moved = node("n1", "192.0.2.9")
        assert reflector.changed(MODIFIED, moved, "102", 1.0) is True
        assert reflector.nodes == {"n1": moved, "n2": N2}
        assert reflector.changed(DELETED, moved, "103", 1.0) is True
        assert reflector.nodes == {"n2": N2}

    def test_a_heartbeat_changes_nothing(self, reflector):
        watching(reflector, N1)
        again = node("n1", "192.0.2.1")
        assert again is not N1
        assert reflector.changed(MODIFIED, again, "101", 1.0) is False
        assert reflector.resource_version == "101"

    def test_only_the_version_of_a_heartbeat_is_kept(self, reflector):
        watching(reflector, N1)
        again = node("n1", "192.0.2.1", labels={"a": "b"}, version="102")
        reflector.changed(MODIFIED, again, "102", 1.0)
        reflector.changed(MODIFIED, replace(again, version="103", labels={"a": "b"}), "103", 2.0)
        kept = reflector.nodes["n1"]
        assert kept.version == "103"
        # In a large cluster, thousands of equal objects would be kept twice, or grow the heap.
        assert kept.labels is again.labels

    def test_a_node_that_is_deleted_twice_leaves_once(self, reflector):
        watching(reflector, N1)
        assert reflector.changed(DELETED, N1, "101", 1.0) is True
        assert reflector.changed(DELETED, N1, "102", 1.0) is False

    def test_a_missed_leave_is_found_by_the_next_list(self, reflector):
        watching(reflector, N1, N2)
        reflector.failed(1.0)
        reflector.expired(5.0)
        reflector.listed([N2], "200", "", 9.0)
        assert names(reflector) == ["n2"]

    def test_it_resumes_from_the_last_version(self, reflector):
        watching(reflector, N1)
        reflector.changed(ADDED, N2, "150", 1.0)
        reflector.bookmarked("190", 60.0)
        reflector.ended(320.0)
        step = reflector.next(320.0)
        assert isinstance(step, Watch)
        assert step.resource_version == "190"

    def test_an_event_before_a_complete_view_changes_nothing(self, reflector):
        assert reflector.changed(ADDED, N1, "100", 0.0) is False
        assert reflector.nodes is None
        assert not reflector.list_requested
        assert not reflector.regressed


def steps(reflector: Reflector, seconds: float, answer) -> list[tuple[float, Step]]:
    """Follow the reflector for a while; ``answer`` reports the result of each request to it."""
    now, done = 0.0, []
    while now < seconds:
        step = reflector.next(now)
        if isinstance(step, Wait):
            assert step.until > now
            now = step.until
            continue
        done.append((now, step))
        assert len(done) < 1000, "a storm"
        answer(step, now)
        now += 0.01
    return done


class TestErrors:
    def test_a_failed_watch_is_opened_again_later_without_a_list(self, reflector):
        watching(reflector, N1)
        reflector.failed(10.0)
        step = reflector.next(10.0)
        assert isinstance(step, Wait)
        assert 10.4 <= step.until <= 10.8
        assert isinstance(reflector.next(step.until), Watch)
        assert names(reflector) == ["n1"]
        assert reflector.failures == 1

    def test_an_event_resets_the_failures(self, reflector):
        watching(reflector, N1)
        reflector.failed(10.0)
        reflector.bookmarked("101", 12.0)
        assert reflector.failures == 0

    @pytest.mark.parametrize("what", ["listed", "probed"])
    def test_an_answer_resets_the_failures(self, reflector, what):
        watching(reflector, N1)
        reflector.failed(10.0)
        if what == "listed":
            reflector.listed([N1], "100", "", 12.0)
        else:
            reflector.probed("100", 12.0)
        assert reflector.failures == 0

    def test_a_watch_that_ends_after_a_second_is_not_an_error(self, reflector):
        watching(reflector, N1, now=5.0)
        reflector.ended(6.0)
        assert reflector.failures == 0

    def test_a_version_that_expires_after_a_while_is_listed_at_once(self, reflector):
        watching(reflector, N1, now=5.0)
        reflector.expired(10.0)
        assert reflector.next(10.0) == ListPage("")

    def test_a_server_that_asks_for_a_delay_gets_it(self, reflector):
        watching(reflector, N1)
        reflector.failed(10.0, retry_after=25.0)
        assert reflector.next(34.9) == Wait(35.0)
        assert isinstance(reflector.next(35.0), Watch)

    def test_a_forgotten_version_means_a_list_at_once(self, reflector):
        watching(reflector, N1)
        reflector.bookmarked("101", 60.0)
        reflector.expired(320.0)
        assert reflector.next(320.0) == ListPage("")
        assert names(reflector) == ["n1"]

    def test_a_server_that_ends_each_watch_at_once_is_not_stormed(self, reflector):
        def answer(step: Step, now: float) -> None:
            if isinstance(step, ListPage):
                reflector.listed([N1], "100", "", now)
            else:
                reflector.ended(now + 0.005)

        assert len(steps(reflector, 120.0, answer)) < 16

    def test_a_watch_without_events_that_ends_regularly_is_not_an_error(self, reflector):
        watching(reflector, N1)
        reflector.ended(300.0)
        assert isinstance(reflector.next(300.0), Watch)
        assert reflector.failures == 0

    def test_a_watch_that_ends_after_an_event_is_not_an_error(self, reflector):
        watching(reflector, N1)
        reflector.changed(ADDED, N2, "101", 0.1)
        reflector.ended(0.2)
        assert isinstance(reflector.next(0.2), Watch)

    def test_a_server_that_forgets_each_version_at_once_is_not_stormed(self, reflector):
        def answer(step: Step, now: float) -> None:
            if isinstance(step, ListPage):
                reflector.listed([N1], "100", "", now)
            else:
                reflector.expired(now)

        done = steps(reflector, 120.0, answer)
        assert len([step for _, step in done if isinstance(step, ListPage)]) < 16

    def test_a_server_that_refuses_everything_is_not_stormed(self, reflector):
        assert len(steps(reflector, 120.0, lambda _, now: reflector.failed(now))) < 16

    def test_a_server_that_forgets_its_own_pages_is_not_stormed(self, reflector):
        def answer(step: Step, now: float) -> None:
            if step == ListPage(""):
                reflector.listed([N1], "100", "page2", now)
            else:
                reflector.expired(now)

        assert len(steps(reflector, 120.0, answer)) < 32


class TestIdle:
    def test_an_idle_watch_is_followed_by_a_probe(self, reflector):
        watching(reflector, N1)
        reflector.watch_idle()
        assert reflector.next(90.0) == Probe()

    @pytest.mark.parametrize("version", ["100", "101", "9999", "opaque"])
    def test_a_probe_with_a_version_not_older_resumes_the_watch(self, reflector, version):
        watching(reflector, N1)
        reflector.watch_idle()
        reflector.probed(version, 91.0)
        step = reflector.next(91.0)
        assert isinstance(step, Watch)
        assert step.resource_version == "100"

    def test_a_probe_with_an_older_version_means_a_list(self, reflector):
        watching(reflector, N1)
        reflector.watch_idle()
        reflector.probed("99", 91.0)
        assert reflector.next(91.0) == ListPage("")

    def test_a_failed_probe_is_repeated(self, reflector):
        watching(reflector, N1)
        reflector.watch_idle()
        reflector.failed(100.0)
        step = reflector.next(100.0)
        assert isinstance(step, Wait)
        assert reflector.next(step.until) == Probe()

    def test_a_list_makes_a_probe_unnecessary(self, reflector):
        watching(reflector, N1)
        reflector.watch_idle()
        reflector.request_list()
        reflector.next(90.0)
        reflector.listed([N1], "101", "", 90.0)
        assert isinstance(reflector.next(90.0), Watch)


def reported(name: str, version: str, uid: str = "") -> Node:
    return node(name, "192.0.2.1", uid=uid, version=version)


class TestOlderState:
    """A server restored from an older state has old nodes, whatever the version of the list."""

    def test_nodes_with_newer_or_equal_versions_are_fine(self, reflector):
        watching(reflector, reported("n1", "10"), reported("n2", "10"))
        reflector.changed(MODIFIED, reported("n1", "11"), "11", 1.0)
        reflector.listed([reported("n1", "11"), reported("n2", "10")], "12", "", 2.0)
        assert not reflector.regressed

    def test_an_older_node_in_a_list_is_detected(self, reflector):
        watching(reflector, reported("n1", "10"), reported("n2", "20"))
        reflector.listed([reported("n1", "10"), reported("n2", "19")], "500", "", 1.0)
        assert reflector.regressed

    def test_an_older_node_on_a_watch_is_detected(self, reflector):
        watching(reflector, reported("n1", "10"))
        reflector.changed(MODIFIED, reported("n1", "9"), "500", 1.0)
        assert reflector.regressed

    def test_the_version_of_a_heartbeat_counts(self, reflector):
        watching(reflector, reported("n1", "10"))
        assert reflector.changed(MODIFIED, reported("n1", "15"), "15", 1.0) is False
        reflector.listed([reported("n1", "12")], "500", "", 2.0)
        assert reflector.regressed

    def test_another_uid_is_another_node(self, reflector):
        watching(reflector, reported("n1", "10", "a"))
        reflector.changed(MODIFIED, reported("n1", "9", "b"), "11", 1.0)
        assert not reflector.regressed

    def test_a_version_that_is_not_a_number_is_ignored(self, reflector):
        watching(reflector, reported("n1", "10"))
        reflector.changed(MODIFIED, reported("n1", "opaque"), "11", 1.0)
        assert not reflector.regressed

    def test_it_is_over_when_the_node_is_as_new_as_before(self, reflector):
        watching(reflector, reported("n1", "10"))
        reflector.changed(MODIFIED, reported("n1", "9"), "500", 1.0)
        reflector.changed(MODIFIED, reported("n1", "9"), "501", 1.0)
        assert reflector.regressed
        reflector.changed(MODIFIED, reported("n1", "10"), "502", 2.0)
        assert not reflector.regressed

    def test_it_is_over_when_the_node_leaves(self, reflector):
        watching(reflector, reported("n1", "10"))
        reflector.changed(MODIFIED, reported("n1", "9"), "500", 1.0)
        reflector.changed(DELETED, reported("n1", "9"), "501", 2.0)
        assert not reflector.regressed
        reflector.changed(ADDED, reported("n1", "3"), "502", 3.0)
        assert not reflector.regressed

    def test_it_is_over_when_a_list_does_not_have_the_node(self, reflector):
        watching(reflector, reported("n1", "10"), reported("n2", "10"))
        reflector.changed(MODIFIED, reported("n1", "9"), "500", 1.0)
        reflector.listed([reported("n2", "10")], "501", "", 2.0)
        assert not reflector.regressed
        reflector.listed([reported("n1", "3"), reported("n2", "10")], "502", "", 3.0)
        assert not reflector.regressed

    def test_the_older_state_can_be_accepted(self, reflector):
        watching(reflector, reported("n1", "10"), reported("n2", "10"))
        reflector.listed([reported("n1", "9"), reported("n2", "9")], "500", "", 1.0)
        reflector.accept_older_state()
        assert not reflector.regressed
        reflector.changed(MODIFIED, reported("n1", "9"), "501", 2.0)
        reflector.changed(MODIFIED, reported("n2", "9"), "502", 2.0)
        assert not reflector.regressed
        # From then on it counts again.
        reflector.changed(MODIFIED, reported("n1", "8"), "503", 3.0)
        assert reflector.regressed


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("9", "10", True),
        ("10", "9", False),
        ("10", "10", False),
        ("0", "18446744073709551615", True),
        ("", "10", False),
        ("10", "", False),
        ("abc", "10", False),
        ("-1", "10", False),
        ("1.5", "10", False),
    ],
)
def test_versions_are_compared_as_numbers_and_only_as_numbers(first, second, expected):
    assert is_older(first, second) is expected
