"""The answers of the runner, their types, and the page ``docs/answers.md`` agree."""

from __future__ import annotations

import inspect
import json
import re
import time
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import salt.loader

from salt_ext.core import answers
from salt_ext.core.cluster.hold import Held, Kind
from salt_ext.core.rollout.wave import RolloutState
from salt_ext.runners import k8s_nodes as runner
from tests.functional.answer_types import keys, mismatches, paths, union
from tests.functional.terminal import Master

PAGE = Path(__file__).parents[2] / "docs" / "answers.md"

FUNCTIONS = {
    name: function
    for name, function in vars(runner).items()
    if inspect.isfunction(function)
    and function.__module__ == runner.__name__
    and not name.startswith("_")
}


def answer_types(name: str) -> list[Any]:
    """Return the types of a function's answer, without errors and texts."""
    kinds = union(get_type_hints(FUNCTIONS[name])["return"])
    return [kind for kind in kinds if kind not in (answers.Error, str)]


def section(name: str) -> str:
    found = re.search(
        rf"^## `{name}`\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found, f"docs/answers.md has no section for {name}"
    return found[1]


def examples(name: str) -> list[Any]:
    blocks = re.findall(r"^```json\n(.*?)^```", section(name), re.MULTILINE | re.DOTALL)
    return [json.loads(block) for block in blocks]


def test_the_page_has_a_section_for_each_function_of_the_runner():
    named = re.findall(r"^## `(\w+)`$", PAGE.read_text(), re.MULTILINE)
    assert sorted(named) == sorted(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_example_of_the_page_has_the_types_of_the_answer(name):
    kinds = answer_types(name)
    assert examples(name)
    for example in examples(name):
        assert min((list(mismatches(example, kind)) for kind in kinds), key=len) == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_examples_of_the_page_show_every_key(name):
    shown = {
        path
        for kind in answer_types(name)
        for example in examples(name)
        for path in paths(example, kind)
    }
    assert shown == {path for kind in answer_types(name) for path, _ in keys(kind)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_table_of_the_page_has_each_key_with_its_type(name):
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| [^|]+ \|$", section(name), re.MULTILINE)
    expected = dict.fromkeys(row for kind in answer_types(name) for row in keys(kind))
    assert [(path, kind.strip()) for path, kind in rows] == list(expected)


@pytest.fixture
def busy(tmp_path, monkeypatch):
    """A master with a held change, a stopped class, and minions that failed or refer to nothing."""
    master = Master(tmp_path, monkeypatch)
    master.healthy()
    master.save("prod", "192.0.2.2", "192.0.2.3")
    master.publish("web1")
    master.refer("web2", "k8s://prod", "k8s://prod/nothing")
    held = Held(
        kind=Kind.SHRINK, why="2 of 3 nodes are gone at once", subjects=dict.fromkeys(["n1"], "")
    )
    master.store.holds.replace("prod", [held], master.now)
    state = RolloutState(
        started_at=1.0, stopped="2 of 3 failed", retry_at=master.now + 60, consecutive_stops=1
    )
    master.store.rollouts.save("web", state)
    return master


ARGUMENTS = {
    "nodes": ("prod",),
    "refresh": ("prod", 0.1),
    "confirm": ("prod",),
    "reject": ("prod", "abcd-efgh-jkmn"),
    "check": (0,),
}


def ask(master: Master, name: str) -> object:
    functions = salt.loader.runner(master.opts())
    return functions[f"k8s_nodes.{name}"](*ARGUMENTS.get(name, ()))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_answer_has_the_declared_types(busy, name):
    answer = json.loads(json.dumps(ask(busy, name)))
    assert "error" not in answer, answer
    kind = get_type_hints(FUNCTIONS[name])["return"]
    assert list(mismatches(answer, kind)) == []


def test_the_answer_at_a_terminal_has_the_declared_types(busy):
    functions = salt.loader.runner(busy.opts(fun="k8s_nodes.check"))
    answer = functions["k8s_nodes.check"](within=0)
    assert list(mismatches(answer, answers.CheckScreen)) == []


def test_an_error_has_the_declared_types(busy):
    answer = salt.loader.runner(busy.opts())["k8s_nodes.nodes"]("other")
    assert list(mismatches(answer, answers.Error)) == []


def test_a_wrong_type_an_unknown_key_and_a_missing_one_are_found():
    answer = {"paused": 1, "by": "kim", "until": time.time()}
    assert list(mismatches(answer, answers.Paused)) == [
        ":since is missing",
        ":until is unknown",
        ":paused: 1 is not boolean",
    ]
