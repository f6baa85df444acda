"""An address that left is open until a kernel was read: recorded, closed, looked for again."""

from __future__ import annotations

import pytest

from salt_ext.core.rollout.departures import State
from salt_ext.daemon.metrics import MetricsCollector
from salt_ext.store import address_sets
from salt_ext.store.control import ControlFlag
from salt_ext.store.subscriptions import Answer, Seen
from tests.core.build import member, snapshot
from tests.functional.departing import CLUSTER, SHIPPED, Master
from tests.functional.returns import STATES

EVIDENCE = "kernel and boot files read whole: nothing names it"
RULE = "iptables INPUT rule 7"


@pytest.fixture
def make(tmp_path, monkeypatch):
    def make(**block) -> Master:
        """A master whose minion m1 has proven prod with two nodes."""
        master = Master(tmp_path, monkeypatch, **block)
        master.view("prod", "192.0.2.1", "192.0.2.2")
        master.view("test", "198.51.100.1")
        master.refer("m1", "k8s://prod")
        master.prove()
        return master

    return make


@pytest.fixture
def master(make):
    return make()


class TestWhatDeparts:
    def test_a_node_that_leaves(self, master):
        master.view("prod", "192.0.2.2")
        master.look()
        assert master.departed() == {"192.0.2.1": "open"}
        (one,) = master.store.departures.open()
        assert (one.cluster, one.cause, one.since) == ("prod", "left k8s://prod", master.now)

    def test_a_reference_that_is_removed(self, master):
        master.refer("m1")
        master.look()
        assert master.departed() == {"192.0.2.1": "open", "192.0.2.2": "open"}
        assert {one.cause for one in master.store.departures.open()} == {
            "reference k8s://prod removed"
        }

    def test_a_group_whose_selector_changes_and_networks_that_are_no_longer_allowed(self, make):
        master = make()
        master.block["clusters"]["prod"]["allowed_networks"] = ["192.0.2.2/32"]
        master.look()
        assert master.departed() == {"192.0.2.1": "open"}

    def test_nothing_departs_that_another_reference_of_the_minion_serves(self, master):
        master.view("test", "192.0.2.1", "198.51.100.1")
        master.refer("m1", "k8s://prod", "k8s://test", "k8s://prod?family=ipv4")
        master.look()
        master.view("prod", "192.0.2.2")
        master.look()
        assert master.departed() == {}
        master.view("test", "198.51.100.1")
        master.look()
        assert master.departed() == {"192.0.2.1": "open"}

    def test_the_same_address_in_another_spelling_has_not_departed(self, master):
        master.refer("m1", "k8s://prod?format=cidr")
        master.look()
        assert master.departed() == {}

    def test_nothing_departs_with_a_reference_that_cannot_be_resolved(self, master):
        del master.block["clusters"]["prod"]
        master.refer("m1", "k8s://prod")
        master.look()
        assert master.departed() == {}

    def test_it_is_known_after_the_minion_restarted_and_lost_its_proof(self, master):
        master.store.applied.invalidate("m1", "the minion restarted", master.now)
        master.view("prod", "192.0.2.2")
        master.look()
        assert master.departed() == {"192.0.2.1": "open"}

    def test_a_store_with_a_ledger_and_no_baseline_begins_with_what_was_published(self, master):
        with master.store.database.writing() as connection:
            connection.execute("DELETE FROM departure_baseline")
        master.view("prod", "192.0.2.2")
        master.look()
        assert master.departed() == {"192.0.2.1": "open"}

    def test_a_placeholder_is_no_address(self, master):
        master.refer("m1", "k8s://prod?labelSelector=pool=x&empty=placeholder")
        master.prove()
        master.refer("m1", "k8s://prod")
        master.look()
        assert "255.255.255.255" not in master.departed()

    def test_an_address_that_is_wanted_again_ends_its_departure(self, master):
        master.view("prod", "192.0.2.2")
        master.look()
        master.view("prod", "192.0.2.1", "192.0.2.2")
        master.look()
        assert master.departed() == {"192.0.2.1": State.WANTED.value}
        # And the next time it leaves, that is another departure.
        master.now += 60
        master.view("prod", "192.0.2.2")
        master.look()
        (one,) = master.store.departures.open()
        assert one.since == master.now

    def test_what_a_view_took_ends_where_another_cluster_serves_it(self, master):
        master.view("test", "192.0.2.1")
        master.refer("m1", "k8s://prod", "k8s://test")
        master.look()
        view = snapshot(member("n2", "192.0.2.2"), revision=2)
        departed = [(["m1"], {"192.0.2.1": "node n1 left"})]
        master.store.snapshots.save(view, [], ["n192.0.2.1"], departed)
        master.look()
        assert master.departed() == {"192.0.2.1": State.WANTED.value}
        assert master.store.departures.closings() == {}

    def test_what_was_served_is_known_also_where_nothing_was_ever_published(self, master):
        master.refer("m2", "k8s://prod?family=ipv4")
        master.look()
        with master.store.database.writing() as connection:
            address_sets.delete_unused(connection)
        master.view("prod", "192.0.2.2")
        master.look()
        assert master.departed("m2") == {"192.0.2.1": "open"}

    def test_a_minion_without_a_key_has_none(self, master):
        master.view("prod", "192.0.2.2")
        master.look()
        master.store.subscriptions.delete("m1", master.now)
        master.look()
        assert master.departed() == {}
        assert master.store.departures.closings() == {}


