"""A week of mode observe can be read: each change that would have been made, and where."""

from __future__ import annotations

import random
import threading
import time

import pytest
import salt.config

from salt_ext.admin.check import modes
from salt_ext.admin.observed import observed
from salt_ext.core.cluster.hold import Effect, Held, Kind
from salt_ext.core.config.apply import ANY_GRAINS
from salt_ext.core.errors import BadArgument, UnknownCluster
from salt_ext.core.rollout.departures import addresses_of
from salt_ext.core.rollout.hints import Hints
from salt_ext.core.rollout.wave import RolloutState
from salt_ext.daemon.metrics import MetricsCollector
from salt_ext.rollout.controller import RolloutController
from salt_ext.rollout.desired_state import DesiredState
from salt_ext.rollout.event_listener import HintMailbox
from salt_ext.rollout.minion_events import DRIFTED, RESTARTED
from salt_ext.rollout.observed import ObservedChanges
from salt_ext.store import address_sets
from salt_ext.store import observed as table
from salt_ext.store.control import ControlFlag
from tests.functional.departing import CLUSTER, Master

A, B, C, D = (f"192.0.2.{number}" for number in (1, 2, 3, 4))
HOUR, DAY = 3600.0, 86_400.0


class Observer(Master):
    """A master whose engine looks when a test says so."""

    def look_now(self, **reapplied: str) -> None:
        """Let the engine look once; ``reapplied`` are minions that restarted or drifted."""
        self.engine().update(self.config, *self.state(), self.now, reapplied)

    def engine(self) -> ObservedChanges:
        return ObservedChanges(self.store, self.match)

    def state(self):
        return DesiredState(self.store).desired(self.config), self.store.applied.all()

    def match(self, target: str) -> frozenset[str]:
        known = {*self.pillars, *(minion for minion, _ in self.store.applied.all())}
        if target == ANY_GRAINS:
            return frozenset(known)
        prefix = {"G@role:web": "web*", "G@role:m1": "m1*"}.get(target, target)
        if prefix.endswith("*"):
            return frozenset(name for name in known if name.startswith(prefix[:-1]))
        return super().match(target)

    def observed(self, cluster: str | None = None, **options):
        return observed(self.config, self.store, cluster, **options)

    def entries(self, **options):
        """Return the entries, oldest first."""
        return self.observed(**{"count": 10_000, "since": "60d", **options})["entries"][::-1]

    def findings(self) -> list[str]:
        return [
            f"{one.where}: {one.what}"
            for one in modes.findings(self.config, self.store, self.match)
        ]


@pytest.fixture
def master(tmp_path, monkeypatch):
    """Two minions with a cluster of two nodes in mode observe; the engine has looked once."""
    clusters = {"prod": {**CLUSTER, "mode": "observe"}, "test": dict(CLUSTER)}
    found = Observer(tmp_path, monkeypatch, clusters=clusters)
    found.view("prod", A, B)
    found.view("test", D)
    found.refer("m1", "k8s://prod")
    found.refer("m2", "k8s://prod")
    found.look_now()
    return found


def replay(master: Observer, minion: str, until: float) -> set[str]:
    """Return what would be open on a minion at a time, by the answer of ``observed`` alone."""
    opened: set[str] = set()
    for entry in master.entries(minion=minion):
        if time.strptime(entry["at"], "%Y-%m-%dT%H:%M:%SZ") > time.gmtime(until):
            break
        assert entry["opens_count"] == len(entry["opens"])
        opened |= set(entry["opens"])
        opened -= set(entry["closes"])
    return opened


def both(master: Observer) -> None:
    """Let both minions refer to both clusters, and both clusters be observed."""
    master.block["clusters"]["test"]["mode"] = "observe"
    for minion in ("m1", "m2"):
        master.refer(minion, "k8s://prod", "k8s://test")
    master.look_now()


