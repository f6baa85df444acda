"""
WATCH: from a version on, every event once, through a selector, with bookmarks.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lab.kubernetes.emulator import objects, selectors
from lab.kubernetes.emulator.query_values import integer, is_true, number
from lab.kubernetes.emulator.status import Refused, bad_options, encode, gone
from lab.kubernetes.emulator.store import Collection, Event, Item, Store

BOOKMARK_SECONDS = 60.0
_LAST_BOOKMARK = 2.0  # seconds before the server's own timeout
_DEFAULT_TIMEOUT = (1800.0, 3600.0)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the stream, and what it is about, so that a fault can pick it."""

    kind: str  # ADDED, MODIFIED, DELETED, BOOKMARK, ERROR
    name: str
    raw: bytes


class Watch:
    """One open watch: a position in the history of a collection."""

    def __init__(self, store: Store, collection: Collection, query: Mapping[str, str]) -> None:
        self._store, self._collection = store, collection
        self._wants = selectors.parse_labels(query.get("labelSelector", ""))
        self._named = selectors.parse_fields(query.get("fieldSelector", ""))
        self._bookmarks = is_true(query.get("allowWatchBookmarks"))
        self._deadline = time.monotonic() + _timeout(query)
        self._next_bookmark = self._bookmark_time()
        _check(query)
        wanted = query.get("resourceVersion", "")
        with store.changed:
            self._generation = store.generation
            self.position = _number(wanted)
            self._backlog: list[Line] = []
            if wanted in ("", "0"):
                self.position = store.version
                self._backlog = self._present()
                if self._bookmarks:
                    self._backlog.append(self.bookmark(initial=True))
            elif self.position < store.floor:
                self._backlog = [too_old(self.position, store.floor + 1)]
                self._generation = -1  # and then the stream ends
            self._began = max(self.position, store.version)

    def _present(self) -> list[Line]:
        items = [item for _, item in sorted(self._collection.items.items()) if self._sees(item)]
        return [_line("ADDED", item, self._collection.kind) for item in items]

    def lines(self, until: float, disturbed: Callable[[], bool]) -> list[Line] | None:
        """
        Wait for lines, at most until the given time or a disturbance; None when the watch is over.
        """
        if self._backlog:
            backlog, self._backlog = self._backlog, []
            return backlog
        if self._over:
            return None
        wake = min(until, self._deadline, self._next_bookmark if self._bookmarks else until)
        with self._store.changed:
            self._store.changed.wait_for(
                lambda: self._over or disturbed() or self._news(), max(0.0, wake - time.monotonic())
            )
            if self._over:
                return None
            events = self._collection.since(self.position)
            if events:
                self.position = events[-1].version
            now = time.monotonic()
            if self._bookmarks and now >= self._next_bookmark:
                self._next_bookmark = self._bookmark_time()
                # None for the initial objects, nor while the watch waits for a future version.
                marks = [self.bookmark()] if self._store.version > self._began else []
                return [*self._shown(events), *marks]
        if not events and time.monotonic() >= self._deadline:
            return None
        return self._shown(events)

    def bookmark(self, version: int | None = None, *, initial: bool = False) -> Line:
        """A bookmark of what this watch has seen, or of an invented version."""
        metadata: dict[str, object] = {"resourceVersion": str(version or self._store.version)}
        if initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        head = {"kind": self._collection.kind, "apiVersion": "v1", "metadata": metadata}
        rest = {"spec": {}, "status": objects.blank_status()}
        return Line("BOOKMARK", "", encode({"type": "BOOKMARK", "object": {**head, **rest}}))

    @property
    def takes_bookmarks(self) -> bool:
        return self._bookmarks

    @property
    def _over(self) -> bool:
        return self._generation != self._store.generation

    def _news(self) -> bool:
        history = self._collection.history
        return bool(history) and history[-1].version > self.position

    def _sees(self, item: Item) -> bool:
        return self._wants(item.labels) and self._named(item.name)

    def _shown(self, events: list[Event]) -> list[Line]:
        lines = [self._show(event) for event in events]
        return [line for line in lines if line is not None]

    def _show(self, event: Event) -> Line | None:
        """
        An object that leaves the selector is DELETED for this watch, one that enters is ADDED.
        """
        before = event.before is not None and self._sees(event.before)
        after = event.item is not None and self._sees(event.item)
        if after and event.item is not None:
            return _line("MODIFIED" if before else "ADDED", event.item, self._collection.kind)
        if before and event.before is not None:
            gone_as = event.last or _with_version(event.before, event.version)
            return _line("DELETED", gone_as, self._collection.kind)
        return None

    def _bookmark_time(self) -> float:
        now = time.monotonic()
        early = self._deadline - _LAST_BOOKMARK
        regular = now + BOOKMARK_SECONDS * random.uniform(1.0, 1.25)
        return early if now < early < regular else regular


def _line(kind: str, item: Item, of: str) -> Line:
    head = b'{"type":"%b","object":{"kind":"%b","apiVersion":"v1",' % (kind.encode(), of.encode())
    return Line(kind, item.name, head + item.raw[1:] + b"}\n")


def _error(refused: Refused) -> Line:
    return Line("ERROR", "", encode({"type": "ERROR", "object": refused.status()}))


def too_old(version: int, oldest: int) -> Line:
    return _error(gone(f"too old resource version: {version} ({oldest})"))


def _with_version(item: Item, version: int) -> Item:
    """The object as the selector last saw it, under the version of the event that took it away."""
    old = b'"resourceVersion":"%d"' % item.version
    raw = item.raw.replace(old, b'"resourceVersion":"%d"' % version, 1)
    return Item(item.name, version, item.labels, raw)


def _number(text: str) -> int:
    try:
        return number(text)
    except Refused as error:
        # Not a mistake here: a WATCH answers 500 where a LIST answers 400.
        message = error.message.removeprefix("invalid resource version: ")
        raise Refused(500, "", message) from error


def _timeout(query: Mapping[str, str]) -> float:
    seconds = integer(query.get("timeoutSeconds", ""))
    return float(seconds) if seconds else random.uniform(*_DEFAULT_TIMEOUT)


def _check(query: Mapping[str, str]) -> None:
    match, initial = query.get("resourceVersionMatch", ""), query.get("sendInitialEvents", "")
    if query.get("continue"):
        raise bad_options("resourceVersionMatch is forbidden when continue is provided")
    if match and not initial:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        raise bad_options(why)
    if initial and match != "NotOlderThan":
        raise bad_options("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
