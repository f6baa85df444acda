"""Rules of iptables in every spelling that its loader takes, and what they let in."""

from __future__ import annotations

import pytest
from hypothesis import given

from k8s_firewall_parts import chains, read_ipset, read_iptables
from k8s_firewall_parts.intervals import Interest
from k8s_firewall_parts.openings import ACCEPTS, UNCLEAR, Opening, XtRule
from tests.minion.test_minion_parsers import TEXT

A = "192.0.2.1"


def text(*rules: str, policy: str = "DROP", more: str = "") -> str:
    head = ["*filter", f":INPUT {policy} [0:0]", ":FORWARD DROP [0:0]"]
    return "\n".join([*head, *more.splitlines(), *rules, "COMMIT", ""])


def found(saved: str, sets: str = "", asked: str = A) -> list[Opening]:
    ipsets = read_ipset.parse(sets)
    read = read_iptables.chains_of(
        saved,
        "ip",
        lambda name: read_ipset.named_set(name, ipsets, f"ipset {name}"),
        lambda table, chain, at: f"iptables {table} {chain} rule {at}",
        lambda table, chain, at, _line, rule: {
            "removal": XtRule("iptables-legacy", table, chain, at, rule)
        },
    )
    return list(chains.openings(chains.Analysis(read), Interest([asked])))


def effects(saved: str, sets: str = "") -> list[str]:
    return [one.effect for one in found(saved, sets)]


@pytest.mark.parametrize(
    "rule",
    [
        "-A INPUT -s 192.0.2.1/32 -p tcp -m tcp --dport 5432 -j ACCEPT",
        "-A INPUT -s 192.0.2.1 -j ACCEPT",
        "-A INPUT --source 192.0.2.1 --jump ACCEPT",
        "--append INPUT --src 192.0.2.1 --jump=ACCEPT",
        "-A INPUT --source=192.0.2.1 -j ACCEPT",
        "-A INPUT --sour 192.0.2.1 --jum ACCEPT",
        "-I INPUT -s192.0.2.1 -jACCEPT",
        "-I INPUT 1 -s 192.0.2.1 -j ACCEPT",
        "--insert INPUT 3 -s 192.0.2.1 -j ACCEPT",
        "-A INPUT -s 192.0.2.1/255.255.255.255 -j ACCEPT",
        "-A INPUT -s 198.51.100.7,192.0.2.1 -j ACCEPT",
        '-A INPUT -s "192.0.2.1" -j "ACCEPT"',
        "[12:3456] -A INPUT -s 192.0.2.1 -j ACCEPT",
        "-A INPUT -j ACCEPT -s 192.0.2.1",
        "-A INPUT -c 12 3456 -s 192.0.2.1 -j ACCEPT",
        "-A INPUT -m recent --rcheck --name x --mask 255.255.255.255 -s 192.0.2.1 -j ACCEPT",
        '-A INPUT -s 192.0.2.1 -m comment --comment "-j DROP \\"quoted" -j ACCEPT',
        "-A INPUT -m iprange --src-range 192.0.2.0-192.0.2.9 -j ACCEPT",
        "-A INPUT -m conntrack --ctorigsrc 192.0.2.1 -j ACCEPT",
        "-A INPUT -s 192.0/16 -j ACCEPT",
        "-A INPUT -s 192.0.2.0/255.255.255.0 -j ACCEPT",
        "-A INPUT -s 192.0.2.1 -m unheard-of --some-option value -j ACCEPT",
    ],
)
def test_an_accept_is_read_in_every_spelling(rule):
    assert effects(text(rule)) == [ACCEPTS]