class TestAWeek:
    def test_it_tells_the_addresses_of_each_minion_at_each_time(self, master):
        """Nodes join and leave, pillars change, and clusters share addresses, for a week."""
        dice = random.Random(12)
        master.block["clusters"]["test"]["mode"] = "observe"
        pool = [f"192.0.2.{number}" for number in range(1, 60)]
        nodes = {"prod": {A, B}, "test": {D}}
        texts = ["k8s://prod", "k8s://test"]
        minions = ["m1", "m2", "m3", "m4"]
        master.refer("m3", "k8s://test")
        truth: list[tuple[float, dict[str, set[str]]]] = []
        for _ in range(7 * 24):
            master.now += HOUR
            for cluster, held in nodes.items():
                if dice.random() < 0.5:
                    held ^= set(dice.sample(pool, dice.randint(1, 6)))
                    master.view(cluster, *sorted(held or {A}))
                    nodes[cluster] = held or {A}
            if dice.random() < 0.3:
                chosen = [text for text in texts if dice.random() < 0.7]
                master.refer(dice.choice(minions), *chosen)
            master.look_now()
            desired, _ = master.state()
            now: dict[str, set[str]] = {}
            for (minion, _), target in desired.items():
                now.setdefault(minion, set()).update(addresses_of(target.resolved))
            truth.append((master.now, now))
        assert len(master.entries()) > 150
        for at, by_minion in truth:
            for minion in minions:
                assert replay(master, minion, at) == by_minion.get(minion, set()), (at, minion)

    def test_the_summary_counts_it(self, master):
        start = master.now
        for number in range(6):
            master.now += DAY
            master.view("prod", A, B, *([C] if number % 2 == 0 else []))
            master.look_now()
        assert master.observed(since="5d")["summary"] == (
            "in 5 days: 6 changes, 3 openings and 3 closings of addresses, on 2 minions; "
            "would have been held: 0"
        )
        assert master.observed()["summary"].startswith("in 6 days: 7 changes, 5 openings")
        assert master.status()["observed"].startswith("in 6 days: 7 changes")
        assert master.now == start + 6 * DAY


