"""Formulas that only append: who has left is closed, really, and nobody else."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.firewall import place
from tests.firewall.place import MEMBER, OTHER, PORT, Host, Minion, Place

pytestmark = pytest.mark.root

MEMBERS = [str(MEMBER.v4), str(MEMBER.v6)]
OTHERS = [str(OTHER.v4), str(OTHER.v6)]
COMMANDS = {"v4": "iptables", "v6": "ip6tables"}


def told(*served: str, revision: int = 1, **more: Any) -> dict[str, Any]:
    """What the master tells under k8s_nodes."""
    clusters = {"prod": {"revision": revision, "observed_at": float(revision)}}
    return {"served": list(served), "clusters": clusters, "unresolved": {}, **more}


class Formula:
    """As today's formulas are: it accepts established connections and appends a rule an address."""

    def __init__(self, host: Host, variant: str = "") -> None:
        self.host = host
        self.variant = variant
        for family in COMMANDS:
            self.rule(family, "-F", "INPUT")
            for rule in (
                "-A INPUT -i lo -j ACCEPT",
                "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
                f"-A INPUT -p tcp --dport {PORT} -j closed",
            ):
                if "closed" in rule:
                    self.rule(family, "-N", "closed", check=False)
                    self.rule(family, "-F", "closed")
                    self.rule(family, "-A", "closed", "-j", "DROP")
                self.rule(family, *rule.split())

    def rule(self, family: str, *words: str, check: bool = True) -> None:
        argv = [f"{COMMANDS[family]}{self.variant}", "-w", *words]
        if check:
            self.host.run(*argv)
        else:
            with contextlib.suppress(AssertionError):
                self.host.run(*argv)

    def allow(self, *addresses: str) -> None:
        for one in addresses:
            family = "v6" if ":" in one else "v4"
            self.rule(
                family, "-I", "closed", "-s", one, "-p", "tcp", "--dport", str(PORT),
                "-m", "comment", "--comment", 'it\'s "prod"', "-j", "ACCEPT",
            )  # fmt: skip

    def rules(self) -> str:
        return "".join(
            self.host.run(f"{command}{self.variant}", "-w", "-S", "closed")
            for command in COMMANDS.values()
        )


@pytest.fixture
def formula(here: Place) -> Formula:
    formula = Formula(here.server)
    formula.allow(*MEMBERS, *OTHERS)
    return formula


PRUNE: dict[str, Any] = {"iptables": {"filter": ["closed"]}, "saved": []}


def prunes(
    minion: Minion, *served: str, more: dict[str, Any] | None = None, **nodes: Any
) -> dict[str, Any]:
    block = {"keep": [], "prune": PRUNE}
    minion.pillar({"k8s_firewall": block, "k8s_nodes": told(*served, **nodes), **(more or {})})
    return dict(minion.call("prune"))


def test_who_has_left_is_closed_with_open_connections(
    minion: Minion, here: Place, formula: Formula
) -> None:
    assert prunes(minion, *MEMBERS, *OTHERS)["result"] is True
    with contextlib.ExitStack() as stack:
        leaving, staying = (
            [
                stack.enter_context(contextlib.closing(host.connect(to)))
                for to in (here.server.v4, here.server.v6)
            ]
            for host in (here.member, here.other)
        )
        assert all(one.answered() for one in (*leaving, *staying))
        done = prunes(minion, *OTHERS, revision=2)
        assert done["result"] is True, done
        assert done["connections"] == {one: {"ended": 1, "still_open": 0} for one in MEMBERS}
        assert all(one.reset() for one in leaving)
        assert all(one.answered() for one in staying)
    for to in (here.server.v4, here.server.v6):
        assert not here.member.gets_in(to)
        assert here.other.gets_in(to)
    assert [len(rules) for rules in done["changes"]["pruned"].values()] == [1, 1]
    assert not any(one in formula.rules() for one in MEMBERS)
    again = prunes(minion, *OTHERS, revision=2)
    assert (again["result"], again["changes"]) == (True, {})


