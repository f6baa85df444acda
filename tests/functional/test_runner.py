"""The runner with right and wrong configurations: status, nodes, confirm, and errors."""

from __future__ import annotations

import json

import pytest
import salt.config
import salt.loader

from salt_ext.core.cluster.hold import Held, Kind
from salt_ext.store import Health, Store
from tests.core.build import member, snapshot

CLUSTER = {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]}


@pytest.fixture
def runners(tmp_path):
    def load(clusters, **block):
        opts = salt.config.master_config(None)
        opts.update(
            {
                "extension_modules": str(tmp_path / "extmods"),
                "cachedir": str(tmp_path / "cache"),
                "k8s_nodes": {"state_dir": str(tmp_path / "state"), "clusters": clusters, **block},
            }
        )
        return salt.loader.runner(opts)

    return load


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "state"))


@pytest.mark.parametrize(
    ("clusters", "text"),
    [
        (
            {"prod": {**CLUSTER, "alowed_networks": []}},
            "k8s_nodes:clusters:prod:alowed_networks: '(not shown)' is not allowed; allowed: only",
        ),
        ({"prod": {"in_cluster": True}}, "k8s_nodes:clusters:prod:allowed_networks: None"),
        ({"Prod_1": CLUSTER}, "'Prod_1' is not allowed; allowed: as a cluster's name a DNS label"),
        (
            {"prod": {**CLUSTER, "allowed_networks": ["192.0.2.7/24"]}},
            "'192.0.2.7/24'",
        ),
        ({"prod": {"allowed_networks": ["192.0.2.0/24"]}}, "exactly one of kubeconfig"),
        (
            {"prod": {**CLUSTER, "in_cluster": False, "server": "http://192.0.2.1"}},
            "an https:// URL",
        ),
        ({}, "at least one cluster"),
        ("prod", "k8s_nodes:clusters: 'prod' is not allowed; allowed: a mapping"),
    ],
)
def test_a_mistake_is_one_line_that_names_key_value_and_what_is_allowed(runners, clusters, text):
    problems = runners(clusters)["k8s_nodes.status"]()["problems"]
    assert [line for line in problems if text in line], problems
    assert all("\n" not in line for line in problems)


def test_a_mistake_in_one_cluster_leaves_the_others(runners, store):
    store.snapshots.save(snapshot(member("n1", "192.0.2.1")), [member("n1", "192.0.2.1")], [])
    clusters = runners({"prod": CLUSTER, "wrong": {}})["k8s_nodes.status"]()["clusters"]
    assert clusters["prod"]["nodes"] == 1
    assert "mistake" in clusters["wrong"]["state"]


def test_status_is_plain_json_and_shows_that_the_engine_is_not_running(runners, store):
    store.snapshots.save(snapshot(member("n1", "192.0.2.1")), [member("n1", "192.0.2.1")], [])
    store.health.report("prod", Health(state="watching", reported_at=1.0, heard_at=1.0))
    status = json.loads(json.dumps(runners({"prod": CLUSTER})["k8s_nodes.status"]()))
    assert status["engine"].startswith("not running")
    assert status["clusters"]["prod"]["stale"] is True


def test_nodes_shows_the_accepted_addresses(runners, store):
    one = member("n1", "192.0.2.1", external=("192.0.2.9",))
    store.snapshots.save(snapshot(one), [one], [])
    found = runners({"prod": CLUSTER})["k8s_nodes.nodes"]("prod")
    assert found == {
        "n1": {"InternalIP": ["192.0.2.1"], "ExternalIP": ["192.0.2.9"], "ready": True}
    }


def test_a_cluster_without_a_list_is_an_error_and_not_an_empty_list(runners):
    answer = runners({"prod": CLUSTER})["k8s_nodes.nodes"]("prod")
    assert "never been listed completely" in answer.pop("error")
    assert answer == {"retcode": 1}


@pytest.mark.parametrize("function", ["nodes", "apply", "confirm"])
def test_a_cluster_that_is_not_configured_is_refused_by_name(runners, function):
    assert runners({"prod": CLUSTER})[f"k8s_nodes.{function}"]("other") == {
        "error": "cluster 'other' is not configured; configured: prod",
        "retcode": 1,
    }


def test_apply_publishes_nothing_when_no_minion_is_out_of_date(runners):
    assert runners({"prod": CLUSTER})["k8s_nodes.apply"]() == {"jobs": {}}


def test_held_changes_are_shown_and_confirm_names_those_that_it_releases(runners, store):
    held = [
        Held(
            kind=Kind.SHRINK, why="2 of 3 nodes are gone", subjects=dict.fromkeys(["n1", "n2"], "")
        ),
        Held(kind=Kind.NODE, why="too many addresses", subjects=dict.fromkeys(["n3"], "")),
    ]
    store.holds.replace("prod", held, 1.0)
    load = runners({"prod": CLUSTER})
    shown = load["k8s_nodes.status"]()["clusters"]["prod"]["held"]
    token = held[0].token
    assert [(change["what"], change["release"]) for change in shown] == [
        ("shrink", f"salt-run k8s_nodes.confirm prod {token}"),
        ("node", None),
    ]
    assert load["k8s_nodes.confirm"]("prod")["released"] == []
    answer = load["k8s_nodes.confirm"]("prod", token, reason="moved")
    assert [change["keys"] for change in answer["released"]] == [["n1", "n2"]]
    assert [change["what"] for change in answer["still_held"]] == ["node"]
    (decided,) = store.decisions.of("prod").confirmations
    assert decided.subjects.keys() == {"n1", "n2"}
    (entry,) = store.history.newest("prod", 10)
    assert (entry.what, entry.detail["reason"]) == ("confirmed", "moved")
    assert entry.detail["by"] == decided.by
    refused = load["k8s_nodes.reject"]("prod", token)
    assert "cannot be rejected" in refused["refused"]


def test_confirm_without_held_changes_releases_nothing(runners, store):
    answer = runners({"prod": CLUSTER})["k8s_nodes.confirm"]("prod")
    assert answer == {"released": [], "still_held": []}
    assert store.decisions.of("prod").confirmations == []


@pytest.mark.parametrize("function", ["apply", "confirm", "nodes"])
def test_a_cluster_with_a_mistake_is_not_called_unknown(runners, store, function):
    one = member("n1", "192.0.2.1")
    store.snapshots.save(snapshot(one), [one], [])
    # The engine fires `lagging` for it, and the reactor passes its name on.
    assert runners({"prod": {**CLUSTER, "page_size": 0}})[f"k8s_nodes.{function}"]("prod")


@pytest.mark.parametrize("function", ["status", "nodes", "apply", "confirm"])
def test_a_store_that_cannot_be_opened_is_an_error_that_names_it(runners, tmp_path, function):
    (tmp_path / "state").write_text("a file where the folder should be")
    arguments = () if function in ("status", "apply") else ("prod",)
    answer = runners({"prod": CLUSTER})[f"k8s_nodes.{function}"](*arguments)
    assert str(tmp_path / "state") in answer["error"]
    assert answer["retcode"] == 1
