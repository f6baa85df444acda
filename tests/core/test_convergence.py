"""Who is behind is the difference between what should be and what was proven, and nothing else."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from salt_ext.core.references.resolve import digest
from salt_ext.core.rollout.drift import (
    Desired,
    DigestCache,
    LedgerEntry,
    OutOfSync,
    SubscribedReference,
    desired,
    out_of_sync,
    proof_expired,
    retry_after,
)

PROD, TEST = "k8s://prod", "k8s://test"
ADDRESSES = {PROD: ("192.0.2.1", "192.0.2.2"), TEST: ("198.51.100.1",)}
NOW, TIMEOUT = 1000.0, 300.0


def want(minion: str = "m1", reference: str = PROD, **more: bool) -> SubscribedReference:
    cluster = reference.removeprefix("k8s://").partition("?")[0]
    return SubscribedReference(minion=minion, cluster=cluster, reference=reference, **more)


def late(*wanted: SubscribedReference, ledger: tuple[LedgerEntry, ...] = ()) -> list[OutOfSync]:
    """Return who is behind."""
    return out_of_sync(
        desired(wanted, ADDRESSES.get), {(entry.minion, entry.cluster): entry for entry in ledger}
    )


def applied(minion: str = "m1", *references: str, cluster: str = "prod", **more) -> LedgerEntry:
    """Return the entry of a minion that proved to have what these references mean now."""
    found = digest({text: ADDRESSES[text] for text in references})
    return LedgerEntry(minion=minion, cluster=cluster, applied=found, **more)


class TestDesired:
    def test_each_minion_and_cluster_is_a_place_of_its_own(self):
        found = desired([want(), want("m2"), want("m1", TEST)], ADDRESSES.get)
        assert set(found) == {("m1", "prod"), ("m2", "prod"), ("m1", "test")}
        assert found["m1", "prod"] == found["m2", "prod"]
        assert found["m1", "prod"] == Desired(
            digest=digest({PROD: ADDRESSES[PROD]}), served={PROD: ADDRESSES[PROD]}
        )

    def test_what_cannot_be_resolved_is_named_and_leaves_the_rest(self):
        other = "k8s://prod?family=ipv9"
        found = desired([want(), want("m1", other)], ADDRESSES.get)
        assert found["m1", "prod"].digest == digest({PROD: ADDRESSES[PROD]})
        assert found["m1", "prod"].unresolved == (other,)

    def test_a_reference_that_is_gone_or_refused_means_nothing(self):
        nothing = Desired(digest=digest({}))
        assert desired([want(gone=True)], ADDRESSES.get) == {("m1", "prod"): nothing}
        refused = replace(nothing, unresolved=(PROD,))
        assert desired([want(refused=True)], ADDRESSES.get) == {("m1", "prod"): refused}

    def test_the_order_of_references_does_not_matter(self):
        both = [want(), want("m1", "k8s://prod?x")]
        addresses = {**ADDRESSES, "k8s://prod?x": ("192.0.2.3",)}
        assert desired(both, addresses.get) == desired(both[::-1], addresses.get)


class TestBehind:
    def test_a_minion_that_never_applied_is(self):
        (one,) = late(want())
        assert (one.minion, one.cluster, one.desired) == (
            "m1",
            "prod",
            digest({PROD: ADDRESSES[PROD]}),
        )
        assert one.why(NOW, TIMEOUT) == "never applied"
        assert one.due(NOW, TIMEOUT)

    def test_a_minion_that_proved_the_present_addresses_is_not(self):
        assert late(want(), ledger=(applied("m1", PROD),)) == []

    def test_a_minion_that_proved_others_is(self):
        (one,) = late(want(), ledger=(LedgerEntry(minion="m1", cluster="prod", applied="old"),))
        assert one.why(NOW, TIMEOUT) == "addresses changed"

    def test_a_reference_more_or_less_is_a_change(self):
        more = "k8s://prod?x"
        addresses = {**ADDRESSES, more: ADDRESSES[PROD]}
        targets = desired([want(), want("m1", more)], addresses.get)
        assert out_of_sync(targets, {("m1", "prod"): applied("m1", PROD)})

    def test_a_reference_that_is_gone_leaves_the_minion_behind_until_proven(self):
        assert late(want(gone=True), ledger=(applied("m1", PROD),))
        assert late(want(gone=True), ledger=(applied("m1"),)) == []

    def test_gone_references_that_were_never_applied_are_applied_once(self):
        assert len(late(want(gone=True))) == 1

    def test_nothing_but_unresolved_references_is_nothing_to_apply(self):
        assert late(want("m1", "k8s://unknown")) == []
        assert late(want(refused=True)) == []

    def test_an_unresolved_reference_beside_a_resolved_one_is(self):
        (one,) = late(want(), want("m1", "k8s://prod?bad"))
        assert one.unresolved == ("k8s://prod?bad",)

    def test_each_cluster_of_a_minion_stands_alone(self):
        found = late(want(), want("m1", TEST), ledger=(applied("m1", PROD),))
        assert [one.cluster for one in found] == ["test"]

    def test_minions_are_in_order(self):
        found = late(want("m2"), want("m10"), want("m1", TEST), want("m1"))
        assert [(one.minion, one.cluster) for one in found] == [
            ("m1", "prod"),
            ("m1", "test"),
            ("m10", "prod"),
            ("m2", "prod"),
        ]

    def test_an_entry_without_a_reference_is_nobodys(self):
        assert late(ledger=(LedgerEntry(minion="m9", cluster="prod", applied="old"),)) == []


def one_late(**entry) -> OutOfSync:
    (found,) = late(want(), ledger=(LedgerEntry(minion="m1", cluster="prod", **entry),))
    return found


class TestDue:
    def test_a_job_on_its_way_is_waited_for(self):
        one = one_late(jid="7", dispatched="x", dispatched_at=NOW - 10)
        assert one.in_flight(NOW, TIMEOUT)
        assert not one.due(NOW, TIMEOUT)
        assert one.why(NOW, TIMEOUT) == "job 7 has not returned yet"

    def test_but_not_for_ever(self):
        one = one_late(jid="7", dispatched="x", dispatched_at=NOW - TIMEOUT)
        assert not one.in_flight(NOW, TIMEOUT)
        assert one.due(NOW, TIMEOUT)

    def test_its_time_begins_when_it_is_sent_and_not_when_it_was_chosen(self):
        sent = {"jid": "7", "dispatched": "x", "dispatched_at": NOW - TIMEOUT, "sent_at": NOW - 10}
        assert one_late(**sent).in_flight(NOW, TIMEOUT)
        assert not one_late(**sent).in_flight(NOW - 10 + TIMEOUT, TIMEOUT)

    def test_a_job_for_older_addresses_is_waited_for_too(self):
        # A second state run would be refused by the minion.
        one = one_late(applied="older", jid="7", dispatched="old", dispatched_at=NOW)
        assert not one.due(NOW + 1, TIMEOUT)

    def test_nor_for_longer_once_the_clock_was_set_back(self):
        one = one_late(jid="7", dispatched="x", dispatched_at=NOW + 3600)
        assert one.due(NOW, TIMEOUT)
        assert one_late(attempts=9, next_at=NOW + 3600).due(NOW, TIMEOUT)
        # A second or two are no reason to send a second one.
        assert not one_late(jid="7", dispatched="x", dispatched_at=NOW + 2).due(NOW, TIMEOUT)

    def test_after_a_failure_it_is_due_at_its_next_try(self):
        one = one_late(attempts=2, next_at=NOW + 5, error="states failed: x")
        assert not one.in_flight(NOW, TIMEOUT)
        assert not one.due(NOW + 4.9, TIMEOUT)
        assert one.due(NOW + 5, TIMEOUT)
        assert one.why(NOW, TIMEOUT) == "states failed: x"


@pytest.mark.parametrize(
    ("attempts", "ceiling"), [(0, 5), (1, 10), (4, 80), (7, 640), (8, 900), (1000, 900)]
)
def test_failures_wait_longer_and_longer(attempts, ceiling):
    dice = random.Random(7)
    waits = [retry_after(attempts, refused=False, dice=dice) for _ in range(100)]
    assert ceiling / 2 <= min(waits)
    assert max(waits) <= ceiling
    assert max(waits) - min(waits) > ceiling / 4


def test_a_refusal_is_tried_again_soon_however_often():
    assert retry_after(50, refused=True, dice=random.Random(7)) <= 5.0


class TestOld:
    def test_a_proof_is_asked_for_once_more_after_a_while(self):
        entry = applied("m1", PROD, applied_at=NOW - 1000)
        targets = desired([want()], ADDRESSES.get)
        (one,) = out_of_sync(
            targets, {("m1", "prod"): entry}, lambda it: proof_expired(it, NOW, 1000)
        )
        assert one.renewal
        assert one.why(NOW, TIMEOUT) == "applied long ago: once more"
        assert (
            out_of_sync(targets, {("m1", "prod"): entry}, lambda it: proof_expired(it, NOW, 0))
            == []
        )
        assert (
            out_of_sync(targets, {("m1", "prod"): entry}, lambda it: proof_expired(it, NOW, 2000))
            == []
        )

    def test_not_all_at_the_same_time(self):
        ends = [
            next(
                age
                for age in range(700, 1100)
                if proof_expired(applied(f"m{n}", applied_at=0.0), age, 1000)
            )
            for n in range(50)
        ]
        assert 800 <= min(ends) < 850
        assert 950 < max(ends) <= 1001


def test_digests_are_computed_once_while_they_are_asked_for(monkeypatch):
    computed = []
    monkeypatch.setattr(
        "salt_ext.core.rollout.drift.digest", lambda served: computed.append(1) or digest(served)
    )
    digests = DigestCache()
    wanted = [want("m1"), want("m2"), want("m1", TEST)]
    for _ in range(3):
        desired(wanted, ADDRESSES.get, digests)
    assert len(computed) == 2
    desired([], ADDRESSES.get, digests)
    desired([], ADDRESSES.get, digests)
    desired(wanted, {PROD: ("192.0.2.9",), TEST: ()}.get, digests)
    assert len(computed) == 4