@pytest.mark.parametrize("variant", ["-legacy", "-nft"])
def test_each_variant_of_iptables_can_be_named(minion: Minion, here: Place, variant: str) -> None:
    place.variant(here.server, variant)
    formula = Formula(here.server, variant)
    try:
        formula.allow(*MEMBERS, *OTHERS)
        prune = {**PRUNE, "commands": [f"iptables{variant}"]}
        for served in ((*MEMBERS, *OTHERS), OTHERS):
            minion.wants(nodes=told(*served), prune=prune)
            assert minion.call("prune")["result"] is True
        assert not any(one in formula.rules() for one in MEMBERS)
        assert all(one in formula.rules() for one in OTHERS)
    finally:
        for family in COMMANDS:
            formula.rule(family, "-F")


def test_neighbouring_networks_have_a_rule_each(minion: Minion, formula: Formula) -> None:
    pods = ["10.1.0.0/24", "10.1.1.0/24", "fd01:0:0:2::/64", "fd01:0:0:3::/64"]
    formula.allow(*pods)
    assert prunes(minion, pods[0], pods[2])["result"] is True
    assert prunes(minion, *pods, revision=2)["changes"] == {}
    assert all(one in formula.rules() for one in pods)
    assert prunes(minion, pods[0], pods[2], revision=3)["result"] is True
    assert [one in formula.rules() for one in pods] == [True, False, True, False]


def test_a_network_within_one_that_is_kept_is_spared(minion: Minion, formula: Formula) -> None:
    pods = ["10.1.1.0/24", "10.2.1.0/24"]
    formula.allow(*pods)
    for served in (pods, ()):
        minion.wants(nodes=told(*served), prune=PRUNE, keep=["10.1.0.0/16", "fd01::/64"])
        assert minion.call("prune")["result"] is True
    assert [one in formula.rules() for one in pods] == [True, False]


def test_who_was_spared_is_closed_once_there_is_no_reason_for_it(
    minion: Minion, formula: Formula
) -> None:
    prunes(minion, *MEMBERS)
    noted = {"notes": f"old smarthost {MEMBERS[0]}"}
    assert list(prunes(minion, more=noted)["departures"]["spared"]) == [MEMBERS[0]]
    assert MEMBERS[0] in formula.rules()
    assert prunes(minion)["result"] is True
    assert MEMBERS[0] not in formula.rules()


def test_the_whole_reference_may_be_gone(minion: Minion, formula: Formula) -> None:
    prunes(minion, *MEMBERS, *OTHERS)
    minion.pillar({"k8s_firewall": {"prune": PRUNE}})
    assert minion.call("prune")["result"] is True
    assert "ACCEPT" not in formula.rules()


def test_what_was_never_served_by_us_stays(minion: Minion, formula: Formula) -> None:
    formula.allow("192.0.2.9", "192.0.2.0/24")
    prunes(minion, *MEMBERS)
    prunes(minion, revision=2)
    rules = formula.rules()
    assert not any(one in rules for one in MEMBERS)
    assert all(one in rules for one in ("192.0.2.9", "192.0.2.0/24", *OTHERS))


def test_who_is_static_or_to_be_kept_stays_with_its_connections(
    minion: Minion, here: Place, formula: Formula
) -> None:
    """A node may lie, and claim and drop the address of somebody with another reason to be in."""
    prunes(minion, *MEMBERS, *OTHERS)
    with contextlib.closing(here.member.connect(here.server.v4)) as one:
        assert one.answered()
        minion.pillar(
            {
                "k8s_firewall": {"keep": OTHERS, "prune": PRUNE},
                "k8s_nodes": told(revision=2),
                "postgres": {"acls": [f"host all all {address}/32 md5" for address in MEMBERS]},
            }
        )
        done = minion.call("prune")
        assert done["changes"] == {}
        assert done["departures"]["spared"][MEMBERS[0]] == "is written in the pillar"
        assert done["departures"]["spared"][OTHERS[0]] == "is in k8s_firewall:keep"
        assert one.answered()
    assert all(one in formula.rules() for one in (*MEMBERS, *OTHERS))


