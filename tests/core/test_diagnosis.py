"""Findings, the worst first."""

from __future__ import annotations

from salt_ext.core.diagnosis.finding import error, in_order, info, warning


def test_the_worst_come_first_each_once_otherwise_as_they_came():
    found = [info("a", "1"), warning("b", "2"), error("c", "3"), error("b", "4"), error("c", "3")]
    assert [one.where for one in in_order(found)] == ["c", "b", "b", "a"]


def test_a_finding_says_where_what_and_how_to_mend_it():
    one = error("engines", "has no k8s_nodes", "add it")
    assert str(one) == "engines: has no k8s_nodes; add it"
    assert one.to_dict() == {
        "level": "error",
        "where": "engines",
        "what": "has no k8s_nodes",
        "mend": "add it",
    }
    assert "mend" not in info("a", "b").to_dict()
