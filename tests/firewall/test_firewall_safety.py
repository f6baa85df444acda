"""Ways back, and ways to see: rollback, drift, access, and taking it all away."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from k8s_firewall_parts import (
    applied,
    errors,
    nft,
    nft_table,
    programs,
    prune,
    status,
)
from k8s_firewall_parts.run import Run
from k8s_firewall_parts.state_dir import StateDir
from tests.firewall.place import MEMBER, OTHER, PORT, Minion, Place

pytestmark = pytest.mark.root

MEMBERS = [str(MEMBER.v4), str(MEMBER.v6)]
OTHERS = [str(OTHER.v4), str(OTHER.v6)]


def test_rollback_brings_back_what_was_in_force_before(minion: Minion, here: Place) -> None:
    minion.sync(sets={"prod": MEMBERS}, gates={PORT: "prod"})
    assert "no earlier state is recorded" in minion.call("rollback")["comment"]
    minion.sync(sets={"prod": OTHERS, "web": []}, gates={PORT: "prod", 80: "web"})
    with contextlib.closing(here.other.connect(here.server.v4)) as one:
        assert one.answered()
        assert minion.call("rollback", test=True)["result"] is None
        assert one.answered()
        done = minion.call("rollback")
        assert done["result"] is True
        assert done["connections"] == {OTHERS[0]: {"ended": 1, "still_open": 0}}
    assert here.member.gets_in(here.server.v4)
    assert not here.other.gets_in(here.server.v4)
    assert minion.call("status")["gates"] == {f"{PORT}/tcp": ["prod"]}
    assert minion.call("status")["problems"] == []
    minion.call("rollback")
    assert here.other.gets_in(here.server.v4)
    minion.call("rollback")
    minion.call("sync")
    assert here.other.gets_in(here.server.v4)


def test_drift_is_told_and_repaired_without_a_master(
    minion: Minion, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    fired: list[tuple[str, dict[str, Any]]] = []
    dunders = minion.functions["k8s_firewall.drift"].__globals__
    monkeypatch.setitem(
        dunders, "__salt__", {"event.send": lambda tag, data: fired.append((tag, data))}
    )
    minion.sync(sets={"prod": MEMBERS}, gates={PORT: "prod"})
    assert minion.call("drift") == {"result": True, "comment": "no drift", "changes": {}}
    assert not fired
    minion.pillar({})
    harm = f"add element inet k8s_firewall prod_v4 {{ {here.stranger.v4} }}"
    for line, says in ((harm, "prod has 1 unexpected"), ("flush ruleset", "is missing")):
        here.server.run("nft", line)
        assert here.stranger.gets_in(here.server.v4)
        told = minion.call("drift")
        assert told["result"] is False
        assert says in told["comment"]
        assert fired.pop() == (
            "salt/k8s_firewall/minion/drift", {"problems": told["problems"], "repaired": False},
        )  # fmt: skip
        done = minion.call("drift", repair=True)
        assert (done["result"], done["repaired"]) == (True, True)
        assert fired.pop()[0] == "salt/k8s_firewall/minion/repaired"
        assert not here.stranger.gets_in(here.server.v4)
        assert here.member.gets_in(here.server.v4)
        assert minion.call("drift")["result"] is True


def test_what_cannot_be_repaired_is_not_called_so(minion: Minion, here: Place) -> None:
    fired: list[str] = []
    dunders = minion.functions["k8s_firewall.drift"].__globals__
    rule = {"name": "db", "ports": [PORT], "sources": MEMBERS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(dunders, "__salt__", {"event.send": lambda tag, _: fired.append(tag)})
        minion.sync(rules=[rule])
        here.server.run("nft", "add table inet foreign; add chain inet foreign input"
                        " { type filter hook input priority 10; policy drop; }")  # fmt: skip
        told = minion.call("drift", repair=True)
    assert (told["result"], told["repaired"]) == (False, False)
    assert "inet foreign" in told["comment"]
    assert fired == ["salt/k8s_firewall/minion/drift"]
    # Nor is a sync a success, but who has left is shut out.
    minion.wants(rules=[{**rule, "sources": OTHERS}])
    done = minion.call("sync")
    assert done["result"] is False
    assert "inet foreign" in done["comment"]
    here.server.run("nft", "delete table inet foreign")
    assert not here.member.gets_in(here.server.v4)
    assert here.other.gets_in(here.server.v4)


def test_with_test_what_would_be_left_as_it_is_is_told(minion: Minion, here: Place) -> None:
    rule = {"name": "db", "ports": [PORT], "sources": MEMBERS}
    block: dict[str, Any] = {"rules": [rule], "sets": {"prod": MEMBERS}}
    minion.sync(**block)
    here.server.run("nft", "add table inet foreign; add chain inet foreign input"
                    " { type filter hook input priority 10; policy drop; }")  # fmt: skip
    minion.wants(rules=[rule], sets={"prod": ["k8s://x"]})
    would, does = minion.call("sync", test=True), minion.call("sync")
    here.server.run("nft", "delete table inet foreign")
    for says in ("inet foreign", "the set prod is unchanged"):
        assert says in would["comment"]
    assert (would["result"], would["comment"]) == (does["result"], does["comment"])
    # Also where something else would be changed.
    minion.wants(rules=[{**rule, "sources": OTHERS}], sets={"prod": ["k8s://x"]})
    would = minion.call("sync", test=True)
    assert would["result"] is False
    assert would["comment"].startswith("firewall would be updated; the set prod is unchanged")


def test_what_fails_after_the_kernel_has_it_is_not_forgotten(
    minion: Minion, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a repair, or the next boot, would open for who has left."""
    block = {"sets": {"prod": MEMBERS}, "gates": {PORT: "prod"}}
    minion.sync(**block)
    where = {"iptables": {"filter": ["INPUT"]}, "saved": []}
    state_dir = StateDir(str(minion.state_dir))

    def fails(*_: Any, **__: Any) -> None:
        raise errors.Refused("no")

    with monkeypatch.context() as patch, here.server.namespace.entered():
        patch.setattr(prune, "prune", fails)
        pillar = {"k8s_firewall": {**block, "sets": {"prod": OTHERS}, "prune": where}}
        done = Run(pillar, state_dir, [], "test", test=False).sync()
    said = "firewall updated, but a later step failed: no"
    assert (done["result"], done["comment"]) == (False, said)
    assert minion.call("sets", "prod")["prod"] == sorted(OTHERS)
    here.server.run("nft", "flush", "ruleset")
    assert minion.call("drift", repair=True)["repaired"] is True
    assert not here.member.gets_in(here.server.v4)
    ruleset = (minion.state_dir / "ruleset.nft").read_text()
    assert "10.77.2.1" not in ruleset.partition("set prod_v4 {")[2].partition("\nset ")[0]