@pytest.mark.parametrize(
    ("more", "nodes"),
    [
        ({}, {"unresolved": {"k8s://x": "not known"}}),
        ({"web": ["k8s://x"]}, {}),
        ({"k8s://x": 1}, {}),
    ],
    ids=["told", "in a list", "as a key"],
)
def test_while_a_reference_is_not_resolved_nothing_is_pruned(
    minion: Minion, formula: Formula, more: dict[str, Any], nodes: dict[str, Any]
) -> None:
    prunes(minion, *MEMBERS)
    done = prunes(minion, more=more, revision=2, **nodes)
    assert done["result"] is False
    assert "k8s://x" in done["comment"]
    assert all(one in formula.rules() for one in MEMBERS)
    assert prunes(minion, revision=3)["result"] is True
    assert not any(one in formula.rules() for one in MEMBERS)


def test_an_old_pillar_prunes_nobody(minion: Minion, formula: Formula) -> None:
    assert minion.call("status")["result"] is False
    prunes(minion, *MEMBERS, revision=7)
    assert minion.call("status") | {"version": "", "applied_at": None} == {
        "version": "", "digest": "", "revision": {"prod": 7}, "applied_at": None, "served": 2,
        "problems": [], "result": True, "comment": "up to date", "ends_connections": True,
    }  # fmt: skip
    done = prunes(minion, revision=6)
    assert "older than the applied one" in done["comment"]
    assert all(one in formula.rules() for one in MEMBERS)


def test_who_came_and_left_between_two_runs_that_failed_is_found(
    minion: Minion, formula: Formula
) -> None:
    minion.pillar({"k8s_firewall": {"prune": PRUNE}, "k8s_nodes": told(*MEMBERS)})
    assert minion.call("record")["result"] is True
    # The formula lets them in and fails after it; prune never runs.
    prunes(minion, revision=2)
    assert not any(one in formula.rules() for one in MEMBERS)


def test_what_cannot_be_deleted_is_tried_again(
    minion: Minion, formula: Formula, monkeypatch: pytest.MonkeyPatch, here: Place
) -> None:
    prunes(minion, *MEMBERS)
    parts = minion.functions["k8s_firewall.prune"].__globals__["closing"].prune.removals
    run = parts.programs.run

    def fails(argv: list[str], text: str = "") -> str:
        if argv[:2] == ["nft", "-f"] and "ip6 filter" in text:
            raise parts.errors.CommandFailed(argv, 4, "no")
        return str(run(argv, text))

    monkeypatch.setattr(parts.programs, "run", fails)
    done = prunes(minion, revision=2)
    assert done["result"] is False
    assert "not deleted: ip6tables filter closed rule" in done["comment"]
    monkeypatch.undo()
    assert prunes(minion, revision=2)["result"] is True
    assert not any(one in formula.rules() for one in MEMBERS)


def test_with_test_nothing_is_deleted(minion: Minion, formula: Formula) -> None:
    prunes(minion, *MEMBERS)
    before = formula.rules()
    minion.wants(nodes=told(revision=2), prune=PRUNE, keep=[])
    for function in ("prune", "sync"):
        done = minion.call(function, test=True)
        assert done["result"] is None
        assert len(done["changes"]["pruned"]["iptables"]) == 1
    assert formula.rules() == before
    assert prunes(minion, revision=2)["changes"]["pruned"]


@pytest.mark.parametrize("function", ["sync", "prune"])
def test_with_test_a_run_that_would_fail_says_so(
    minion: Minion, formula: Formula, function: str
) -> None:
    minion.wants(nodes=told(*MEMBERS), prune=PRUNE, keep=[])
    assert minion.call("sync")["result"] is True
    nodes = told(revision=2, unresolved={"k8s://x": "not known"})
    minion.wants(nodes=nodes, prune=PRUNE, keep=[])
    would, does = minion.call(function, test=True), minion.call(function)
    reason = "k8s://x is not resolved, so its addresses are unknown"
    assert would["departures"] == does["departures"] == {"unknown": dict.fromkeys(MEMBERS, reason)}
    assert reason in would["comment"]
    assert (would["result"], would["comment"]) == (does["result"], does["comment"])
    # The sets are applied; what only closes has not done what it is for.
    assert does["result"] is (function == "sync")


def test_sync_prunes_too(minion: Minion, formula: Formula) -> None:
    for served in (MEMBERS, []):
        minion.wants(nodes=told(*served), prune=PRUNE, keep=[])
        assert minion.call("sync")["result"] is True
    assert not any(one in formula.rules() for one in MEMBERS)