class TestClosing:
    def test_it_follows_the_proof_and_ends_with_evidence(self, master):
        master.view("prod", "192.0.2.2")
        # The run first: nothing is closed before the view is proven.
        assert master.prove() == ["state.apply"]
        since = master.store.departures.open()[0].since
        assert master.status()["minions"]["m1"]["prod"]["up_to_date"] is True
        sent = master.close("m1", closed={"192.0.2.1": EVIDENCE})
        assert sent == {"departed": {"192.0.2.1": since}}
        (one,) = master.store.departures.of("m1")
        assert (one.state, one.evidence) == (State.CLOSED, EVIDENCE)
        assert master.run() == {}

    def test_the_module_is_brought_first_to_a_minion_whose_firewall_is_a_formula(self, master):
        master.view("prod", "192.0.2.2")
        master.prove()
        ((jid, (minions, action)),) = master.run().items()
        assert (minions, action.function) == (["m1"], "saltutil.sync_all")
        master.answer(jid, "m1", {"modules": ["k8s_firewall"]})
        assert master.settle() == {"prod"}
        assert master.store.minion_facts.module_versions() == {"m1": SHIPPED}
        ((_, (_, action)),) = master.run().items()
        assert action.function == "k8s_firewall.close"

    def test_what_was_closed_while_it_was_wanted_again_is_opened_again(self, proven):
        ((jid, (_, action)),) = proven.run().items()
        assert action.function == "k8s_firewall.close"
        # The minion has compiled its pillar; then the node comes back, and its run is first.
        proven.view("prod", "192.0.2.1", "192.0.2.2")
        assert proven.prove() == ["state.apply"]
        assert proven.status()["minions"]["m1"]["prod"]["up_to_date"] is True
        answer = {"result": True, "departures": {"closed": {"192.0.2.1": EVIDENCE}}}
        proven.answer(jid, "m1", answer)
        proven.settle()
        shown = proven.status()["minions"]["m1"]["prod"]
        assert (shown["up_to_date"], "closed while it was wanted" in shown["why"]) == (False, True)
        assert proven.prove() == ["state.apply"]
        assert proven.run() == {}

    def test_a_formula_that_fails_keeps_nothing_open(self, master):
        master.store.minion_facts.set_module_version("m1", SHIPPED)
        master.view("prod", "192.0.2.2")
        ((jid, _),) = master.run().items()
        master.answer(jid, "m1", {"file_|-x_|-x_|-managed": {"result": False, "comment": "no"}})
        master.settle()
        sent = master.close("m1", closed={"192.0.2.1": EVIDENCE})
        assert list(sent["departed"]) == ["192.0.2.1"]
        assert master.departed() == {"192.0.2.1": "closed"}
        assert master.status()["minions"]["m1"]["prod"]["up_to_date"] is False

    @pytest.fixture
    def proven(self, master):
        """A minion with one departure, whose view is proven and whose module is there."""
        master.store.minion_facts.set_module_version("m1", SHIPPED)
        master.view("prod", "192.0.2.2")
        master.prove()
        return master

    def test_one_that_is_open_is_tried_again_with_longer_waits(self, proven):
        waits = []
        for _ in range(12):
            proven.close("m1", open={"192.0.2.1": RULE})
            closing = proven.store.departures.closings()["m1"]
            waits.append(closing.next_at - proven.now)
            assert proven.run() == {}
            proven.now = closing.next_at
        assert proven.departed() == {"192.0.2.1": "open"}
        assert proven.store.departures.open()[0].open_by == RULE
        assert waits[0] <= 5
        assert 450 <= waits[-1] <= 900

    def test_unknown_is_open_and_says_why(self, proven):
        proven.close("m1", unknown={"192.0.2.1": "nft is too old"})
        (one,) = proven.store.departures.open()
        assert one.open_by == "unknown: nft is too old"

    def test_one_that_the_pillar_has_without_a_reference_is_spared(self, proven):
        proven.close("m1", spared={"192.0.2.1": "static in pillar"})
        (one,) = proven.store.departures.of("m1")
        assert (one.state, one.evidence) == (State.SPARED, "static in pillar")

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            ({"result": None, "departures": {"closed": {"192.0.2.1": "x"}}}, "test: True"),
            ("'k8s_firewall.close' is not available.", "missing or old"),
            ("The minion function caused an exception", "caused an exception"),
            ({"result": True}, "answered nothing about departures"),
            ({"result": True, "departures": ["192.0.2.1"]}, "cannot be read"),
            ({"result": True, "departures": {}}, "none of the departed addresses"),
        ],
    )
    def test_a_return_without_a_reading_proves_nothing_and_says_so(self, proven, answer, error):
        ((jid, _),) = proven.run().items()
        proven.answer(jid, "m1", answer)
        proven.settle()
        assert proven.departed() == {"192.0.2.1": "open"}
        closing = proven.store.departures.closings()["m1"]
        assert error in closing.error
        assert closing.next_at > proven.now
        assert closing.attempts == 1
        assert error in proven.status()["summary"]

    def test_a_minion_without_the_module_gets_it_before_the_next_try(self, proven):
        ((jid, _),) = proven.run().items()
        proven.answer(jid, "m1", "'k8s_firewall.close' is not available.", retcode=254)
        proven.settle()
        proven.now += 900
        ((_, (_, action)),) = proven.run().items()
        assert action.function == "saltutil.sync_all"

    def test_one_that_does_not_return_is_tried_again(self, proven):
        ((jid, _),) = proven.run().items()
        proven.settle()
        assert proven.run() == {}
        proven.now += 300
        proven.settle()
        assert proven.store.departures.closings()["m1"].error == f"did not return to job {jid}"
        proven.now += 10
        assert proven.close("m1", closed={"192.0.2.1": EVIDENCE})

    def test_a_verdict_about_an_address_that_departed_later_counts_for_nothing(self, proven):
        ((jid, _),) = proven.run().items()
        proven.view("prod", "192.0.2.1", "192.0.2.2")
        proven.look()
        proven.view("prod", "192.0.2.2")
        proven.look()
        proven.answer(jid, "m1", {"departures": {"closed": {"192.0.2.1": EVIDENCE}}})
        proven.settle()
        assert proven.departed() == {"192.0.2.1": "open"}

    def test_what_a_forged_or_unasked_job_says_is_not_looked_at(self, proven):
        proven.answer("4711", "m1", {"departures": {"closed": {"192.0.2.1": EVIDENCE}}})
        proven.settle()
        assert proven.departed() == {"192.0.2.1": "open"}

    def test_minions_with_the_same_departures_get_one_job_and_at_most_a_batch(self, make):
        master = make(apply={"batch": 3})
        minions = [f"m{n}" for n in range(1, 6)]
        for name in minions:
            master.refer(name, "k8s://prod")
            master.store.minion_facts.set_module_version(name, SHIPPED)
        for _ in range(3):
            master.prove()
        master.view("prod", "192.0.2.2")
        for _ in range(4):
            if set(master.prove()) != {"state.apply"}:
                break
        jobs = [job for job in master.jobs.values() if job[1].function == "k8s_firewall.close"]
        assert [len(names) for names, _ in jobs] == [3]

    def test_nothing_is_published_while_paused_in_doubt_or_observed(self, proven):
        proven.store.decisions.pause(ControlFlag("kim", proven.now))
        assert proven.run() == {}
        proven.store.decisions.resume()
        proven.block["apply"]["batch"] = "many"
        assert proven.run() == {}
        proven.block["apply"]["batch"] = 50
        proven.block["clusters"]["prod"]["mode"] = "observe"
        assert proven.run() == {}
        assert proven.plan()["minions"]["m1"]["closes_when"] == "observed only (mode: observe)"
        proven.block["clusters"]["prod"]["mode"] = "enforce"
        assert proven.run() != {}

    def test_a_job_names_a_thousand_addresses_at_most_and_the_next_one_the_others(
        self, make, monkeypatch
    ):
        monkeypatch.setattr("salt_ext.core.rollout.closing.MAX_IN_JOB", 1)
        master = make()
        master.store.minion_facts.set_module_version("m1", SHIPPED)
        master.view("prod")
        master.prove()
        first = master.close("m1", closed={"192.0.2.1": EVIDENCE})
        assert list(first["departed"]) == ["192.0.2.1"]
        master.now += 10
        second = master.close("m1", closed={"192.0.2.2": EVIDENCE})
        assert list(second["departed"]) == ["192.0.2.2"]

    def test_the_engine_asks_for_it_as_soon_as_the_run_is_settled(self, proven):
        assert proven.remind("prod") == ["salt/k8s_nodes/prod/lagging"]


