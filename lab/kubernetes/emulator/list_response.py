"""
LIST: pages, versions and selectors as the real server reads them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass

from lab.kubernetes.emulator import selectors
from lab.kubernetes.emulator.request import Answer, Request
from lab.kubernetes.emulator.status import Refused, bad_options, bad_request, encode, gone
from lab.kubernetes.emulator.store import Collection, Item, Store

ANY_VERSION = -1  # of a token: go on with the present, consistent or not
PATIENCE = 3.0  # seconds that a LIST waits for a version which does not exist yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """
    What is inside a ``continue``: the version of the first page, where to go on, and which page
    that is.
    """

    version: int
    start: str
    page: int

    def encode(self) -> str:
        content = {
            "v": "meta.k8s.io/v1",
            "rv": self.version,
            "start": self.start,
            "page": self.page,
        }
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Token:
        try:
            content = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            return cls(
                version=int(content["rv"]), start=content["start"], page=int(content.get("page", 2))
            )
        except (ValueError, KeyError, TypeError) as error:
            raise bad_request(
                f"invalid continue token: continue key is not valid: {error}"
            ) from error


def page_number(query: Mapping[str, str]) -> int:
    """1 for the first page; a fault can be scripted for a later one."""
    return Token.decode(query["continue"]).page if query.get("continue") else 1


def answer(store: Store, collection: Collection, request: Request) -> Answer:
    query = request.query
    wants = selectors.parse_labels(query.get("labelSelector", ""))
    fields = selectors.parse_fields(query.get("fieldSelector", ""))
    limit = max(0, integer(query.get("limit", "")))
    token = Token.decode(query["continue"]) if query.get("continue") else None
    version, items = _as_of(store, collection, query, token, limit)
    # A list from the watch cache (version 0) is never cut into pages.
    if query.get("resourceVersion") == "0":
        limit = 0
    start = token.start if token else ""
    names = sorted(name for name in items if name >= start)
    picked: list[Item] = []
    rest = 0
    following = ""
    for index, name in enumerate(names):
        item = items[name]
        if not (wants(item.labels) and fields(name)):
            continue
        if limit and len(picked) == limit:
            rest, following = len(names) - index, name
            break
        picked.append(item)
    metadata: dict[str, object] = {"resourceVersion": str(version)}
    if following:
        page = token.page + 1 if token else 2
        metadata["continue"] = Token(version=version, start=following, page=page).encode()
        if not query.get("labelSelector") and not query.get("fieldSelector"):
            metadata["remainingItemCount"] = rest
    return Answer(body=render(f"{collection.kind}List", metadata, picked))


def render(kind: str, metadata: Mapping[str, object], items: list[Item]) -> bytes:
    head = encode({"kind": kind, "apiVersion": "v1", "metadata": metadata}).rstrip()
    return b'%b,"items":[%b]}\n' % (head[:-1], b",".join(item.raw for item in items))


def _as_of(
    store: Store, collection: Collection, query: Mapping[str, str], token: Token | None, limit: int
) -> tuple[int, Mapping[str, Item]]:
    """Which state is asked for."""
    wanted, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
    _check(wanted, match, token)
    if token is not None:
        with store.changed:
            if token.version == ANY_VERSION:
                return store.version, dict(collection.items)
            if token.version < store.horizon or token.version > store.version:
                raise _expired(token)
            return token.version, collection.at(token.version)
    version = number(wanted)
    if version > 0:
        wait_for(store, version)
    with store.changed:
        exact = match == "Exact" or (version > 0 and limit > 0 and not match)
        if not exact:
            return store.version, dict(collection.items)
        if version < store.horizon:
            raise gone("The resourceVersion for the provided list is too old.")
        return version, collection.at(version)


def wait_for(store: Store, version: int) -> None:
    """Give the version a while to come about."""
    if not store.wait(PATIENCE, lambda: store.version >= version):
        message = f"Timeout: Too large resource version: {version}, current: {store.version}"
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        details = {"causes": [cause], "retryAfterSeconds": 1}
        raise Refused(504, "Timeout", message, details=details, headers={"Retry-After": "1"})


def number(text: str) -> int:
    """A resourceVersion as a number; unset is 0."""
    if not text:
        return 0
    if not text.isdigit():
        why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}"'
        raise bad_request(f"invalid resource version: {why}: invalid syntax")
    return int(text)


def _check(wanted: str, match: str, token: Token | None) -> None:
    if match and token is not None:
        raise bad_options("resourceVersionMatch is forbidden when continue is provided")
    if match and not wanted:
        raise bad_options("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if match and match not in ("Exact", "NotOlderThan"):
        why = f'"{match}": supported values: "Exact", "NotOlderThan", ""'
        raise bad_options(why, "Unsupported value", "NotSupported")
    if match == "Exact" and wanted == "0":
        raise bad_options('resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    if token is not None and wanted not in ("", "0"):
        raise bad_request("specifying resource version is not allowed when using continue")


def _expired(token: Token) -> Refused:
    message = (
        "The provided continue parameter is too old to display a consistent list result. "
        "You can start a new list without the continue parameter, or use the continue token in "
        "this response to retrieve the remainder of the results. Continuing with the provided "
        "token results in an inconsistent list - objects that were created, modified, or deleted "
        "between the time the first chunk was returned and now may show up in the list."
    )
    again = Token(version=ANY_VERSION, start=token.start, page=token.page).encode()
    return gone(message, **{"continue": again})


def integer(text: str) -> int:
    try:
        return int(text) if text else 0
    except ValueError as error:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error