def test_saved_rules_do_not_come_back_at_boot(
    minion: Minion, here: Place, formula: Formula, tmp_path: Path
) -> None:
    saved = tmp_path / "rules.v4"
    saved.write_text(here.server.run("iptables-save"))
    saved.chmod(0o640)
    label = b"system_u:object_r:system_conf_t:s0\0"
    os.setxattr(saved, "security.selinux", label)
    link = tmp_path / "link"
    link.symlink_to(saved)
    before = saved.read_text().splitlines()
    prune = {**PRUNE, "saved": [str(link), str(tmp_path / "absent")]}
    for served in ((*MEMBERS, *OTHERS), OTHERS):
        minion.wants(nodes=told(*served), prune=prune, keep=[])
        done = minion.call("prune")
    assert set(done["changes"]["pruned"]) == {"iptables", "ip6tables", str(link)}
    after = saved.read_text().splitlines()
    (gone,) = [line for line in before if line not in after]
    assert MEMBERS[0] in gone
    assert link.is_symlink()
    assert saved.stat().st_mode & 0o777 == 0o640
    assert os.getxattr(saved, "security.selinux") == label
    here.server.run("iptables-restore", "--test", text=saved.read_text())


def test_rules_of_an_nft_table_are_pruned_where_it_is_named(minion: Minion, here: Place) -> None:
    here.server.run("nft", "-f", "-", text=(
        "table inet filter {\n chain input {\n type filter hook input priority 0\n"
        f"ct state established accept\n tcp dport != {PORT} accept\n"
        + "".join(f"{'ip6' if ':' in one else 'ip'} saddr {one} accept\n"
                  for one in (*MEMBERS, *OTHERS))
        + "iifname != lo drop\n }\n}\n"
    ))  # fmt: skip
    prune = {"iptables": {}, "saved": [], "nft": {"inet filter": ["input"], "ip absent": ["x"]}}
    for served, expected in (((*MEMBERS, *OTHERS), True), (OTHERS, False)):
        minion.wants(nodes=told(*served), prune=prune, keep=[])
        assert minion.call("prune")["result"] is True
        for to in (here.server.v4, here.server.v6):
            assert here.member.gets_in(to) is expected
            assert here.other.gets_in(to)


@pytest.mark.parametrize(
    "rule",
    [
        "tcp dport {port} {saddr} accept",
        "ct state new {saddr} counter accept",
        'iifname "eth0" {saddr} accept',
        "counter packets 0 bytes 0 {saddr} accept",
        'meta l4proto tcp {saddr} tcp dport {port} log prefix "drop" accept comment "no jump "',
    ],
)
def test_a_rule_of_nft_goes_wherever_its_source_stands(
    minion: Minion, here: Place, rule: str
) -> None:
    names = {one: f"{'ip6' if ':' in one else 'ip'} saddr {one}" for one in (*MEMBERS, *OTHERS)}
    here.server.run("nft", "-f", "-", text=(
        "table inet filter {\n chain input {\n type filter hook input priority 0\n"
        + "".join(rule.format(saddr=one, port=PORT) + "\n" for one in names.values())
        + f"tcp dport {PORT} drop\n }}\n}}\n"
    ))  # fmt: skip
    prune = {"iptables": {}, "saved": [], "nft": {"inet filter": ["input"]}}
    for served in ((*MEMBERS, *OTHERS), OTHERS):
        minion.wants(nodes=told(*served), prune=prune, keep=[])
        done = minion.call("prune")
        assert done["result"] is True
    assert list(done["changes"]["pruned"]) == ["nft inet filter"]
    deleted = done["changes"]["pruned"]["nft inet filter"]
    assert [names[one] in rule for one, rule in zip(MEMBERS, deleted, strict=True)] == [True, True]
    listing = here.server.run("nft", "list", "ruleset")
    assert [names[one] in listing for one in (*MEMBERS, *OTHERS)] == [False, False, True, True]
    assert not here.member.gets_in(here.server.v4)


