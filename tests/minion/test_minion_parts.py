"""The map of the minion's parts has each of them, once a name is added or changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from k8s_firewall_parts import run

FOLDER = Path(run.__file__).parent
MAP = run.__doc__ or ""


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_the_map_has_the_part(name: str) -> None:
    assert name == "run" or re.search(rf"\b{name}\b", MAP)


def test_the_map_has_no_part_that_is_gone() -> None:
    named = re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", MAP.partition("::")[2])
    assert named
    assert [name for name in named if not (FOLDER / f"{name}.py").exists()] == []