@pytest.mark.parametrize(
    "rule",
    [
        "-A INPUT -s 192.0.2.1 -j DROP",
        "-A INPUT -s 192.0.2.1 -j REJECT --reject-with icmp-port-unreachable",
        '-A INPUT -s 192.0.2.1 -j LOG --log-prefix "-j ACCEPT "',
        "-A INPUT -s 192.0.2.1",
        "-A INPUT ! -s 192.0.2.1 -j ACCEPT",
        "-A INPUT -s ! 192.0.2.1 -j ACCEPT",
        "-A INPUT -d 192.0.2.1 -j ACCEPT",
        "-A INPUT -s 192.0.2.10 -j ACCEPT",
        "-A INPUT -s 192.0.2.1 -i lo -j ACCEPT",
        '-A INPUT -m comment --comment "-s 192.0.2.1 -j ACCEPT" -j ACCEPT',
        "-A OUTPUT -s 192.0.2.1 -j ACCEPT",
        "-A elsewhere -s 192.0.2.1 -j ACCEPT",
        "-A INPUT -s 192.0.2.1 -j RETURN",
        "-D INPUT -s 192.0.2.1 -j ACCEPT",
    ],
)
def test_what_lets_no_packet_of_the_address_in_is_not_an_opening(rule):
    assert effects(text(rule)) == []


@pytest.mark.parametrize("target", ["MARK --set-mark 1", "NFQUEUE", "CT --notrack", "UNHEARD"])
def test_a_target_that_is_not_understood_is_unclear(target):
    (opening,) = found(text(f"-A INPUT -s {A} -j {target}"))
    assert opening.effect == UNCLEAR
    assert opening.why
    assert opening.removal is None


def test_a_chain_that_may_accept_counts_as_accept():
    chain = "-A lim -m limit --limit 3/min -j LOG\n-A lim -j ACCEPT"
    assert effects(text(f"-A INPUT -s {A} -j lim", more=f":lim - [0:0]\n{chain}")) == [ACCEPTS]


def test_a_chain_that_only_drops_is_not_an_opening():
    chain = ":bad - [0:0]\n-A bad -j LOG\n-A bad -j DROP"
    assert effects(text(f"-A INPUT -s {A} -j bad", more=chain)) == []


def test_a_chain_that_accepts_only_other_sources_is_not_an_opening():
    chain = ":some - [0:0]\n-A some -s 198.51.100.1 -j ACCEPT"
    assert effects(text(f"-A INPUT -s {A} -j some", more=chain)) == []


def docker(*rules: str) -> str:
    return text(*rules, more=":DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER")


def test_a_return_before_the_drop_of_everything_lets_in():
    rules = (f"-A DOCKER-USER -s {A} -j RETURN", "-A DOCKER-USER -j DROP")
    assert effects(docker(*rules)) == [ACCEPTS]


def test_a_return_before_the_drop_of_the_same_port_lets_in():
    rules = (
        f"-A DOCKER-USER -s {A} -p tcp -m tcp --dport 5432 -j RETURN",
        "-A DOCKER-USER -p tcp -m tcp --dport 5432 -j DROP",
    )
    assert effects(docker(*rules)) == [ACCEPTS]


def test_a_return_before_a_drop_of_some_packets_is_unclear():
    rules = (f"-A DOCKER-USER -s {A} -j RETURN", "-A DOCKER-USER -p tcp -j DROP")
    assert effects(docker(*rules)) == [UNCLEAR]


def test_a_return_with_no_drop_behind_it_is_not_an_opening():
    rules = (f"-A DOCKER-USER -s {A} -j RETURN", "-A DOCKER-USER -s 198.51.100.9 -j DROP")
    assert effects(docker(*rules)) == []


def test_the_drop_of_all_other_sources_lets_in_and_is_not_deleted():
    (opening,) = found(
        text(f"-A INPUT ! -s {A} -p tcp -m tcp --dport 5432 -j DROP", policy="ACCEPT")
    )
    assert (opening.effect, opening.removal) == (ACCEPTS, None)


def test_an_ipset_lets_in_where_a_rule_accepts_its_sources():
    sets = 'create prod hash:net timeout 0 comment\nadd prod 192.0.2.0/24 timeout 0 comment "add x"'
    (opening,) = found(text("-A INPUT -m set --match-set prod src -j ACCEPT"), sets)
    assert opening.place == "ipset prod"
    assert opening.sources == ("192.0.2.0/24",)


@pytest.mark.parametrize(
    "rule",
    [
        "-A INPUT -m set --match-set prod src -j DROP",
        "-A INPUT -m set --match-set prod dst -j ACCEPT",
        "-A INPUT -m set ! --match-set prod src -j ACCEPT",
    ],
)
def test_an_ipset_that_lets_no_source_in_is_not_an_opening(rule):
    assert effects(text(rule), f"create prod hash:ip\nadd prod {A}") == []


