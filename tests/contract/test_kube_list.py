"""
LIST: pages and versions.
"""

from __future__ import annotations

import time

import pytest

from lab.kubernetes.client import Client
from lab.kubernetes.nodes import Nodes
from tests.contract.reading import NODES, failure, names, now, version


def test_an_empty_cluster_is_a_list_with_a_version_and_no_items(admin: Client):
    body = admin.get(NODES).json()
    assert (body["kind"], body["apiVersion"], body["items"]) == ("NodeList", "v1", [])
    assert int(body["metadata"]["resourceVersion"]) > 0


def test_items_of_a_list_name_no_kind(admin: Client, nodes: Nodes):
    nodes.create("n1")
    item = admin.get(NODES).json()["items"][0]
    assert "kind" not in item
    assert "apiVersion" not in item


def test_items_are_sorted_by_name(admin: Client, nodes: Nodes):
    for name in ("n2", "n10", "n1"):
        nodes.create(name)
    assert names(admin.get(NODES)) == ["n1", "n10", "n2"]


def test_pages_show_one_state_whatever_happens_between_them(admin: Client, nodes: Nodes):
    for number in range(5):
        nodes.create(f"n{number}")
    first = admin.get(NODES, limit=2)
    meta = first.json()["metadata"]
    assert meta["remainingItemCount"] == 3
    nodes.delete("n3")
    nodes.create("n9")
    second = admin.get(NODES, limit=2, **{"continue": meta["continue"]})
    third = admin.get(NODES, limit=2, **{"continue": second.json()["metadata"]["continue"]})
    assert names(first) + names(second) + names(third) == ["n0", "n1", "n2", "n3", "n4"]
    assert version(first) == version(second) == version(third)
    assert "continue" not in third.json()["metadata"]


def test_a_page_of_a_selected_list_does_not_count_what_remains(admin: Client, nodes: Nodes):
    for number in range(3):
        nodes.create(f"n{number}", labels={"pool": "a"})
    meta = admin.get(NODES, limit=1, labelSelector="pool=a").json()["metadata"]
    assert "continue" in meta
    assert "remainingItemCount" not in meta


def test_the_rest_comes_whole_without_a_limit(admin: Client, nodes: Nodes):
    for number in range(4):
        nodes.create(f"n{number}")
    token = admin.get(NODES, limit=1).json()["metadata"]["continue"]
    assert names(admin.get(NODES, **{"continue": token})) == ["n1", "n2", "n3"]


@pytest.mark.parametrize("token", ["junk", "e30"])
def test_a_continue_token_that_is_none_is_refused(admin: Client, token: str):
    body = failure(admin.get(NODES, limit=1, **{"continue": token}), 400, "BadRequest")
    assert "continue key is not valid" in body["message"]


def test_a_continue_token_goes_with_no_version(admin: Client, nodes: Nodes):
    nodes.create("n1")
    nodes.create("n2")
    first = admin.get(NODES, limit=1)
    token = {"continue": first.json()["metadata"]["continue"]}
    failure(admin.get(NODES, resourceVersion=version(first), **token), 400, "BadRequest")
    assert names(admin.get(NODES, resourceVersion="0", **token)) == ["n2"]


def test_a_version_with_a_limit_means_exactly_that_version(admin: Client, nodes: Nodes):
    old = version(nodes.create("n1"))
    nodes.create("n2")
    answer = admin.get(NODES, resourceVersion=old, limit=10)
    assert (names(answer), version(answer)) == (["n1"], old)


def test_a_version_alone_means_that_one_or_a_newer_one(admin: Client, nodes: Nodes):
    old = version(nodes.create("n1"))
    nodes.create("n2")
    answer = admin.get(NODES, resourceVersion=old)
    assert names(answer) == ["n1", "n2"]
    assert version(answer) > old


def test_version_zero_ignores_the_limit(admin: Client, nodes: Nodes):
    for number in range(3):
        nodes.create(f"n{number}")
    assert names(admin.get(NODES, resourceVersion="0", limit=1)) == ["n0", "n1", "n2"]


def test_a_match_says_how_a_version_is_meant(admin: Client, nodes: Nodes):
    old = version(nodes.create("n1"))
    nodes.create("n2")
    exact = admin.get(NODES, resourceVersion=old, resourceVersionMatch="Exact")
    newer = admin.get(NODES, resourceVersion=old, resourceVersionMatch="NotOlderThan", limit=1)
    assert names(exact) == ["n1"]
    assert version(newer) > old


@pytest.mark.parametrize(
    "query",
    [
        {"resourceVersionMatch": "Exact"},
        {"resourceVersionMatch": "Exact", "resourceVersion": "0"},
        {"resourceVersionMatch": "Junk", "resourceVersion": "1"},
    ],
)
def test_a_match_that_means_nothing_is_refused(admin: Client, query: dict[str, str]):
    body = failure(admin.get(NODES, **query), 422, "Invalid")
    assert body["details"]["causes"][0]["field"] == "resourceVersionMatch"


@pytest.mark.parametrize(
    "query", [{"resourceVersion": "abc"}, {"resourceVersion": "-1"}, {"limit": "abc"}]
)
def test_numbers_that_are_none_are_refused(admin: Client, query: dict[str, str]):
    failure(admin.get(NODES, **query), 400, "BadRequest")


def test_a_version_that_does_not_exist_yet_is_waited_for_and_then_a_timeout(admin: Client):
    begin = time.monotonic()
    answer = admin.get(NODES, resourceVersion=now(admin) + 100_000)
    body = failure(answer, 504, "Timeout")
    assert body["message"].startswith("Timeout: Too large resource version: ")
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    assert body["details"] == {"causes": [cause], "retryAfterSeconds": 1}
    assert answer.headers["Retry-After"] == "1"
    assert time.monotonic() - begin > 2.5


def test_a_large_list_is_compressed_for_a_client_that_wants_it(admin: Client, nodes: Nodes):
    nodes.create("n1")
    big = {f"example.com/{number}": "x" * 9000 for number in range(20)}
    nodes.patch("n1", {"metadata": {"annotations": big}})
    plain = admin.request("GET", NODES)
    packed = admin.request("GET", NODES, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.body) < len(plain.body) / 10
