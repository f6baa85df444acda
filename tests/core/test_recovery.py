"""Whether a view agrees with what minions were served, after the store was lost."""

from __future__ import annotations

import pytest

from salt_ext.core.cluster.guard import Rules
from salt_ext.core.rollout.recovery import Facts, Report, Served, canonical, judge, read_served
from tests.core.build import member, snapshot

RULES = Rules(shrink_percent=30, shrink_nodes=3, growth_percent=100, growth_nodes=5)


def addresses(*numbers: int, net: str = "192.0.2") -> list[str]:
    return [f"{net}.{number}" for number in numbers]


def view(*numbers: int, cluster: str = "prod", net: str = "192.0.2", identity: str = "uid"):
    found = snapshot(
        *(member(f"n{number}", f"{net}.{number}") for number in numbers), cluster=cluster
    )
    return type(found)(
        cluster=cluster,
        revision=1,
        identity=identity,
        resource_version="1",
        observed_at=1.0,
        members=found.members,
    )


def served(*numbers: int, clusters: tuple[str, ...] = ("prod",), net: str = "192.0.2") -> Served:
    return Served(addresses=frozenset(addresses(*numbers, net=net)), clusters=frozenset(clusters))


def judged(
    *views, answers=None, desired=None, pinned=None, unasked: int = 0, clusters=("prod",)
) -> Report:
    """Judge the first cluster; by default each minion references all of the first view."""
    answers = answers or {}
    if desired is None:
        every = [
            str(item)
            for one in views[:1]
            for m in one.members.values()
            for item in m.all_addresses()
        ]
        desired = {minion: {clusters[0]: every} for minion in answers}
    facts = Facts(
        snapshots={one.cluster: one for one in views},
        pinned=pinned or {},
        rules=dict.fromkeys(clusters, RULES),
        desired={
            minion: {name: frozenset(listed) for name, listed in of.items()}
            for minion, of in desired.items()
        },
        served=answers,
        unasked=unasked,
    )
    return judge(facts, clusters)[clusters[0]]


def test_the_same_addresses_agree():
    report = judged(view(1, 2, 3), answers={"web1": served(1, 2, 3)})
    assert report == Report(
        agrees=True,
        text="agrees with 1 minions: 3 addresses are the same, 0 are gone, 0 are new",
    )


def test_an_empty_view_does_not_agree_with_minions_that_have_addresses():
    report = judged(view(), answers={"web1": served(1, 2, 3)}, desired={"web1": {"prod": []}})
    assert report.agrees is False
    assert report.text == (
        "3 of 3 addresses that minions have are in no view: 192.0.2.1, 192.0.2.2, 192.0.2.3"
    )


def test_as_many_may_be_gone_as_the_shrink_guard_lets_pass():
    had = {"web1": served(*range(1, 11))}
    assert judged(view(*range(1, 9)), answers=had).agrees is True
    assert judged(view(*range(1, 8)), answers=had).agrees is True  # 3 of 10: not more than 30 %
    report = judged(view(*range(1, 7)), answers=had)
    assert report.agrees is False
    assert report.text.startswith("4 of 10 addresses that minions have are in no view: ")


def test_fewer_than_shrink_nodes_are_let_go_however_small_the_cluster():
    assert judged(view(), answers={"web1": served(1, 2)}, desired={"web1": {"prod": []}}).agrees


def test_as_many_may_be_new_as_the_growth_guard_lets_pass():
    had = {"web1": served(1, 2)}
    assert judged(view(*range(1, 8)), answers=had).agrees is True  # 5 new ones
    report = judged(view(*range(1, 9)), answers=had)
    assert report.agrees is False
    assert report.text.startswith("6 addresses are new to minions that have 2: ")


def test_an_address_that_another_minion_was_served_is_not_new():
    had = {"web1": served(1), "web2": served(*range(1, 9))}
    assert judged(view(*range(1, 9)), answers=had).agrees is True


def test_a_pillar_that_lost_its_references_makes_no_view_wrong():
    had = {"web1": served(1, 2, 3), "web2": served(1, 2, 3)}
    report = judged(view(1, 2, 3), answers=had, desired={"web1": {"prod": addresses(1, 2, 3)}})
    assert report.agrees is True


def test_another_identity_than_the_pinned_one_never_agrees():
    report = judged(
        view(1, 2, 3, identity="u2"), answers={"web1": served(1, 2, 3)}, pinned={"prod": "u1"}
    )
    assert report.agrees is False
    assert report.text == "another cluster answers: kube-system has the uid u2, it was u1"


