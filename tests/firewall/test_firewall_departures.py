"""Closed means closed, by packets: whatever firewall let the address in, however it is written."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.firewall import place
from tests.firewall.place import MEMBER, OTHER, PORT, Host, Minion, Place

pytestmark = pytest.mark.root

MEMBERS = [str(MEMBER.v4), str(MEMBER.v6)]
OTHERS = [str(OTHER.v4), str(OTHER.v6)]


def iptables(host: Host, *rules: str, variant: str = "") -> None:
    """Add rules of both families; {4} or {6} in one makes it one of that family alone."""
    for rule in rules:
        for family, program in ((4, "iptables"), (6, "ip6tables")):
            if "{4}" in rule or "{6}" in rule:
                if f"{{{family}}}" not in rule:
                    continue
                rule_of = rule.replace(f"{{{family}}}", "").split()
            else:
                rule_of = rule.split()
            host.run(f"{program}{variant}", "-w", *rule_of)


def allow(host: Host, *addresses: str, more: str = "-j ACCEPT", variant: str = "") -> None:
    for one in addresses:
        program = "ip6tables" if ":" in one else "iptables"
        words = f"-I INPUT -s {one} -p tcp --dport {PORT} {more}".split()
        host.run(f"{program}{variant}", "-w", *words)


def gets_in(host: Host, server: Host) -> list[bool]:
    return [host.gets_in(to) for to in (server.v4, server.v6)]


@pytest.fixture
def closed(here: Place) -> Iterator[Host]:
    """A server whose iptables lets nobody in to the service but by a rule of its own."""
    iptables(here.server, f"-A INPUT -p tcp --dport {PORT} -j DROP")
    try:
        yield here.server
    finally:
        for program in ("iptables", "ip6tables"):
            here.server.run(program, "-w", "-F")


def leaves(minion: Minion, **block: Any) -> dict[str, Any]:
    """Serve both, then only the other; return what the second sync says."""
    for revision, served in enumerate(([*MEMBERS, *OTHERS], OTHERS), 1):
        clusters = {"prod": {"revision": revision, "observed_at": float(revision)}}
        nodes = {"served": served, "clusters": clusters, "unresolved": {}}
        minion.wants(nodes=nodes, keep=[], **block)
        done = minion.call("sync")
        assert done["result"] is True, done
    return dict(done)


def is_closed(here: Place, done: dict[str, Any]) -> None:
    """Compare what the minion says with packets."""
    assert list(done["departures"]) == ["closed"], done["departures"]
    assert list(done["departures"]["closed"]) == MEMBERS
    assert gets_in(here.member, here.server) == [False, False]
    assert gets_in(here.other, here.server) == [True, True]


def test_a_foreign_nft_rule_in_the_table_of_iptables_hides_nothing(
    minion: Minion, here: Place, closed: Host
) -> None:
    """iptables-save then says that the table is incompatible, and prints no rule."""
    allow(closed, *MEMBERS, *OTHERS)
    for family in ("ip", "ip6"):
        closed.run("nft", "add", "chain", family, "filter", "mine")
        closed.run(
            "nft",
            "add",
            "rule",
            family,
            "filter",
            "mine",
            "ct",
            "state",
            "established,related",
            "accept",
        )
    try:
        assert "incompatible" in closed.run("iptables-save")
        assert gets_in(here.member, here.server) == [True, True]
        is_closed(here, leaves(minion))
    finally:
        for family in ("ip", "ip6"):
            closed.run("nft", "delete", "table", family, "filter")


@pytest.mark.parametrize("variant", ["", "-legacy"])
def test_a_rule_that_its_own_text_does_not_delete_keeps_back_no_other(
    minion: Minion, here: Place, variant: str
) -> None:
    """-m recent is saved with a mask that the rule was not made with."""
    place.variant(here.server, variant)
    try:
        iptables(here.server, f"-A INPUT -p tcp --dport {PORT} -j DROP", variant=variant)
        allow(here.server, *MEMBERS, *OTHERS, variant=variant)
        allow(
            here.server, *MEMBERS, more="-m recent --name x --set --rsource -j ACCEPT",
            variant=variant,
        )  # fmt: skip
        assert gets_in(here.member, here.server) == [True, True]
        is_closed(here, leaves(minion))
    finally:
        for program in ("iptables", "ip6tables"):
            here.server.run(f"{program}{variant}", "-w", "-F")


def test_legacy_rules_beside_those_of_nf_tables_are_closed_too(
    minion: Minion, here: Place, closed: Host
) -> None:
    place.variant(closed, "-legacy")
    try:
        iptables(closed, f"-A INPUT -p tcp --dport {PORT} -j DROP", variant="-legacy")
        allow(closed, *MEMBERS, *OTHERS)
        allow(closed, *MEMBERS, *OTHERS, variant="-legacy")
        is_closed(here, leaves(minion))
        for program in ("iptables-legacy-save", "iptables-nft-save"):
            assert MEMBERS[0] not in closed.run(program)
    finally:
        for program in ("iptables-legacy", "ip6tables-legacy"):
            closed.run(program, "-w", "-F")


def test_a_chain_that_only_accepts_counts_as_accept(
    minion: Minion, here: Place, closed: Host
) -> None:
    """As ufw's limit: the rule ends in -j ufw-user-limit-accept."""
    iptables(closed, "-N ufw-user-limit-accept", "-A ufw-user-limit-accept -j ACCEPT")
    allow(closed, *MEMBERS, *OTHERS, more="-j ufw-user-limit-accept")
    try:
        is_closed(here, leaves(minion))
    finally:
        iptables(closed, "-F", "-X ufw-user-limit-accept")


