"""The files that firewalls are loaded from at boot, in each form, and what they let in."""

from __future__ import annotations

import pytest
from hypothesis import given

from k8s_firewall_parts import read_ipset, read_nft_file, read_saved
from k8s_firewall_parts.chains import NamedSet
from k8s_firewall_parts.intervals import Interest
from k8s_firewall_parts.openings import ACCEPTS, UNCLEAR, FileLines, Opening
from tests.minion.test_minion_parsers import TEXT

A = "192.0.2.1"


def nft(text: str, asked: str = A, **included: str) -> list[Opening]:
    def include(name: str) -> list[tuple[str, str]]:
        return [(name, included[name])] if name in included else []

    return list(read_saved.nft(read_saved.Saved("/etc/x.nft", text), include, Interest([asked])))


def chain(*lines: str, more: str = "") -> str:
    body = "\n".join(f"\t\t{line}" for line in lines)
    return (
        f"#!/usr/sbin/nft -f\nflush ruleset\n{more}\ntable inet filter {{\n\tchain input {{\n"
        f"\t\ttype filter hook input priority filter; policy drop;\n{body}\n\t}}\n}}\n"
    )


@pytest.mark.parametrize(
    "line",
    [
        "ip saddr 192.0.2.1 accept",
        'ip saddr 192.0.2.1 tcp dport 5432 counter packets 0 bytes 0 accept comment "a ; } b"',
        "tcp dport { 22, 5432 } ip saddr 192.0.2.0/24 accept",
        "ip saddr { 198.51.100.1, 192.0.2.1 } accept",
        "ip saddr 192.0.2.0-192.0.2.9 accept;",
        "ip saddr . tcp dport { 192.0.2.1 . 5432 } accept",
        "ip saddr vmap { 192.0.2.1 : accept, 192.0.2.2 : drop }",
        "ip saddr . tcp dport vmap { 192.0.2.1 . 22 : accept }",
        "ct original ip saddr 192.0.2.1 accept",
        "ct original saddr 192.0.2.1 accept",
        "ip saddr & 255.255.255.0 == 192.0.2.0 accept",
        "ip saddr >= 192.0.2.0 accept",
        'iifname "eth*" ip saddr 192.0.2.1 ct state new limit rate 3/minute accept',
        "ip saddr $nodes accept",
        "ip saddr { 198.51.100.1, $nodes } accept",
        "ip saddr @s accept",
        "ip saddr != @s drop",
        "ip saddr 192.0.2.1 jump ok",
    ],
)
def test_an_accept_in_a_file_of_nft_is_read(line):
    more = (
        "define nodes = { 192.0.2.1, 192.0.2.2 }\n"
        "table inet filter { set s { type ipv4_addr; elements = { 192.0.2.1 timeout 1h } }\n"
        "chain ok { limit rate 1/second accept; }\n}"
    )
    assert [one.effect for one in nft(chain(line, more=more))] == [ACCEPTS]


@pytest.mark.parametrize(
    "line",
    [
        "ip saddr 192.0.2.1 drop",
        "ip saddr 192.0.2.1 reject with icmpx type port-unreachable",
        'ip saddr 192.0.2.1 counter log prefix "accept"',
        "ip saddr != 192.0.2.1 accept",
        "ip daddr 192.0.2.1 accept",
        "ip saddr vmap { 192.0.2.1 : drop }",
        "ip saddr 192.0.2.10 accept # ip saddr 192.0.2.1 accept",
        'accept comment "ip saddr 192.0.2.1"',
        "ct reply ip saddr 192.0.2.1 accept",
    ],
)
def test_what_lets_no_packet_in_is_not_an_opening_in_a_file_of_nft(line):
    assert nft(chain(line)) == []


@pytest.mark.parametrize(
    "line",
    ["some future thing 192.0.2.1 accept", "ip saddr 192.0.2.1 meta mark set 3",
     "ip saddr 192.0.2.1 notrack"],
)  # fmt: skip
def test_what_is_not_understood_and_names_an_address_is_unclear(line):
    (opening,) = nft(chain(line))
    assert opening.effect == UNCLEAR
    assert opening.why