class TestWhatARunAnswers:
    @pytest.fixture
    def synced(self, make):
        """A minion whose class publishes sync, with one departure and that run in flight."""
        master = make(apply={"function": "k8s_firewall.sync", "sync": False})
        master.store.minion_facts.set_module_version("m1", SHIPPED)
        master.view("prod", "192.0.2.2")
        ((self.jid, _),) = master.run().items()
        return master

    def settle(self, master, **departures) -> None:
        answer = {"result": True, "comment": "", **departures}
        master.answer(self.jid, "m1", answer)
        master.settle()

    def test_it_closes_with_the_same_return(self, synced):
        self.settle(synced, departures={"closed": {"192.0.2.1": EVIDENCE}})
        assert synced.departed() == {"192.0.2.1": "closed"}
        assert synced.run() == {}

    def test_one_that_says_nothing_closes_nothing_and_a_job_that_closes_follows(self, synced):
        self.settle(synced)
        assert synced.departed() == {"192.0.2.1": "open"}
        assert synced.close("m1", closed={"192.0.2.1": EVIDENCE})

    def test_an_address_that_is_open_by_its_answer_is_not_asked_for_at_once(self, synced):
        self.settle(synced, departures={"open": {"192.0.2.1": RULE}})
        assert synced.run() == {}
        assert synced.store.departures.open()[0].open_by == RULE

    def test_a_run_that_failed_has_read_the_kernel_all_the_same(self, synced):
        answer = {"result": False, "comment": "no", "departures": {"closed": {"192.0.2.1": "x"}}}
        synced.answer(self.jid, "m1", answer, retcode=1)
        synced.settle()
        assert synced.departed() == {"192.0.2.1": "closed"}
        assert synced.store.applied.all()["m1", "prod"].attempts == 1

    def test_an_open_address_that_only_the_minion_knows_is_tracked_from_then_on(self, synced):
        self.settle(synced, departures={"open": {"192.0.2.77": RULE, "192.0.2.1": RULE}})
        assert synced.departed() == {"192.0.2.1": "open", "192.0.2.77": "open"}

    def test_failing_parts_are_problems_in_status_and_check_until_they_work(self, synced):
        self.settle(synced, problems=["prune: /etc/iptables is read-only"])
        assert synced.status()["problems"] == ["minion m1: prune: /etc/iptables is read-only"]
        assert "error: m1: prune: /etc/iptables is read-only" in synced.findings()
        synced.view("prod", "192.0.2.3")
        ((self.jid, _),) = synced.run().items()
        self.settle(synced)
        assert synced.status()["problems"] == []