class TestAChange:
    def test_it_is_one_entry_for_all_minions_and_says_what_would_be_published(self, master):
        master.now += DAY
        master.view("prod", B, C)
        master.look_now()
        first, second = master.entries()
        assert (first["opens"], first["closes"]) == ([A, B], [])
        assert first["why"] == "nothing was proven before; reference k8s://prod added"
        assert second == {
            "at": "2023-11-15T22:13:20Z",
            "what": "would_apply",
            "cluster": "prod",
            "why": "nodes of k8s://prod changed",
            "observed_by": "cluster prod",
            "revision": 2,
            "publishes": "state.apply firewall",
            "class": None,
            "opens": [C],
            "opens_count": 1,
            "closes": [A],
            "closes_count": 1,
            "desired": 2,
            "first": ["m1", "m2"],
            "rollout": "first batch: m1, m2",
            "minions": 2,
            "names": ["m1", "m2"],
        }

    def test_it_is_compared_with_the_change_before_and_not_with_what_was_applied(self, master):
        master.run(force=True)
        for view in ((A, B, C), (A, B, C, D)):
            master.now += HOUR
            master.view("prod", *view)
            master.look_now()
        assert [entry["opens"] for entry in master.entries()] == [[A, B], [C], [D]]

    def test_what_is_in_force_when_the_mode_begins_is_not_a_change(self, tmp_path, monkeypatch):
        master = Observer(tmp_path, monkeypatch)
        master.view("prod", A)
        master.refer("m1", "k8s://prod")
        master.prove()
        master.look_now()
        assert master.store.observed.baselines() == {}
        master.block["clusters"]["prod"]["mode"] = "observe"
        master.look_now()
        master.now += HOUR
        master.view("prod", A, B)
        master.look_now()
        assert [(one["opens"], one["why"]) for one in master.entries()] == [
            ([B], "nodes of k8s://prod changed")
        ]

    def test_one_that_came_while_the_engine_was_down_is_found_at_its_start(self, master):
        master.view("prod", A, B, C)
        master.now += DAY
        master.look_now()
        assert master.entries()[-1]["opens"] == [C]

    def test_a_look_without_a_change_writes_nothing(self, master):
        before = master.entries()
        master.now += DAY
        master.look_now()
        assert master.entries() == before

    def test_a_reference_that_is_gone_closes(self, master):
        master.now += HOUR
        master.refer("m1")
        master.look_now()
        entry = master.entries()[-1]
        assert (entry["names"], entry["closes"]) == (["m1"], [A, B])
        assert entry["why"] == "reference k8s://prod removed"

    def test_a_reference_that_was_never_served_and_is_gone_is_forgotten(self, master):
        master.refer("m3", "k8s://prod/nothing")
        master.look_now()
        entry = master.entries()[-1]
        assert (entry["opens_count"], entry["waits"]) == (0, "unresolved: k8s://prod/nothing")
        master.now += HOUR
        master.refer("m3")
        master.look_now()
        assert ("m3", "prod") not in master.store.observed.baselines()
        assert len(master.entries(minion="m3")) == 1

    def test_an_address_of_another_cluster_stays_open(self, master):
        master.view("test", A)
        master.refer("m1", "k8s://prod", "k8s://test")
        master.look_now()
        master.now += HOUR
        master.view("prod", B)
        master.look_now()
        one, other = master.entries()[-2:]
        assert {tuple(one["names"]): one["closes"], tuple(other["names"]): other["closes"]} == {
            ("m1",): [],
            ("m2",): [A],
        }

    def test_an_address_that_another_cluster_has_open_already_does_not_open(self, master):
        master.view("test", C, D)
        master.block["clusters"]["test"]["mode"] = "observe"
        master.refer("m1", "k8s://prod", "k8s://test")
        master.look_now()
        master.now += HOUR
        master.view("prod", A, B, C)
        master.look_now()
        opened = {tuple(one["names"]): one["opens"] for one in master.entries()[-2:]}
        assert opened == {("m1",): [], ("m2",): [C]}

    def test_it_opens_everything_where_the_addresses_before_it_are_lost(self, master):
        with master.store.database.writing() as connection:
            connection.execute("DELETE FROM address_set")
        master.now += HOUR
        master.view("prod", B)
        master.look_now()
        entry = master.entries()[-1]
        assert (entry["opens"], entry["why"]) == (
            [B],
            "nothing was proven before; reference k8s://prod added",
        )

    def test_a_minion_without_a_key_is_forgotten_and_its_entries_stay(self, master):
        master.store.subscriptions.delete("m1", master.now)
        assert {minion for minion, _ in master.store.observed.baselines()} == {"m2"}
        master.look_now()
        assert [entry["names"] for entry in master.entries()] == [["m1", "m2"]]

    def test_publishing_to_what_is_not_observed_writes_nothing(self, master):
        master.refer("m3", "k8s://test")
        master.look_now()
        assert len(master.entries()) == 1
        assert master.observed(minion="m3")["summary"] == "no change since 2023-11-07T22:13:20Z"

    def test_with_mode_enforce_it_ends_and_begins_anew(self, master):
        master.block["clusters"]["prod"]["mode"] = "enforce"
        master.look_now()
        assert master.store.observed.baselines() == {}
        master.prove()
        master.block["clusters"]["prod"]["mode"] = "observe"
        master.look_now()
        assert len(master.entries()) == 1

    def test_an_engine_that_observes_nothing_does_not_read_the_store_again(
        self, master, monkeypatch
    ):
        master.block["clusters"]["prod"]["mode"] = "enforce"
        engine = master.engine()
        for _ in range(2):
            engine.update(master.config, *master.state(), master.now)
        monkeypatch.setattr(table.ObservedTable, "baselines", None)
        engine.update(master.config, *master.state(), master.now)


