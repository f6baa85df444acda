"""What mode observe keeps back: what one change would do, why, and who has room for entries."""

from __future__ import annotations

import pytest

from salt_ext.core.config import config
from salt_ext.core.references.resolve import digest
from salt_ext.core.rollout.departures import Served
from salt_ext.core.rollout.drift import Desired
from salt_ext.core.rollout.observed import (
    Addresses,
    ObservedChange,
    Shift,
    Totals,
    What,
    any_observed,
    causes,
    duration,
    in_force_after,
    mark,
    observed_by,
    shift,
    start_of,
    steps,
    subject_of,
    surplus,
)

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"
CLUSTER = {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]}


def served(*addresses: str) -> Served:
    return Served.of({"k8s://prod": addresses})


def target(resolved: dict[str, tuple[str, ...]], *unresolved: str) -> Desired:
    return Desired(digest=digest(resolved), resolved=resolved, unresolved=unresolved)


def block(**apply) -> config.Config:
    clusters = {"prod": CLUSTER, "test": {**CLUSTER, "mode": "observe"}}
    found = config.read({"clusters": clusters, "apply": {"states": ["firewall"], **apply}})
    assert not found.problems
    return found


class TestWhatIsObserved:
    def test_a_cluster_or_a_class_in_mode_observe_keeps_a_minion_from_changes(self):
        found = block(classes={"web": {"target": "web*", "mode": "observe"}})
        (web,) = found.apply.classes
        assert observed_by(found, "prod", found.apply.default) == ""
        assert observed_by(found, "test", found.apply.default) == "cluster test"
        assert observed_by(found, "prod", web) == "class web"
        assert observed_by(found, "test", web) == "cluster test and class web"

    def test_an_unknown_class_counts_as_observed_where_any_class_is(self):
        assert observed_by(block(), "prod", None) == ""
        found = block(mode="observe")
        assert observed_by(found, "prod", None) == "unknown class"
        assert observed_by(found, "prod", found.apply.default) == "class (none)"

    def test_nothing_is_observed_where_everything_is_enforced(self):
        enforced = config.read({"clusters": {"prod": CLUSTER}, "apply": {"states": ["firewall"]}})
        assert not any_observed(enforced)
        assert any_observed(block())


class TestOneChange:
    def test_it_opens_what_is_new_and_closes_what_is_gone(self):
        assert shift(served(A, B), served(B, C)) == Shift(
            opens=frozenset([C]), closes=frozenset([A])
        )

    def test_an_address_of_another_cluster_of_the_minion_neither_opens_nor_closes(self):
        moved = shift(served(A), served(B), [served(B)], [served(A)])
        assert moved == Shift(opens=frozenset(), closes=frozenset())

    def test_an_address_that_another_cluster_takes_or_gives_at_the_same_time_is_counted_once(self):
        assert shift(served(A), served(), [served()], [served(A)]).closes == frozenset()
        assert shift(served(), served(A), [served(A)], [served()]).opens == frozenset()

    def test_an_address_within_a_network_that_is_open_does_not_open(self):
        assert shift(served("192.0.2.0/24"), served("192.0.2.0/24", A)).opens == frozenset()

    def test_an_unresolved_reference_keeps_what_it_had(self):
        before = {"k8s://prod": (A,), "k8s://prod/x": (B,)}
        now = target({"k8s://prod": (C,)}, "k8s://prod/x", "k8s://prod/never")
        assert in_force_after(before, now) == {"k8s://prod": (C,), "k8s://prod/x": (B,)}

    def test_another_unresolved_reference_is_another_desired_state(self):
        plain = target({"k8s://prod": (A,)})
        assert mark(plain) == plain.digest
        one, other = (target({"k8s://prod": (A,)}, text) for text in ("k8s://x", "k8s://y"))
        assert len({mark(plain), mark(one), mark(other)}) == 3

    def test_its_cause_is_named_by_reference(self):
        before = {"k8s://prod": (A,), "k8s://old": (A,), "k8s://same": (B,)}
        now = {"k8s://prod": (B,), "k8s://new": (A,), "k8s://same": (B,)}
        assert causes(before, now, ["k8s://lost"]) == (
            "reference k8s://old removed; reference k8s://new added; "
            "nodes of k8s://prod changed; reference k8s://lost is unresolved"
        )

    def test_many_causes_are_cut(self):
        now = {f"k8s://prod/{number}": (A,) for number in range(9)}
        assert causes({}, now).endswith("k8s://prod/4 added; and 4 more")

    def test_many_addresses_are_counted_and_the_first_are_named(self):
        found = Addresses.of([f"198.51.100.{number}" for number in range(150)])
        assert (found.count, len(found.first)) == (150, 100)

    def test_it_is_of_one_minion_or_of_the_nodes_with_these_addresses(self):
        one, other = (Shift(opens=frozenset([x]), closes=frozenset()) for x in (A, B))
        back = Shift(opens=frozenset(), closes=frozenset([A]))
        assert subject_of(["m1"], one) == subject_of(["m1"], other) == "minion m1"
        assert subject_of(["m1", "m2"], one) == subject_of(["m3", "m4"], back)
        assert subject_of(["m1", "m2"], one) != subject_of(["m1", "m2"], other)


