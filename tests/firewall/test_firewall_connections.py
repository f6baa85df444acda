"""Which open connections end when an address leaves, and which stay."""

from __future__ import annotations

import contextlib

import pytest

from k8s_firewall_parts import connections
from tests.firewall import place
from tests.firewall.place import MEMBER, PORT, Place

pytestmark = pytest.mark.root

ENTRIES = frozenset({str(MEMBER.v4), str(MEMBER.v6)})
DB = frozenset({("tcp", PORT, PORT)})


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_only_younger_connections_to_opened_ports_end(here: Place, family: str) -> None:
    to = getattr(here.server, family)
    with place.service(here.server, 7110), contextlib.ExitStack() as stack:
        older = stack.enter_context(contextlib.closing(here.member.connect(to)))
        assert older.answered()
        with here.server.namespace.entered():
            existing = connections.existing(ENTRIES)
        younger, elsewhere = (
            stack.enter_context(contextlib.closing(here.member.connect(to, port)))
            for port in (PORT, 7110)
        )
        assert younger.answered()
        assert elsewhere.answered()
        scopes = {
            entry: connections.Scope(DB, existing.get(entry, frozenset())) for entry in ENTRIES
        }
        with here.server.namespace.entered():
            counts = connections.end(scopes, lambda _: False)
        assert list(counts.values()) == [{"ended": 1, "still_open": 0}]
        assert younger.reset()
        assert older.answered()
        assert elsewhere.answered()


def test_an_address_without_a_scope_loses_every_connection_to_a_service(here: Place) -> None:
    with place.service(here.server, 7110), contextlib.ExitStack() as stack:
        all_of_them = [
            stack.enter_context(contextlib.closing(here.member.connect(to, port)))
            for to in (here.server.v4, here.server.v6)
            for port in (PORT, 7110)
        ]
        assert all(one.answered() for one in all_of_them)
        with here.server.namespace.entered():
            connections.end(ENTRIES, lambda _: False)
        assert all(one.reset() for one in all_of_them)