@pytest.mark.parametrize(
    "text",
    [
        "add rule inet filter input ip saddr 192.0.2.1 accept\n",
        "insert rule inet filter input position 3 ip saddr 192.0.2.1 accept\n",
        "add rule filter INPUT ip saddr 192.0.2.1 accept\n",
        "table ip f { chain i { type filter hook input priority 0; ip saddr 192.0.2.1 accept; } }",
        "table ip f {\n chain i {\n  ip saddr \\\n   192.0.2.1 accept\n }\n}\n",
        (
            "add set inet f s { type ipv4_addr; }\nadd element inet f s { 192.0.2.1 }\n"
            "add rule inet f i ip saddr @s accept\n"
        ),
        (
            "table inet f {\n set s {\n type ipv4_addr\n elements = {\n 192.0.2.1,\n 192.0.2.2 }\n"
            " }\n chain i {\n ip saddr @s accept\n }\n}"
        ),
    ],
)
def test_rules_are_found_however_the_file_is_written(text):
    assert [one.effect for one in nft(text)] == [ACCEPTS]


def test_an_included_file_is_read_with_its_own_path():
    text = chain("ip saddr $nodes accept", more='include "nodes.nft"')
    (opening,) = nft(text, **{"nodes.nft": f"define nodes = {A}\n"})
    assert opening.sources == (A,)
    rules = "table inet filter {\n chain input {\n  ip saddr 192.0.2.1 accept\n }\n}\n"
    (opening,) = nft('include "rules.nft"\n', **{"rules.nft": rules})
    assert opening.removal == FileLines("rules.nft", 2, 3, "  ip saddr 192.0.2.1 accept\n")


def test_a_rule_that_has_its_lines_for_itself_can_be_deleted():
    (opening,) = nft(chain("accept", "ip saddr 192.0.2.1 \\\n\t\t\taccept # x", "drop"))
    text = "\t\tip saddr 192.0.2.1 \\\n\t\t\taccept # x\n"
    assert opening.removal == FileLines("/etc/x.nft", 7, 9, text)


@pytest.mark.parametrize(
    "line",
    ["accept; ip saddr 192.0.2.1 accept", "ip saddr { 192.0.2.1, 192.0.2.2 } accept",
     "ip saddr vmap { 192.0.2.1 : accept, 192.0.2.3 : drop }"],
)  # fmt: skip
def test_a_line_with_more_than_one_rule_or_source_is_only_reported(line):
    (opening,) = nft(chain(line))
    assert opening.removal is None


def iptables(text: str, path: str = "/etc/iptables/rules.v4", **sets: NamedSet) -> list[Opening]:
    saved = read_saved.Saved(path, text)
    return list(
        read_saved.iptables(saved, lambda name: sets.get(name, NamedSet(name)), Interest([A]))
    )


def test_a_line_of_a_saved_file_is_an_opening_that_can_be_deleted():
    text = f"*filter\n:INPUT DROP [0:0]\n-A INPUT --source {A} --jump ACCEPT\nCOMMIT\n"
    (opening,) = iptables(text)
    assert opening.place == "/etc/iptables/rules.v4 line 3"
    line = f"-A INPUT --source {A} --jump ACCEPT\n"
    assert opening.removal == FileLines("/etc/iptables/rules.v4", 2, 3, line)


def test_a_set_that_a_saved_rule_accepts_is_read_from_its_own_file():
    file = read_saved.Saved("/etc/iptables/ipsets", f"create prod hash:ip\nadd prod {A}\n")
    text = "*filter\n:INPUT DROP [0:0]\n-A INPUT -m set --match-set prod src -j ACCEPT\nCOMMIT\n"
    (opening,) = iptables(text, **read_saved.ipset_elements(file))
    assert opening.place == "/etc/iptables/ipsets ipset prod"