def test_a_change_that_fails_in_the_middle_is_not_called_none(
    minion: Minion, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ipset beside gates there are two programs, and the second may fail."""
    block: dict[str, Any] = {"backend": "ipset", "sets": {"prod": MEMBERS}, "gates": {PORT: "prod"}}
    minion.sync(**block)
    pillar = {"k8s_firewall": {**block, "sets": {"prod": OTHERS}}}

    def fails(*_: Any) -> None:
        raise errors.CommandFailed(["nft"], 1, "no")

    def changes() -> dict[str, Any]:
        return Run(pillar, StateDir(str(minion.state_dir)), [], "test", test=False).sync()

    with monkeypatch.context() as patch, here.server.namespace.entered():
        patch.setattr(nft_table, "_load", fails)
        done = changes()
        assert OTHERS[0] in here.server.run("ipset", "list", "prod_v4")
        assert done["comment"] == "firewall may be changed in part: nft: no"
        pillar["k8s_firewall"]["sets"] = {}
        assert changes()["comment"].startswith("firewall unchanged: ")


def test_after_a_run_that_was_cut_off_only_the_pillar_counts(
    minion: Minion, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    block: dict[str, Any] = {"sets": {"prod": MEMBERS}, "gates": {PORT: "prod"}}
    minion.sync(**block)
    pillar = {"k8s_firewall": {**block, "sets": {"prod": OTHERS}}}

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, here.server.namespace.entered():
        patch.setattr(applied, "record", killed)
        with pytest.raises(KeyboardInterrupt):
            Run(pillar, StateDir(str(minion.state_dir)), [], "test", test=False).sync()
    dunders = minion.functions["k8s_firewall.drift"].__globals__
    monkeypatch.setitem(dunders, "__salt__", {"event.send": lambda *_: None})
    told = minion.call("drift", repair=True)
    assert (told["repaired"], "a run was interrupted" in told["comment"]) == (False, True)
    assert not here.member.gets_in(here.server.v4)
    minion.sync(**{**block, "sets": {"prod": OTHERS}})
    here.server.run("nft", "flush", "ruleset")
    assert minion.call("drift", repair=True)["repaired"] is True
    assert here.other.gets_in(here.server.v4)


def test_what_somebody_puts_into_our_table_is_never_taken_for_ours(
    minion: Minion, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing, times = nft_table.read_with_handles, []

    def meanwhile() -> str:
        if len(times) < count:
            times.append(1)
            here.server.run("nft", f"insert rule inet k8s_firewall gate_tcp_{PORT} accept")
        return listing()

    for count in (1, 10):
        times.clear()
        pillar = {"k8s_firewall": {"sets": {"prod": MEMBERS}, "gates": {PORT: "prod"}}}
        with monkeypatch.context() as patch, here.server.namespace.entered():
            patch.setattr(nft_table, "read_with_handles", meanwhile)
            Run(pillar, StateDir(str(minion.state_dir)), [], "test", test=False).sync()
        if count == 1:
            assert not here.stranger.gets_in(here.server.v4)
            assert minion.call("status")["problems"] == []
        else:
            assert "was changed by another program" in minion.call("status")["comment"]
            minion.sync(sets={"prod": MEMBERS}, gates={PORT: "prod"})
            assert not here.stranger.gets_in(here.server.v4)
            assert minion.call("status")["problems"] == []
        minion.call("remove")


def test_transactions_of_others_neither_repeat_nor_replace_anything(
    minion: Minion, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one between any two steps of a run."""
    run, number = programs.run, iter(range(1000))
    loaded: list[str] = []

    def beside(argv: list[str], text: str = "") -> str:
        if argv == nft.APPLY:
            loaded.append(text)
        done = run(argv, text)
        here.server.run("nft", "add", "table", "ip", f"somebody{next(number)}")
        return done

    monkeypatch.setattr(programs, "run", beside)
    rules = [{"name": "a", "ports": [PORT], "sources": ["prod"]}]
    for members, replaced in ((MEMBERS, True), (OTHERS, False), (MEMBERS, False)):
        loaded.clear()
        block = {"sets": {"prod": members}, "gates": {PORT: "prod"}, "rules": rules}
        with here.server.namespace.entered():
            state_dir = StateDir(str(minion.state_dir))
            done = Run({"k8s_firewall": block}, state_dir, [], "test", test=False).sync()
            assert done["result"] is True, done
            assert status.status(state_dir, "test")["problems"] == []
        assert [text.startswith(nft.DELETE) for text in loaded] == [replaced]


def test_without_nf_tables_in_the_kernel_ipsets_and_prune_go_on(
    minion: Minion, here: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a container whose kernel has none, with the program installed."""
    nft_program = tmp_path / "nft"
    nft_program.write_text(
        "#!/bin/sh\necho 'Error: cache initialization failed: Protocol not supported' >&2\nexit 1\n"
    )
    nft_program.chmod(0o755)
    monkeypatch.setattr(programs, "_PATH", f"{tmp_path}:{programs._PATH}")
    state_dir = StateDir(str(minion.state_dir))

    def run(block: dict[str, Any]) -> Run:
        return Run({"k8s_firewall": block}, state_dir, [], "test", test=False)

    with here.server.namespace.entered():
        for members in (MEMBERS, OTHERS):
            done = run({"backend": "ipset", "sets": {"prod": members}}).sync()
            assert done["result"] is True, done
            assert members[0] in here.server.run("ipset", "save")
            assert status.status(state_dir, "test")["problems"] == []
        assert run({}).remove()["result"] is True
        assert run({"prune": {"saved": []}}).sync()["result"] is True
        done = run({"sets": {"prod": MEMBERS}}).sync()
        assert done["result"] is False
        assert "Protocol not supported" in done["comment"]


def test_remove_tells_of_a_set_that_stays(minion: Minion, here: Place) -> None:
    minion.sync(backend="ipset", sets={"prod": MEMBERS})
    rule = ["INPUT", "-m", "set", "!", "--match-set", "prod_v4", "src", "-p", "tcp", "-j", "DROP"]
    here.server.run("iptables", "-A", *rule)
    done = minion.call("remove")
    assert done["result"] is False
    assert "the ipset prod_v4 is empty but not removed" in done["comment"]
    here.server.run("iptables", "-D", *rule)
    assert minion.call("remove")["result"] is True
    assert here.server.run("ipset", "list", "-n") == ""
    assert [path.name for path in minion.state_dir.iterdir()] == ["lock"]


def test_the_master_is_kept_in_whatever_its_family(minion: Minion, here: Place) -> None:
    for written, kept in (("[fd77:0:0:9::1]", "fd77:0:0:9::1"), ("10.77.9.1", "10.77.9.1")):
        opts = minion.functions["k8s_firewall.sync"].__globals__["__opts__"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(opts, "master_ip", written)
            minion.sync(sets={"prod": MEMBERS}, gates={PORT: "prod"})
            assert minion.call("sets", "keep")["keep"] == [kept]


@pytest.mark.parametrize(
    "block",
    [
        {"gates": {PORT: "prod"}},
        {"gates": {PORT: ["prod", "net"]}},
        {"rules": [{"name": "a", "ports": [PORT], "sources": ["prod"]}]},
        {"rules": [{"name": "a", "ports": [f"1-{PORT}"], "sources": ["net", *OTHERS]}]},
        {
            "rules": [
                {"name": "a", "sources": MEMBERS, "action": "drop"},
                {"name": "b", "protocol": "tcp", "sources": "any"},
            ]
        },
        {
            "gates": {PORT: "prod"},
            "rules": [{"name": "a", "ports": [PORT, 1], "sources": "any"}],
        },
        {
            "gates": {PORT: "net"},
            "rules": [{"name": "a", "protocol": "udp", "ports": [PORT], "sources": "any"}],
        },
        {"rules": [{"name": "a", "ports": [1], "sources": []}], "policy": {"input": "accept"}},
    ],
)
def test_what_is_said_of_an_access_is_what_a_packet_meets(
    minion: Minion, here: Place, block: dict[str, Any]
) -> None:
    sets = {"prod": MEMBERS, "net": ["10.77.3.0/24", "fd77:0:0:3::/64"]}
    minion.sync(sets=sets, keep=[str(OTHER.v6)], **block)
    for host in (here.member, here.other, here.stranger):
        for to, own in ((here.server.v4, host.v4), (here.server.v6, host.v6)):
            for protocol in ("tcp", "udp"):
                told = minion.call("check_access", own, PORT, protocol)
                got = host.gets_in(to, udp=protocol == "udp")
                assert got is told["allowed"], (own, protocol, told)


def test_an_access_is_explained(minion: Minion, here: Place) -> None:
    minion.sync(sets={"prod": MEMBERS}, gates={PORT: "prod"})
    told = minion.call("check_access", here.stranger.v4, PORT)
    assert told == {
        "allowed": False,
        "decided_by": f"the gate {PORT}/tcp",
        "reason": f"{here.stranger.v4} is in none of: prod",
    }
    unsaid = {"allowed": True, "decided_by": "no rule", "reason": "no rule drops it"}
    assert minion.call("check_access", MEMBERS[0], 80) == unsaid
    here.server.run("nft", "flush", "ruleset")
    assert minion.call("check_access", here.stranger.v4, PORT) == unsaid
    assert here.stranger.gets_in(here.server.v4)
    for address, port, protocol, says in (
        ("k8s://prod", PORT, "tcp", "is not an IP address"),
        (MEMBERS[0], "ssh", "tcp", "ssh"),
        (MEMBERS[0], PORT, "icmp", "not tcp or udp"),
    ):
        with pytest.raises(Exception, match=says):
            minion.call("check_access", address, port, protocol)


@pytest.mark.parametrize("backend", ["nft", "ipset"])
def test_remove_leaves_nothing(minion: Minion, here: Place, backend: str) -> None:
    prune = {"iptables": {"filter": ["INPUT"]}, "saved": []}
    minion.sync(backend=backend, sets={"prod": MEMBERS}, gates={PORT: "prod"}, prune=prune)
    minion.sync(backend=backend, sets={"prod": OTHERS}, gates={PORT: "prod"}, prune=prune)
    assert minion.call("remove", test=True)["result"] is None
    assert not here.stranger.gets_in(here.server.v4)
    assert minion.call("remove")["result"] is True
    assert here.stranger.gets_in(here.server.v4)
    assert here.server.run("nft", "list", "ruleset") == ""
    assert here.server.run("ipset", "list", "-n") == ""
    assert [path.name for path in minion.state_dir.iterdir()] == ["lock"]
