"""References become addresses in Salt's own compiler, whatever its merge settings are."""

from __future__ import annotations

import logging
import sys
import textwrap
import time

import pytest
import salt.pillar

from salt_ext.core.config import config
from salt_ext.store import Health, Store
from salt_ext.store.subscriptions import Answer
from tests.core.build import member, snapshot
from tests.functional.pillars import Pillars

CLUSTER = {"in_cluster": True, "allowed_networks": ["192.0.2.0/24", "2001:db8::/32"]}
PROD = snapshot(
    member("n1", "192.0.2.1", "2001:db8::1", labels={"pool": "web"}),
    member("n2", "192.0.2.2", labels={"pool": "db"}),
)


def known(pillars: Pillars) -> Store:
    """Fill the store as an engine would have."""
    store = Store(str(pillars.state_dir))
    store.snapshots.save(PROD, PROD.members.values(), [])
    store.health.report("prod", Health(state="watching", reported_at=time.time()))
    return store


@pytest.fixture
def pillars(tmp_path):
    found = Pillars(tmp_path, clusters={"prod": CLUSTER, "unseen": CLUSTER})
    known(found)
    return found


def test_a_reference_in_a_list_becomes_addresses_and_the_pillar_says_what_was_served(pillars):
    pillars.write({"allow": ["198.51.100.1", "k8s://prod?family=ipv4", "198.51.100.2"]})
    pillar = pillars.compile()
    assert pillar["allow"] == ["198.51.100.1", "192.0.2.1", "192.0.2.2", "198.51.100.2"]
    assert pillar["k8s_nodes"]["served"] == ["192.0.2.1", "192.0.2.2"]
    assert pillar["k8s_nodes"]["unresolved"] == {}
    prod = pillar["k8s_nodes"]["clusters"]["prod"]
    assert (prod["revision"], prod["stale"]) == (1, False)
    assert prod["store"] == Store(str(pillars.state_dir)).snapshots.store_id()


def test_a_pillar_without_a_reference_is_left_as_it_is(pillars):
    pillars.write({"allow": ["198.51.100.1"], "text": "see k8s://prod"})
    assert pillars.compile() == {"allow": ["198.51.100.1"], "text": "see k8s://prod"}


STRATEGIES = ["smart", "recurse", "aggregate", "overwrite", "none"]


@pytest.mark.parametrize("lists", [True, False], ids=["merge_lists", "no merge_lists"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_merge_setting_gives_the_same(pillars, strategy, lists):
    nested = {"a": {"b": {"allow": ["k8s://prod?family=ipv4"], "sibling": [1, 2]}}, "other": "x"}
    pillars.write(nested)
    pillar = pillars.compile(pillar_source_merging_strategy=strategy, pillar_merge_lists=lists)
    pillar.pop("k8s_nodes")
    assert pillar == {
        "a": {"b": {"allow": ["192.0.2.1", "192.0.2.2"], "sibling": [1, 2]}},
        "other": "x",
    }


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_ext_pillars_before_us_add_is_expanded_and_their_memory_is_not_altered(
    pillars, tmp_path, strategy
):
    modules = tmp_path / "modules" / "pillar"
    modules.mkdir(parents=True)
    (modules / "memoised.py").write_text(
        textwrap.dedent(
            """
            import sys
            def ext_pillar(minion_id, pillar):
                kept = sys.modules.setdefault("memoised_kept", type(sys)("memoised_kept"))
                if not hasattr(kept, "data"):
                    kept.data = {"added": {"allow": ["k8s://prod?family=ipv4"]}}
                return kept.data
            """
        )
    )
    options = {
        "module_dirs": [str(tmp_path / "modules")],
        "pillar_dirs": [str(modules)],
        "ext_pillar": [{"memoised": {}}, {"k8s_nodes": {}}],
        "pillar_source_merging_strategy": strategy,
    }
    for _ in range(2):
        pillar = pillars.compile(**options)
        assert pillar["added"]["allow"] == ["192.0.2.1", "192.0.2.2"]
    assert sys.modules.pop("memoised_kept").data == {"added": {"allow": ["k8s://prod?family=ipv4"]}}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("k8s://nowhere", "is not configured; configured: prod, unseen"),
        ("k8s://unseen", "never been listed"),
        ("k8s://prod?familly=ipv4", "'familly' is not a parameter"),
        ("k8s://prod/workers", "has no group 'workers'"),
        ("k8s://Prod", "is not a cluster name"),
    ],
)
def test_what_cannot_be_resolved_stays_and_says_why(pillars, caplog, text, why):
    pillars.write({"allow": ["198.51.100.1", text, "k8s://prod?family=ipv4"]})
    with caplog.at_level(logging.WARNING):
        pillar = pillars.compile()
    assert pillar["allow"] == ["198.51.100.1", text, "192.0.2.1", "192.0.2.2"]
    assert why in pillar["k8s_nodes"]["unresolved"][text]
    assert why in caplog.text
    assert "_errors" not in pillar


