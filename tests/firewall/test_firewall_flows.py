"""Flows that no socket can end: what connection tracking knows of a removed address ends too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.firewall import place
from tests.firewall.place import MEMBER, OTHER, PORT, Host, Minion, Place

pytestmark = pytest.mark.root

MEMBERS = [str(MEMBER.v4), str(MEMBER.v6)]
OTHERS = [str(OTHER.v4), str(OTHER.v6)]
PROGRAMS = ("iptables", "ip6tables")


def rule(host: Host, program: str, words: str) -> None:
    host.run(program, "-w", *words.split())


@pytest.fixture
def formula(here: Place) -> Iterator[Host]:
    """A firewall as formulas make it: established packets pass, and a rule lets in each address."""
    server = here.server
    for program in PROGRAMS:
        for chain in ("INPUT", "FORWARD"):
            rule(server, program, f"-A {chain} -m conntrack --ctstate ESTABLISHED -j ACCEPT")
            for one in (*MEMBERS, *OTHERS):
                if (":" in one) == (program == "ip6tables"):
                    for protocol in ("udp", "tcp"):
                        words = f"-A {chain} -s {one} -p {protocol} --dport {PORT} -j ACCEPT"
                        rule(server, program, words)
            for protocol in ("udp", "tcp"):
                rule(server, program, f"-A {chain} -p {protocol} --dport {PORT} -j DROP")
    try:
        yield server
    finally:
        for program in PROGRAMS:
            rule(server, program, "-F")


def serves(minion: Minion, *addresses: str, revision: int) -> dict[str, Any]:
    clusters = {"prod": {"revision": revision, "observed_at": float(revision)}}
    nodes = {"served": list(addresses), "clusters": clusters, "unresolved": {}}
    minion.wants(nodes=nodes, keep=[])
    done = minion.call("sync")
    assert done["result"] is True, done
    return dict(done)


def test_a_flow_of_udp_that_goes_on_ends_with_its_address(
    minion: Minion, here: Place, formula: Host
) -> None:
    serves(minion, *MEMBERS, *OTHERS, revision=1)
    with contextlib.ExitStack() as stack:
        leaving, staying = (
            [
                stack.enter_context(contextlib.closing(host.connect(to, udp=True)))
                for to in (formula.v4, formula.v6)
            ]
            for host in (here.member, here.other)
        )
        assert all(one.answered() for one in (*leaving, *staying))
        done = serves(minion, *OTHERS, revision=2)
        assert list(done["departures"]) == ["closed"]
        assert not any(one.answered() for one in leaving)
        assert all(one.answered() for one in staying)
    assert minion.call("verify", MEMBERS) == {
        one: {"verdict": "closed", "by": [], "why": ""} for one in MEMBERS
    }


@pytest.mark.parametrize("udp", [False, True])
def test_a_connection_into_a_published_container_ends_with_its_address(
    minion: Minion, here: Place, formula: Host, container: Host, udp: bool
) -> None:
    for host in (here.member, here.other):
        host.run("ip", "route", "replace", "172.31.9.0/24", "via", formula.v4)
    serves(minion, MEMBERS[0], OTHERS[0], revision=1)
    with contextlib.ExitStack() as stack:
        leaving, staying = (
            stack.enter_context(contextlib.closing(host.connect(formula.v4, 6001, udp=udp)))
            for host in (here.member, here.other)
        )
        assert leaving.answered()
        assert staying.answered()
        done = serves(minion, OTHERS[0], revision=2)
        assert list(done["departures"]) == ["closed"]
        assert not leaving.answered()
        assert staying.answered()


def test_what_the_host_itself_began_with_a_removed_address_goes_on(
    minion: Minion, here: Place, formula: Host
) -> None:
    """The removed node may be a resolver, or a peer of another service."""
    serves(minion, *MEMBERS, revision=1)
    with place.service(here.member, 5353):
        for revision, udp in ((2, True), (3, False)):
            with contextlib.closing(formula.connect(MEMBERS[0], 5353, udp=udp)) as one:
                assert one.answered()
                serves(minion, revision=revision)
                assert one.answered()