def test_rules_of_nft_that_are_about_more_than_who_has_left_stay(
    minion: Minion, here: Place
) -> None:
    one, kept = MEMBERS[0], OTHERS[0]
    here.server.run("nft", "-f", "-", text=(
        "table inet filter {\n chain allowed { }\n chain input {\n"
        " type filter hook input priority 0\n"
        f"ip saddr {one} drop\n ip saddr != {one} accept\n tcp dport 1 ip saddr != {one} accept\n"
        f"ip saddr {one} jump allowed\n"
        f'ip saddr {kept} accept comment "ip saddr {one} accept"\n'
        # What is in a comment is no rule, whatever it looks like.
        f'ip saddr {kept} accept comment "\n\t\tip saddr {one} accept # handle 3\n"\n }}\n}}\n'
    ))  # fmt: skip
    before = here.server.run("nft", "list", "ruleset")
    for served in (MEMBERS, []):
        minion.wants(nodes=told(*served), prune={"saved": []}, keep=[])
        done = minion.call("prune")
        assert (done["result"], done["changes"]) == (True, {})
    assert here.server.run("nft", "list", "ruleset") == before


def test_a_rule_for_several_addresses_stays_and_is_reported_as_open(
    minion: Minion, here: Place
) -> None:
    one, kept = MEMBERS[0], OTHERS[0]
    here.server.run("nft", "-f", "-", text=(
        "table inet filter {\n chain input {\n type filter hook input priority 0\n"
        f"ip saddr {{ {one}, {kept} }} accept\n }}\n}}\n"
    ))  # fmt: skip
    before = here.server.run("nft", "list", "ruleset")
    for served in (MEMBERS, []):
        minion.wants(nodes=told(*served), prune={"saved": []}, keep=[])
        done = minion.call("prune")
    assert done["result"] is False
    assert list(done["departures"]["open"]) == [one]
    assert "nft inet filter input" in done["departures"]["open"][one]
    assert f"removed addresses are still open: {one}" in done["comment"]
    assert here.server.run("nft", "list", "ruleset") == before


def test_what_salt_appends_and_saves_for_nft_does_not_come_back_at_boot(
    minion: Minion, here: Place, tmp_path: Path
) -> None:
    saved = tmp_path / "salt-all-in-one.nft"
    with here.server.namespace.entered():
        salt = minion.functions
        salt["nftables.new_table"]("filter", family="inet")
        salt["nftables.new_chain"](
            "filter", "input", family="inet", table_type="filter", hook="input", priority=0
        )
        for one in (*MEMBERS, *OTHERS):
            family = "ip6" if ":" in one else "ip"
            rule = f"ct state new counter {family} saddr {one} tcp dport {PORT} accept"
            told_of = salt["nftables.append"]("filter", "input", rule, family="inet")
            assert told_of["result"] is True, told_of
        salt["nftables.save"](str(saved))
    saved.chmod(0o640)
    nft = {"inet filter": ["input"]}
    prune = {"iptables": {}, "nft": nft, "saved": [str(tmp_path), f"{saved}/x", str(saved)]}
    for served in ((*MEMBERS, *OTHERS), OTHERS):
        before = saved.read_text()
        minion.wants(nodes=told(*served), prune=prune, keep=[])
        done = minion.call("prune")
        assert done["result"] is True, done
    assert {name: len(gone) for name, gone in done["changes"]["pruned"].items()} == {
        "nft inet filter": 2, str(saved): 2,
    }  # fmt: skip
    after = saved.read_text()
    assert [one in before for one in MEMBERS] == [True, True]
    assert [one in after for one in (*MEMBERS, *OTHERS)] == [False, False, True, True]
    assert saved.stat().st_mode & 0o777 == 0o640
    in_force = here.server.run("nft", "-s", "list", "ruleset")
    here.server.run("nft", "flush", "ruleset")
    here.server.run("nft", "-f", str(saved))
    assert here.server.run("nft", "-s", "list", "ruleset") == in_force


