"""A minion is out of date when its proven addresses are not the desired ones."""

from __future__ import annotations

import random
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from salt_ext.core.references.resolve import digest
from salt_ext.core.rollout.drift import (
    Desired,
    DigestCache,
    LedgerEntry,
    OutOfSync,
    SubscribedReference,
    desired_state,
    out_of_sync,
    proof_expired,
    retry_after,
)

PROD, TEST = "k8s://prod", "k8s://test"
ADDRESSES = {PROD: ("192.0.2.1", "192.0.2.2"), TEST: ("198.51.100.1",)}
NOW, TIMEOUT = 1000.0, 300.0


def subscribed(minion: str = "m1", reference: str = PROD, **more: bool) -> SubscribedReference:
    cluster = reference.removeprefix("k8s://").partition("?")[0]
    return SubscribedReference(minion=minion, cluster=cluster, reference=reference, **more)


def behind(
    *references: SubscribedReference, ledger: tuple[LedgerEntry, ...] = ()
) -> list[OutOfSync]:
    """Return the rows that are out of date."""
    return out_of_sync(
        desired_state(references, ADDRESSES.get),
        {(entry.minion, entry.cluster): entry for entry in ledger},
    )


def applied(minion: str = "m1", *references: str, cluster: str = "prod", **more) -> LedgerEntry:
    """Return the entry of a minion that proved these references with their present addresses."""
    proven = digest({text: ADDRESSES[text] for text in references})
    return LedgerEntry(minion=minion, cluster=cluster, applied=proven, **more)


@pytest.mark.parametrize(
    "value",
    [
        subscribed(),
        Desired(digest="x", resolved=ADDRESSES),
        applied(),
        OutOfSync(minion="m1", cluster="prod", desired="x", entry=applied(), resolved=ADDRESSES),
    ],
)
def test_values_can_be_members_of_a_set_and_cannot_be_altered(value):
    assert len(frozenset([value])) == 1
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, None)


def test_a_new_entry_has_no_failure_and_no_proof():
    entry = LedgerEntry(minion="m1", cluster="prod")
    assert (entry.attempts, entry.next_at, entry.silent, entry.applied) == (0, 0.0, False, None)
    assert not OutOfSync(minion="m1", cluster="prod", desired="x", entry=entry).proof_expired


class TestDesired:
    def test_each_minion_and_cluster_has_its_own_entry(self):
        found = desired_state(
            [subscribed(), subscribed("m2"), subscribed("m1", TEST)], ADDRESSES.get
        )
        assert set(found) == {("m1", "prod"), ("m2", "prod"), ("m1", "test")}
        assert found["m1", "prod"] == found["m2", "prod"]
        assert found["m1", "prod"] == Desired(
            digest=digest({PROD: ADDRESSES[PROD]}), resolved={PROD: ADDRESSES[PROD]}
        )

    def test_an_unresolved_reference_is_named_and_does_not_affect_others(self):
        other = "k8s://prod?family=ipv9"
        found = desired_state([subscribed(), subscribed("m1", other)], ADDRESSES.get)
        assert found["m1", "prod"].digest == digest({PROD: ADDRESSES[PROD]})
        assert found["m1", "prod"].unresolved == (other,)

    def test_a_reference_that_is_gone_or_refused_has_no_addresses(self):
        nothing = Desired(digest=digest({}))
        assert desired_state([subscribed(gone=True)], ADDRESSES.get) == {("m1", "prod"): nothing}
        refused = replace(nothing, unresolved=(PROD,))
        assert desired_state([subscribed(refused=True)], ADDRESSES.get) == {("m1", "prod"): refused}

    def test_after_a_reference_that_is_gone_come_others(self):
        found = desired_state([subscribed(gone=True), subscribed("m2")], ADDRESSES.get)
        assert found["m2", "prod"].resolved == {PROD: ADDRESSES[PROD]}

    def test_the_order_of_references_does_not_matter(self):
        both = [subscribed(), subscribed("m1", "k8s://prod?x")]
        addresses = {**ADDRESSES, "k8s://prod?x": ("192.0.2.3",)}
        assert desired_state(both, addresses.get) == desired_state(both[::-1], addresses.get)