class TestAClass:
    @pytest.fixture
    def classes(self, master):
        """Minions of the class web are observed, and others are not."""
        master.block["clusters"]["prod"]["mode"] = "enforce"
        master.block["apply"] |= {
            "canary": 1,
            "batch": 2,
            "classes": {
                "web": {"target": "web*", "function": "k8s_firewall.sync", "mode": "observe"}
            },
        }
        for number in range(6):
            master.refer(f"web{number}", "k8s://prod")
        master.look_now()
        return master

    def test_its_minions_are_observed_with_their_canary_and_batches(self, classes):
        entry = classes.entries()[-1]
        assert (entry["minions"], entry["class"]) == (6, "web")
        assert (entry["publishes"], entry["observed_by"]) == ("k8s_firewall.sync", "class web")
        assert entry["first"] == ["web0"]
        assert entry["rollout"] == "canary web0; then 5 minions in 3 batches"

    def test_a_class_that_is_stopped_would_have_waited(self, classes):
        state = RolloutState(
            started_at=classes.now, stopped="stopped: 2 of 3 failed", retry_at=classes.now + 9000
        )
        classes.store.rollouts.save("web", state)
        classes.now += HOUR
        classes.view("prod", A)
        classes.look_now()
        entry = classes.entries()[-1]
        assert (entry["waits"], entry["first"]) == ("stopped: 2 of 3 failed", [])

    def test_a_minion_of_unknown_class_would_have_waited(self, classes, monkeypatch):
        classes.block["apply"]["classes"]["web"]["target"] = "G@role:web"
        match = classes.match
        monkeypatch.setattr(classes, "match", lambda target: match(target) - {"web5"})
        classes.now += HOUR
        classes.view("prod", A)
        classes.look_now()
        waiting = [one for one in classes.entries() if "waits" in one]
        assert [(one["names"], one["waits"], one["publishes"]) for one in waiting] == [
            (["web5"], "unknown class: no cached grains", None)
        ]

    def test_a_switch_of_the_class_is_weighed_by_check(self, classes):
        (found,) = classes.findings()
        assert found == (
            "k8s_nodes:apply:classes:web:mode: observe: nothing is published to its minions; "
            "enforce would publish to 6 of 6 minions now, open 2 addresses and close 0; "
            "first web0: 2 to open, 0 to close; nothing is proven on 6 of them"
        )


class TestWhatWouldHaveWaited:
    def test_a_pause_and_a_mistake_below_apply_are_named(self, master):
        master.store.decisions.pause(ControlFlag("kim", 1.0))
        master.now += HOUR
        master.view("prod", A)
        master.look_now()
        assert master.entries()[-1]["waits"] == "paused by kim since 1970-01-01T00:00:01Z"
        master.store.decisions.resume()
        master.block["apply"]["batch"] = 0
        master.now += HOUR
        master.view("prod", B)
        master.look_now()
        assert master.entries()[-1]["waits"].startswith("nothing is published: k8s_nodes:apply")

    def test_the_engine_writes_them_down_while_paused(self, master):
        master.store.decisions.pause(ControlFlag("kim", 1.0))
        master.now += HOUR
        master.view("prod", A, B, C)
        master.remind()
        assert master.entries()[-1]["opens"] == [C]

    def test_an_unresolved_reference_keeps_what_it_had(self, master):
        master.refer("m1", "k8s://prod", "k8s://prod/pool")
        prod = master.block["clusters"]["prod"]
        prod["groups"] = {"pool": {"labelSelector": "!gone"}}
        master.look_now()
        del prod["groups"]
        master.now += HOUR
        master.view("prod", A)
        master.look_now()
        entry = next(one for one in master.entries()[::-1] if one["names"] == ["m1"])
        assert (entry["closes"], entry["desired"]) == ([], 2)
        assert entry["waits"] == "unresolved: k8s://prod/pool"

    def test_what_a_guard_holds_is_one_entry_for_as_long_as_it_lasts(self, master):
        effect = Effect(leave=2, close=3)
        for nodes in (["n1"], ["n1", "n2"]):
            held = Held(
                kind=Kind.SHRINK,
                why=f"{len(nodes)} of 3 nodes are gone at once",
                subjects=dict.fromkeys(nodes, "x"),
                effect=effect,
            )
            master.now += HOUR
            master.store.holds.replace("prod", [held], master.now)
            master.look_now()
            master.look_now()
        entry = master.entries()[-1]
        assert entry == {
            "at": "2023-11-14T23:13:20Z",
            "until": "2023-11-15T00:13:20Z",
            "what": "would_hold",
            "cluster": "prod",
            "why": "shrink: 2 of 3 nodes are gone at once "
            "(2 nodes leave, 0 join; 0 addresses open, 3 close)",
            "nodes": ["n1", "n2"],
        }
        assert master.observed()["summary"].endswith("would have been held: 1")

    def test_what_a_guard_holds_of_an_enforced_cluster_is_not_in_it(self, master):
        held = Held(kind=Kind.SHRINK, why="gone", subjects={"n1": "x"})
        master.store.holds.replace("test", [held], master.now)
        master.look_now()
        assert len(master.entries()) == 1
        # A class follows any cluster.
        master.block["apply"]["classes"] = {"web": {"target": "web*", "mode": "observe"}}
        master.look_now()
        assert master.entries()[-1]["what"] == "would_hold"

    def test_a_minion_that_restarts_or_drifts_would_have_been_applied_again(self, master):
        master.now += HOUR
        master.look_now(m1=RESTARTED)
        master.now += HOUR
        master.look_now(m2=DRIFTED, m9=DRIFTED)
        one, other = master.entries()[1:]
        assert (one["what"], one["names"], one["why"]) == ("would_reapply", ["m1"], RESTARTED)
        assert (other["names"], other["why"]) == (["m2"], DRIFTED)
        # A change of its addresses comes with a run anyway.
        master.now += HOUR
        master.view("prod", A)
        master.look_now(m1=RESTARTED)
        assert [entry["what"] for entry in master.entries()[3:]] == ["would_apply"]