UFW = f"""\
*filter
:ufw-user-input - [0:0]
:ufw-user-output - [0:0]
:ufw-user-limit - [0:0]
:ufw-user-limit-accept - [0:0]
### RULES ###

### tuple ### limit tcp 5432 0.0.0.0/0 any {A} in
-A ufw-user-input -p tcp --dport 5432 -s {A} -m conntrack --ctstate NEW -m recent --set
-A ufw-user-input -p tcp --dport 5432 -s {A} -m recent --update -j ufw-user-limit
-A ufw-user-input -p tcp --dport 5432 -s {A} -j ufw-user-limit-accept

### tuple ### deny any any 0.0.0.0/0 any {A} in
-A ufw-user-input -s {A} -j DROP

### tuple ### allow any any 0.0.0.0/0 any {A} out
-A ufw-user-output -s {A} -j ACCEPT

### tuple ### allow_log-all tcp 22 0.0.0.0/0 any {A} in_eth0 comment=7361
-A ufw-user-logging-input -p tcp --dport 22 -s {A} -j LOG
-A ufw-user-input -p tcp --dport 22 -s {A} -j ACCEPT

### END RULES ###
-A ufw-user-limit -j REJECT
-A ufw-user-limit-accept -j ACCEPT
COMMIT
"""


def test_the_unit_of_ufw_is_its_tuple_with_all_its_lines():
    first, second = iptables(UFW, "/etc/ufw/user.rules")
    assert first.text == f"### tuple ### limit tcp 5432 0.0.0.0/0 any {A} in"
    assert first.removal == FileLines(
        "/etc/ufw/user.rules", 7, 11, "".join(f"{line}\n" for line in UFW.splitlines()[7:11])
    )
    assert second.place == "/etc/ufw/user.rules line 19"


def firewalld(*files: tuple[str, str]) -> list[Opening]:
    read = read_saved.Firewalld(
        [read_saved.Saved(f"/etc/firewalld/{path}", text) for path, text in files],
        lambda name: NamedSet(f"ipset {name}"),
    )
    return list(read.openings(Interest([A])))


@pytest.mark.parametrize(
    "zone",
    [
        f'<zone target="ACCEPT"><source address="{A}"/></zone>',
        '<zone><source address="192.0.2.0/24"/><service name="ssh"/></zone>',
        f'<zone><rule><source address="{A}"/><service name="ssh"/><accept/></rule></zone>',
    ],
)
def test_a_zone_of_firewalld_lets_in(zone):
    (opening,) = firewalld(("zones/x.xml", f'<?xml version="1.0" encoding="utf-8"?>{zone}'))
    assert (opening.place, opening.effect) == ("/etc/firewalld/zones/x.xml", ACCEPTS)


@pytest.mark.parametrize(
    "zone",
    [
        f'<zone target="DROP"><source address="{A}"/></zone>',
        f'<zone><rule family="ipv4"><source address="{A}"/><drop/></rule></zone>',
        f'<zone><rule family="ipv4"><source address="{A}"/><log/></rule></zone>',
        f'<zone><rule family="ipv4"><source address="{A}" invert="True"/><accept/></rule></zone>',
    ],
)
def test_a_zone_of_firewalld_that_lets_nothing_in_is_not_an_opening(zone):
    assert firewalld(("zones/x.xml", zone)) == []


def test_an_ipset_of_firewalld_lets_in_where_a_zone_accepts_it():
    ipset = f'<ipset type="hash:ip"><entry>{A}</entry></ipset>'
    zone = '<zone target="ACCEPT"><source ipset="prod"/></zone>'
    (opening,) = firewalld(("zones/x.xml", zone), ("ipsets/prod.xml", ipset))
    assert opening.place == "/etc/firewalld/ipsets/prod.xml"
    assert firewalld(("ipsets/prod.xml", ipset)) == []