class TestOutOfSync:
    def test_a_minion_that_never_applied_is_out_of_sync(self):
        (one,) = behind(subscribed())
        assert (one.minion, one.cluster, one.desired) == (
            "m1",
            "prod",
            digest({PROD: ADDRESSES[PROD]}),
        )
        assert one.entry == LedgerEntry(minion="m1", cluster="prod")
        assert one.why(NOW, TIMEOUT) == "never applied"
        assert one.due(NOW, TIMEOUT)

    def test_a_minion_that_proved_the_present_addresses_is_in_sync(self):
        assert behind(subscribed(), ledger=(applied("m1", PROD),)) == []

    def test_a_minion_that_proved_other_addresses_is_out_of_sync(self):
        (one,) = behind(
            subscribed(), ledger=(LedgerEntry(minion="m1", cluster="prod", applied="old"),)
        )
        assert one.why(NOW, TIMEOUT) == "addresses changed"

    def test_a_reference_more_or_less_is_a_change(self):
        more = "k8s://prod?x"
        addresses = {**ADDRESSES, more: ADDRESSES[PROD]}
        desired = desired_state([subscribed(), subscribed("m1", more)], addresses.get)
        assert out_of_sync(desired, {("m1", "prod"): applied("m1", PROD)})

    def test_a_minion_with_a_gone_reference_is_out_of_sync_until_proven(self):
        assert behind(subscribed(gone=True), ledger=(applied("m1", PROD),))
        assert behind(subscribed(gone=True), ledger=(applied("m1"),)) == []

    def test_gone_references_that_were_never_applied_are_applied_once(self):
        assert len(behind(subscribed(gone=True))) == 1

    def test_with_unresolved_references_alone_there_is_nothing_to_apply(self):
        assert behind(subscribed("m1", "k8s://unknown")) == []
        assert behind(subscribed(refused=True)) == []

    def test_an_unresolved_reference_beside_a_resolved_one_is_named(self):
        (one,) = behind(subscribed(), subscribed("m1", "k8s://prod?bad"))
        assert one.unresolved == ("k8s://prod?bad",)

    def test_each_cluster_of_a_minion_is_separate(self):
        found = behind(subscribed(), subscribed("m1", TEST), ledger=(applied("m1", PROD),))
        assert [one.cluster for one in found] == ["test"]

    def test_minions_are_in_order(self):
        found = behind(
            subscribed("m2"), subscribed("m10"), subscribed("m1", TEST), subscribed("m1")
        )
        assert [(one.minion, one.cluster) for one in found] == [
            ("m1", "prod"),
            ("m1", "test"),
            ("m10", "prod"),
            ("m2", "prod"),
        ]

    def test_an_entry_without_a_reference_is_ignored(self):
        assert behind(ledger=(LedgerEntry(minion="m9", cluster="prod", applied="old"),)) == []


def row(**entry) -> OutOfSync:
    (found,) = behind(subscribed(), ledger=(LedgerEntry(minion="m1", cluster="prod", **entry),))
    return found


class TestDue:
    @pytest.mark.parametrize(
        ("sent", "minutes"),
        [(0, 1), (29, 1), (89, 1), (91, 2), (3569, 59), (3571, 60), (3629, 60), (3631, 61),
         (5000 * 60 - 29, 5000), (5000 * 60 + 31, 5001), (None, 1)],
    )  # fmt: skip
    def test_a_run_that_goes_on_says_for_how_many_minutes(self, sent, minutes):
        sent_at = None if sent is None else NOW - sent
        one = row(jid="7", dispatched="x", dispatched_at=NOW - 10, sent_at=sent_at, running_at=NOW)
        assert one.in_flight(NOW, TIMEOUT)
        assert one.why(NOW, TIMEOUT) == f"its run has been going for {minutes} min (job 7)"

    def test_a_job_in_flight_delays_the_next(self):
        one = row(jid="7", dispatched="x", dispatched_at=NOW - 10)
        assert one.in_flight(NOW, TIMEOUT)
        assert not one.due(NOW, TIMEOUT)
        assert one.why(NOW, TIMEOUT) == "job 7 has not returned yet"

    def test_but_only_until_the_timeout(self):
        one = row(jid="7", dispatched="x", dispatched_at=NOW - TIMEOUT)
        assert not one.in_flight(NOW, TIMEOUT)
        assert one.due(NOW, TIMEOUT)

    def test_the_timeout_begins_when_a_job_is_sent_and_not_when_it_was_selected(self):
        sent = {"jid": "7", "dispatched": "x", "dispatched_at": NOW - TIMEOUT, "sent_at": NOW - 10}
        assert row(**sent).in_flight(NOW, TIMEOUT)
        assert not row(**sent).in_flight(NOW - 10 + TIMEOUT, TIMEOUT)

    def test_a_job_for_older_addresses_delays_the_next_too(self):
        # A second state run would be refused by the minion.
        one = row(applied="older", jid="7", dispatched="old", dispatched_at=NOW)
        assert not one.due(NOW + 1, TIMEOUT)

    def test_a_clock_that_was_set_back_causes_no_longer_wait(self):
        one = row(jid="7", dispatched="x", dispatched_at=NOW + 3600)
        assert one.due(NOW, TIMEOUT)
        assert row(attempts=9, next_at=NOW + 3600).due(NOW, TIMEOUT)
        # A difference of a second or two does not cause a second job.
        assert not row(jid="7", dispatched="x", dispatched_at=NOW + 2).due(NOW, TIMEOUT)

    def test_the_longest_delay_is_not_taken_for_a_clock_that_was_set_back(self):
        assert not row(attempts=9, next_at=NOW + 900).due(NOW, TIMEOUT)
        assert row(attempts=9, next_at=NOW + 900.1).due(NOW, TIMEOUT)

    def test_after_a_failure_it_is_due_at_its_next_try(self):
        one = row(attempts=2, next_at=NOW + 5, error="states failed: x")
        assert not one.in_flight(NOW, TIMEOUT)
        assert not one.due(NOW + 4.9, TIMEOUT)
        assert one.due(NOW + 5, TIMEOUT)
        assert one.why(NOW, TIMEOUT) == "states failed: x"