class TestRoom:
    def test_the_same_change_within_ten_minutes_is_one_entry(self, master):
        for _ in range(20):
            for view in ((A, B, C), (A, B)):
                master.now += 10
                master.view("prod", *view)
                master.look_now()
        first, joins, leaves = master.entries()
        assert (first["minions"], joins["times"], leaves["times"]) == (2, 20, 20)
        assert (joins["opens"], leaves["closes"]) == ([C], [C])

    def test_minions_that_follow_each_other_with_the_same_change_are_one_entry(self, master):
        for number in range(3, 60):
            master.now += 5
            master.refer(f"m{number}", "k8s://prod")
            master.look_now()
        (entry,) = master.entries()
        assert (entry["minions"], len(entry["names"])) == (59, 20)
        assert "times" not in entry
        assert entry["until"] == "2023-11-14T22:18:05Z"

    def test_a_minion_that_toggles_cannot_wash_out_the_others(self, master, monkeypatch):
        monkeypatch.setattr(table, "MAX_PER_CLUSTER", 60)
        monkeypatch.setattr(table, "MAX_PER_SUBJECT", 40)
        master.view("prod", A, B, C)
        master.look_now()
        for number in range(300):
            master.now += 700
            texts = [f"k8s://prod?labelSelector=n={number}"] if number % 2 else ["k8s://prod"]
            master.refer("m1", *texts)
            master.look_now()
        assert len(master.entries()) <= 110
        assert [one["opens"] for one in master.entries(minion="m2")] == [[A, B], [C]]

    def test_a_node_that_flaps_cannot_wash_out_the_others(self, master, monkeypatch):
        monkeypatch.setattr(table, "MAX_PER_CLUSTER", 60)
        monkeypatch.setattr(table, "MAX_PER_SUBJECT", 40)
        master.now += HOUR
        master.view("prod", A, B, C)
        master.look_now()
        for number in range(300):
            master.now += 700
            master.view("prod", A, B, C, *([D] if number % 2 else []))
            master.look_now()
        kept = [one["opens"] for one in master.entries()]
        assert kept[:2] == [[A, B], [C]]
        assert len(kept) <= 42

    def test_a_node_that_takes_a_new_address_each_second_cannot_wash_out_the_others(self, master):
        master.now += HOUR
        master.view("prod", A, B, C)
        master.look_now()
        for number in range(500):
            master.now += 7
            master.view("prod", A, B, C, f"192.0.2.{number % 200 + 10}")
            master.look_now()
        opened = [one["opens"] for one in master.entries()]
        assert opened[:2] == [[A, B], [C]]
        assert len(opened) == table.MANY + 1
        assert replay(master, "m1", master.now) == {A, B, C, "192.0.2.109"}
        assert master.observed()["summary"].startswith("in 2 hours: 502 changes")

    def test_two_clusters_that_churn_at_once_cannot_either(self, master):
        both(master)
        for number in range(200):
            master.now += 7
            churned = f"192.0.2.{number + 10}"
            master.view("prod" if number % 2 else "test", A, B, churned)
            master.look_now()
        assert len(master.entries()) < 3 * table.TOO_MANY

    def test_the_order_of_changes_stays_clear_in_an_hour_with_many(self, master):
        both(master)
        for number in range(table.MANY + 5):
            master.now += 7
            master.view("prod", *((A, B, C) if number % 2 else (A, B)), f"192.0.2.{number + 10}")
            master.look_now()
        # It has left prod within an entry for several changes; then another cluster has it.
        master.view("prod", A, B)
        master.look_now()
        master.now += 7
        master.view("test", C, D)
        master.look_now()
        master.now += 7
        master.view("prod", A)
        master.look_now()
        assert replay(master, "m1", master.now) == {A, C, D}

    def test_minions_that_toggle_a_little_share_what_is_left_of_the_room(self, master, monkeypatch):
        monkeypatch.setattr(table, "MAX_PER_CLUSTER", 20)
        monkeypatch.setattr(table, "_SLACK", 10)
        master.refer("m3", "k8s://prod", "k8s://prod?ready=only")
        master.look_now()
        for number in range(100):
            master.now += 700
            master.refer(f"m{number % 2 + 1}", f"k8s://prod?labelSelector=n={number}")
            master.look_now()
        assert len(master.entries()) <= 30
        assert [one["names"] for one in master.entries(minion="m3")] == [["m3"]]

    def test_another_cluster_has_room_of_its_own(self, master, monkeypatch):
        monkeypatch.setattr(table, "MAX_PER_CLUSTER", 20)
        master.block["clusters"]["test"]["mode"] = "observe"
        master.refer("m2", "k8s://test")
        master.look_now()
        for number in range(150):
            master.now += 700
            master.view("prod", f"192.0.2.{number + 10}")
            master.look_now()
        assert len(master.entries(cluster="prod")) <= 71
        assert len(master.entries(cluster="test")) == 1

    def test_old_entries_are_dropped_with_the_names_of_their_minions(self, master):
        master.now += 61 * DAY
        master.refer("m2")
        master.look_now()
        assert [one["names"] for one in master.entries(since="52w")] == [["m2"]]
        with master.store.database.reading() as connection:
            assert connection.execute("SELECT count(*) FROM observed_minions").fetchone() == (1,)

    def test_the_addresses_that_the_next_change_is_compared_with_are_kept(self, master):
        (key,) = {one.digest for one in master.store.observed.baselines().values()}
        with master.store.database.writing() as connection:
            address_sets.delete_unused(connection)
        assert master.store.address_sets.get(key) == {"k8s://prod": (A, B)}


