"""
The paths of the API, and the answer to each.
"""

from __future__ import annotations

import json
from typing import Any

from lab.kubernetes.emulator import list_response, objects, query_values
from lab.kubernetes.emulator.access import Access
from lab.kubernetes.emulator.request import Answer, Request, Target, answer
from lab.kubernetes.emulator.status import (
    bad_request,
    method_not_allowed,
    no_such_resource,
    not_found,
)
from lab.kubernetes.emulator.store import Collection, Item, Store
from lab.kubernetes.emulator.watch import Watch

_TEXT = {"Content-Type": "text/plain; charset=utf-8"}
_VERSION = {
    "major": "1",
    "minor": "37",
    "gitVersion": "v1.37.2",
    "gitTreeState": "emulated",
    "platform": "python",
}
_REVIEW = ("authorization.k8s.io", "selfsubjectaccessreviews")


class Api:
    """Answers the requests of users that are known and allowed."""

    def __init__(self, store: Store, access: Access) -> None:
        self.store, self.access = store, access

    def answer(self, user: str, request: Request) -> Answer | Watch:
        target = request.target
        if target is None:
            return _plain(request)
        if (target.group, target.resource) == _REVIEW:
            return self._review(user, request)
        collection = self.store.collections.get(target.resource)
        if collection is None or target.group:
            raise no_such_resource()
        if target.part not in ("", "status"):
            raise no_such_resource()
        if request.method == "HEAD":
            raise method_not_allowed()
        if request.verb == "watch":
            return Watch(self.store, collection, request.query)
        if request.verb == "list":
            return list_response.answer(self.store, collection, request)
        return self._one(collection, target, request)

    def _one(self, collection: Collection, target: Target, request: Request) -> Answer:
        store, name, part = self.store, target.name, target.part
        if request.verb == "get":
            store.wait_for(query_values.number(request.query.get("resourceVersion", "")))
            item = collection.items.get(name)
            if item is None:
                raise not_found(collection.resource, name)
            return _object(collection, item)
        if collection is not store.nodes:
            raise method_not_allowed()
        if request.verb == "create" and not name:
            return _object(collection, objects.create(store, collection, request), 201)
        if request.verb == "update":
            return _object(collection, objects.replace(store, collection, name, part, request))
        if request.verb == "patch":
            return _object(collection, objects.patch(store, collection, name, part, request))
        if request.verb == "delete" and not part:
            item, removed = objects.delete(store, collection, name)
            return _deleted(collection, item) if removed else _object(collection, item)
        raise method_not_allowed()

    def _review(self, user: str, request: Request) -> Answer:
        if request.verb != "create":
            raise method_not_allowed()
        try:
            body = json.loads(request.body)
            asked = {
                key: value for key, value in body["spec"]["resourceAttributes"].items() if value
            }
        except (ValueError, KeyError, TypeError) as error:
            raise bad_request(f"a review needs spec.resourceAttributes: {error}") from error
        target = Target(
            group=asked.get("group", ""),
            resource=asked.get("resource", ""),
            name=asked.get("name", ""),
            part=asked.get("subresource", ""),
        )
        allowed = self.access.allowed(user, asked.get("verb", ""), target)
        status: dict[str, Any] = {"allowed": allowed}
        if allowed:
            status |= self.access.reason(user)
        head = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1"}
        return answer(
            {**head, "metadata": {}, "spec": {"resourceAttributes": asked}, "status": status}, 201
        )


def _object(collection: Collection, item: Item, status: int = 200) -> Answer:
    head = b'{"kind":"%b","apiVersion":"v1",' % collection.kind.encode()
    return Answer(status=status, body=head + item.raw[1:] + b"\n")


def _deleted(collection: Collection, item: Item) -> Answer:
    uid = item.load()["metadata"]["uid"]
    details = {"name": item.name, "kind": collection.resource, "uid": uid}
    head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return answer({**head, "details": details})


def _plain(request: Request) -> Answer:
    path = request.path.rstrip("/")
    if path in ("/readyz", "/livez", "/healthz"):
        return Answer(body=b"ok", headers=_TEXT)
    if path == "/version":
        return answer(_VERSION)
    if path == "/api":
        return answer({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
    if path == "/apis":
        return answer({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})
    if path == "/api/v1":
        return answer({"kind": "APIResourceList", "groupVersion": "v1", "resources": _RESOURCES})
    return Answer(status=404, body=b"404 page not found\n", headers=_TEXT)


_RESOURCES = [
    {
        "name": name,
        "singularName": singular,
        "namespaced": False,
        "kind": kind,
        "verbs": verbs,
        "shortNames": [short],
    }
    for name, singular, kind, short, verbs in (
        (
            "nodes",
            "node",
            "Node",
            "no",
            ["create", "delete", "get", "list", "patch", "update", "watch"],
        ),
        ("namespaces", "namespace", "Namespace", "ns", ["get", "list", "watch"]),
    )
]
