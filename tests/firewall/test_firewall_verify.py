"""Every verdict is compared with packets: open is who gets in, whoever made the rule."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from k8s_firewall_parts import errors, programs, reading, verify
from tests.firewall import place
from tests.firewall.place import PORT, Host, Minion, Place

TABLE = """table inet foreign {{
{sets}
chain input {{
type filter hook input priority 0; policy drop;
{rules}
}}
}}
"""
NEIGHBOURS = "meta l4proto ipv6-icmp accept"


def same_as_packets(here: Place, minion: Minion, *, sure: bool = True) -> dict[str, str]:
    """Compare the verdicts on three hosts, and the answers for the port, with what gets in."""
    hosts = (here.member, here.other, here.stranger)
    asked = [address for host in hosts for address in (host.v4, host.v6)]
    found = minion.call("verify", asked)
    for host in hosts:
        for own, to in ((host.v4, here.server.v4), (host.v6, here.server.v6)):
            gets_in = host.gets_in(to)
            # The conversation has just ended, and its flow may still be known.
            by = [one for one in found[own]["by"] if not one.startswith(("connection", "flow"))]
            assert found[own]["verdict"] == ("open" if by else "closed"), found[own]
            assert bool(by) == gets_in, (own, found[own])
            answer = minion.call("check_access", own, PORT)
            assert answer["allowed"] in ((gets_in,) if sure else (gets_in, None)), (own, answer)
    return {own: one["verdict"] for own, one in found.items()}


def nft(here: Place, rules: str, sets: str = "") -> None:
    rules = f"{NEIGHBOURS}\n{rules}"
    here.server.run("nft", "-f", "-", text=TABLE.format(sets=sets, rules=rules))


SETS = """
chain lim {{
limit rate 100/second burst 100 packets accept
}}
set four {{ type ipv4_addr; flags timeout; elements = {{ {a} timeout 1h comment "x" }} ; }}
set six {{ type ipv6_addr; elements = {{ {b} }} ; }}
set pairs {{
type ipv4_addr . inet_service; flags interval
elements = {{ {a}/32 . 5000-6000 }}
}}
map verdicts {{ type ipv4_addr : verdict; elements = {{ {a} : accept, {c} : drop }} ; }}
set ranges {{
type ipv4_addr; flags interval; auto-merge
elements = {{ {a}, 192.0.2.1 }}
}}
"""


@pytest.mark.parametrize(
    ("four", "six"),
    [
        ("ip saddr {a} accept", "ip6 saddr {b} accept"),
        (
            'ip saddr {a} tcp dport 5432 counter accept comment "x"',
            "ip6 saddr {b} tcp dport {{ 22, 5432 }} accept",
        ),
        ("ip saddr {{ {a}, 192.0.2.1 }} accept", "ip6 saddr {{ {b} }} accept"),
        (
            "ip saddr . tcp dport {{ {a} . 5432 }} accept",
            "ip6 saddr . tcp dport {{ {b} . 5432 }} accept",
        ),
        ("ip saddr vmap {{ {a} : accept, {c} : drop }}", "ip6 saddr vmap {{ {b} : accept }}"),
        ("ip saddr . tcp dport vmap {{ {a} . 5432 : accept }}", "ip6 saddr {b} accept"),
        ("ip saddr {a}-{a} accept", "ip6 saddr {b}/128 accept"),
        ("ip saddr != {a} drop", "ip6 saddr != {b} drop\naccept"),
        ("ct original ip saddr {a} accept", "ct original ip6 saddr {b} accept"),
        ("ip saddr {a} jump lim", "ip6 saddr {b} goto lim"),
        (
            "ip saddr {c} drop\nip saddr {a} accept",
            "ip6 saddr {b} ct state new accept\nct state established accept",
        ),
        ("ip saddr @four accept", "ip6 saddr @six accept"),
        ("ip saddr . tcp dport @pairs accept", "ip6 saddr @six accept"),
        ("ip saddr vmap @verdicts", "ip6 saddr @six accept"),
        ("ip saddr @ranges accept", "ip6 saddr @six accept"),
    ],
)
def test_every_form_of_nft_is_open_to_whom_packets_get_in(
    here: Place, minion: Minion, four: str, six: str
):
    names = {"a": here.member.v4, "b": here.member.v6, "c": here.other.v4}
    nft(here, f"{four}\n{six}".format(**names), SETS.format(**names))
    found = same_as_packets(here, minion, sure="lim" not in four)
    assert [found[here.member.v4], found[here.member.v6]] == ["open", "open"]


def iptables(host: Host, suffix: str, *rules: str, policy: str = "DROP") -> None:
    for program in (f"iptables{suffix}", f"ip6tables{suffix}"):
        host.run(program, "-w", "-F")
        host.run(program, "-w", "-P", "INPUT", policy)
    # Neighbour discovery.
    host.run(f"ip6tables{suffix}", "-w", "-A", "INPUT", "-p", "ipv6-icmp", "-j", "ACCEPT")
    for rule in rules:
        host.run(f"iptables{suffix}", "-w", *rule.split())


@pytest.fixture(params=["-nft", "-legacy"])
def suffix(request: pytest.FixtureRequest, here: Place) -> Any:
    place.variant(here.server, request.param)
    yield request.param
    here.server.run("nft", "flush", "ruleset")
    if request.param == "-legacy":
        for program in ("iptables-legacy", "ip6tables-legacy"):
            here.server.run(program, "-w", "-P", "INPUT", "ACCEPT")
            here.server.run(program, "-w", "-F")
            here.server.run(program, "-w", "-X")
    # One set may be in another, and then cannot be destroyed.
    here.server.run("ipset", "flush")
    here.server.run("ipset", "destroy")


@pytest.mark.parametrize(
    "rules",
    [
        ["-A INPUT -s {a} -p tcp --dport 5432 -j ACCEPT"],
        ["-A INPUT -s {a} -m comment --comment x -j ACCEPT"],
        ["-A INPUT -m iprange --src-range {a}-{a} -j ACCEPT"],
        ["-A INPUT -m conntrack --ctorigsrc {a} -j ACCEPT"],
        ["-A INPUT -s {a} -m recent --name seen --set -j ACCEPT"],
        ["-A INPUT ! -s {a} -j DROP", "-A INPUT -j ACCEPT"],
        ["-A INPUT -m recent --name knocked --rcheck -j ACCEPT",
         "-A INPUT -s {a} -p tcp --dport 99 -m recent --name knocked --set -j DROP"],
        ["-N lim", "-A lim -m limit --limit 100/sec --limit-burst 100 -j LOG", "-A lim -j ACCEPT",
         "-A INPUT -s {a} -m conntrack --ctstate NEW,ESTABLISHED -j lim"],
        ["-N user", "-A user -s {a} -j RETURN", "-A user -j DROP", "-A INPUT -j user",
         "-A INPUT -j ACCEPT"],
        ["-A INPUT -m set --match-set prod src -j ACCEPT"],
        ["-A INPUT -m set ! --match-set prod src -j DROP", "-A INPUT -j ACCEPT"],
        ["-A INPUT -m set --match-set pairs src,dst -j ACCEPT"],
        ["-A INPUT -m set --match-set all src -j ACCEPT"],
        ["-A INPUT -s {c} -j DROP", "-A INPUT -s {c} -j LOG", "-A INPUT -s {a} -j ACCEPT"],
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("suffix", "foreign"),
    [("-nft", False), ("-nft", True), ("-legacy", False)],
    indirect=["suffix"],
)
def test_every_rule_of_iptables_is_open_to_whom_packets_get_in(
    here: Place, minion: Minion, suffix: str, rules: list[str], foreign: bool
):
    names = {"a": here.member.v4, "c": here.other.v4}
    here.server.run("ipset", "create", "prod", "hash:net", "timeout", "0", "comment", "counters")
    here.server.run("ipset", "add", "prod", here.member.v4, "comment", "add other 192.0.2.1")
    here.server.run("ipset", "create", "pairs", "hash:ip,port")
    here.server.run("ipset", "add", "pairs", f"{here.member.v4},tcp:5432")
    here.server.run("ipset", "create", "all", "list:set")
    here.server.run("ipset", "add", "all", "prod")
    iptables(here.server, suffix, *(rule.format(**names) for rule in rules))
    if foreign:
        # With a rule that iptables does not know, it prints none of the table.
        here.server.run("nft", "add", "table", "ip", "filter")
        here.server.run("nft", "add", "chain", "ip", "filter", "mine")
        here.server.run(
            "nft", "add", "rule", "ip", "filter", "mine", "ct", "state", "new", "accept"
        )
    here.member.gets_in(here.server.v4, 99)
    found = same_as_packets(here, minion, sure=False)
    assert found[here.member.v4] == "open"


def test_a_list_of_blocked_sources_is_not_an_opening(here: Place, minion: Minion, suffix: str):
    here.server.run("ipset", "create", "bad", "hash:ip")
    here.server.run("ipset", "add", "bad", here.member.v4)
    iptables(here.server, suffix, "-A INPUT -m set --match-set bad src -j DROP")
    assert same_as_packets(here, minion)[here.member.v4] == "closed"


def test_both_variants_of_iptables_are_read_together(here: Place, minion: Minion):
    for variant in ("-nft", "-legacy"):
        place.variant(here.server, variant)
    iptables(here.server, "-nft", f"-A INPUT -s {here.member.v4} -j ACCEPT")
    iptables(here.server, "-legacy", f"-A INPUT -s {here.member.v4} -j ACCEPT")
    try:
        by = minion.call("verify", here.member.v4)[here.member.v4]["by"]
        assert [one.split(":")[0] for one in by] == ["iptables filter INPUT rule 1"] * 2
        same_as_packets(here, minion)
    finally:
        iptables(here.server, "-legacy", policy="ACCEPT")
        here.server.run("ip6tables-legacy", "-w", "-F")


def test_a_rule_that_marks_the_packet_is_open_and_says_why(here: Place, minion: Minion):
    nft(here, f"ip saddr {here.member.v4} meta mark set 7\nmeta mark 7 accept")
    assert here.member.gets_in(here.server.v4)
    found = minion.call("verify", here.member.v4)[here.member.v4]
    assert (found["verdict"], "it marks the packet" in found["by"][0]) == ("open", True)


def test_gates_and_sets_of_this_module_are_read_like_all_others(here: Place, minion: Minion):
    members = [here.member.v4, here.member.v6]
    minion.sync(sets={"prod": members}, gates={PORT: "prod"})
    nft(here, f"tcp dport {PORT} accept")
    found = same_as_packets(here, minion)
    assert found[here.member.v4] == "open"
    answer = minion.call("check_access", here.other.v4, PORT)
    assert answer == {
        "allowed": False,
        "decided_by": f"the gate {PORT}/tcp",
        "reason": f"{here.other.v4} is in none of: prod",
    }
    minion.sync(sets={"prod": []}, gates={PORT: "prod"})
    assert same_as_packets(here, minion)[here.member.v4] == "closed"


def test_a_wider_network_is_open_and_no_rule_of_this_address(here: Place, minion: Minion):
    nft(here, "ip saddr 10.0.0.0/8 accept")
    with here.server.namespace.entered():
        found = verify.verify([here.member.v4], ())[here.member.v4]
    assert here.member.gets_in(here.server.v4)
    assert (found.verdict, found.ended, len(found.wider)) == ("open", True, 1)


def test_a_connection_that_goes_on_is_open_until_it_ends(here: Place, minion: Minion):
    nft(here, "ct state established accept\ntcp dport 5432 accept")
    with contextlib.closing(here.member.connect(here.server.v4)) as one:
        assert one.answered()
        found = minion.call("verify", here.member.v4)[here.member.v4]
        assert (found["verdict"], found["by"]) == ("open", ["connection tcp 5432"])
        # It is still there, and no packet of it gets through.
        here.server.run("nft", "flush", "chain", "inet", "foreign", "input")
        assert not one.answered()
        assert minion.call("verify", here.member.v4)[here.member.v4]["verdict"] == "closed"
    # Its end did not come through either.
    here.server.run("ss", "-K", "dst", here.member.v4)


def test_a_datagram_flow_that_goes_on_is_open(here: Place, minion: Minion):
    nft(here, "ct state established accept\nudp dport 5432 accept")
    with contextlib.closing(here.member.connect(here.server.v4, udp=True)) as one:
        assert one.answered()
        here.server.run("nft", "flush", "chain", "inet", "foreign", "input")
        here.server.run(
            "nft", "add", "rule", "inet", "foreign", "input", "ct", "state", "established", "accept"
        )
        assert one.answered()
        found = minion.call("verify", here.member.v4)[here.member.v4]
        assert (found["verdict"], found["by"]) == ("open", ["flow udp 5432"])


@pytest.mark.usefixtures("container")
def test_a_connection_into_a_container_is_a_flow(here: Place, minion: Minion):
    with contextlib.closing(here.member.connect(here.server.v4, 6001)) as one:
        assert one.answered()
        found = minion.call("verify", here.member.v4)[here.member.v4]
        assert found["by"] == ["flow tcp 6001"]


@pytest.mark.parametrize(
    "spelling",
    [
        "-A INPUT --source {a} --jump ACCEPT",
        "--append INPUT --src {a} -j ACCEPT",
        "-I INPUT -s {a} -j ACCEPT",
        "-I INPUT 1 -s {a} -j ACCEPT",
        "-A INPUT -s 192.0.2.1,{a} -j ACCEPT",
        "-A INPUT -s {a}/255.255.255.255 -j ACCEPT",
        "[7:99] -A INPUT --sourc {a} --jum ACCEPT",
        "-A INPUT -j ACCEPT -s {a}",
        '-A INPUT -s "{a}" -m comment --comment "-j DROP" -j "ACCEPT"',
    ],
)
def test_a_saved_rule_is_open_in_every_spelling_that_the_loader_takes(
    here: Place, tmp_path: Path, spelling: str
):
    place.variant(here.server, "-nft")
    saved = tmp_path / "rules.v4"
    line = spelling.format(a=here.member.v4)
    saved.write_text(f"*filter\n:INPUT DROP [0:0]\n{line}\nCOMMIT\n")
    with here.server.namespace.entered():
        before = verify.verify([here.member.v4, here.other.v4], [str(saved)])
    assert [one.verdict for one in before.values()] == ["open", "closed"]
    here.server.run("iptables-nft-restore", text=saved.read_text())
    assert here.member.gets_in(here.server.v4)
    assert not here.other.gets_in(here.server.v4)


@pytest.mark.parametrize(
    "rules",
    [
        "ip saddr {a} accept",
        "ip saddr . tcp dport {{ {a} . 5432 }} accept",
        "ip saddr vmap {{ {a} : accept }}",
        "ip saddr @s accept",
        "ip saddr $nodes accept",
        "ip saddr {a} jump ok",
    ],
)
def test_a_saved_file_of_nft_is_open_to_whom_packets_get_in_after_it_is_loaded(
    here: Place, tmp_path: Path, rules: str
):
    saved = tmp_path / "nftables.conf"
    text = (
        "define nodes = {{ {a}, 192.0.2.1 }}\ntable inet saved {{\n"
        "\tset s {{ type ipv4_addr; elements = {{ {a} }}; }}\n"
        "\tchain ok {{\n\t\taccept\n\t}}\n"
        "\tchain input {{ type filter hook input priority 0; policy drop; " + rules + " ; }}\n}}\n"
    )
    saved.write_text(text.format(a=here.member.v4))
    with here.server.namespace.entered():
        before = verify.verify([here.member.v4, here.other.v4], [str(saved)])
    assert [one.verdict for one in before.values()] == ["open", "closed"]
    here.server.run("nft", "-f", str(saved))
    assert here.member.gets_in(here.server.v4)
    assert not here.other.gets_in(here.server.v4)


def test_a_file_that_cannot_be_read_is_unknown_and_never_nothing(here: Place, tmp_path: Path):
    (tmp_path / "binary").write_bytes(b"\x00\x01")
    (tmp_path / "zone.xml").write_text("<zone>")
    saved = [str(tmp_path / name) for name in ("binary", "zone.xml", "missing")]
    with here.server.namespace.entered():
        found = verify.verify(["192.0.2.1"], saved)["192.0.2.1"]
    assert (found.verdict, sorted(found.unknown)) == ("unknown", sorted(saved[:2]))


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    found = programs.path_of
    monkeypatch.setattr(
        programs, "path_of", lambda program: None if program in names else found(program)
    )


def test_without_the_program_nft_the_rules_of_iptables_are_read(
    here: Place, monkeypatch: pytest.MonkeyPatch
):
    place.variant(here.server, "-nft")
    iptables(here.server, "-nft", f"-A INPUT -s {here.member.v4} -j ACCEPT")
    without(monkeypatch, "nft")
    with here.server.namespace.entered():
        found = verify.verify([here.member.v4, here.other.v4], ())
    assert [one.verdict for one in found.values()] == ["open", "closed"]


def test_without_any_program_an_empty_kernel_is_known_and_a_full_one_is_not(
    here: Place, monkeypatch: pytest.MonkeyPatch
):
    without(monkeypatch, "nft", "iptables-nft-save", "ip6tables-nft-save", "ipset")
    with here.server.namespace.entered():
        assert reading.read(["192.0.2.1"], ()).unknown == {}
        here.server.run("nft", "add", "table", "inet", "foreign")
        found = verify.verify(["192.0.2.1"], ())["192.0.2.1"]
    assert found.verdict == "unknown"
    assert "the program nft is not installed" in found.why


def test_a_table_of_nft_is_unknown_where_only_iptables_is_there(
    here: Place, monkeypatch: pytest.MonkeyPatch
):
    place.variant(here.server, "-nft")
    iptables(here.server, "-nft", f"-A INPUT -s {here.member.v4} -j ACCEPT")
    here.server.run("nft", "add", "table", "inet", "foreign")
    without(monkeypatch, "nft")
    with here.server.namespace.entered():
        found = verify.verify([here.member.v4, here.other.v4], ())
    assert [one.verdict for one in found.values()] == ["open", "unknown"]
    assert "the kernel has the nft table foreign" in found[here.other.v4].why


def test_what_iptables_does_not_print_is_unknown_where_nft_is_not_there(
    here: Place, monkeypatch: pytest.MonkeyPatch
):
    place.variant(here.server, "-nft")
    iptables(here.server, "-nft", f"-A INPUT -s {here.member.v4} -j ACCEPT")
    mine = "table ip filter {\nchain mine {\nct state new accept\n}\n}\n"
    here.server.run("nft", "-f", "-", text=mine)
    without(monkeypatch, "nft")
    with here.server.namespace.entered():
        found = verify.verify([here.member.v4, here.member.v6], ())
    assert found[here.member.v4].verdict == "unknown"
    assert "incompatible" in found[here.member.v4].why
    assert found[here.member.v6].verdict == "closed"


def test_where_the_kernel_has_no_nf_tables_nothing_is_unknown(
    here: Place, monkeypatch: pytest.MonkeyPatch
):
    run = programs.run

    def failing(argv: Any, text: str = "") -> str:
        if argv[0] == "nft":
            raise errors.CommandFailed(argv, 1, "cache initialization failed: Invalid argument")
        return run(argv, text)

    monkeypatch.setattr(programs, "run", failing)
    with here.server.namespace.entered():
        assert verify.verify(["192.0.2.1"], ())["192.0.2.1"].verdict == "closed"
        here.server.run("nft", "add", "table", "inet", "foreign")
        assert verify.verify(["192.0.2.1"], ())["192.0.2.1"].verdict == "unknown"


@pytest.mark.parametrize("suffix", ["-legacy"], indirect=True)
def test_legacy_tables_without_their_program_are_unknown(
    here: Place, suffix: str, monkeypatch: pytest.MonkeyPatch
):
    iptables(here.server, suffix)
    without(monkeypatch, "iptables-legacy-save", "ip6tables-legacy-save")
    with here.server.namespace.entered():
        found = verify.verify(["192.0.2.1"], ())["192.0.2.1"]
    assert found.verdict == "unknown"
    assert "legacy" in found.why


def test_output_that_is_cut_off_is_unknown(here: Place, monkeypatch: pytest.MonkeyPatch):
    nft(here, f"ip saddr {here.member.v4} accept")
    run = programs.run
    monkeypatch.setattr(
        programs, "run", lambda argv, text="": run(argv, text)[: -20 if argv[0] == "nft" else None]
    )
    with here.server.namespace.entered():
        found = verify.verify([here.member.v4], ())[here.member.v4]
    assert (found.verdict, list(found.unknown)) == ("unknown", ["nft"])


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("verify", [10.77], "10.77 is not an IP address; write it in quotes"),
        ("verify", [[None]], "None is not an IP address; write it in quotes"),
        ("verify", ["192.0.2.1/24"], "'192.0.2.1/24' is not a network"),
        ("verify", [{"192.0.2.1": 1}], "is not an IP address"),
        ("check_access", [10.77, PORT], "10.77 is not an IP address; write it in quotes"),
        ("check_access", [None, PORT], "None is not an IP address; write it in quotes"),
        ("check_access", ["192.0.2.0/24", PORT], "'192.0.2.0/24' is not an IP address"),
        ("check_access", ["192.0.2.1", 99999], "99999 is not a port"),
        ("check_access", ["192.0.2.1", None], "None is not a port"),
        ("check_access", ["192.0.2.1", True], "True is not a port"),
        ("check_access", ["192.0.2.1", "ssh"], "'ssh' is not a port"),
        ("check_access", ["192.0.2.1", 53, "sctp"], "'sctp' is not tcp or udp"),
        ("check_access", ["192.0.2.1", 53, None], "None is not tcp or udp"),
        ("sets", [["prod"]], "['prod'] is not the name of a set"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(
    minion: Minion, function: str, arguments: list[Any], message: str
):
    with pytest.raises(CommandExecutionError) as caught:
        minion.call(function, *arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_arguments_every_removed_address_is_verified(here: Place, minion: Minion):
    gone = here.member.v4
    minion.wants(nodes={"served": [gone]}, sets={"prod": [gone]})
    assert minion.call("sync")["result"] is True
    assert minion.call("verify") == {}
    # It is looked for long after it was closed.
    minion.wants(nodes={"served": []}, sets={"prod": []})
    assert minion.call("sync")["result"] is True
    assert minion.call("verify") == {gone: {"verdict": "closed", "by": [], "why": ""}}