@pytest.mark.parametrize(
    ("prune", "says"),
    [
        ([], "prune is not a mapping"),
        ({"chains": []}, "prune:chains is not a known key"),
        ({"iptables": ["INPUT"]}, "prune:iptables is not a mapping"),
        ({"iptables": {"filter": "INPUT"}}, "prune:iptables:filter is not a list"),
        ({"commands": ["iptables; reboot"]}, "prune:commands: 'iptables; reboot' is not one of"),
        ({"nft": {"filter": ["input"]}}, "prune:nft:filter is not a table"),
    ],
)
def test_a_mistake_is_refused_by_name(minion: Minion, prune: Any, says: str) -> None:
    minion.wants(prune=prune)
    assert says in minion.call("sync")["comment"]


def test_by_default_whoever_is_removed_is_closed(minion: Minion, formula: Formula) -> None:
    for served in (MEMBERS, []):
        minion.wants(nodes=told(*served), sets={})
        done = minion.call("sync")
        assert done["result"] is True
    assert list(done["departures"]["closed"]) == MEMBERS
    assert not any(one in formula.rules() for one in MEMBERS)


def test_with_prune_turned_off_a_removed_address_stays_open_and_is_reported(
    minion: Minion, formula: Formula
) -> None:
    for served in (MEMBERS, []):
        minion.wants(nodes=told(*served), prune=False)
        done = minion.call("sync")
        assert done["result"] is True
    assert list(done["departures"]["open"]) == MEMBERS
    assert "iptables filter closed rule" in done["departures"]["open"][MEMBERS[0]]
    assert "removed addresses are still open" in done["comment"]
    assert "prune is false" in minion.call("prune")["comment"]
    assert minion.call("status")["result"] is False
    # It is not the kernel that has changed: no drift, again and again.
    assert minion.call("drift")["result"] is True
    # Turned on late, it still knows them.
    minion.wants(nodes=told(), keep=[])
    assert minion.call("prune")["result"] is True
    assert not any(one in formula.rules() for one in MEMBERS)


def test_an_address_that_only_the_master_knows_is_closed_without_a_block(
    minion: Minion, formula: Formula
) -> None:
    minion.pillar({"k8s_nodes": told(*OTHERS)})
    done = minion.call("close", departed={**dict.fromkeys(MEMBERS, 1000.0), OTHERS[0]: 1.0})
    assert done["result"] is True, done
    assert list(done["departures"]["closed"]) == MEMBERS
    rules = formula.rules()
    assert [one in rules for one in (*MEMBERS, *OTHERS)] == [False, False, True, True]


@pytest.mark.parametrize("given", [["x"], {"192.0.2.1/8": 1}, 7, [None], [["192.0.2.1"]]])
def test_what_the_master_names_is_an_address_or_refused(minion: Minion, given: Any) -> None:
    minion.pillar({"k8s_nodes": told()})
    done = minion.call("close", departed=given)
    assert done["result"] is False
    assert "departed" in done["comment"]


def test_a_closed_address_whose_rule_comes_back_is_drift_and_closed_again(
    minion: Minion, formula: Formula
) -> None:
    for served in (MEMBERS, []):
        minion.wants(nodes=told(*served), keep=[])
        assert minion.call("prune")["result"] is True
    formula.allow(MEMBERS[0])
    found = minion.call("drift")
    assert found["result"] is False
    assert f"{MEMBERS[0]} was removed and is not closed: open by iptables" in found["comment"]
    done = minion.call("drift", repair=True)
    assert (done["result"], done["repaired"]) == (True, True), done
    assert MEMBERS[0] not in formula.rules()
    assert minion.call("drift")["result"] is True


def test_an_address_that_another_formula_opens_again_is_no_drift_and_stays_open(
    minion: Minion, formula: Formula
) -> None:
    """This module did not run when the address came back: its record still has the departure."""
    for served in (MEMBERS, []):
        minion.wants(nodes=told(*served), keep=[])
        assert minion.call("prune")["result"] is True
    minion.wants(nodes=told(*MEMBERS, revision=2), keep=[])
    formula.allow(*MEMBERS)
    assert minion.call("status")["result"] is True
    assert minion.call("drift", repair=True)["result"] is True
    assert all(one in formula.rules() for one in MEMBERS)


# Connections of who leaves a set