class TestLookedForAgain:
    @pytest.fixture
    def closed(self, make):
        master = make()
        master.store.minion_facts.set_module_version("m1", SHIPPED)
        master.view("prod", "192.0.2.2")
        master.prove()
        master.close("m1", closed={"192.0.2.1": EVIDENCE})
        return master

    def test_once_a_day_where_the_run_is_a_formula_of_others(self, closed):
        assert closed.run() == {}
        closed.now += 70_000
        assert closed.run() == {}
        closed.block["apply"]["reapply_after"] = 0
        closed.now += 40_000
        sent = closed.close("m1", closed={"192.0.2.1": EVIDENCE})
        assert list(sent["departed"]) == ["192.0.2.1"]
        assert closed.run() == {}

    def test_a_rule_that_came_back_is_open_again(self, closed):
        closed.block["apply"]["reapply_after"] = 0
        closed.now += 110_000
        closed.close("m1", open={"192.0.2.1": RULE})
        (one,) = closed.store.departures.open()
        assert one.cause == "open again: left k8s://prod"
        assert closed.now - one.since < 60

    def test_never_an_address_that_is_wanted_again(self, closed):
        closed.view("prod", "192.0.2.1", "192.0.2.2")
        closed.prove()
        closed.block["apply"]["reapply_after"] = 0
        closed.now += 110_000
        assert closed.run() == {}

    def test_after_half_a_year_it_is_forgotten(self, closed):
        closed.now += 181 * 86_400
        closed.view("prod", "192.0.2.3")
        closed.look()
        assert "192.0.2.1" not in closed.departed()