class TestAnUnresolvedReferenceIsLoggedOnce:
    """Not at each compile of each minion in each worker."""

    @pytest.fixture
    def logged(self, pillars, caplog):
        pillars.write({"allow": ["k8s://prod", "k8s://unseen"]})

        def logged(minion: str = "m1", **options) -> list[str]:
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                pillars.compile(minion, **options)
            return [one for one in caplog.messages if "[reference-unresolved]" in one]

        return logged

    @pytest.fixture
    def restart(self, monkeypatch):
        """Return what makes the next compile the first of another worker process."""
        return lambda: monkeypatch.setattr("salt_ext.references.pillar._renderers", {})

    def test_in_one_process(self, logged):
        (line,) = logged()
        assert line.startswith("minion m1: k8s://unseen stays in the pillar: cluster 'unseen' has")
        assert logged() == []
        assert len(logged("m2")) == 1

    def test_in_another_process_as_well(self, logged, restart):
        assert len(logged()) == 1
        restart()
        assert logged() == []

    def test_another_reason_is_new(self, pillars, logged, restart):
        logged()
        pillars.opts["k8s_nodes"]["clusters"].pop("unseen")
        (line,) = logged()
        assert "is not configured" in line
        restart()
        assert logged() == []

    def test_one_that_was_resolved_meanwhile_is_new(self, pillars, logged, restart):
        logged()
        other = snapshot(member("n1", "192.0.2.9"), cluster="unseen")
        store = Store(str(pillars.state_dir))
        store.snapshots.save(other, other.members.values(), [])
        assert logged() == []
        pillars.opts["k8s_nodes"]["clusters"].pop("unseen")
        restart()
        assert len(logged()) == 1

    def test_without_a_record_it_is_remembered_by_the_process(self, logged):
        assert len(logged(override={"more": 1})) == 1
        assert logged(override={"more": 1}) == []


def test_a_node_group_is_what_the_configuration_says(tmp_path):
    groups = {"web": {"labelSelector": "pool=web", "family": "ipv4"}}
    pillars = Pillars(tmp_path, clusters={"prod": {**CLUSTER, "groups": groups}})
    known(pillars)
    pillars.write({"allow": ["k8s://prod/web"], "none": ["k8s://prod/web?labelSelector=pool=db"]})
    pillar = pillars.compile()
    assert pillar["allow"] == ["192.0.2.1"]
    assert pillar["none"] == []


def test_a_cluster_serves_only_the_minions_that_it_names(tmp_path):
    pillars = Pillars(tmp_path, clusters={"prod": {**CLUSTER, "serve_to": "db* or G@role:proxy"}})
    store = known(pillars)
    pillars.write({"allow": ["k8s://prod?family=ipv4"]})
    assert pillars.compile("db1")["allow"] == ["192.0.2.1", "192.0.2.2"]
    proxy = {"id": "edge", "role": "proxy"}
    assert pillars.compile("edge", grains=proxy)["allow"] == ["192.0.2.1", "192.0.2.2"]
    refused = pillars.compile("web1")
    assert refused["allow"] == ["k8s://prod?family=ipv4"]
    assert "serve_to" in refused["k8s_nodes"]["unresolved"]["k8s://prod?family=ipv4"]
    answers = {row.minion: row.seen.answer for row in store.subscriptions.all()}
    assert answers == {"db1": Answer.SERVED, "edge": Answer.SERVED, "web1": Answer.REFUSED}


def test_an_override_cannot_make_a_cluster_serve_a_minion_that_it_does_not_name(tmp_path):
    pillars = Pillars(tmp_path, clusters={"prod": {**CLUSTER, "serve_to": "db*"}})
    known(pillars)
    compiler = salt.pillar.Pillar(
        pillars.opts, {"id": "web1"}, "web1", "base", pillar_override={"mine": ["k8s://prod"]}
    )
    assert compiler.compile_pillar()["mine"] == ["k8s://prod"]
    compiler.destroy()


def test_addresses_that_the_configuration_no_longer_allows_are_not_served(tmp_path):
    narrow = {**CLUSTER, "allowed_networks": ["192.0.2.2/32"]}
    pillars = Pillars(tmp_path, clusters={"prod": narrow})
    known(pillars)
    pillars.write({"allow": ["k8s://prod"]})
    assert pillars.compile()["allow"] == ["192.0.2.2"]


def test_a_cluster_with_a_mistake_keeps_being_served_what_was_known(tmp_path):
    wrong = {**CLUSTER, "allowed_networks": ["192.0.2.0/33"]}
    pillars = Pillars(tmp_path, clusters={"prod": wrong})
    known(pillars)
    pillars.write({"allow": ["k8s://prod?family=ipv4"]})
    assert pillars.compile()["allow"] == ["192.0.2.1", "192.0.2.2"]