def test_who_leaves_a_set_is_reset_at_once(minion: Minion, here: Place) -> None:
    minion.sync(sets={"prod": MEMBERS + OTHERS}, gates={PORT: "prod"})
    with contextlib.ExitStack() as stack:
        leaving, staying = (
            stack.enter_context(contextlib.closing(host.connect(here.server.v4)))
            for host in (here.member, here.other)
        )
        assert leaving.answered()
        done = minion.sync(sets={"prod": OTHERS}, gates={PORT: "prod"})
        assert done["connections"] == {MEMBERS[0]: {"ended": 1, "still_open": 0}}
        assert staying.answered()


def test_who_is_in_another_set_or_on_another_list_keeps_connections(
    minion: Minion, here: Place
) -> None:
    sets = {"prod": MEMBERS, "ssh": []}
    minion.sync(backend="ipset", sets=sets)
    with contextlib.closing(here.member.connect(here.server.v4)) as one:
        assert one.answered()
        done = minion.sync(backend="ipset", sets={"prod": [], "ssh": ["10.77.2.0/24"]})
        assert "connections" not in done
        minion.pillar({"k8s_firewall": {"backend": "ipset", "sets": {}}, "x": MEMBERS})
        assert "connections" not in minion.call("sync")
        assert one.answered()


def test_what_the_host_began_itself_is_not_ended(minion: Minion, here: Place) -> None:
    from tests.firewall import place

    minion.sync(backend="ipset", sets={"prod": MEMBERS})
    with (
        place.service(here.member, 7000),
        contextlib.closing(here.server.connect(here.member.v4, 7000)) as one,
    ):
        assert one.answered()
        assert "connections" not in minion.sync(backend="ipset", sets={"prod": []})
        assert one.answered()


def test_a_listener_for_both_families_loses_its_ipv4_clients(minion: Minion, here: Place) -> None:
    import socket

    with here.server.namespace.entered():
        listener = socket.create_server(("::", 7001), family=socket.AF_INET6, dualstack_ipv6=True)
    with listener:
        minion.sync(backend="ipset", sets={"prod": MEMBERS})
        with contextlib.closing(here.member.connect(here.server.v4, 7001)) as one:
            done = minion.sync(backend="ipset", sets={"prod": []})
            assert done["connections"] == {MEMBERS[0]: {"ended": 1, "still_open": 0}}
            assert one.reset()


def test_a_network_that_leaves_takes_its_connections_along(minion: Minion, here: Place) -> None:
    minion.sync(backend="ipset", sets={"prod": ["10.77.2.0/24"]})
    with contextlib.closing(here.member.connect(here.server.v4)) as one:
        assert one.answered()
        done = minion.sync(backend="ipset", sets={"prod": ["10.77.2.2"]})
        assert done["connections"] == {MEMBERS[0]: {"ended": 1, "still_open": 0}}
        assert one.reset()


def test_a_run_that_ended_before_the_connections_is_made_up_for(
    minion: Minion, here: Place
) -> None:
    minion.sync(backend="ipset", sets={"prod": MEMBERS})
    with contextlib.closing(here.member.connect(here.server.v4)) as one:
        assert one.answered()
        here.server.run("ipset", "flush", "prod_v4")
        done = minion.sync(backend="ipset", sets={"prod": []})
        assert done["connections"] == {MEMBERS[0]: {"ended": 1, "still_open": 0}}