class TestTheAnswer:
    def test_it_is_of_one_cluster_one_minion_and_a_time(self, master):
        master.block["clusters"]["test"]["mode"] = "observe"
        master.refer("m3", "k8s://test")
        master.look_now()
        assert [one["cluster"] for one in master.entries(cluster="test")] == ["test"]
        assert [one["names"] for one in master.entries(minion="m3")] == [["m3"]]
        assert master.observed()["observing"] == ["cluster prod", "cluster test"]
        assert len(master.observed(count=1)["entries"]) == 1
        master.now += DAY
        assert master.observed(since="1h")["entries"] == []

    def test_a_cluster_that_was_removed_can_be_read_and_an_unknown_one_is_an_error(self, master):
        del master.block["clusters"]["prod"]
        assert master.observed("prod")["entries"]
        with pytest.raises(UnknownCluster):
            master.observed("stage")

    def test_another_text_than_a_time_is_an_error(self, master):
        with pytest.raises(BadArgument, match="since: 'then' is not allowed"):
            master.observed(since="then")

    def test_status_has_a_line_only_while_something_is_observed(self, master):
        assert "observed" in master.status()
        master.block["clusters"]["prod"]["mode"] = "enforce"
        assert "observed" not in master.status()

    def test_a_new_observer_has_no_change_so_far(self, master):
        with master.store.database.writing() as connection:
            connection.execute("DELETE FROM observed_change")
        assert master.status()["observed"] == "no change so far"


