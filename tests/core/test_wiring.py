"""Whether the master's options name us, in every form that Salt takes."""

from __future__ import annotations

import pytest

from salt_ext.core.diagnosis.finding import Level
from salt_ext.core.diagnosis.wiring import backend, engine_is_listed, reactions, reactor, topology

OURS = "/ours/apply.sls"
TEXTS = {OURS: "runner.k8s_nodes.apply:", "/other.sls": "local.test.ping:"}
CHANGED, LAGGING = ({f"salt/k8s_nodes/*/{kind}": [OURS]} for kind in ("changed", "lagging"))


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
def test_an_engine_is_found_in_every_form_that_salt_takes(listed):
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


def told(*entries, clusters=("prod",)) -> list[tuple[Level, str]]:
    found = reactor({"reactor": list(entries)}, clusters, TEXTS.get)
    return [(one.level, str(one)) for one in found]


def test_nothing_is_said_of_a_reactor_that_calls_us():
    assert told(CHANGED, LAGGING) == []
    assert told({"salt/k8s_nodes/*": OURS}) == []


def test_tags_of_one_cluster_do_not_do_for_another():
    one = [{f"salt/k8s_nodes/prod/{kind}": [OURS]} for kind in ("changed", "lagging")]
    assert told(*one) == []
    ((level, text),) = told(*one, clusters=("prod", "test"))
    assert level is Level.ERROR
    assert "lagging of test: nothing is ever published" in text


def test_a_file_that_calls_something_else_is_none_that_calls_us():
    ((level, text),) = told({"salt/k8s_nodes/*/changed": ["/other.sls"]}, LAGGING)
    assert level is Level.WARNING
    assert "salt/k8s_nodes/*/changed of prod" in text


def test_without_a_reminder_nobody_is_tried_again():
    ((level, text),) = told(CHANGED)
    assert level is Level.ERROR
    assert "never tried again" in text


def test_a_file_that_is_missing_is_named():
    found = told(CHANGED, LAGGING, {"salt/k8s_nodes/*/changed": ["/gone.sls"]})
    assert [level for level, _ in found] == [Level.ERROR]
    assert "no file /gone.sls" in found[0][1]


def test_two_calls_for_one_event_are_told():
    found = told({"salt/k8s_nodes/*/*": [OURS, OURS, "/other.sls"]}, CHANGED, LAGGING)
    assert found == []
    TEXTS["/copy.sls"] = TEXTS[OURS]
    found = told({"salt/k8s_nodes/*/*": [OURS, "/copy.sls"]})
    assert {level for level, _ in found} == {Level.INFO}


def test_patterns_are_those_of_a_shell():
    opts = {"reactor": [{"salt/k8s_nodes/*/changed": ["/a"]}, {"salt/*": "/b"}, {"x": ["/c"]}]}
    assert reactions(opts, "salt/k8s_nodes/prod/changed") == ["/a", "/b"]


def test_an_item_with_several_tags_is_none_for_salt_and_that_is_told():
    both = {**CHANGED, **LAGGING}
    assert reactions({"reactor": [both]}, "salt/k8s_nodes/prod/changed") == []
    (ignored, _), (level, text) = told(both)
    assert (ignored, level) == (Level.WARNING, Level.ERROR)
    assert "lagging of prod: nothing is ever published" in text
    ((level, text),) = told(CHANGED, LAGGING, {"a": "/a", "b": "/b"})
    assert level is Level.WARNING
    assert "all of it: a, b" in text


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("/etc/salt/reactor.yaml", "the file /etc/salt/reactor.yaml has no list"),
        (CHANGED, "has no list"),
    ],
)
def test_what_is_no_list_is_none_for_salt(written, said):
    found = [str(one) for one in reactor({"reactor": written}, ["prod"], TEXTS.get)]
    assert said in found[0]
    assert "nothing is ever published" in found[1]


def test_file_roots_have_to_be_served():
    assert list(backend({"fileserver_backend": ["git", "roots"]}, needed=True)) == []
    (found,) = backend({"fileserver_backend": ["git"]}, needed=True)
    assert found.level is Level.ERROR


def test_a_master_that_stands_alone_has_no_topology():
    # Salt's defaults.
    opts = {"order_masters": False, "syndic_master": "masterofmasters", "cluster_id": None}
    assert list(topology(opts, ["interface"])) == []


def test_each_way_to_stand_to_other_masters_is_named():
    engine = {"engines": ["k8s_nodes"]}
    (found,) = topology({"order_masters": True, **engine}, ["order_masters"])
    assert found.level is Level.WARNING
    (found,) = topology({"order_masters": True}, ["order_masters"])
    assert found.level is Level.INFO
    (found,) = topology({"syndic_master": "mom"}, ["syndic_master"])
    assert "a syndic of mom" in found.what
    (found,) = topology({"cluster_id": "c", "cluster_peers": ["m2", "m3"]}, [])
    assert "m2, m3" in found.what