def test_which_minion_refers_to_what_is_recorded_and_survives_its_absence(pillars):
    store = Store(str(pillars.state_dir))
    pillars.write({"allow": ["k8s://prod", "k8s://unseen"]})
    pillars.compile("m1")
    rows = {row.reference: row for row in store.subscriptions.all()}
    assert rows["k8s://prod"].seen.cluster == "prod"
    assert rows["k8s://prod"].seen.answer is Answer.SERVED
    assert rows["k8s://unseen"].seen.answer is Answer.UNRESOLVED
    pillars.write({"allow": []})
    pillars.compile("m1")
    # One that was never served opened nothing: nothing is left of it.
    assert [(row.reference, row.gone) for row in store.subscriptions.all()] == [
        ("k8s://prod", True)
    ]
    pillars.write({"allow": ["k8s://prod"]})
    pillars.compile("m1")
    rows = {row.reference: row for row in store.subscriptions.all()}
    assert not rows["k8s://prod"].gone
    assert rows.keys() == {"k8s://prod"}


def test_a_store_that_cannot_be_opened_leaves_the_references_and_raises_nothing(tmp_path, caplog):
    pillars = Pillars(tmp_path, clusters={"prod": CLUSTER})
    pillars.state_dir.write_text("a file where the folder should be")
    pillars.write({"allow": ["198.51.100.1", "k8s://prod"]})
    pillar = pillars.compile()
    assert pillar["allow"] == ["198.51.100.1", "k8s://prod"]
    assert "_errors" not in pillar
    assert "could not be recorded" in caplog.text
    assert "[subscription-not-recorded]" in caplog.text


def test_a_configuration_that_is_no_mapping_leaves_the_references(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "STATE_DIR", str(tmp_path / "default"))
    pillars = Pillars(tmp_path, clusters={})
    pillars.opts["k8s_nodes"] = ["prod"]
    pillars.write({"allow": ["198.51.100.1", "k8s://prod"]})
    pillar = pillars.compile()
    assert pillar["allow"] == ["198.51.100.1", "k8s://prod"]
    assert "_errors" not in pillar
    assert not (tmp_path / "default").exists()


def test_a_mistake_elsewhere_changes_neither_what_is_served_nor_to_whom(tmp_path):
    wrong = {**CLUSTER, "serve_to": "db*", "addresses": ["ExternalIP"], "page_size": 0}
    pillars = Pillars(tmp_path, clusters={"prod": wrong})
    both = member("n1", "192.0.2.1", external=("192.0.2.9",))
    Store(str(pillars.state_dir)).snapshots.save(snapshot(both), [both], [])
    pillars.write({"allow": ["k8s://prod"]})
    assert pillars.compile("db1")["allow"] == ["192.0.2.9"]
    assert pillars.compile("web1")["allow"] == ["k8s://prod"]


def test_a_mistake_in_what_a_reference_means_leaves_the_references(tmp_path):
    wrong = {**CLUSTER, "serve-to": "db*"}
    pillars = Pillars(tmp_path, clusters={"prod": wrong})
    known(pillars)
    pillars.write({"allow": ["k8s://prod"]})
    pillar = pillars.compile("web1")
    assert pillar["allow"] == ["k8s://prod"]
    assert "has a mistake" in pillar["k8s_nodes"]["unresolved"]["k8s://prod"]


@pytest.mark.parametrize("text", ["K8S://prod", "k8s:/prod", "k8s//prod", " k8s://prod"])
def test_a_misspelt_reference_stays_and_is_reported_with_the_right_spelling(tmp_path, text):
    pillars = Pillars(tmp_path, clusters={"prod": CLUSTER})
    known(pillars)
    pillars.write({"allow": ["192.0.2.200", text], "volumes": ["k8s:/var/lib/x"], "a": {text: 1}})
    pillar = pillars.compile("web1")
    assert pillar["allow"] == ["192.0.2.200", text]
    assert list(pillar["k8s_nodes"]["unresolved"]) == [text]
    assert "write k8s://prod" in pillar["k8s_nodes"]["unresolved"][text]
    (row,) = Store(str(pillars.state_dir)).subscriptions.all()
    assert (row.reference, row.seen.answer) == (text, Answer.UNRESOLVED)


@pytest.mark.parametrize(
    "mistake",
    [
        {"nevr": ["192.0.2.1"]},
        {"denied_networks": "192.0.2.1"},
        {"apply": {"denied_networks": ["192.0.2.1"]}},
    ],
)
def test_what_could_be_read_of_denied_networks_closes_and_the_rest_stays(tmp_path, mistake):
    pillars = Pillars(tmp_path, clusters={"prod": CLUSTER})
    pillars.opts["k8s_nodes"].update(mistake)
    one, other = member("n1", "192.0.2.1"), member("n2", "192.0.2.2")
    Store(str(pillars.state_dir)).snapshots.save(snapshot(one, other), [one, other], [])
    pillars.write({"allow": ["k8s://prod"]})
    assert pillars.compile("web1")["allow"] == ["192.0.2.2"]


def test_a_misplaced_serve_to_leaves_the_references_of_every_cluster(tmp_path):
    pillars = Pillars(tmp_path, clusters={"prod": CLUSTER})
    pillars.opts["k8s_nodes"]["serve_to"] = "db*"
    known(pillars)
    pillars.write({"allow": ["k8s://prod"]})
    pillar = pillars.compile("web1")
    assert pillar["allow"] == ["k8s://prod"]
    why = pillar["k8s_nodes"]["unresolved"]["k8s://prod"]
    assert why == "no cluster is followed while k8s_nodes:serve_to has a mistake"
