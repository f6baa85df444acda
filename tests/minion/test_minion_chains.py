"""Whether a chain drops everything at its end: what a jump to it then means."""

from __future__ import annotations

import pytest

from k8s_firewall_parts.chains import (
    ACCEPT,
    DROP,
    GOTO,
    JUMP,
    NOTHING,
    RETURN,
    Analysis,
    Chain,
    Condition,
    Rule,
)

SOME = (Condition(("other",), (("x",),)),)


def key(name: str) -> tuple[str, str, str]:
    return ("inet", "filter", name)


def rule(verdict: str, target: str = "", *, some: bool = False) -> Rule:
    return Rule("place", SOME if some else (), verdict, key(target) if target else None)


def chains(**rules: list[Rule]) -> Analysis:
    found = {
        key(name): Chain(
            key(name),
            listed,
            type="filter" if name == "input" else "",
            hook="input" if name == "input" else "",
        )
        for name, listed in rules.items()
    }
    return Analysis(found)


@pytest.mark.parametrize(
    ("rules", "drops"),
    [
        ([], False),
        ([rule(DROP)], True),
        ([rule(DROP, some=True)], False),
        ([rule(NOTHING), rule(DROP)], True),
        ([rule(ACCEPT), rule(DROP)], False),
        ([rule(ACCEPT, some=True), rule(DROP)], True),
        ([rule(RETURN), rule(DROP)], False),
        ([rule(JUMP, "all")], True),
        ([rule(GOTO, "all")], True),
        ([rule(JUMP, "none"), rule(DROP)], True),
        ([rule(GOTO, "none"), rule(DROP)], False),
        ([rule(JUMP, "missing"), rule(DROP)], True),
        ([rule(JUMP, "circle")], False),
    ],
)
def test_a_chain_drops_everything_only_without_a_condition(rules: list[Rule], drops: bool) -> None:
    found = chains(
        input=[rule(JUMP, "one")],
        one=rules,
        all=[rule(DROP)],
        none=[],
        circle=[rule(JUMP, "one")],
    )
    assert found.drops_all(key("one")) is drops
    assert found.drops_all(None) is found.drops_all(key("missing")) is False
    jump = found.chains[key("input")].rules[0]
    assert found.drops(found.chains[key("input")], jump) is drops