class Extreme(random.Random):
    """Returns the smallest or the largest number that may come out."""

    def __init__(self, extreme):
        self.extreme = extreme

    def uniform(self, a, b):
        return self.extreme(a, b)


@pytest.mark.parametrize(
    ("attempts", "ceiling"), [(0, 5), (1, 10), (4, 80), (7, 640), (8, 900), (1000, 900)]
)
def test_delays_grow_with_failures(attempts, ceiling):
    assert retry_after(attempts, refused=False, rng=Extreme(min)) == ceiling / 2
    assert retry_after(attempts, refused=False, rng=Extreme(max)) == ceiling


def test_delays_differ():
    rng = random.Random(7)
    assert len({retry_after(4, refused=False, rng=rng) for _ in range(100)}) == 100


def test_a_busy_minion_is_tried_again_soon_however_often():
    assert retry_after(50, refused=True, rng=Extreme(max)) == 5.0


class TestProofExpired:
    def test_an_old_proof_expires(self):
        entry = applied("m1", PROD, applied_at=NOW - 1000)
        desired = desired_state([subscribed()], ADDRESSES.get)
        (one,) = out_of_sync(
            desired, {("m1", "prod"): entry}, lambda it: proof_expired(it, NOW, 1000)
        )
        assert one.proof_expired
        assert one.why(NOW, TIMEOUT) == "last proof is older than apply:reapply_after; re-applying"
        assert (
            out_of_sync(desired, {("m1", "prod"): entry}, lambda it: proof_expired(it, NOW, 0))
            == []
        )
        assert (
            out_of_sync(desired, {("m1", "prod"): entry}, lambda it: proof_expired(it, NOW, 2000))
            == []
        )

    # Names whose checksums are at both ends of the spread.
    @pytest.mark.parametrize(("minion", "age"), [("web2732", 800.0), ("web114", 999.8)])
    def test_a_proof_expires_after_80_to_100_percent_of_the_time(self, minion, age):
        entry = applied(minion, applied_at=0.0)
        assert not proof_expired(entry, age - 0.01, 1000)
        assert proof_expired(entry, age + 0.01, 1000)

    def test_a_proof_is_still_good_at_the_end_of_its_time(self):
        assert not proof_expired(applied("web2732", applied_at=0.0), 800.0, 1000)

    def test_proofs_do_not_expire_at_the_same_time(self):
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


def test_digests_are_computed_once_while_they_are_used(monkeypatch):
    computed = []
    monkeypatch.setattr(
        "salt_ext.core.rollout.drift.digest",
        lambda resolved: computed.append(1) or digest(resolved),
    )
    digests = DigestCache()
    references = [subscribed("m1"), subscribed("m2"), subscribed("m1", TEST)]
    for _ in range(3):
        desired_state(references, ADDRESSES.get, digests)
    assert len(computed) == 2
    desired_state([], ADDRESSES.get, digests)
    desired_state([], ADDRESSES.get, digests)
    desired_state(references, {PROD: ("192.0.2.9",), TEST: ()}.get, digests)
    assert len(computed) == 4
