"""
How the contract tests look at answers: names, versions, and events as short tuples.
"""

from __future__ import annotations

from typing import Any

from lab.kubernetes.client import Answer, Client, Stream

NODES = "/api/v1/nodes"
KUBE_SYSTEM = "/api/v1/namespaces/kube-system"


def names(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return [item["metadata"]["name"] for item in answer.json()["items"]]


def version(thing: Answer | dict[str, Any]) -> int:
    """The resourceVersion of an object, a list or an answer that holds one."""
    body = thing.json() if isinstance(thing, Answer) else thing
    return int(body["metadata"]["resourceVersion"])


def now(client: Client) -> int:
    return version(client.get(NODES, limit=1))


def type_and_name(event: dict[str, Any]) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"].get("name", "")


def take(stream: Stream, count: int) -> list[tuple[str, str]]:
    """The next events; a watch that stays silent for too long fails the test."""
    return [type_and_name(stream.next()) for _ in range(count)]


def failure(answer: Answer, code: int, reason: str) -> dict[str, Any]:
    """Return the Status of a refusal, which must match the HTTP status."""
    body = answer.json()
    assert answer.status == code, answer
    assert answer.headers["Content-Type"] == "application/json"
    assert (body["kind"], body["status"]) == ("Status", "Failure")
    assert (body["code"], body.get("reason", "")) == (code, reason)
    return body
