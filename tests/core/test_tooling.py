"""The Makefile is the one source of what is checked: what repeats its names must agree with it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()


def lints() -> list[str]:
    found = re.search(r"^LINTS := (.+)$", MAKEFILE, re.MULTILINE)
    assert found, "the Makefile has no list LINTS"
    return found[1].split()


def test_each_part_of_make_lint_has_one_hook_of_pre_commit_in_the_same_order():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    entries = [hook["entry"] for hook in config["repos"][0]["hooks"]]
    assert entries == [f"make lint-{name}" for name in lints()]


def test_each_target_that_is_phony_by_name_is_shown_by_make_help_or_serves_another_target():
    phony = set(re.findall(r"^\.PHONY: ([a-z-]+)$", MAKEFILE, re.MULTILINE))
    shown = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert phony - shown == {"tools", "kubernetes", "userlands"}
