"""
A node that left, in the form of each formula: closed by the run that follows, by packets.

The rules are those that the formula makes, as docs/developers/formulas.md has them. One test for
each cell of the table in docs/formulas.md that no other file of this folder has.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.firewall import userland
from tests.firewall.place import PORT, Minion, Place
from tests.firewall.test_firewall_userlands import DROP, MEMBERS, OTHERS, closes, is_closed
from tests.firewall.userland import Userland

pytestmark = pytest.mark.root

ESTABLISHED = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
# Neighbour discovery of IPv6.
NEIGHBOURS = "-A INPUT -p ipv6-icmp -j ACCEPT"
FORMS = {
    "iptables-formula services": (
        "-A INPUT -s {} -p tcp -m tcp --dport 5432 -m conntrack --ctstate NEW -j ACCEPT",
        "-A INPUT -p tcp -m tcp --dport 5432 -j REJECT",
    ),
    "iptables-formula whitelist": ("-A INPUT -s {} -j ACCEPT", ""),
    "iptables-formula tables": (
        "-A INPUT -s {} -p tcp -m tcp --dport 5432 -m comment --comment postgresql -j ACCEPT",
        "",
    ),
    "salt-formula-iptables": ("-A INPUT -s {} -p tcp --dport 5432 -j ACCEPT", ""),
    "iptables.append": (
        "-A INPUT -s {} -p tcp -m state --state NEW -m tcp --dport 5432 -j ACCEPT",
        "",
    ),
}


@pytest.fixture
def debian(minion: Minion, here: Place, tmp_path: Path) -> Iterator[Userland]:
    with userland.used("bookworm", minion, tmp_path) as one:
        yield one
        for program in ("iptables", "ip6tables"):
            for variant in ("nft", "legacy"):
                one.run(f"{program}-{variant}", "-w", "-P", "INPUT", "ACCEPT")
                one.run(f"{program}-{variant}", "-w", "-F")


@pytest.mark.parametrize("backend", ["nft", "legacy"])
@pytest.mark.parametrize("form", FORMS)
def test_the_rules_of_a_formula_are_closed(
    minion: Minion, here: Place, debian: Userland, form: str, backend: str
) -> None:
    """As it appends them, and in the file that it saves."""
    rule, last = FORMS[form]
    for program, version in (("iptables", "v4"), ("ip6tables", "v6")):
        own = [one for one in (*MEMBERS, *OTHERS) if (":" in one) == (version == "v6")]
        rules = [
            ESTABLISHED,
            *([NEIGHBOURS] if version == "v6" else []),
            *(rule.format(one) for one in own),
            *([last] if last else []),
        ]
        for words in rules:
            debian.run(f"{program}-{backend}", "-w", *words.split())
        debian.run(f"{program}-{backend}", "-w", "-P", "INPUT", "DROP")
        saved = debian.run(f"{program}-{backend}-save")
        debian.file(f"/etc/iptables/rules.{version}").write_text(saved)
    closes(here, minion)
    for program, version in (("iptables", "v4"), ("ip6tables", "v6")):
        saved = debian.file(f"/etc/iptables/rules.{version}").read_text()
        debian.run(f"{program}-{backend}-restore", text=saved)
    is_closed(here, minion)


def sets(debian: Userland, backend: str = "nft") -> None:
    """As ipset.present of Salt: one set for each family, and one rule that names it."""
    for program, name, family in (
        ("iptables", "prod4", "inet"),
        ("ip6tables", "prod6", "inet6"),
    ):
        debian.run("ipset", "create", name, "hash:ip", "family", family, "comment")
        own = [one for one in (*MEMBERS, *OTHERS) if (":" in one) == (family == "inet6")]
        for one in own:
            debian.run("ipset", "add", name, one, "comment", "node of prod")
        rule = f"-A INPUT -p tcp -m set --match-set {name} src -j ACCEPT"
        debian.run(f"{program}-{backend}", "-w", *rule.split())
        debian.run(f"{program}-{backend}", "-w", *DROP)


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_members_that_ipset_present_has_added_are_closed(
    minion: Minion, here: Place, debian: Userland, backend: str
) -> None:
    sets(debian, backend)
    closes(here, minion)
    assert all(one in debian.run("ipset", "save") for one in OTHERS)


def test_members_that_ipset_persistent_brings_back_are_closed(
    minion: Minion, here: Place, debian: Userland
) -> None:
    """Real netfilter-persistent, with its plugins for ipsets and for both families."""
    sets(debian)
    debian.run("netfilter-persistent", "save")
    assert MEMBERS[0] in debian.file("/etc/iptables/ipsets").read_text()
    closes(here, minion)
    assert MEMBERS[0] not in debian.file("/etc/iptables/ipsets").read_text()
    for program in ("iptables", "ip6tables"):
        debian.run(program, "-w", "-F")
    debian.run("ipset", "destroy")
    debian.run("netfilter-persistent", "start")
    is_closed(here, minion)


NFT_FORMULA = """\
flush ruleset
table inet filter {{
  set prod4 {{ type ipv4_addr; {four} }}
  set prod6 {{ type ipv6_addr; {six} }}
  chain input {{
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    meta l4proto ipv6-icmp accept
    ip saddr @prod4 tcp dport 5432 accept
    ip6 saddr @prod6 tcp dport 5432 accept
  }}
}}
"""


def test_a_set_that_an_nftables_formula_writes_again_is_closed(
    minion: Minion, here: Place, debian: Userland
) -> None:
    """The formula writes its file without the node and loads it; the proof is read after it."""

    def apply(*addresses: str) -> None:
        lists = [
            ", ".join(one for one in addresses if (":" in one) == six) for six in (False, True)
        ]
        four, six = (f"elements = {{ {one} }};" for one in lists)
        debian.file("/etc/nftables.conf").write_text(NFT_FORMULA.format(four=four, six=six))
        debian.run("nft", "-f", "/etc/nftables.conf")

    apply(*MEMBERS, *OTHERS)
    wants = {"clusters": {"prod": {"revision": 1, "observed_at": 1.0}}, "unresolved": {}}
    minion.wants(nodes={"served": [*MEMBERS, *OTHERS], **wants}, keep=[])
    assert minion.call("record")["result"] is True
    assert here.member.gets_in(here.server.v4)
    apply(*OTHERS)
    wants["clusters"] = {"prod": {"revision": 2, "observed_at": 2.0}}
    minion.wants(nodes={"served": OTHERS, **wants}, keep=[])
    done = minion.call("close", departed=dict.fromkeys(MEMBERS, 1.0))
    assert set(done["departures"]["closed"]) == set(MEMBERS), done
    is_closed(here, minion)


def test_a_set_that_a_script_filled_is_reported_until_it_is_emptied(
    minion: Minion, here: Place, debian: Userland
) -> None:
    debian.run("nft", "-f", "-", text=NFT_FORMULA.format(
        four=f"elements = {{ {MEMBERS[0]} }};", six=""
    ))  # fmt: skip
    minion.wants(nodes={"served": MEMBERS, "clusters": {}, "unresolved": {}}, keep=[])
    assert minion.call("sync")["result"] is True
    minion.wants(nodes={"served": OTHERS, "clusters": {}, "unresolved": {}}, keep=[])
    done = minion.call("sync")
    assert "nft set inet filter prod4" in done["departures"]["open"][MEMBERS[0]]
    assert here.member.gets_in(here.server.v4, PORT)


def test_a_boot_file_of_iptables_fails_whole_by_one_line(
    here: Place, debian: Userland, minion: Minion
) -> None:
    """An unresolved reference, or an address of the other family: then everyone gets in."""
    for source in ("k8s://prod", MEMBERS[1]):
        text = f"*filter\n:INPUT DROP [0:0]\n-A INPUT -s {source} -j ACCEPT\nCOMMIT\n"
        with pytest.raises(AssertionError):
            debian.run("iptables-restore", text=text)
        assert here.stranger.gets_in(here.server.v4)