def test_a_cluster_that_was_not_listed_does_not_agree():
    assert judged(answers={"web1": served(1)}, desired={}).text == (
        "not listed completely since then"
    )


def test_minions_that_may_still_answer_are_waited_for():
    report = judged(view(1), answers={"web1": served(1)}, unasked=3)
    assert (report.agrees, report.text) == (False, "waiting for 3 minions")


def test_at_least_one_of_its_minions_has_to_know():
    desired = {"web1": {"prod": addresses(1)}, "web2": {"prod": addresses(1)}}
    report = judged(view(1), desired=desired)
    assert report.agrees is False
    assert report.text == "none of its 2 minions knows what it was served"
    other = {"db1": served(1, clusters=("test",))}
    assert judged(view(1), desired=desired, answers=other).agrees is False
    assert judged(view(1), desired=desired, answers={"web2": served(1)}).agrees is True


def test_a_cluster_without_minions_agrees():
    assert judged(view(1, 2, 3), desired={}).agrees is True


class TestSeveralClusters:
    def test_what_is_missing_is_of_the_cluster_that_all_minions_with_it_have(self):
        prod, test = view(1, 2), view(cluster="test", net="198.51.100")
        both = Served(
            addresses=frozenset([*addresses(1, 2), *addresses(1, 2, 3, net="198.51.100")]),
            clusters=frozenset(["prod", "test"]),
        )
        only = served(1, 2, 3, clusters=("test",), net="198.51.100")
        desired = {
            "web1": {"prod": frozenset(addresses(1, 2)), "test": frozenset()},
            "db1": {"test": frozenset()},
        }
        facts = Facts(
            snapshots={"prod": prod, "test": test},
            pinned={},
            rules={"prod": RULES, "test": RULES},
            desired=desired,
            served={"web1": both, "db1": only},
        )
        reports = judge(facts, ["prod", "test"])
        assert reports["prod"].agrees is True
        assert reports["test"].agrees is False

    def test_where_it_may_be_of_either_both_wait(self):
        had = {
            "web1": Served(
                addresses=frozenset(addresses(1, 2, 3, 4)), clusters=frozenset(["prod", "test"])
            )
        }
        facts = Facts(
            snapshots={"prod": view(), "test": view(cluster="test")},
            pinned={},
            rules={},
            desired={"web1": {"prod": frozenset(), "test": frozenset()}},
            served=had,
        )
        assert [one.agrees for one in judge(facts, ["prod", "test"]).values()] == [False, False]

    def test_a_cluster_that_is_down_keeps_no_other_from_agreeing(self):
        had = {
            "web1": Served(
                addresses=frozenset([*addresses(1, 2), *addresses(1, 2, 3, net="198.51.100")]),
                clusters=frozenset(["prod", "down"]),
            )
        }
        desired = {"web1": {"prod": addresses(1, 2), "down": []}}
        report = judged(view(1, 2), answers=had, desired=desired, clusters=("prod", "down"))
        assert report.agrees is True


class TestAnswers:
    def test_addresses_are_read_in_one_spelling(self):
        listed = {"clusters": {"prod": {}}, "addresses": ["192.0.2.1/32", "2001:DB8::1/128"]}
        assert read_served(listed, {}) == Served(
            addresses=frozenset(["192.0.2.1", "2001:db8::1"]), clusters=frozenset(["prod"])
        )
        assert canonical(["192.0.2.1", "192.0.2.1/32", "n1 192.0.2.9"]) == {"192.0.2.1"}

    def test_a_list_that_was_left_out_is_the_one_of_its_digest(self):
        lists = {"d": frozenset(["192.0.2.1"])}
        answer = {"clusters": {"prod": {}}, "digest": "d"}
        assert read_served(answer, lists).addresses == lists["d"]
        assert read_served({**answer, "digest": "other"}, lists) is None

    @pytest.mark.parametrize(
        "returned",
        [
            "'k8s_firewall.served' is not available.",
            None,
            {},
            {"clusters": []},
            {"clusters": {}, "addresses": [], "digest": "d"},
            {"clusters": {"prod": {}}, "addresses": "192.0.2.1"},
            {"clusters": {"prod": {}}, "addresses": ["192.0.2.1"], "truncated": True},
        ],
    )
    def test_a_minion_that_does_not_know_does_not_count(self, returned):
        assert read_served(returned, {}) is None

    def test_a_minion_of_another_formula_knows_its_addresses_alone(self):
        found = read_served({"clusters": {}, "addresses": ["192.0.2.1"], "digest": "d"}, {})
        assert found.clusters == frozenset()