def test_a_return_before_a_drop_lets_in(minion: Minion, here: Place) -> None:
    """As people write Docker's DOCKER-USER."""
    server = here.server
    iptables(server, "-N USERS", f"-A INPUT -p tcp --dport {PORT} -j USERS", "-A USERS -j DROP")
    for one in (*MEMBERS, *OTHERS):
        server.run(
            "ip6tables" if ":" in one else "iptables",
            "-w",
            "-I",
            "USERS",
            "-s",
            one,
            "-j",
            "RETURN",
        )
    try:
        assert gets_in(here.member, server) == [True, True]
        is_closed(here, leaves(minion))
    finally:
        iptables(server, "-F", "-X USERS")


def test_each_saved_file_is_tried_and_connections_are_ended_whatever_failed(
    minion: Minion, here: Place, closed: Host, tmp_path: Path
) -> None:
    allow(closed, *MEMBERS, *OTHERS)
    read_only, writable = tmp_path / "ro" / "rules.v4", tmp_path / "rules.v4"
    read_only.parent.mkdir()
    for saved in (read_only, writable):
        saved.write_text(closed.run("iptables-save"))
    subprocess.run(["mount", "--bind", "-o", "ro", read_only.parent, read_only.parent], check=True)
    prune = {"saved": [str(read_only), str(writable)]}
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", read_only.parent], check=True)
        minion.wants(nodes={"served": [*MEMBERS, *OTHERS]}, keep=[], prune=prune)
        assert minion.call("sync")["result"] is True
        with contextlib.closing(here.member.connect(here.server.v4)) as one:
            assert one.answered()
            minion.wants(nodes={"served": OTHERS}, keep=[], prune=prune)
            done = minion.call("sync")
            assert one.reset()
        assert done["result"] is False
        assert f"not deleted from {read_only}" in done["comment"]
        assert MEMBERS[0] not in writable.read_text()
        assert gets_in(here.member, here.server) == [False, False]
        # The next boot would open it: it counts as open.
        assert str(read_only) in done["departures"]["open"][MEMBERS[0]]
        assert list(done["departures"]["closed"]) == [MEMBERS[1]]
    finally:
        subprocess.run(["umount", read_only.parent], check=True)
    again = minion.call("sync")
    assert (again["result"], again["departures"]) == (True, {
        "closed": {MEMBERS[0]: "kernel and boot files read whole: nothing lets it in"},
    })  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "-A INPUT -s {0}/32 -j ACCEPT",
        "--append INPUT --source {0} --jump ACCEPT",
        "-I INPUT 1 -s {0}/255.255.255.255 -p tcp --dport 5432 -j ACCEPT",
        "[3:180] -A INPUT -j ACCEPT --src {0}",
        '-A INPUT -m comment --comment "it\'s a \\"node\\"" -s {0} -j ACCEPT',
    ],
)
def test_a_saved_file_is_read_in_every_spelling_that_its_loader_takes(
    minion: Minion, here: Place, closed: Host, tmp_path: Path, line: str
) -> None:
    saved = tmp_path / "rules.v4"
    drop, allowing = f"-A INPUT -p tcp --dport {PORT} -j DROP", line.format(MEMBERS[0])
    text = f"*filter\n:INPUT ACCEPT [0:0]\n{allowing}\n{drop}\nCOMMIT\n"
    saved.write_text(text)
    closed.run("iptables-restore", str(saved))
    assert here.member.gets_in(here.server.v4)
    done = leaves(minion, prune={"saved": [str(saved)]})
    assert list(done["departures"]) == ["closed"]
    closed.run("iptables-restore", str(saved))
    assert not here.member.gets_in(here.server.v4)
    assert saved.read_text() == text.replace(f"{allowing}\n", "")


