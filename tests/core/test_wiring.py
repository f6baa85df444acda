"""The master's options that start the engine and call the runner, in every form of Salt."""

from __future__ import annotations

import pytest

from salt_ext.core.diagnosis.finding import Level
from salt_ext.core.diagnosis.wiring import (
    backend,
    engine_is_listed,
    reactor,
    reactor_files,
    topology,
)

SLS = "/ext/apply.sls"
TEXTS = {SLS: "runner.k8s_nodes.apply:", "/other.sls": "local.test.ping:"}
CHANGED, LAGGING = ({f"salt/k8s_nodes/*/{kind}": [SLS]} for kind in ("changed", "lagging"))


@pytest.mark.parametrize(
    "listed",
    [
        ["k8s_nodes"],
        [{"k8s_nodes": {}}],
        [{"k8s_nodes": None}],
        [{"other": {}}, {"k8s_nodes": {}}],
        {"k8s_nodes": {}},
        [{"nodes": {"engine_module": "k8s_nodes"}}],
    ],
)
def test_an_engine_is_found_in_every_form_that_salt_accepts(listed):
    assert engine_is_listed({"engines": listed})


@pytest.mark.parametrize(
    "listed",
    [
        None,
        [],
        {},
        [{"other": {}}],
        [{"k8s_nodes": {"engine_module": "other"}}],
        [{"other": {}, "k8s_nodes": {}}],
    ],
)
def test_an_engine_that_is_not_listed_is_not_found(listed):
    assert not engine_is_listed({"engines": listed})


def findings(*entries, clusters=("prod",)) -> list[tuple[Level, str]]:
    found = reactor({"reactor": list(entries)}, clusters, TEXTS.get)
    return [(finding.level, str(finding)) for finding in found]


def test_a_reactor_that_calls_the_runner_has_no_findings():
    assert findings(CHANGED, LAGGING) == []
    assert findings({"salt/k8s_nodes/*": SLS}) == []


def test_tags_of_one_cluster_do_not_match_another():
    one = [{f"salt/k8s_nodes/prod/{kind}": [SLS]} for kind in ("changed", "lagging")]
    assert findings(*one) == []
    ((level, text),) = findings(*one, clusters=("prod", "test"))
    assert level is Level.ERROR
    assert "lagging of test: nothing is ever published" in text


def test_a_file_that_calls_another_function_does_not_count():
    ((level, text),) = findings({"salt/k8s_nodes/*/changed": ["/other.sls"]}, LAGGING)
    assert level is Level.WARNING
    assert "salt/k8s_nodes/*/changed of prod" in text


def test_without_lagging_no_minion_is_tried_again():
    ((level, text),) = findings(CHANGED)
    assert level is Level.ERROR
    assert "never tried again" in text


def test_a_missing_file_is_named():
    found = findings(CHANGED, LAGGING, {"salt/k8s_nodes/*/changed": ["/gone.sls"]})
    assert [level for level, _ in found] == [Level.ERROR]
    assert "the file /gone.sls does not exist" in found[0][1]


def test_two_calls_for_one_event_are_found():
    found = findings({"salt/k8s_nodes/*/*": [SLS, SLS, "/other.sls"]}, CHANGED, LAGGING)
    assert found == []
    TEXTS["/copy.sls"] = TEXTS[SLS]
    found = findings({"salt/k8s_nodes/*/*": [SLS, "/copy.sls"]})
    assert {level for level, _ in found} == {Level.INFO}


def test_patterns_are_shell_patterns():
    opts = {"reactor": [{"salt/k8s_nodes/*/changed": ["/a"]}, {"salt/*": "/b"}, {"x": ["/c"]}]}
    assert reactor_files(opts, "salt/k8s_nodes/prod/changed") == ["/a", "/b"]


def test_an_item_with_several_tags_is_ignored_by_salt_and_found():
    both = {**CHANGED, **LAGGING}
    assert reactor_files({"reactor": [both]}, "salt/k8s_nodes/prod/changed") == []
    (ignored, _), (level, text) = findings(both)
    assert (ignored, level) == (Level.WARNING, Level.ERROR)
    assert "lagging of prod: nothing is ever published" in text
    ((level, text),) = findings(CHANGED, LAGGING, {"a": "/a", "b": "/b"})
    assert level is Level.WARNING
    assert "several tags: a, b" in text


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("/etc/salt/reactor.yaml", "the file /etc/salt/reactor.yaml does not contain a list"),
        (CHANGED, "this option does not contain a list"),
    ],
)
def test_a_value_other_than_a_list_is_ignored_by_salt_and_found(written, message):
    found = [str(one) for one in reactor({"reactor": written}, ["prod"], TEXTS.get)]
    assert message in found[0]
    assert "nothing is ever published" in found[1]


def test_file_roots_have_to_be_served():
    assert list(backend({"fileserver_backend": ["git", "roots"]}, needed=True)) == []
    (found,) = backend({"fileserver_backend": ["git"]}, needed=True)
    assert found.level is Level.ERROR


def test_a_single_master_has_no_topology():
    # Salt's defaults.
    opts = {"order_masters": False, "syndic_master": "masterofmasters", "cluster_id": None}
    assert list(topology(opts, ["interface"])) == []


def test_each_relation_to_other_masters_is_named():
    engine = {"engines": ["k8s_nodes"]}
    (found,) = topology({"order_masters": True, **engine}, ["order_masters"])
    assert found.level is Level.WARNING
    (found,) = topology({"order_masters": True}, ["order_masters"])
    assert found.level is Level.INFO
    (found,) = topology({"syndic_master": "mom"}, ["syndic_master"])
    assert "a syndic of mom" in found.what
    (found,) = topology({"cluster_id": "c", "cluster_peers": ["m2", "m3"]}, [])
    assert "m2, m3" in found.what
