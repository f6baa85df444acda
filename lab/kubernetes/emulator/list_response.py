"""
LIST: pages, versions and selectors as the real server reads them.
"""

from __future__ import annotations

from collections.abc import Mapping

from lab.kubernetes.emulator import continue_token, query_values, selectors
from lab.kubernetes.emulator.continue_token import Token
from lab.kubernetes.emulator.request import Answer, Request
from lab.kubernetes.emulator.status import bad_options, bad_request, encode, gone
from lab.kubernetes.emulator.store import Collection, Item, Store


def answer(store: Store, collection: Collection, request: Request) -> Answer:
    query = request.query
    wants = selectors.parse_labels(query.get("labelSelector", ""))
    fields = selectors.parse_fields(query.get("fieldSelector", ""))
    limit = max(0, query_values.integer(query.get("limit", "")))
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
            if token.version == continue_token.ANY_VERSION:
                return store.version, dict(collection.items)
            if token.version < store.horizon or token.version > store.version:
                raise continue_token.expired(token)
            return token.version, collection.at(token.version)
    version = query_values.number(wanted)
    if version > 0:
        store.wait_for(version)
    with store.changed:
        exact = match == "Exact" or (version > 0 and limit > 0 and not match)
        if not exact:
            return store.version, dict(collection.items)
        if version < store.horizon:
            raise gone("The resourceVersion for the provided list is too old.")
        return version, collection.at(version)


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
