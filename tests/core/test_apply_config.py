"""The apply block: which minions run which function."""

from __future__ import annotations

import pytest

from salt_ext.core.config import config
from salt_ext.core.config.apply import ApplyConfig, Mode

CLUSTER = {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]}


def read(**block) -> config.Config:
    return config.read({"clusters": {"prod": CLUSTER}, "apply": block})


def valid(**block) -> ApplyConfig:
    found = read(**block)
    assert [str(problem) for problem in found.problems] == []
    return found.apply


def test_by_default_it_is_a_highstate():
    assert str(valid().default) == "state.apply"
    assert str(valid(highstate=True).default) == "state.apply"


@pytest.mark.parametrize(
    ("block", "implicit"),
    [
        ({}, True),
        ({"batch": 5}, True),
        ({"kwarg": {"saltenv": "x"}}, True),
        ({"highstate": True}, False),
        ({"states": ["a"]}, False),
        ({"function": "a.b"}, False),
    ],
)
def test_a_highstate_by_default_is_marked_as_implicit(block, implicit):
    apply = valid(**block, classes={"one": {"target": "a*"}})
    assert [one.implicit for one in (apply.default, *apply.classes)] == [implicit, False]


def test_states_are_one_argument():
    assert valid(states=["a", "b.c"]).default.arg == ("a,b.c",)


def test_any_function_can_be_published_with_arguments():
    default = valid(function="fw.set", arg=["x", 1], kwarg={"y": True}).default
    assert (default.function, default.arg, default.kwarg) == ("fw.set", ("x", 1), {"y": True})
    assert str(default) == "fw.set x 1 y=True"


@pytest.mark.parametrize("arg", ["a=b", "test=False", "queue==1", "x y", "a queue=True"])
def test_a_harmless_argument_is_accepted(arg):
    assert valid(function="a.b", arg=[arg]).default.arg == (arg,)


def test_a_state_run_is_never_queued():
    assert valid(states=["a"], kwarg={"saltenv": "x"}).default.publish_kwargs == {
        "saltenv": "x",
        "queue": False,
    }
    # To Salt, None means the minion's option, and 0 an endless queue.
    for queue in (None, 0, False):
        sent = valid(function="state.sls", arg=["a"], kwarg={"queue": queue}).default.publish_kwargs
        assert sent["queue"] is False


@pytest.mark.parametrize("function", ["k8s_firewall.sync", "state.pkg", "fw.apply"])
def test_a_function_without_queue_gets_none(function):
    assert valid(function=function).default.publish_kwargs == {}


def test_a_class_inherits_the_keys_that_it_omits():
    apply = valid(
        states=["firewall"],
        mode="observe",
        kwarg={"saltenv": "prod"},
        classes={
            "web": {"target": "web*", "mode": "enforce"},
            "db": {"target": "db*", "states": ["db"]},
            "whole": {"target": "old*", "highstate": True},
        },
    )
    web, db, whole = apply.classes
    assert (str(web), web.mode) == ("state.apply firewall saltenv=prod", Mode.ENFORCE)
    assert (str(db), db.mode) == ("state.apply db", Mode.OBSERVE)
    assert str(whole) == "state.apply"


def test_a_minion_belongs_to_the_first_matching_class():
    apply = valid(
        classes={
            "one": {"target": "a*", "states": ["one"]},
            "two": {"target": "*", "states": ["two"]},
        }
    )
    matches = {"a*": {"a1"}, "*": {"a1", "b1"}}
    assert [apply.class_of(name, matches).name for name in ("a1", "b1", "c1")] == ["one", "two", ""]


@pytest.mark.parametrize(
    ("target", "needs_grains"),
    [
        ("web* and db1.example.com", False),
        ("L@web1,web2 or E@web.*", False),
        ("PING*", False),
        ("web* and not G@role:db", True),
        ("( P@os:Deb.* )", True),
        ("J|@role|db.*", True),
        ("S@192.0.2.0/24", True),
        ("N@proxies", True),
    ],
)
def test_some_targets_need_grains(target, needs_grains):
    (one,) = valid(classes={"one": {"target": target, "states": ["one"]}}).classes
    assert one.needs_grains is needs_grains