class TestBounds:
    def test_ended_ones_make_room_and_an_open_one_is_never_dropped_in_silence(
        self, make, monkeypatch
    ):
        monkeypatch.setattr("salt_ext.store.departures.MAX_PER_MINION", 2)
        master = make()
        master.store.minion_facts.set_module_version("m1", SHIPPED)
        master.view("prod", "192.0.2.2")
        master.prove()
        master.close("m1", closed={"192.0.2.1": EVIDENCE})
        master.view("prod", "192.0.2.3")
        master.look()
        master.view("prod", "192.0.2.4")
        master.look()
        assert master.departed() == {"192.0.2.2": "open", "192.0.2.3": "open"}
        master.view("prod", "192.0.2.5")
        master.look()
        assert len(master.departed()) == 2
        (problem,) = master.status()["problems"]
        assert problem == "minion m1: 1 departed addresses are not tracked: too many are open"
        assert any(line.startswith("error: m1: 1 departed addresses") for line in master.findings())


class TestAClusterThatIsRemoved:
    """Out of the configuration, out of the pillars, in either order, and the last one too."""

    def close_all(self, master) -> None:
        """What was served by the cluster closes, with nothing but the engine's own events."""
        # The engine asks the minion for its pillar, by an event that the runner accepts.
        assert master.remind() == ["salt/k8s_nodes/prod/lagging"]
        assert "prod" in master.store.applied.clusters()
        ((jid, (minions, action)),) = master.run("prod").items()
        assert (minions, action.function) == (["m1"], "saltutil.refresh_pillar")
        assert master.run("prod") == {}
        # Its pillar has the reference no more.
        master.refer("m1")
        master.answer(jid, "m1", True)
        master.settle()
        assert master.remind("prod") == ["salt/k8s_nodes/prod/lagging"]
        assert master.prove() == ["state.apply"]
        assert master.remind("prod") == ["salt/k8s_nodes/prod/lagging"]
        sent = master.close("m1", closed={"192.0.2.1": EVIDENCE, "192.0.2.2": EVIDENCE})
        assert list(sent["departed"]) == ["192.0.2.1", "192.0.2.2"]
        assert master.departed() == {"192.0.2.1": "closed", "192.0.2.2": "closed"}
        assert master.run() == {}
        assert master.remind() == []

    @pytest.mark.parametrize("clusters", [{"test": CLUSTER}, {}])
    def test_what_it_had_opened_is_closed(self, master, clusters):
        master.block["clusters"] = dict(clusters)
        self.close_all(master)
        assert {one.cause for one in master.store.departures.of("m1")} == {
            "cluster prod removed from the configuration"
        }

    def test_a_reference_that_is_still_in_the_pillar_opens_and_closes_nothing(self, master):
        del master.block["clusters"]["prod"]
        ((jid, _),) = master.run().items()
        master.refer("m1", "k8s://prod")
        master.answer(jid, "m1", True)
        master.settle()
        assert master.run() == {}
        assert master.departed() == {}
        assert master.remind() == []
        shown = master.status()["minions"]["m1"]["prod"]
        assert shown["unresolved"] == ["k8s://prod"]
        assert shown["why"].startswith("cluster prod is not configured")
        # No event tells when it is taken out, so the pillar is asked for again.
        master.now += 3600
        ((jid, (_, action)),) = master.run().items()
        assert action.function == "saltutil.refresh_pillar"
        master.refer("m1")
        master.answer(jid, "m1", True)
        master.settle()
        assert master.prove() == ["state.apply"]
        assert master.departed() == {"192.0.2.1": "open", "192.0.2.2": "open"}

    def test_a_minion_whose_pillar_does_not_compile_is_asked_every_ten_minutes(self, master):
        del master.block["clusters"]["prod"]
        ((jid, _),) = master.run().items()
        master.answer(jid, "m1", True)
        master.settle()
        assert master.run() == {}
        master.now += 600
        assert len(master.run()) == 1

    def test_a_mistake_in_the_configuration_asks_for_nothing(self, master):
        master.block["clusters"] = ["prod", "test"]
        assert master.run() == {}
        assert master.remind() == []
        assert master.departed() == {}

    def test_a_cluster_that_comes_back_is_served_and_nothing_has_departed(self, master):
        kept = master.block["clusters"].pop("prod")
        ((jid, _),) = master.run().items()
        master.refer("m1", "k8s://prod")
        master.answer(jid, "m1", True)
        master.settle()
        master.block["clusters"]["prod"] = kept
        master.refer("m1", "k8s://prod")
        assert master.run() == {}
        assert master.departed() == {}


