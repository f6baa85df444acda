"""
The emulator's store: objects, their common version counter, and the history of events.

An object is kept as the bytes that go on the wire, so that a LIST of thousands is a join and an
event costs nothing. Two horizons, as on the real server: below ``floor`` a WATCH is too old (the
watch cache does not reach back), below ``compacted`` an exact LIST is (the store has forgotten).
"""

from __future__ import annotations

import bisect
import json
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.kubernetes import timestamp
from lab.kubernetes.emulator.status import Refused

Object = dict[str, Any]

_PATIENCE = 3.0  # seconds that a request waits for a version which does not exist yet


@dataclass(frozen=True, slots=True)
class Item:
    """One version of one object."""

    name: str
    version: int
    labels: Mapping[str, str]
    raw: bytes  # the object without kind and apiVersion, which items of a list do not have

    @classmethod
    def of(cls, body: Object, version: int) -> Item:
        metadata = {**body["metadata"], "resourceVersion": str(version)}
        rest = {key: value for key, value in body.items() if key not in _HEAD}
        text = json.dumps({"metadata": metadata, **rest}, separators=(",", ":"), ensure_ascii=False)
        return cls(metadata["name"], version, metadata.get("labels") or {}, text.encode())

    def load(self) -> Object:
        found: Object = json.loads(self.raw)
        return found


@dataclass(frozen=True, slots=True)
class Event:
    """One write; ``item`` is None when the object went away."""

    version: int
    name: str
    item: Item | None
    before: Item | None
    last: Item | None = None  # the deleted object as it was, with the version of its deletion


@dataclass(frozen=True, slots=True)
class State:
    """All there is at one moment; cheap, since items never change."""

    version: int
    compacted: int
    objects: Mapping[str, Mapping[str, Item]]
    history: Mapping[str, tuple[Event, ...]]


@dataclass(slots=True)
class Collection:
    """The objects of one resource."""

    resource: str
    kind: str
    items: dict[str, Item] = field(default_factory=dict)
    history: list[Event] = field(default_factory=list)

    def at(self, version: int) -> dict[str, Item]:
        """The objects as they were, by taking back what came later."""
        found = dict(self.items)
        for event in reversed(self.history):
            if event.version <= version:
                break
            if event.before is None:
                found.pop(event.name, None)
            else:
                found[event.name] = event.before
        return found

    def since(self, version: int) -> list[Event]:
        start = bisect.bisect_right(self.history, version, key=lambda event: event.version)
        return self.history[start:]


class Store:
    """Everything, behind one lock; ``changed`` is notified after each write."""

    def __init__(self, *, keep: int = 20_000) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.keep = keep
        self.patience = _PATIENCE
        self.generation = 0  # counts the times that the data was replaced as a whole
        self.reset()

    def reset(self) -> None:
        """A new cluster."""
        with self.changed:
            self.version = self.compacted = self.floor = 1
            self.nodes = Collection("nodes", "Node")
            self.namespaces = Collection("namespaces", "Namespace")
            self.collections = {one.resource: one for one in (self.nodes, self.namespaces)}
            for name in ("default", "kube-node-lease", "kube-public", "kube-system"):
                labels = {"kubernetes.io/metadata.name": name}
                namespace = {"metadata": {"name": name, "labels": labels}}
                body = {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
                self.put(self.namespaces, {**born(namespace), **body})
            self.generation += 1
            self.changed.notify_all()

    def put(self, collection: Collection, body: Object) -> Item:
        """Write an object under the next version."""
        with self.changed:
            self.version += 1
            item = Item.of(body, self.version)
            before = collection.items.get(item.name)
            collection.items[item.name] = item
            self._record(collection, Event(self.version, item.name, item, before))
            return item

    def remove(self, collection: Collection, name: str) -> Item:
        """Delete an object; watchers see what was stored, under the version of the deletion."""
        with self.changed:
            self.version += 1
            before = collection.items.pop(name)
            last = Item.of(before.load(), self.version)
            self._record(collection, Event(self.version, name, None, before, last))
            return last

    @property
    def horizon(self) -> int:
        """Below this, an exact LIST is too old: neither the cache nor the store remembers."""
        return min(self.compacted, self.floor)

    def compact(self) -> None:
        with self.changed:
            self.compacted = self.version
            self._trim()

    def forget_cache(self) -> None:
        """What a restart does to the watch cache: it begins with the present."""
        with self.changed:
            self.floor = self.version
            self._trim()

    def advance(self, by: int) -> int:
        """Versions that go by without an event here, as writes to other resources do."""
        with self.changed:
            self.version += by
            self.changed.notify_all()
            return self.version

    def state(self) -> State:
        with self.changed:
            return State(
                version=self.version,
                compacted=self.compacted,
                objects={name: dict(one.items) for name, one in self.collections.items()},
                history={name: tuple(one.history) for name, one in self.collections.items()},
            )

    def restore(self, state: State, *, quietly: bool = False) -> None:
        """
        Go back; quietly means that open watches stay open and wait for versions that they have
        seen.
        """
        with self.changed:
            self.version, self.compacted = state.version, state.compacted
            self.floor = state.version
            for name, collection in self.collections.items():
                collection.items = dict(state.objects.get(name, {}))
                collection.history = list(state.history.get(name, ()))
            if not quietly:
                self.generation += 1
            self.changed.notify_all()

    def dump(self) -> Object:
        """The present, for a file; old versions are not in it."""
        with self.changed:
            objects = {
                name: [item.raw.decode() for item in one.items.values()]
                for name, one in self.collections.items()
            }
            return {"version": self.version, "objects": objects}

    def load(self, dumped: Object) -> None:
        with self.changed:
            # A starting server writes objects of its own, so versions go on a little.
            self.version = self.compacted = self.floor = dumped["version"] + 3
            for name, collection in self.collections.items():
                bodies = [json.loads(text) for text in dumped["objects"][name]]
                items = [Item.of(body, int(body["metadata"]["resourceVersion"])) for body in bodies]
                collection.items = {item.name: item for item in items}
                collection.history = []

    def wait_for(self, version: int) -> None:
        """Wait a while until this version exists, as the real server does."""
        with self.changed:
            if self.changed.wait_for(lambda: self.version >= version, self.patience):
                return
            message = f"Timeout: Too large resource version: {version}, current: {self.version}"
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        details = {"causes": [cause], "retryAfterSeconds": 1}
        raise Refused(504, "Timeout", message, details=details, headers={"Retry-After": "1"})

    def _record(self, collection: Collection, event: Event) -> None:
        collection.history.append(event)
        if len(collection.history) > self.keep:
            dropped = collection.history[: len(collection.history) - self.keep]
            del collection.history[: len(dropped)]
            self.floor = max(self.floor, dropped[-1].version)
            self.compacted = max(self.compacted, dropped[-1].version)
        self.changed.notify_all()

    def _trim(self) -> None:
        for collection in self.collections.values():
            collection.history = collection.since(self.horizon)


def born(body: Object) -> Object:
    """A new object with the metadata that the server gives it."""
    metadata = {**body["metadata"], "uid": str(uuid.uuid4()), "creationTimestamp": timestamp.now()}
    return {**body, "metadata": metadata}


_HEAD = ("kind", "apiVersion", "metadata")
