"""What of a node is not let in is reported once for each node and reason, and not too often."""

from __future__ import annotations

import logging

import pytest

from salt_ext.core.cluster.member import RejectReason
from salt_ext.core.cluster.refusal import KEYS, HeldReason, Reason, Refusal, cure
from salt_ext.core.events import MAX_NODES, Event
from salt_ext.watch.refusals import RefusalReporter

OUTSIDE, MANY = RejectReason.OUTSIDE, HeldReason.TOO_MANY
REASONS: list[Reason] = [*RejectReason, *HeldReason]


class Reported:
    def __init__(self) -> None:
        self.fired: list[Event] = []
        self.reporter = RefusalReporter("prod", self.fired.append)

    def report(self, now: float, **nodes: list[Refusal]) -> list[str]:
        """Report refusals; return the names of the nodes with an event."""
        before = len(self.fired)
        self.reporter.report(nodes, now)
        return [str(event.data["node"]) for event in self.fired[before:]]


@pytest.fixture
def reported():
    return Reported()


def refusal(node: str, reason: Reason = OUTSIDE, count: int = 1) -> Refusal:
    return Refusal(node=node, reason=reason, count=count, examples=("10.0.0.1",))


def test_a_refusal_is_one_event_and_one_line_with_key_and_cure(reported, caplog):
    reported.report(0.0, n1=[refusal("n1", count=3)])
    (event,) = reported.fired
    assert event.tag == "salt/k8s_nodes/prod/refused"
    assert event.data == {
        "cluster": "prod",
        "node": "n1",
        "reason": "outside allowed_networks",
        "count": 3,
        "examples": ["10.0.0.1"],
        "key": "allowed_networks",
    }
    (line,) = caplog.messages
    assert line == (
        "cluster prod: 3 addresses of 1 nodes refused (outside allowed_networks): "
        "n1 ('10.0.0.1', 2 more); if they are right, add their network to "
        "clusters:prod:allowed_networks [addresses-refused]"
    )
    assert caplog.records[0].levelno == logging.WARNING


def test_a_held_node_is_an_error(reported, caplog):
    reported.report(0.0, n1=[refusal("n1", MANY, 40)])
    assert caplog.records[0].levelno == logging.ERROR
    assert "clusters:prod:guards:addresses_per_node [node-held]" in caplog.text


def test_what_lasts_is_reported_once_and_each_reason_by_itself(reported):
    assert reported.report(0.0, n1=[refusal("n1")]) == ["n1"]
    assert reported.report(5000.0, n1=[refusal("n1", count=2)]) == []
    assert reported.report(5000.0, n1=[refusal("n1"), refusal("n1", MANY)]) == ["n1"]


def test_what_comes_and_goes_is_reported_every_ten_minutes(reported):
    count = 0
    for second in range(1800):
        count += len(reported.report(float(second), n1=[refusal("n1")] if second % 2 else []))
    assert count == 3


def test_many_nodes_are_one_line_and_a_bounded_number_of_events(reported, caplog):
    assert len(reported.report(0.0, **{f"n{n}": [refusal(f"n{n}")] for n in range(5000)})) == (
        MAX_NODES
    )
    assert len(caplog.messages) == 1
    assert "5000 addresses of 5000 nodes refused" in caplog.text
    assert "n4 ('10.0.0.1') and 4995 more;" in caplog.text


def test_hostile_text_is_quoted(reported, caplog):
    one = Refusal(node="n1", reason=RejectReason.UNREADABLE, count=1, examples=("a\nerror: b",))
    reported.report(0.0, n1=[one])
    assert r"'a\nerror: b'" in caplog.text


def test_nodes_without_refusals_are_forgotten(reported):
    for turn in range(50):
        reported.report(turn * 300.0, **{f"n{turn}": [refusal(f"n{turn}")]})
        reported.report(turn * 300.0, **{f"n{turn}": []})
    assert len(reported.reporter._reported) <= 4


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_has_a_cure_and_names_its_key(reason):
    assert KEYS.get(reason, "") in cure(reason, "prod")
    assert "{" not in cure(reason, "prod")