class TestAReferenceThatWasNeverServed:
    def test_once_it_is_corrected_nothing_is_left_of_it(self, master):
        wrong = {"k8s://Prod": Seen(cluster="", answer=Answer.UNRESOLVED)}
        master.store.subscriptions.record("m2", "", wrong, master.now)
        assert master.status()["minions"]["m2"]["unreadable"]["unresolved"] == ["k8s://Prod"]
        master.refer("m2", "k8s://prod")
        master.prove()
        assert [row.reference for row in master.store.subscriptions.all()] == ["k8s://prod"] * 2
        assert master.remind() == []
        assert master.status()["minions"]["m2"].keys() == {"prod"}
        assert master.status()["summary"] == "2 of 2 minions are up to date"

    def test_a_place_without_a_cluster_fires_no_event(self, master):
        served = {"k8s://Prod": Seen(cluster="", answer=Answer.SERVED)}
        master.store.subscriptions.record("m2", "", served, master.now)
        master.store.subscriptions.record("m2", "", {}, master.now)
        assert master.remind("") == []


class TestTruthEverywhere:
    @pytest.fixture
    def opened(self, make):
        master = make()
        master.store.minion_facts.set_module_version("m1", SHIPPED)
        master.view("prod", "192.0.2.2")
        master.prove()
        master.close("m1", open={"192.0.2.1": RULE})
        return master

    def test_status_names_the_address_the_minion_and_the_rule(self, opened):
        answer = opened.status()
        assert answer["summary"] == (
            f"1 of 1 minions are up to date; 1 address that left prod is still open on m1: {RULE}"
        )
        shown = answer["minions"]["m1"]["prod"]
        assert shown["up_to_date"] is True
        assert shown["open_departures"] == 1
        assert shown["departures"][0]["open_by"] == RULE

    def test_plan_names_what_would_be_closed_where(self, opened):
        entry = opened.plan()["minions"]["m1"]
        assert entry["publishes"] == "k8s_firewall.close"
        assert [one["address"] for one in entry["closes"]] == ["192.0.2.1"]
        assert entry["closes"][0]["open_by"] == RULE

    def test_history_calls_it_removed_only_with_proof(self, opened):
        (entry,) = opened.history("departed")
        assert entry["addresses"] == ["192.0.2.1"]
        assert entry["still_open"] == {"m1": {"192.0.2.1": RULE}}
        opened.now += 60
        opened.close("m1", closed={"192.0.2.1": EVIDENCE})
        (entry,) = opened.history("departed")
        assert "still_open" not in entry
        assert entry["closed"]["m1"]["evidence"] == EVIDENCE

    def test_check_has_an_error_and_says_which_rule(self, opened):
        (finding,) = [line for line in opened.findings() if line.startswith("error: m1")]
        assert finding == (
            f"error: m1: 192.0.2.1 left prod (left k8s://prod) and can still get in: {RULE}"
        )

    def test_check_has_none_within_a_minute_and_before_the_first_answer(self, make):
        master = make()
        master.view("prod", "192.0.2.2")
        master.look()
        assert not [line for line in master.findings() if line.startswith("error: m1")]
        master.now += 61
        assert [line for line in master.findings() if line.startswith("error: m1")]

    def test_metrics_count_them_and_their_age(self, opened):
        samples = {
            (sample.metric.name, *dict(sample.labels).values()): sample.value
            for sample in MetricsCollector(opened.config, opened.store).samples()
        }
        assert samples["k8s_nodes_departures_open", "prod"] == 1
        assert samples["k8s_nodes_departures_oldest_seconds", "prod"] >= 2
        assert samples["k8s_nodes_departures_open", "test"] == 0

    def test_an_event_names_them_once_after_ten_minutes(self, opened):
        tag = "salt/k8s_nodes/prod/departure/open"
        assert tag not in opened.remind()
        opened.now += 600
        assert tag in opened.remind()
        data = dict(opened.bus.fired)[tag]
        assert (data["addresses"], data["minions"], data["open_by"]) == (
            ["192.0.2.1"],
            ["m1"],
            RULE,
        )
        assert tag not in opened.remind()