class TestSeveralChanges:
    def change(self, opens: tuple[str, ...], closes: tuple[str, ...], count: int = 0):
        return ObservedChange(
            what=What.APPLY,
            cluster="prod",
            why="nodes changed",
            key="k",
            subject="s",
            opens=Addresses(count or len(opens), opens),
            closes=Addresses.of(closes),
        )

    def test_in_one_entry_come_to_what_is_left_of_them(self):
        both = self.change((A, B), (C,)).followed_by(self.change((C,), (A,)))
        assert (both.opens.first, both.closes.first) == ((B,), ())
        third = both.followed_by(self.change((A,), (B,)))
        assert (third.opens.first, third.closes.first, third.folded) == ((A,), (), 2)

    def test_in_one_entry_keep_the_number_of_addresses_without_a_name(self):
        both = self.change((A, B), (), 150).followed_by(self.change((C,), (A,)))
        assert (both.opens.count, both.opens.first) == (150, (B, C))


@pytest.mark.parametrize(
    ("count", "first", "canary", "text"),
    [
        (120, ["m1"], 1, "canary m1; then 119 minions in 3 batches"),
        (1, ["m1"], 1, "canary m1"),
        (51, [f"m{n:02}" for n in range(50)], 0, "first batch: {}; then 1 minion in 1 batch"),
        (3, [], 1, ""),
    ],
)
def test_the_rollout_is_told_in_its_steps(count, first, canary, text):
    named = "m00, m01, m02, m03, m04 and 45 more"
    assert steps(count, first, canary=canary, batch=50) == text.format(named)


class TestRoom:
    def test_all_entries_are_kept_while_there_is_room(self):
        assert surplus([(1, "a"), (2, "b")], 2) == []

    def test_the_oldest_of_the_one_with_most_entries_go_first(self):
        rows = [(1, "quiet"), (2, "quiet"), *((number, "loud") for number in range(3, 103))]
        dropped = surplus(rows, 10)
        assert len(dropped) == 92
        assert dropped == [*range(3, 95)]

    def test_each_of_several_loud_ones_gets_its_share(self):
        rows = [(number, f"loud {number % 5}") for number in range(1000)] + [(1000, "quiet")]
        kept = {number for number, _ in rows} - set(surplus(rows, 100))
        assert 1000 in kept
        assert 90 <= len(kept) <= 100

    def test_the_oldest_go_where_each_has_one(self):
        rows = [(number, f"of {number}") for number in range(20)]
        assert surplus(rows, 15) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("30m", 998_200.0),
        (" 1d ", 913_600.0),
        ("2023-11-15", 1_700_006_400.0),
        ("2023-11-15T01:00:00Z", 1_700_010_000.0),
        ("2023-11-15T01:00:00+01:00", 1_700_006_400.0),
    ],
)
def test_a_time_is_a_duration_or_a_date(text, at):
    assert start_of(text, 1_000_000.0) == at


@pytest.mark.parametrize("text", ["", "yesterday", "7", "-1d", "1y", "9999999999d"])
def test_another_text_is_not_a_time(text):
    with pytest.raises(ValueError, match=r"."):
        start_of(text, 1_000_000.0)


def test_the_totals_are_one_line():
    totals = Totals(since=0.0, changes=41, opens=37, closes=40, holds=2, minions=14)
    assert totals.text(6 * 86_400.0) == (
        "in 6 days: 41 changes, 37 openings and 40 closings of addresses, on 14 minions; "
        "would have been held: 2"
    )
    assert Totals(since=0.0, holds=1).text(3600.0) == (
        "in 1 hour: 0 changes, 0 openings and 0 closings of addresses; would have been held: 1"
    )
    assert Totals(since=0.0, changes=1, opens=1, closes=1, minions=1).text(120.0) == (
        "in 2 minutes: 1 change, 1 opening and 1 closing of addresses, on 1 minion; "
        "would have been held: 0"
    )


def test_a_short_time_is_a_minute():
    assert duration(5.0) == "a minute"
