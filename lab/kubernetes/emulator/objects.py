"""
Writing nodes: what a create, an update, a patch and a delete make of an object.
"""

from __future__ import annotations

import json
from typing import Any

from lab.kubernetes import timestamp
from lab.kubernetes.emulator import validation
from lab.kubernetes.emulator.request import Request
from lab.kubernetes.emulator.status import Refused, bad_request, conflict, exists, not_found
from lab.kubernetes.emulator.store import Collection, Item, Object, Store, born

# Fields that the server owns: what a client writes there does not count.
_OWN = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "resourceVersion",
)
_MERGED_BY_TYPE = ("addresses", "conditions")


def create(store: Store, collection: Collection, request: Request) -> Item:
    body = _decode(request)
    metadata = body.get("metadata") or {}
    name = metadata.get("name") or ""
    validation.refuse(collection.kind, name, validation.metadata(metadata))
    metadata = {key: value for key, value in metadata.items() if key not in _OWN}
    spec = _spec(collection, name, body.get("spec") or {})
    fresh = {
        "metadata": metadata,
        "spec": spec,
        "status": {**blank_status(), **(body.get("status") or {})},
    }
    with store.changed:
        if name in collection.items:
            raise exists(collection.resource, name)
        return store.put(collection, born(fresh))


def replace(store: Store, collection: Collection, name: str, part: str, request: Request) -> Item:
    return _write(store, collection, name, part, _decode(request))


def patch(store: Store, collection: Collection, name: str, part: str, request: Request) -> Item:
    kind = request.headers.get("content-type", "").partition(";")[0]
    if kind not in ("application/merge-patch+json", "application/strategic-merge-patch+json"):
        raise Refused(415, "UnsupportedMediaType", "415: Unsupported Media Type", details={})
    change = _decode(request)
    by_type = _MERGED_BY_TYPE if kind.startswith("application/strategic") else ()
    with store.changed:
        current = _current(collection, name)
        wanted = merge(current.load(), change, by_type)
        return _write(store, collection, name, part, wanted)


def delete(store: Store, collection: Collection, name: str) -> tuple[Item, bool]:
    """The object, and whether it is gone; finalizers keep it, marked as leaving."""
    with store.changed:
        body = _current(collection, name).load()
        metadata = body["metadata"]
        if not metadata.get("finalizers"):
            return store.remove(collection, name), True
        if "deletionTimestamp" in metadata:
            return collection.items[name], False
        leaving = {"deletionTimestamp": timestamp.now(), "deletionGracePeriodSeconds": 0}
        return store.put(collection, {**body, "metadata": {**metadata, **leaving}}), False


def merge(target: Any, change: Any, by_type: tuple[str, ...] = ()) -> Any:
    """
    RFC 7396; lists under the named keys are merged by the ``type`` of their items instead of
    replaced.
    """
    if not isinstance(change, dict):
        return change
    found = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            found.pop(key, None)
        elif key in by_type and isinstance(value, list):
            named = {one["type"]: one for one in found.get(key) or []}
            for one in value:
                named[one["type"]] = merge(named.get(one["type"]), one)
            found[key] = list(named.values())
        else:
            found[key] = merge(found.get(key), value, by_type)
    return found


def _write(store: Store, collection: Collection, name: str, part: str, wanted: Object) -> Item:
    with store.changed:
        current = _current(collection, name)
        old = current.load()
        metadata = wanted.get("metadata") or {}
        _check_identity(collection, name, metadata, old, current)
        kept = {key: old["metadata"][key] for key in _OWN if key in old["metadata"]}
        if part == "status":
            # Only labels and annotations of the metadata can be written along with a status.
            fresh = {**old, "status": {**blank_status(), **(wanted.get("status") or {})}}
            fresh["metadata"] = {
                **old["metadata"],
                **{k: metadata[k] for k in _WITH_STATUS if k in metadata},
            }
        else:
            spec = _spec(collection, name, wanted.get("spec") or {}, old.get("spec") or {})
            fresh = {"metadata": metadata, "spec": spec, "status": old.get("status") or {}}
        fresh["metadata"] = {
            k: v for k, v in {**fresh["metadata"], **kept}.items() if v not in (None, {}, [])
        }
        if fresh == old:
            return current  # nothing to write, and no new version
        if "deletionTimestamp" in kept and not fresh["metadata"].get("finalizers"):
            last = store.remove(collection, name)
            # The one who took the last finalizer is answered with the object as it was to become.
            return Item.of(fresh, last.version)
        return store.put(collection, fresh)


_WITH_STATUS = ("labels", "annotations")


def _check_identity(
    collection: Collection, name: str, metadata: Object, old: Object, current: Item
) -> None:
    if metadata.get("name", name) != name:
        given = metadata["name"]
        why = f"the name of the object ({given}) does not match the name on the URL ({name})"
        raise bad_request(why)
    if metadata.get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
        cause = validation.Cause(
            "metadata.uid", validation.INVALID, metadata["uid"], "field is immutable"
        )
        validation.refuse(collection.kind, name, [cause])
    validation.refuse(collection.kind, name, validation.metadata({**metadata, "name": name}))
    if metadata.get("resourceVersion", str(current.version)) != str(current.version):
        why = (
            "the object has been modified; please apply your changes to the latest version "
            "and try again"
        )
        raise conflict(collection.resource, name, why)


def _current(collection: Collection, name: str) -> Item:
    try:
        return collection.items[name]
    except KeyError:
        raise not_found(collection.resource, name) from None


def _spec(collection: Collection, name: str, spec: Object, old: Object | None = None) -> Object:
    spec = {key: value for key, value in spec.items() if value not in (None, [], "")}
    ranges = list(spec.get("podCIDRs") or ())
    if spec.get("podCIDR") and not ranges:
        ranges = [spec["podCIDR"]]
    if ranges:
        spec = {"podCIDR": ranges[0], "podCIDRs": ranges, **_without(spec, "podCIDR", "podCIDRs")}
    causes = validation.pod_ranges(ranges)
    if old and old.get("podCIDRs") and old["podCIDRs"] != ranges:
        why = 'node updates may not change podCIDR except from "" to valid'
        causes.append(validation.Cause("spec.podCIDRs", validation.FORBIDDEN, "", why))
    validation.refuse(collection.kind, name, causes)
    if old is None:
        # What the admission plugin TaintNodesByCondition gives each new node.
        taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
        taints = [one for one in spec.get("taints") or () if one != taint]
        return {**spec, "taints": [*taints, taint]}
    return spec


def _without(body: Object, *keys: str) -> Object:
    return {key: value for key, value in body.items() if key not in keys}


def blank_status() -> Object:
    """What each node's status has; addresses only if a client wrote some."""
    endpoints = {"kubeletEndpoint": {"Port": 0}}
    return {"daemonEndpoints": endpoints, "nodeInfo": dict.fromkeys(_INFO, "")}


_INFO = (
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
)


def _decode(request: Request) -> Object:
    try:
        body = json.loads(request.body)
    except ValueError as error:
        raise bad_request(f"error decoding: {error}") from error
    if not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized")
    return body