def test_direct_rules_of_firewalld_let_in():
    rules = (
        f'<direct><rule ipv="ipv4" table="filter" chain="INPUT">-s {A} -j ACCEPT</rule>'
        f'<passthrough ipv="ipv4">-I INPUT -s {A} -j ACCEPT</passthrough></direct>'
    )
    assert [one.effect for one in firewalld(("direct.xml", rules))] == [ACCEPTS, ACCEPTS]


def test_a_damaged_file_of_firewalld_is_unknown():
    read = read_saved.Firewalld([read_saved.Saved("/x.xml", "<zone>")], NamedSet)
    assert list(read.unknown) == ["/x.xml"]


@pytest.mark.parametrize(
    ("path", "text", "form"),
    [
        ("/etc/iptables/rules.v4", "# x\n*filter\nCOMMIT\n", "iptables"),
        ("/etc/nftables.conf", "#!/usr/sbin/nft -f\nflush ruleset\ntable ip f {\n}\n", "nft"),
        ("/etc/iptables/ipsets", "create a hash:ip\nadd a 192.0.2.1\n", "ipset"),
        ("/etc/firewalld/direct.xml", '<?xml version="1.0"?><direct/>', "xml"),
        ("/etc/iptables/rules.v4", "", ""),
    ],
)
def test_the_form_of_a_file_is_found_by_its_content(path, text, form):
    assert read_saved.form(path, text) == form


@given(TEXT)
def test_any_file_is_read(junk):
    nft(junk)
    nft(chain(junk))
    iptables(junk)
    iptables(f"*filter\n### tuple ### {junk}\n")
    firewalld(("zones/x.xml", junk))
    read_saved.ipset_elements(read_saved.Saved("/x", junk))
    read_saved.form("/x", junk)


@given(TEXT)
def test_a_file_of_nft_names_no_lines_but_its_own(junk):
    text = chain(junk)
    lines = text.splitlines(keepends=True)
    for one in nft(text):
        if isinstance(one.removal, FileLines) and "\r" not in text:
            assert "".join(lines[one.removal.first : one.removal.end]) == one.removal.text


def test_members_keep_their_place_whatever_options_follow():
    lines = ('add x 192.0.2.0/24 timeout 0 comment "nomatch y"', "-! add x 192.0.2.9", "")
    saved = "\n".join(["create x hash:net timeout 0", *lines])
    assert read_ipset.parse(saved)["x"].members == ["192.0.2.0/24", "192.0.2.9"]


def test_colons_of_verdicts_are_not_part_of_addresses():
    texts = [
        one.text for one in read_nft_file.tokens("/x", "192.0.2.1:accept 2001:db8::1 : drop 22:")
    ]
    assert texts == ["192.0.2.1", ":", "accept", "2001:db8::1", ":", "drop", "22", ":"]


@pytest.mark.parametrize(
    "text",
    [
        'flush ruleset\ninclude "/etc/nft/*.rules"\n',
        "flush ruleset; table inet f { }\n",
        "destroy table ip f; table ip f { }\n",
        "delete table ip f\ntable ip f { }\n",
        "define nodes = { 192.0.2.1 }\n",
        '\tinclude "x.nft"\n',
    ],
)
def test_a_file_of_nft_may_begin_with_any_command(text: str) -> None:
    assert read_saved.form("/etc/firewall.conf", text) == read_saved.NFT


def test_a_file_of_an_unknown_form_that_names_an_address_is_reported() -> None:
    text = f"#!/bin/sh\n# {A}\niptables -A INPUT -s {A} -j ACCEPT\niptables -s 192.0.2.9\n"
    assert read_saved.form("/etc/iptables.rules", text) == ""
    found = list(
        read_saved.not_understood(read_saved.Saved("/etc/iptables.rules", text), Interest([A]))
    )
    assert [(one.place, one.effect, one.removal) for one in found] == [
        ("/etc/iptables.rules line 3", UNCLEAR, None)
    ]
    assert found[0].why == "the form of this file is not known"
