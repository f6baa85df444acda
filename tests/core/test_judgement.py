"""What a return proves, from values alone: every rule about proof and departed addresses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from salt_ext.core.rollout.departures import (
    Closing,
    Departure,
    Served,
    State,
    addresses_of,
    canonical,
    move,
    read_verdicts,
    summary,
)
from salt_ext.core.rollout.judgement import (
    CHANGED_MEANWHILE,
    CLOSE,
    REFRESH_PILLAR,
    SYNC_MODULES,
    DispatchedCluster,
    Evidence,
    Job,
    Outcome,
    RecordedReference,
    judge,
    still_runs,
    unserved_references,
)

NOW, AT = 100.0, 50.0
PROD = "k8s://prod"
STATES = {"return": {"a_|-b_|-b_|-c": {"result": True}}, "retcode": 0}
SYNC = Job(jid="7", at=AT, class_="", function="k8s_firewall.sync")
CLOSING = Job(jid="7", at=AT, class_="", function="k8s_firewall.close", step=CLOSE)
APPLY = Job(jid="7", at=AT, class_="", function="state.apply")


def dispatched(**more) -> DispatchedCluster:
    usual = {"cluster": "prod", "digest": "d", "at": AT, "revision": 2, "revision_now": 2}
    return DispatchedCluster(**{**usual, "references": {PROD: "x"}, **more})


def recorded(**more) -> RecordedReference:
    usual = {"pillarenv": "", "reference": PROD, "cluster": "prod", "served": True, "digest": "x"}
    return RecordedReference(**{**usual, "changed_at": 60.0, **more})


def departure(address: str = "192.0.2.1", **more) -> Departure:
    usual = {"minion": "m1", "cluster": "prod", "cause": "node n1 left", "since": 40.0}
    return Departure(address=address, **{**usual, **more})


def evidence(job: Job | None = APPLY, **more) -> Evidence:
    usual = {"jid": "7", "minion": "m1", "clusters": (dispatched(),), "references": (recorded(),)}
    return Evidence(job=job, **{**usual, **more})


def answered(**departures) -> dict:
    return {"return": {"result": True, "departures": departures}, "retcode": 0}


class TestProof:
    def test_a_success_proves_what_was_desired_when_it_was_published(self):
        found = judge(STATES, evidence(compiles=True), NOW)
        (proof,) = found.proofs
        assert (found.outcome, found.error) == (Outcome.PROVEN, "")
        assert (proof.cluster, proof.digest, proof.revision, proof.error) == ("prod", "d", 2, None)

    def test_a_failure_proves_nothing(self):
        found = judge({"return": ["no"]}, evidence(attempts=3), NOW)
        assert (found.outcome, found.proofs, found.attempts) == (Outcome.FAILED, (), 3)
        assert found.error == "no"

    def test_a_minion_that_was_busy_has_refused(self):
        busy = judge({"return": ["The function is running as PID 7"]}, evidence(), NOW)
        assert busy.outcome is Outcome.REFUSED

    def test_a_job_that_is_not_known_is_judged_as_states(self):
        assert judge(STATES, evidence(None), NOW).outcome is Outcome.PROVEN

    @pytest.mark.parametrize(
        ("step", "outcome"),
        [
            (SYNC_MODULES, Outcome.MODULES_SYNCED),
            (REFRESH_PILLAR, Outcome.PILLAR_REFRESHED),
        ],
    )
    def test_a_step_before_the_run_proves_no_addresses(self, step, outcome):
        job = replace(APPLY, function="saltutil.x", step=step)
        found = judge({"return": True, "retcode": 0}, evidence(job), NOW)
        assert (found.outcome, found.proofs, found.findings) == (outcome, (), None)

    def test_references_that_were_gone_before_it_are_acknowledged(self):
        rows = (
            recorded(),
            recorded(reference="k8s://prod/old", gone_at=AT - 1),
            recorded(reference="k8s://prod/new", gone_at=AT + 1),
            recorded(reference="k8s://other", cluster="other", gone_at=1.0),
        )
        found = judge(STATES, evidence(references=rows), NOW)
        assert found.acknowledged == (("", "k8s://prod/old"),)

    def test_one_of_a_minion_that_was_given_up_is_late(self):
        assert judge(STATES, evidence(clusters=(dispatched(late=True),)), NOW).late


class TestUnserved:
    def test_a_pillar_that_was_not_served_is_no_proof_where_the_run_compiles_it(self):
        rows = (recorded(served=False),)
        found = judge(STATES, evidence(references=rows, compiles=True), NOW)
        assert found.outcome is Outcome.FAILED
        assert found.error.startswith(f"the pillar of this run was not served {PROD} as it is now")
        assert judge(STATES, evidence(references=rows), NOW).outcome is Outcome.PROVEN

    def test_one_environment_that_is_right_is_enough(self):
        rows = (recorded(digest="old"), recorded(pillarenv="dev"))
        assert unserved_references(evidence(references=rows)) == []
        assert unserved_references(evidence(references=rows[:1])) == [PROD]

    @pytest.mark.parametrize(
        "more", [{"revision_now": 3}, {"revision_now": None}, {"references": None}]
    )
    def test_a_cluster_that_has_changed_or_is_not_kept_says_nothing(self, more):
        rows = (recorded(digest="old"),)
        seen = evidence(clusters=(dispatched(**more),), references=rows)
        assert unserved_references(seen) == []

    def test_neither_do_references_that_are_gone_or_were_not_dispatched(self):
        rows = (recorded(served=False, gone_at=1.0), recorded(reference="k8s://prod/x"))
        assert unserved_references(evidence(references=rows)) == []


class TestAClusterThatChangesMeanwhile:
    def judged(self, *rows: RecordedReference, **more):
        clusters = (dispatched(revision_now=3, **more),)
        (proof,) = judge(STATES, evidence(clusters=clusters, references=rows), NOW).proofs
        return proof

    def test_a_compile_since_then_makes_doubt(self):
        proof = self.judged(recorded(changed_at=AT))
        assert (proof.digest, proof.revision, proof.error) == (None, None, CHANGED_MEANWHILE)

    def test_so_does_a_pillar_that_had_something_else(self):
        assert self.judged(recorded(changed_at=1.0, digest="y")).error == CHANGED_MEANWHILE
        assert self.judged(recorded(changed_at=1.0), references=None).error == CHANGED_MEANWHILE

    def test_a_pillar_that_had_the_same_all_the_time_makes_none(self):
        rows = (recorded(changed_at=1.0), recorded(reference="z", gone_at=1.0, changed_at=99.0))
        assert self.judged(*rows).digest == "d"

    def test_nor_does_a_cluster_without_a_revision(self):
        clusters = (dispatched(revision=None, revision_now=3),)
        (proof,) = judge(STATES, evidence(clusters=clusters), NOW).proofs
        assert proof.digest == "d"


class TestDepartures:
    def judged(self, returned: dict, *held: Departure, job: Job = CLOSING, **more):
        closing = Closing(minion="m1", jid="7", sent_at=AT, attempts=2)
        clusters = (dispatched(),) if job is SYNC else ()
        seen = evidence(job, departures=held, closing=closing, clusters=clusters, **more)
        found = judge(returned, seen, NOW)
        assert found.closing_attempts == 2
        return found

    def test_each_part_of_an_answer_settles_its_addresses(self):
        held = [departure(f"192.0.2.{n}") for n in range(1, 5)]
        returned = answered(
            closed={"192.0.2.1": "read"},
            open={"192.0.2.2": "rule 7"},
            unknown={"192.0.2.3": "old nft"},
            spared={"192.0.2.4": "static"},
        )
        found = self.judged(returned, *held)
        assert found.outcome is Outcome.CHECKED
        states = {
            one.address[-1]: (one.state, one.evidence, one.open_by, one.ended_at)
            for one in found.findings.changed
        }
        assert states == {
            "1": (State.CLOSED, "read", "", NOW),
            "2": (State.OPEN, "", "rule 7", None),
            "3": (State.OPEN, "", "unknown: old nft", None),
            "4": (State.SPARED, "static", "", NOW),
        }
        assert (found.findings.remaining, found.findings.unanswered) == (2, 0)

    def test_an_address_in_two_parts_counts_as_the_worse(self):
        both = answered(closed={"192.0.2.1": "a"}, open={"192.0.2.1": "b"}, spared={})
        (one,) = self.judged(both, departure()).findings.changed
        assert one.state is State.OPEN
        spared = answered(closed={"192.0.2.1": "a"}, spared={"192.0.2.1": "b"})
        (one,) = self.judged(spared, departure()).findings.changed
        assert one.state is State.SPARED

    def test_one_that_departed_after_the_publish_stays_as_it_is(self):
        found = self.judged(answered(closed={"192.0.2.1": "x"}), departure(since=AT + 1))
        assert (found.findings.changed, found.findings.remaining) == ((), 1)

    def test_one_that_is_wanted_again_stays_as_it_is(self):
        wanted = departure(state=State.WANTED)
        assert self.judged(answered(open={"192.0.2.1": "x"}), wanted).findings.changed == ()

    def test_one_that_is_closed_still_keeps_the_time_of_that(self):
        closed = departure(state=State.CLOSED, ended_at=45.0)
        (one,) = self.judged(answered(closed={"192.0.2.1": "x"}), closed).findings.changed
        assert (one.ended_at, one.checked_at) == (45.0, NOW)

    def test_one_that_comes_back_is_open_since_now(self):
        closed = departure(state=State.CLOSED, ended_at=45.0, reported=True)
        (one,) = self.judged(answered(open={"192.0.2.1": "x"}), closed).findings.changed
        assert (one.state, one.since, one.cause, one.reported) == (
            State.OPEN,
            NOW,
            "open again: node n1 left",
            False,
        )

    def test_a_run_that_says_nothing_leaves_them_to_a_job_that_closes(self):
        found = self.judged({"return": {"result": True}, "retcode": 0}, departure(), job=SYNC)
        assert found.findings is None
        assert self.judged(STATES, departure(), job=APPLY).findings is None
        found = self.judged(answered(), departure(), job=SYNC)
        assert (found.findings.untried, found.findings.error) == (True, "")

    def test_one_that_only_the_minion_knows_is_taken_from_a_run(self):
        found = self.judged(answered(open={"192.0.2.9": "x"}), job=SYNC)
        (one,) = found.findings.changed
        assert (one.address, one.cluster, one.cause) == (
            "192.0.2.9",
            "prod",
            "reported by the minion",
        )
        # A job that closes was for addresses that the master named.
        assert self.judged(answered(open={"192.0.2.9": "x"})).findings.changed == ()

    def test_the_time_that_counts_is_that_of_the_job_which_returns(self):
        closed = answered(closed={"192.0.2.1": "x"})
        later = Closing(minion="m1", jid="8", sent_at=AT + 9)
        seen = evidence(SYNC, departures=(departure(since=AT + 1),), closing=later)
        assert judge(closed, seen, NOW).findings.changed == ()
        # A job of which nothing is known proves nothing about them.
        seen = evidence(CLOSING, departures=(departure(),), clusters=())
        assert judge(closed, seen, NOW).findings.changed == ()

    @pytest.mark.parametrize(
        ("returned", "error"),
        [
            ({"result": None, "departures": {}}, "test: True"),
            ("'k8s_firewall.close' is not available.", "missing or old"),
            ("Traceback", "k8s_firewall.close failed: Traceback"),
            (None, "no details"),
            ({"result": False, "comment": "busy"}, "answered nothing about departures: busy"),
            ({"result": True, "error": "e"}, "answered nothing about departures: e"),
            ({"result": True}, "no comment"),
            ({"departures": 7}, "cannot be read"),
            ({"departures": {"closed": ["192.0.2.1"]}}, "cannot be read"),
            ({"departures": {"closed": {7: "x"}}}, "answered about none"),
        ],
    )
    def test_what_is_no_reading_proves_nothing(self, returned, error):
        found = self.judged({"return": returned, "retcode": 0}, departure())
        assert error in found.findings.error
        assert (found.findings.changed, found.findings.remaining) == ((), 1)

    def test_a_run_in_test_mode_or_that_failed_in_words_says_nothing(self):
        assert read_verdicts({"return": "no"}, "k8s_firewall.sync") is None
        tested = read_verdicts({"return": {"result": None}}, "k8s_firewall.sync")
        assert tested.error
        assert len(tested) == 0

    def test_text_of_a_minion_is_one_printable_line_of_bounded_length(self):
        found = self.judged(answered(open={"192.0.2.1": "a\nb\x1b[31m" + "c" * 999}), departure())
        (one,) = found.findings.changed
        assert one.open_by.startswith("a b?[31mccc")
        assert len(one.open_by) == 200


class TestProblems:
    def test_failing_parts_are_taken_from_calls_of_the_module_alone(self):
        def problems(answer: object, job: Job = SYNC):
            return judge({"return": answer, "retcode": 0}, evidence(job), NOW).problems

        assert problems({"result": False, "problems": ["a\nb", 7]}) == ("a b", "7")
        assert problems({"result": False, "problems": "a"}) == ("a",)
        assert problems({"result": True}) == ()
        assert problems("no") is None
        assert problems({"problems": ["a"]}, APPLY) is None


class TestMoves:
    def test_addresses_are_compared_in_one_spelling(self):
        lists = {
            PROD: ("192.0.2.1/32", "10.1.0.0/24", "2001:db8::1"),
            "nodes://prod": ("n1 192.0.2.2 2001:db8::2/128 (('a', 'b c'),)", "n2  ()"),
            "k8s://empty": ("255.255.255.255", "ff00::/128"),
        }
        assert addresses_of(lists) == {
            "192.0.2.1",
            "10.1.0.0/24",
            "2001:db8::1",
            "192.0.2.2",
            "2001:db8::2",
        }
        assert canonical("10.1.0.7/24") == "10.1.0.0/24"
        assert canonical("n1") == "n1"

    def test_an_address_in_a_network_that_is_still_served_has_not_departed(self):
        served = Served.of({PROD: ("10.1.0.0/24", "2001:db8::/64")})
        gone = ["10.1.0.7", "10.2.0.7", "10.1.0.0/16", "2001:db8::7", "n1", "10.1.0.0/24"]
        assert served.without(gone) == {"10.2.0.7", "10.1.0.0/16", "n1"}

    def test_the_cause_is_the_reference_or_the_cluster(self):
        before = {PROD: ("192.0.2.1", "192.0.2.2"), "k8s://prod/x": ("192.0.2.1", "192.0.2.3")}
        found = move(before, {PROD: ("192.0.2.1", "192.0.2.9")}, "prod")
        assert found.departed == {
            "192.0.2.2": f"left {PROD}",
            "192.0.2.3": "reference k8s://prod/x removed",
        }
        assert found.returned == {"192.0.2.9"}
        gone = move(before, {}, "prod", configured=False)
        assert set(gone.departed.values()) == {"cluster prod removed from the configuration"}
        assert move(before, before, "prod").departed == {}


class TestSummary:
    def test_it_names_addresses_minions_and_the_rule(self):
        rows = [
            departure(open_by="rule 7"),
            departure("192.0.2.2", minion="m2", cluster="test", since=50.0),
        ]
        assert summary(rows[:1]) == "1 address that left prod is still open on m1: rule 7"
        assert summary(rows) == (
            "2 addresses that left prod, test are still open on m1, m2: rule 7 and others"
        )

    def test_an_open_one_without_an_answer_says_why(self):
        assert summary([departure()]).endswith("on m1: not checked yet")
        assert summary([departure()], why=lambda _: "no module").endswith("on m1: no module")

    def test_nothing_is_said_without_an_open_one(self):
        assert summary([departure(state=State.CLOSED)]) == ""


def test_only_the_answer_with_that_job_says_that_it_runs():
    assert still_runs(None, "7") is None
    assert still_runs({"return": {"jid": "7"}}, "7") is True
    assert still_runs({"return": {"jid": 7}}, "7") is True
    assert still_runs({"return": {}}, "7") is False
    assert still_runs({"return": {"jid": "8"}}, "7") is False
    assert still_runs({"return": "no"}, "7") is False
