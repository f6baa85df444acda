"""Each log line begins with what it is about, and ends with an event key of its own."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
KEY = re.compile(r"[ \n]\[([a-z0-9]+(?:-[a-z0-9]+)*)\]$")
SUBJECTS = re.compile(
    r"(cluster|minion|job|class) %s"
    r"|(minion keys|reactor|reactor not working): "
    r"|(config|engine|k8s_firewall|metrics|runner|store): |%s"
)


def calls() -> Iterator[tuple[str, ast.expr]]:
    for folder in ("salt_ext", "engine", "pillar"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in LEVELS
                    and getattr(node.func.value, "id", "") == "log"
                ):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node.args[0]


LINES = [(where, text.value if isinstance(text, ast.Constant) else "") for where, text in calls()]


def test_lines_are_found():
    assert len(LINES) > 40


@pytest.mark.parametrize(("where", "text"), LINES)
def test_a_line_names_its_subject_and_its_event(where, text):
    assert SUBJECTS.match(text), text
    assert KEY.search(text), text


def test_an_event_key_stands_for_one_line():
    keys = Counter(found[1] for _, text in LINES if (found := KEY.search(text)))
    assert [key for key, count in keys.items() if count > 1] == []