def test_a_class_that_needs_grains_makes_later_classes_uncertain_without_them():
    apply = valid(
        classes={
            "named": {"target": "a*", "states": ["one"]},
            "grains": {"target": "not G@role:db", "states": ["two"]},
        }
    )
    matches = {"a*": {"a1"}, "not G@role:db": {"b1", "c1"}}
    assert [apply.knows_class(name, matches, {"c1"}) for name in ("a1", "b1", "c1")] == [
        True,
        False,
        True,
    ]
    named = valid(classes={"named": {"target": "a*", "states": ["one"]}})
    assert named.knows_class("b1", matches, set())


@pytest.mark.parametrize(
    ("block", "sync"),
    [
        ({"function": "k8s_firewall.sync"}, True),
        ({"function": "fw.sync"}, False),
        ({"states": ["users", "k8s_firewall"]}, True),
        ({"states": ["users", "k8s_firewall.prune"]}, True),
        ({"states": ["k8s_firewalls", "site.k8s_firewall"]}, False),
        ({"function": "state.sls", "arg": ["users, k8s_firewall"]}, True),
        ({"function": "state.sls", "arg": [["k8s_firewall.drift"]]}, True),
        ({"function": "fw.apply", "arg": ["k8s_firewall"]}, False),
        # It syncs of itself.
        ({"highstate": True}, False),
    ],
)
def test_modules_are_synced_by_default_where_they_are_used(block, sync):
    (one,) = valid(classes={"one": {"target": "a*", **block}}).classes
    assert (one.uses_module, one.sync) == (sync, sync)
    (one,) = valid(classes={"one": {"target": "a*", **block, "sync": not sync}}).classes
    assert (one.uses_module, one.sync) == (sync, not sync)


def test_a_class_that_inherits_its_function_inherits_its_sync():
    apply = valid(states=["k8s_firewall"], classes={"one": {"target": "a*", "mode": "observe"}})
    assert [one.sync for one in (apply.default, *apply.classes)] == [True, True]


@pytest.mark.parametrize(
    ("block", "key", "says"),
    [
        ({"states": ["a"], "highstate": True}, "apply", "only one of states, highstate, function"),
        ({"arg": ["a"]}, "apply:arg", "only with function"),
        ({"function": "reboot"}, "apply:function", "an execution function such as"),
        ({"function": "a.b", "arg": "x"}, "apply:arg", "a list of arguments"),
        ({"kwarg": {"queue": True}}, "apply:kwarg", "without queue"),
        ({"kwarg": {"test": True}}, "apply:kwarg", "without test"),
        ({"function": "a.b", "arg": ["x", "queue=True"]}, "apply:arg", "without queue"),
        ({"function": "a.b", "arg": ["queue=5"]}, "apply:arg", "without queue"),
        ({"function": "a.b", "arg": ["test=True"]}, "apply:arg", "without test"),
        ({"function": "a.b", "arg": ["__id__=1"]}, "apply:arg", "without '__'"),
        (
            {"function": "a.b", "arg": [{"__kwarg__": True, "queue": True}]},
            *("apply:arg", "without queue"),
        ),
        ({"kwarg": {"__id__": 1}}, "apply:kwarg", "without '__'"),
        ({"mode": "watch"}, "apply:mode", "one of enforce, observe"),
        ({"classes": {"x": {"states": ["a"]}}}, "apply:classes:x:target", "(required)"),
        ({"classes": {"a b": {"target": "*"}}}, "apply:classes", "as a class's name"),
        ({"classes": {"x": {"target": "*", "stats": []}}}, "apply:classes:x:stats", "states?"),
        ({"canary": -1}, "apply:canary", "from 0 to"),
        ({"abort_percent": 101}, "apply:abort_percent", "from 0 to 100"),
        ({"max_per_minute": 0}, "apply:max_per_minute", "from 1 to"),
    ],
)
def test_a_mistake_is_named_and_makes_publishing_uncertain(block, key, says):
    found = read(**block)
    (problem,) = found.problems
    assert problem.key == f"k8s_nodes:{key}"
    assert says in str(problem)
    assert found.in_doubt == (problem,)


def test_an_invalid_mode_is_read_as_observe():
    assert read(mode="enforced").apply.default.mode is Mode.OBSERVE
    broken = config.read({"clusters": {"prod": {**CLUSTER, "mode": "on"}, "test": CLUSTER}})
    assert [broken.mode(name) for name in ("prod", "test", "gone")] == [
        Mode.OBSERVE,
        Mode.ENFORCE,
        Mode.ENFORCE,
    ]
    assert not broken.in_doubt
