"""Findings, errors first."""

from __future__ import annotations

from salt_ext.core.diagnosis.finding import by_severity, error, info, warning


def test_errors_come_first_without_duplicates_otherwise_in_the_given_order():
    found = [info("a", "1"), warning("b", "2"), error("c", "3"), error("b", "4"), error("c", "3")]
    assert [one.where for one in by_severity(found)] == ["c", "b", "b", "a"]


def test_a_finding_says_where_what_and_how_to_fix_it():
    one = error("engines", "has no k8s_nodes", "add it")
    assert str(one) == "engines: has no k8s_nodes; add it"
    assert one.to_dict() == {
        "level": "error",
        "where": "engines",
        "what": "has no k8s_nodes",
        "fix": "add it",
    }
    assert "fix" not in info("a", "b").to_dict()