class TestJobsThatTakeLong:
    @pytest.fixture
    def sent(self, make):
        """A run that is in flight, and has not returned within apply:timeout."""
        master = make(apply={"timeout": 60})
        master.view("prod", "192.0.2.1", "192.0.2.2", "192.0.2.3")
        ((self.jid, _),) = master.run().items()
        master.now += 60
        return master

    def probe(self, master, answer: object) -> None:
        """Let the question whether it runs be asked, and answered."""
        master.settle()
        (jid,) = [
            jid
            for jid, (_, action) in master.jobs.items()
            if action.function == "saltutil.find_job" and jid not in master.cache
        ]
        minions, action = master.jobs[jid]
        assert (minions, action.arg) == (["m1"], (self.jid,))
        assert master.run() == {}
        if answer is not None:
            master.answer(jid, "m1", answer)
        else:
            master.now += 10
        master.settle()

    def test_a_run_that_goes_on_is_not_published_a_second_time(self, sent):
        for _ in range(3):
            self.probe(sent, {"jid": self.jid, "fun": "state.apply"})
            assert sent.run() == {}
            shown = sent.status()["minions"]["m1"]["prod"]
            assert shown["why"].startswith("its run has been going for ")
            sent.now += 60
        sent.compile("m1")
        sent.answer(self.jid, "m1", STATES)
        sent.settle()
        assert sent.status()["summary"] == "1 of 1 minions are up to date"
        assert sent.store.applied.all()["m1", "prod"].attempts == 0

    @pytest.mark.parametrize("answer", [{}, None])
    def test_one_that_does_not_run_or_does_not_answer_is_given_up(self, sent, answer):
        self.probe(sent, answer)
        entry = sent.store.applied.all()["m1", "prod"]
        assert (entry.jid, entry.silent, entry.error) == (
            None,
            True,
            f"did not return to job {self.jid}",
        )

    def test_a_run_of_a_day_is_waited_for_no_longer(self, sent):
        self.probe(sent, {"jid": self.jid})
        sent.now += 86_400
        sent.settle()
        assert sent.store.applied.all()["m1", "prod"].silent

    def test_a_success_that_comes_late_is_a_success(self, sent):
        self.probe(sent, None)
        sent.now += 900
        ((second, _),) = sent.run().items()
        sent.compile("m1")
        sent.answer(self.jid, "m1", STATES)
        assert sent.settle() == {"prod"}
        entry = sent.store.applied.all()["m1", "prod"]
        assert (entry.jid, entry.attempts, entry.error) == (None, 0, None)
        assert sent.status()["summary"] == "1 of 1 minions are up to date"
        # The job that was sent since for the same is waited for no more.
        sent.answer(second, "m1", ["state.apply is running as PID 7"])
        sent.settle()
        assert sent.store.applied.all()["m1", "prod"].error is None

    def test_a_late_failure_is_counted_once(self, sent):
        self.probe(sent, None)
        sent.answer(self.jid, "m1", {"a_|-b_|-b_|-c": {"result": False, "comment": "no"}})
        sent.settle()
        assert sent.store.applied.all()["m1", "prod"].attempts == 1
        assert sent.store.applied.late() == {}

    def test_a_late_return_of_a_step_before_the_run_is_looked_at_once(self, make):
        master = make(apply={"timeout": 60})
        del master.block["clusters"]["prod"]
        ((jid, _),) = master.run().items()
        for _ in range(3):
            master.now += 60
            master.settle()
        assert master.store.applied.late() == {jid: ["m1"]}
        master.answer(jid, "m1", True)
        master.settle()
        assert master.store.applied.late() == {}

    def test_while_paused_the_question_is_not_asked(self, sent):
        sent.store.decisions.pause(ControlFlag("kim", sent.now))
        before = set(sent.jobs)
        sent.settle()
        assert set(sent.jobs) == before