def test_a_line_that_names_two_addresses_is_reported_and_not_forgotten(
    minion: Minion, here: Place, closed: Host, tmp_path: Path
) -> None:
    saved = tmp_path / "rules.v4"
    line = f"-A INPUT -s {MEMBERS[0]},{OTHERS[0]} -j ACCEPT"
    saved.write_text(f"*filter\n{line}\nCOMMIT\n")
    leaves(minion, prune={"saved": [str(saved)]})
    for _ in range(2):
        done = minion.call("sync")
        assert list(done["departures"]["open"]) == [MEMBERS[0]]
        assert f"{saved}: {line}" in done["departures"]["open"][MEMBERS[0]]
    assert line in saved.read_text()


def test_an_address_in_a_set_of_another_program_is_open(
    minion: Minion, here: Place, closed: Host
) -> None:
    closed.run("nft", "-f", "-", text=(
        f"table inet theirs {{\n set nodes {{ type ipv4_addr; elements = {{ {MEMBERS[0]} }} ; }}\n"
        "chain input {\n type filter hook input priority 0; policy drop;\n"
        "ip saddr @nodes accept\n ct state established accept\n }\n }\n"
    ))  # fmt: skip
    done = leaves(minion)
    assert list(done["departures"]["open"]) == [MEMBERS[0]]
    assert "nft set inet theirs nodes" in done["departures"]["open"][MEMBERS[0]]
    closed.run("nft", "delete", "element", "inet", "theirs", "nodes", f"{{ {MEMBERS[0]} }}")
    done = minion.call("sync")
    assert list(done["departures"]["closed"]) == [MEMBERS[0]]
    assert not here.member.gets_in(here.server.v4)


def test_a_member_keeps_its_access_while_another_address_is_closed(
    minion: Minion, here: Place, closed: Host
) -> None:
    allow(closed, *MEMBERS, *OTHERS)
    with contextlib.closing(here.other.connect(here.server.v4)) as one:
        assert one.answered()
        is_closed(here, leaves(minion))
        assert one.answered()


def test_a_connection_that_a_formula_let_in_before_this_module_ran_is_ended(
    minion: Minion, here: Place, closed: Host
) -> None:
    """The run of a formula opens, and only what closes is this module's."""
    allow(closed, *MEMBERS, *OTHERS)
    with contextlib.closing(here.member.connect(here.server.v4)) as one:
        assert one.answered()
        for served in ([*MEMBERS, *OTHERS], OTHERS):
            minion.pillar({"k8s_nodes": {"served": served}})
            assert minion.call("close")["result"] is True
        assert one.reset()


def test_an_address_that_leaves_a_second_time_loses_its_new_connections(
    minion: Minion, here: Place, closed: Host
) -> None:
    """Its formula deletes the rule itself, so that no rule is there to show that it was back."""
    minion.pillar({"k8s_nodes": {"served": OTHERS}})
    for since in (100.0, 200.0):
        allow(closed, MEMBERS[0])
        with contextlib.closing(here.member.connect(here.server.v4)) as one:
            assert one.answered()
            iptables(closed, f"-D INPUT {{4}} -s {MEMBERS[0]} -p tcp --dport {PORT} -j ACCEPT")
            done = minion.call("close", departed={MEMBERS[0]: since})
            assert (done["result"], list(done["departures"])) == (True, ["closed"])
            assert one.reset()
    # Looked for again, as once a day: it is the same departure, and another host may have it now.
    allow(closed, MEMBERS[0], more="-m comment --comment wide -j LOG")
    iptables(closed, f"-I INPUT {{4}} -p tcp --dport {PORT} -j ACCEPT")
    with contextlib.closing(here.member.connect(here.server.v4)) as one:
        assert one.answered()
        assert minion.call("close", departed={MEMBERS[0]: 200.0})["result"] is True
        assert one.answered()


@pytest.mark.parametrize("function", ["record", "sync"])
def test_connections_from_before_this_module_was_installed_are_ended(
    minion: Minion, here: Place, closed: Host, function: str
) -> None:
    """A formula has let nodes in for long: what is open then is not older than its service."""
    allow(closed, *MEMBERS, *OTHERS)
    with contextlib.closing(here.member.connect(here.server.v4)) as one:
        assert one.answered()
        minion.wants(nodes={"served": [*MEMBERS, *OTHERS]}, keep=[])
        assert minion.call(function)["result"] is True
        minion.wants(nodes={"served": OTHERS}, keep=[])
        assert minion.call("sync")["result"] is True
        assert one.reset()
