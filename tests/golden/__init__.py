"""
Texts as they are expected, a file each: a changed word of a screen or a ruleset is seen in review.

``UPDATE_GOLDEN=1`` rewrites the files in place of comparing; read the diff before you commit it.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def assert_golden(path: str, text: str) -> None:
    """Compare a text with the file ``tests/golden/<path>``; fail with the difference."""
    file = HERE / path
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return
    if not file.exists():
        pytest.fail(f"tests/golden/{path} is missing; UPDATE_GOLDEN=1 writes it", pytrace=False)
    if (expected := file.read_text()) == text:
        return
    lines = difflib.unified_diff(
        expected.splitlines(), text.splitlines(), f"tests/golden/{path}", "now", lineterm="", n=2
    )
    shown = "\n".join(lines) or "(they differ in line ends only)"
    pytest.fail(f"{shown}\n\nIf this is meant, UPDATE_GOLDEN=1 rewrites the file.", pytrace=False)
