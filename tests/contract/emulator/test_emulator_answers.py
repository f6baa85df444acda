"""
Answers that a real server cannot be asked for.
"""

from __future__ import annotations

import http.client
import json
import time

import pytest

from lab.kubernetes.client import Client
from lab.kubernetes.emulator import actions
from lab.kubernetes.emulator.control import Control
from lab.kubernetes.emulator_backend import EmulatorBackend
from lab.kubernetes.nodes import Nodes
from tests.contract.reading import KUBE_SYSTEM, NODES, names, version


def test_any_answer_can_be_given_to_the_requests_that_are_meant(control: Control, client: Client):
    control.on("list", do=actions.respond(429, "slow down", headers={"Retry-After": "7"}), times=2)
    assert client.get(KUBE_SYSTEM).status == 200
    answers = [client.get(NODES) for _ in range(3)]
    assert [answer.status for answer in answers] == [429, 429, 200]
    assert (answers[0].headers["Retry-After"], answers[0].body) == ("7", b"slow down")


def test_an_answer_can_be_anything_with_status_200(control: Control, client: Client):
    wrong = ["<html>", {}, {"kind": "PodList", "items": []}, {"kind": "NodeList", "items": None}]
    for body in wrong:
        control.on("list", do=actions.respond(200, body))
    bodies = [client.get(NODES).body.decode() for _ in wrong]
    assert bodies == ["<html>", *(json.dumps(body) for body in wrong[1:])]


def test_a_rule_can_let_some_pass_and_come_back(control: Control, client: Client):
    rule = control.on("list", do=actions.respond(500), skip=1, every=2, times=None)
    assert [client.get(NODES).status for _ in range(6)] == [200, 500, 200, 500, 200, 500]
    assert control.fired(rule) == 3
    control.clear(rule)
    assert client.get(NODES).status == 200


def test_one_page_of_a_list_can_be_gone(control: Control, client: Client, nodes: Nodes):
    for number in range(5):
        nodes.create(f"n{number}")
    control.on("list", page=3, do=actions.gone())
    token = ""
    for status in (200, 200, 410):
        answer = client.get(NODES, limit=2, **({"continue": token} if token else {}))
        assert answer.status == status
        token = answer.json()["metadata"].get("continue", "")


def test_an_answer_can_be_late_or_never(
    control: Control, client: Client, emulator: EmulatorBackend
):
    control.on("list", do=actions.delay(0.3))
    begin = time.monotonic()
    assert client.get(NODES).status == 200
    assert time.monotonic() - begin > 0.3
    control.on("list", do=actions.hang())
    with pytest.raises(TimeoutError):
        emulator.client(seconds=0.3).get(NODES)


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_can_be_closed_without_an_answer(
    control: Control, client: Client, reset: bool
):
    control.on("list", do=actions.close(reset=reset))
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        client.get(NODES)
    assert client.get(NODES).status == 200


def test_an_answer_can_end_in_the_middle(control: Control, client: Client, nodes: Nodes):
    nodes.create("n1")
    control.on("list", do=actions.cut_body(0.5))
    with pytest.raises(http.client.IncompleteRead):
        client.get(NODES)


def test_old_and_new_states_can_alternate(control: Control, client: Client, nodes: Nodes):
    nodes.create("n1")
    control.save("old")
    nodes.create("n2")
    control.on("list", do=actions.from_state("old"), every=2, times=None)
    answers = [client.get(NODES) for _ in range(4)]
    assert [names(one) for one in answers] == [["n1"], ["n1", "n2"], ["n1"], ["n1", "n2"]]
    assert version(answers[0]) < version(answers[1])
