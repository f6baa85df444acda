"""Why was this address open at noon yesterday? Since when, by whom, and on which minions."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace

import pytest

from salt_ext.admin.address_history import address_history
from salt_ext.core.config.config import read
from salt_ext.core.errors import BadArgument, UnknownCluster
from salt_ext.store import Store
from salt_ext.store import address_history as table
from tests.core.build import member, snapshot
from tests.functional.terminal import MINIONS, START, Master

CLUSTERS = {"prod": {"in_cluster": True, "allowed_networks": ["0.0.0.0/1", "2001:db8::/32"]}}


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "state"))


@pytest.fixture
def config():
    return read({"clusters": CLUSTERS}, "m")


def save(store: Store, *nodes, cluster: str = "prod", at: float, **more: object) -> int:
    """Let a cluster have these nodes; return the revision."""
    old = store.snapshots.load(cluster)
    before = old.members if old else {}
    revision = (old.revision if old else 0) + 1
    view = replace(snapshot(*nodes, cluster=cluster, revision=revision), observed_at=at)
    put = [node for node in nodes if before.get(node.name) != node]
    store.snapshots.save(view, put, before.keys() - view.members.keys(), **more)
    return revision


def times(found: list) -> list[tuple]:
    """Return node, and the revisions that opened and closed each interval."""
    return [(one["node"], one["opened_revision"], one["closed_revision"]) for one in found]


@pytest.fixture
def ask(store, config):
    def answer(address, **more):
        return json.loads(json.dumps(address_history(config, store, address, **more)))

    return answer


class TestIntervals:
    def test_an_address_that_comes_goes_and_comes_again(self, store, ask):
        n1, n2 = member("n1", "192.0.2.1"), member("n2", "192.0.2.2")
        save(store, n1, n2, at=100)
        save(store, n2, at=200)
        save(store, n2, n1, at=300)
        assert times(ask("192.0.2.1")["intervals"]) == [("n1", 3, None), ("n1", 1, 2)]
        assert times(ask("192.0.2.2")["intervals"]) == [("n2", 1, None)]
        assert ask("192.0.2.3")["intervals"] == []

    def test_what_does_not_change_the_addresses_opens_nothing(self, store, ask):
        for number, ready in enumerate((True, False, True)):
            save(store, member("n1", "192.0.2.1", ready=ready), at=100 + number)
        assert times(ask("192.0.2.1")["intervals"]) == [("n1", 1, None)]

    def test_an_address_that_moves_to_another_node(self, store, ask):
        save(store, member("n1", "192.0.2.1", "192.0.2.9"), at=100)
        save(store, member("n1", "192.0.2.1"), member("n2", "192.0.2.9"), at=200)
        assert times(ask("192.0.2.9")["intervals"]) == [("n2", 2, None), ("n1", 1, 2)]

    def test_clusters_are_apart(self, store, ask):
        save(store, member("n1", "192.0.2.1"), cluster="prod", at=100)
        save(store, member("n1", "192.0.2.1"), cluster="test", at=200)
        save(store, cluster="prod", at=300)
        found = {one["cluster"]: one["closed_at"] for one in ask("192.0.2.1")["intervals"]}
        assert found == {"prod": "1970-01-01T00:05:00Z", "test": None}
        # A cluster that is not configured any more still has its past.
        assert len(ask("192.0.2.1", cluster="test")["intervals"]) == 1
        assert ask("192.0.2.7", cluster="prod")["intervals"] == []
        with pytest.raises(UnknownCluster):
            ask("192.0.2.1", cluster="other")

    @pytest.mark.parametrize(
        "text", ["10.244.3.7", "10.244.3.0/24", "10.244.3.128/25", "10.244.3.7/32", " 10.244.3.7 "]
    )
    def test_an_address_within_a_pod_cidr(self, store, ask, text):
        save(store, member("n1", "192.0.2.1", pod_cidrs=("10.244.3.0/24",)), at=100)
        (interval,) = ask(text)["intervals"]
        assert interval["address"] == "10.244.3.0/24"
        assert ask("10.244.4.7")["intervals"] == []
        assert ask("10.244.0.0/16")["intervals"] == []

    @pytest.mark.parametrize("text", ["2001:db8::9", "2001:DB8:0::0009", "2001:db8::9/128"])
    def test_other_spellings_of_one_address(self, store, ask, text):
        save(store, member("n1", "2001:db8::9"), at=100)
        assert len(ask(text)["intervals"]) == 1

    def test_an_ipv4_address_in_ipv6(self, store, ask):
        save(store, member("n1", "192.0.2.1"), at=100)
        assert len(ask("::ffff:192.0.2.1")["intervals"]) == 1

    @pytest.mark.parametrize("text", ["", "n1", "192.0.2.1/24", "192.0.2.01", 1, None, ["a"]])
    def test_what_is_no_address_is_refused(self, ask, text):
        with pytest.raises(BadArgument):
            ask(text)


class TestAtOneTime:
    @pytest.fixture(autouse=True)
    def _three(self, store):
        for at, nodes in ((1e9, ["n1"]), (1e9 + 3600, []), (1e9 + 7200, ["n1"])):
            save(store, *(member(name, "192.0.2.1") for name in nodes), at=at)

    # 1e9 is 2001-09-09T01:46:40Z.
    @pytest.mark.parametrize(
        ("at", "revisions"),
        [
            ("2001-09-09T01:46", []),
            ("2001-09-09T01:46:40", [1]),
            ("2001-09-09T02:46:39Z", [1]),
            ("2001-09-09T02:46:40Z", []),
            ("2001-09-09T05:00+02:00", []),
            ("2001-09-09T06:00+02:00", [3]),
            ("2002-01-01", [3]),
        ],
    )
    def test_only_what_was_open_then(self, ask, at, revisions):
        found = ask("192.0.2.1", at=at)["intervals"]
        assert [one["opened_revision"] for one in found] == revisions

    def test_what_is_no_time_is_refused(self, ask):
        with pytest.raises(BadArgument):
            ask("192.0.2.1", at="noon yesterday")


class TestWhoLetItIn:
    def test_the_confirmation_is_named_with_its_reason(self, store, ask):
        store.history.record_action(
            "confirmed", "kim as root", 90, cluster="prod", reason="new rack", token="t1"
        )
        both = member("n1", "192.0.2.1"), member("n2", "192.0.2.2")
        save(store, *both, at=100, let_in_by={"n1": "t1", "gone": "t2"})
        assert ask("192.0.2.1")["intervals"][0]["let_in_by"] == {
            "token": "t1",
            "by": "kim as root",
            "at": "1970-01-01T00:01:30Z",
            "reason": "new rack",
        }
        assert "let_in_by" not in ask("192.0.2.2")["intervals"][0]

    def test_its_token_is_left_where_the_history_has_dropped_it(self, store, ask):
        save(store, member("n1", "192.0.2.1"), at=100, let_in_by={"n1": "t1"})
        assert ask("192.0.2.1")["intervals"][0]["let_in_by"] == {"token": "t1"}


@pytest.fixture
def master(tmp_path, monkeypatch):
    """Two clusters and four minions; 192.0.2.1 of prod has left, and one minion lets it in."""
    found = Master(tmp_path, monkeypatch)
    found.healthy()
    found.save("prod", "192.0.2.2", "192.0.2.3")
    found.now += 2
    found.publish(*MINIONS)
    found.close(open={"192.0.2.1": "iptables INPUT rule 7"})
    return found


class TestOnMinions:
    def look(self, master, address, **more):
        config = read(master.values["k8s_nodes"], "m")
        return address_history(config, master.store, address, **more)

    def test_where_it_was_applied_and_where_it_is_still_open(self, master):
        (interval,) = self.look(master, "192.0.2.1")["intervals"]
        assert interval["minions"]["db1"] == {
            "in_force": False,
            "departed_at": "2023-11-14T22:14:20Z",
            "cause": "node prod-1 left",
            "state": "open",
            "open_by": "iptables INPUT rule 7",
            "applied_at": "2023-11-14T22:13:25Z",
        }
        assert set(interval["minions"]) == set(MINIONS)

    def test_a_time_at_which_only_a_minion_let_it_in(self, master):
        assert self.look(master, "192.0.2.1", at="2023-11-14T22:14:21")["intervals"]
        master.close(closed={"192.0.2.1": "kernel read whole"})
        (interval,) = self.look(master, "192.0.2.1", at="2023-11-14T22:14:21")["intervals"]
        assert interval["minions"]["db1"]["state"] == "closed"
        assert self.look(master, "192.0.2.1", at="2024-01-01")["intervals"] == []

    def test_where_it_is_in_force(self, master):
        (interval,) = self.look(master, "192.0.2.3")["intervals"]
        assert interval["minions"]["web1"]["in_force"] is True
        assert "state" not in interval["minions"]["web1"]
        # Only a minion that refers to a cluster has its addresses.
        (other,) = self.look(master, "192.0.2.31")["intervals"]
        assert set(other["minions"]) == {"web3"}

    def test_of_two_nodes_with_one_address_it_is_the_one_that_left_last(self, store, ask):
        both = member("n1", "192.0.2.9"), member("n2", "192.0.2.9")
        save(store, *both, at=START)
        save(store, both[0], at=START + 10)
        gone = [(["web1"], {"192.0.2.9": "node n1 left"})]
        save(store, at=START + 20, departed=gone)
        found = {one["node"]: list(one["minions"]) for one in ask("192.0.2.9")["intervals"]}
        assert found == {"n1": ["web1"], "n2": []}

    def test_only_one_minion(self, master):
        (interval,) = self.look(master, "192.0.2.1", minion="db1")["intervals"]
        assert set(interval["minions"]) == {"db1"}
        assert self.look(master, "192.0.2.31", minion="db1")["intervals"] == []

    def test_a_minion_that_had_it_longer_than_the_interval_is_kept(self, master):
        with sqlite3.connect(master.store.database.path) as connection:
            connection.execute("DELETE FROM address_history")
        answer = self.look(master, "192.0.2.1")
        assert answer["intervals"] == []
        assert answer["other_minions"]["db1"]["open_by"] == "iptables INPUT rule 7"
        assert self.look(master, "192.0.2.1", at="2023-01-01")["other_minions"] == {}


class TestBounds:
    def test_one_kubelet_pushes_out_only_its_own(self, store, ask, monkeypatch):
        monkeypatch.setattr(table, "MAX_CLOSED_OF_NODE", 20)
        honest = member("n1", "192.0.2.1"), member("n2", "192.0.2.2")
        save(store, *honest, at=START)
        save(store, honest[1], at=START + 1)
        for n in range(200):
            save(store, honest[1], member("liar", f"198.51.100.{n}"), at=START + 2 + n)
        assert times(ask("192.0.2.1")["intervals"]) == [("n1", 1, 2)]
        assert ask("198.51.100.170")["intervals"] == []
        assert len(ask("198.51.100.190")["intervals"]) == 1
        assert rows(store) == 20 + 3

    def test_the_oldest_closed_of_a_cluster_go_first_and_no_open_one(self, store, ask, monkeypatch):
        monkeypatch.setattr(table, "MAX_CLOSED_OF_CLUSTER", 100)
        oldest = member("n0", "192.0.2.1")
        save(store, oldest, at=START)
        for turn in range(4):
            many = [member(f"n{turn}-{n}", f"198.51.{turn}.{n}") for n in range(100)]
            save(store, oldest, *many, at=START + 2 * turn)
            save(store, oldest, at=START + 2 * turn + 1)
        assert times(ask("192.0.2.1")["intervals"]) == [("n0", 1, None)]
        assert ask("198.51.0.7")["intervals"] == []
        assert len(ask("198.51.3.7")["intervals"]) == 1
        assert rows(store) == 101

    def test_a_change_of_one_of_5000_nodes_is_four_statements(self, store):
        many = [member(f"n{n}", f"10.0.{n // 250}.{n % 250}") for n in range(5000)]
        save(store, *many, at=START)
        calls = count_statements(store)
        view = replace(snapshot(*many, revision=2), observed_at=START + 1)
        moved = member("n7", "10.9.9.9")
        with store.database.writing() as connection:
            table.save(connection, view, [moved], [], {})
        # A twentieth of a millisecond together.
        assert sum("address_history" in text for text in calls) == 4


def rows(store: Store) -> int:
    with store.database.reading() as connection:
        return connection.execute("SELECT count(*) FROM address_history").fetchone()[0]


def count_statements(store: Store) -> list[str]:
    calls: list[str] = []
    store.database._local.connection.set_trace_callback(calls.append)
    return calls