class TestASwitchToEnforce:
    def test_check_says_what_it_would_publish_now(self, master):
        master.block["clusters"]["prod"]["mode"] = "enforce"
        master.prove()
        master.block["clusters"]["prod"]["mode"] = "observe"
        master.block["apply"]["canary"] = 1
        master.refer("m3", "k8s://test")
        master.view("prod", B, C, D)
        master.now += HOUR
        (found,) = master.findings()
        assert found == (
            "k8s_nodes:clusters:prod:mode: observe: nothing is published for it; "
            "enforce would publish to 2 of 2 minions now, open 2 addresses and close 1; "
            "first m1: 2 to open, 1 to close"
        )

    def test_it_is_what_enforce_then_publishes(self, master):
        master.view("prod", B, C, D)
        (found,) = master.findings()
        master.block["clusters"]["prod"]["mode"] = "enforce"
        jobs = master.run()
        assert "publish to 2 of 2 minions now" in found
        assert sorted(minion for minions, _ in jobs.values() for minion in minions) == ["m1", "m2"]

    def test_a_pause_comes_first(self, master):
        master.store.decisions.pause(ControlFlag("kim", 1.0))
        (found,) = master.findings()
        assert "; once publishing goes on (paused by kim since 1970-01-01T00:00:01Z), en" in found

    def test_minions_of_a_class_that_is_observed_too_stay_out_of_it(self, master):
        master.block["apply"]["classes"] = {"web": {"target": "m1", "mode": "observe"}}
        cluster, class_ = master.findings()
        assert "publish to 1 of 2 minions now" in cluster
        assert cluster.endswith("others stay observed by class web")
        assert "publish to 0 of 1 minions now, open 0 addresses and close 0" in class_
        assert class_.endswith("others stay observed by cluster prod")

    def test_minions_of_unknown_class_are_counted_apart(self, master, monkeypatch):
        master.block["apply"]["classes"] = {"web": {"target": "G@role:m1", "states": ["web"]}}
        match = master.match
        monkeypatch.setattr(master, "match", lambda target: match(target) - {"m2"})
        (found,) = master.findings()
        assert "publish to 1 of 2 minions now" in found
        assert "1 more have an unknown class" in found

    def test_a_cluster_with_a_mistake_is_not_weighed(self, master):
        master.block["clusters"]["prod"]["page_size"] = 0
        assert master.findings() == [
            "k8s_nodes:clusters:prod:mode: observe: nothing is published for it"
        ]

    def test_the_default_class_can_be_observed(self, master):
        master.block["clusters"]["prod"]["mode"] = "enforce"
        master.block["apply"]["mode"] = "observe"
        (found,) = master.findings()
        assert found.startswith("k8s_nodes:apply:mode: observe: nothing is published to its")
        assert "publish to 2 of 2 minions now" in found


def test_a_metric_counts_the_minions_that_wait_for_mode_enforce(master):
    master.refer("m3", "k8s://test")
    samples = MetricsCollector(master.config, master.store, master.match).samples()
    found = {
        dict(one.labels)["cluster"]: one.value
        for one in samples
        if one.metric.name == "k8s_nodes_minions_observed_behind"
    }
    assert found == {"prod": 2, "test": 0}


def test_a_minion_whose_proof_has_only_expired_does_not_wait_for_it(master):
    master.block["clusters"]["prod"]["mode"] = "enforce"
    master.prove()
    master.block["clusters"]["prod"]["mode"] = "observe"
    master.now += 3 * DAY
    samples = MetricsCollector(master.config, master.store, master.match).samples()
    assert {one.value for one in samples if "observed_behind" in one.metric.name} == {0}


def test_the_engine_writes_down_a_restart_of_an_observed_minion(master, monkeypatch):
    master.remind()
    stop, mailbox = threading.Event(), HintMailbox()
    opts = {**salt.config.DEFAULT_MASTER_OPTS, "__role": "master"}
    controller = RolloutController(master.config, master.store, opts, mailbox, stop)
    monkeypatch.setattr("salt_ext.rollout.controller.Bus", lambda _: master.bus)
    monkeypatch.setattr(controller.settlement, "settle", lambda _: frozenset())

    def collect(_: float) -> Hints:
        stop.set()
        return Hints(started={"m1"})

    monkeypatch.setattr(mailbox, "collect", collect)
    master.now += HOUR
    controller.run()
    assert [(one["what"], one["names"]) for one in master.entries()[1:]] == [
        ("would_reapply", ["m1"])
    ]


def test_plan_shows_what_would_be_published_to_observed_minions(master):
    planned = master.plan()["minions"]["m1"]
    assert (planned["publishes"], planned["when"]) == (
        "state.apply firewall",
        "observed only (mode: observe)",
    )