def test_an_ipset_of_those_that_are_not_dropped_lets_in():
    rule = "-A INPUT -m set ! --match-set prod src -j DROP"
    assert effects(text(rule), f"create prod hash:ip\nadd prod {A}") == [ACCEPTS]


def test_a_set_of_sets_has_their_members():
    sets = f"create prod hash:ip\nadd prod {A}\ncreate all list:set\nadd all prod\nadd all all"
    assert effects(text("-A INPUT -m set --match-set all src -j ACCEPT"), sets) == [ACCEPTS]


def test_an_address_is_read_at_its_place_among_others():
    sets = f"create x hash:ip,port,net\nadd x {A},tcp:80,198.51.100.0/24 packets 0 bytes 0"
    rule = "-A INPUT -m set --match-set x src,dst,dst -j ACCEPT"
    assert effects(text(rule), sets) == [ACCEPTS]
    other = "-A INPUT -m set --match-set x dst,dst,src -j ACCEPT"
    assert effects(text(other), sets) == []


def test_members_of_a_set_with_a_netmask_are_networks():
    sets = "create x hash:ip family inet netmask 24\nadd x 192.0.2.0"
    (opening,) = found(text("-A INPUT -m set --match-set x src -j ACCEPT"), sets)
    assert opening.sources == ("192.0.2.0/24",)


def test_an_exception_of_an_ipset_is_not_a_member():
    sets = f"create x hash:net\nadd x {A} nomatch"
    assert effects(text("-A INPUT -m set --match-set x src -j ACCEPT"), sets) == []


def test_a_list_of_recent_sources_lets_in_where_a_rule_asks_for_it_alone():
    listed = read_iptables.recent_list(f"src={A} ttl: 64 last_seen: 42 oldest_pkt: 1 42\n", "list")
    rules = (
        "-A INPUT -m recent --rcheck --seconds 60 --name knock --mask 255.255.255.255 -j ACCEPT",
        "-A INPUT -m recent --set --name knock -j ACCEPT",
        "-A INPUT -m recent --update --name knock --rdest -j ACCEPT",
        "-A INPUT -m recent --rcheck --name knock -j DROP",
    )
    read = read_iptables.chains_of(
        text(*rules),
        "ip",
        lambda name: listed if name == "recent knock" else chains.NamedSet(name),
        lambda *_: "rule",
        lambda *_: {},
    )
    found = chains.openings(chains.Analysis(read), Interest([A]))
    assert [(one.place, one.sources) for one in found] == [("list", (A,))]


@pytest.mark.parametrize("table", ["nat", "mangle", "raw"])
def test_accept_in_a_table_that_drops_nothing_is_not_an_opening(table):
    saved = f"*{table}\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -s {A} -j ACCEPT\nCOMMIT\n"
    assert effects(saved) == []


def test_accept_before_a_drop_in_the_raw_table_lets_in():
    rules = f"-A PREROUTING -s {A} -j ACCEPT\n-A PREROUTING -p tcp --dport 5432 -j DROP"
    assert effects(f"*raw\n:PREROUTING ACCEPT [0:0]\n{rules}\nCOMMIT\n") == [ACCEPTS]


def test_only_a_rule_of_this_source_alone_can_be_deleted():
    one, two = found(text(f"-A INPUT -s {A} -j ACCEPT", f"-A INPUT -s {A},192.0.2.2 -j ACCEPT"))
    assert one.removal == XtRule(
        "iptables-legacy", "filter", "INPUT", 1, f"-A INPUT -s {A} -j ACCEPT"
    )
    assert two.removal is None


def test_text_that_is_not_whole_says_so():
    assert "incompatible" in read_iptables.cut_off(
        "# Table `filter' is incompatible, use 'nft' tool."
    )
    assert read_iptables.cut_off("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j AC")
    assert read_iptables.cut_off(text()) == ""


@given(TEXT)
def test_any_text_is_read(junk):
    found(f"*filter\n:INPUT DROP [0:0]\n{junk}\nCOMMIT\n", junk)
    read_iptables.cut_off(junk)