@pytest.fixture
def without_ends(minion: Minion, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No connection can be ended until this is undone."""
    parts = minion.functions["k8s_firewall.sync"].__globals__["connections"]
    monkeypatch.setattr(parts, "KILL", ["false"])
    return monkeypatch


@pytest.mark.parametrize("way", ["prune", "sync"])
def test_who_was_pruned_with_connections_that_could_not_be_ended_is_found_again(
    minion: Minion, here: Place, formula: Formula, without_ends: pytest.MonkeyPatch, way: str
) -> None:
    prunes(minion, *MEMBERS)
    with contextlib.closing(here.member.connect(here.server.v4)) as one:
        assert one.answered()
        minion.wants(nodes=told(revision=2), prune=PRUNE, keep=[], sets={})
        for _ in range(2):
            done = minion.call(way)
            assert done["result"] is False
            assert (
                done["comment"].count("connections of removed addresses were not ended: false") == 1
            )
            assert not any(gone in formula.rules() for gone in MEMBERS)
            assert one.answered()
        without_ends.undo()
        done = minion.call(way)
        assert done["result"] is True, done
        assert done["connections"] == {MEMBERS[0]: {"ended": 1, "still_open": 0}}
        assert one.reset()
    assert "connections" not in minion.call(way)


def test_who_was_not_ended_and_is_back_keeps_its_connections(
    minion: Minion, here: Place, formula: Formula, without_ends: pytest.MonkeyPatch
) -> None:
    prunes(minion, *MEMBERS)
    with contextlib.closing(here.member.connect(here.server.v4)) as one:
        assert one.answered()
        assert prunes(minion, revision=2)["result"] is False
        without_ends.undo()
        assert "connections" not in prunes(minion, *MEMBERS, revision=3)
        assert one.answered()


def test_what_a_rollback_could_not_end_the_next_sync_ends(
    minion: Minion, here: Place, without_ends: pytest.MonkeyPatch
) -> None:
    sets: dict[str, Any] = {"prod": [], "web": []}
    minion.sync(backend="ipset", sets=sets)
    minion.sync(backend="ipset", sets={**sets, "prod": MEMBERS})
    with contextlib.closing(here.member.connect(here.server.v4)) as one:
        assert one.answered()
        done = minion.call("rollback")
        assert "connections of removed addresses were not ended" in done["comment"]
        without_ends.undo()
        done = minion.sync(backend="ipset", sets=sets)
        assert done["connections"] == {MEMBERS[0]: {"ended": 1, "still_open": 0}}
        assert one.reset()


def test_status_tells_whether_the_kernel_ends_connections(
    minion: Minion, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert minion.call("status")["ends_connections"] is True
    parts = minion.functions["k8s_firewall.status"].__globals__["connections"]
    monkeypatch.setattr(parts, "KILL", ["true"])
    assert minion.call("status")["ends_connections"] is False
    monkeypatch.setattr(parts, "KILL", ["nothing-of-this-name"])
    assert minion.call("status")["ends_connections"] is None


def test_a_kernel_that_ends_no_connections_is_said(
    minion: Minion, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = minion.functions["k8s_firewall.sync"].__globals__["connections"]
    tries = []
    able = parts.can_end
    monkeypatch.setattr(parts, "can_end", lambda: tries.append(able()) or tries[-1])
    for _ in range(2):
        assert "ends_connections" not in minion.sync(backend="ipset", sets={"prod": MEMBERS})
    assert tries == [True]
    monkeypatch.setattr(parts, "KILL", parts.LIST_CONNECTED)
    early = minion.sync(backend="ipset", sets={"prod": MEMBERS})
    assert early["ends_connections"] is False
    assert early["comment"].count("INET_DIAG_DESTROY") == 1
    with contextlib.closing(here.member.connect(here.server.v4)) as one:
        assert one.answered()
        minion.wants(backend="ipset", sets={"prod": []})
        done = minion.call("sync")
    assert done["result"] is False
    assert done["connections"] == {MEMBERS[0]: {"ended": 0, "still_open": 1}}
    assert done["ends_connections"] is False
    assert done["comment"].count("INET_DIAG_DESTROY") == 1


def test_that_ss_is_missing_is_said_before_anybody_leaves(
    minion: Minion, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = minion.functions["k8s_firewall.sync"].__globals__["connections"]
    monkeypatch.setattr(parts, "KILL", ["nothing-of-this-name"])
    done = minion.sync(backend="ipset", sets={"prod": MEMBERS})
    assert done["ends_connections"] is False
    assert done["comment"].endswith(
        "will not be ended: the program nothing-of-this-name is not installed on this minion"
    )


def test_nobody_waits_long(minion: Minion, here: Place) -> None:
    """5,000 leave at once, and one of them has a connection open."""
    sets = [f"10.78.{number // 250}.{number % 250 + 1}" for number in range(5_000)]
    minion.sync(backend="ipset", sets={"prod": sets + MEMBERS})
    with contextlib.closing(here.member.connect(here.server.v4)) as one:
        assert one.answered()
        begin = time.monotonic()
        done = minion.sync(backend="ipset", sets={"prod": []})
        assert time.monotonic() - begin < 30
    assert done["connections"] == {MEMBERS[0]: {"ended": 1, "still_open": 0}}
