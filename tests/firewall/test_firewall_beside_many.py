"""What a run asks the kernel where others have very many rules and change them all the time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from k8s_firewall_parts import netlink, nft_bytes, programs, reading, verify
from tests.firewall.place import Place

A, B = "192.0.2.1", "2001:db8::1"
NFT = "add table inet x; add chain inet x in { type filter hook input priority 0; };"


def set_of(kind: str, elements: str, flags: str = "") -> str:
    return f"{NFT} add set inet x s {{ type {kind}; {flags} elements = {{ {elements} }}; }}"


NAMES = {
    "rule": (f"{NFT} add rule inet x in ip saddr {A} accept", A),
    "rule of IPv6": (f"{NFT} add rule inet x in ip6 saddr {B} tcp dport 22 accept", B),
    "rule with neighbours compared at once": (
        f"{NFT} add rule inet x in ip protocol tcp ip saddr {A} ip daddr 10.0.0.1 accept",
        A,
    ),
    "range of one": (f"{NFT} add rule inet x in ip saddr {A}-192.0.2.2 accept", A),
    "anonymous set": (f"{NFT} add rule inet x in ip saddr {{ 10.0.0.1, {A} }} accept", A),
    "verdict map": (f"{NFT} add rule inet x in ip saddr vmap {{ {A} : accept }}", A),
    "set": (set_of("ipv4_addr", f"10.0.0.1, {A}"), A),
    "merged neighbours": (
        set_of("ipv4_addr", "192.0.2.0/32, 192.0.2.1, 192.0.2.2/31", "flags interval; auto-merge;"),
        A,
    ),
    "concatenation": (set_of("ipv4_addr . inet_service", f"{A} . 22"), A),
    "concatenation of ranges": (
        set_of("ipv4_addr . inet_service", "10.0.0.0/24 . 1-9", "flags interval;"),
        A,
    ),
}


@pytest.mark.parametrize("ruleset", NAMES)
def test_whatever_names_an_address_has_its_bytes_or_is_read(here: Place, ruleset: str) -> None:
    text, address = NAMES[ruleset]
    with here.server.namespace.entered():
        assert nft_bytes.may_name([address]) is False
        programs.run(["nft", text])
        assert nft_bytes.may_name([address]) is True
        assert nft_bytes.may_name(["198.51.100.99"]) is (ruleset == "concatenation of ranges")


@pytest.mark.parametrize(
    "match",
    [
        ["-m", "recent", "--rcheck"],
        ["-m", "set", "--match-set", "k8s-test", "src"],
        ["-m", "iprange", "--src-range", f"{A}-{A}"],
        ["-m", "conntrack", "--ctorigsrc", A],
        ["-m", "policy", "--dir", "in", "--pol", "ipsec"],
    ],
)
def test_matches_of_iptables_that_name_addresses_elsewhere_are_read(
    here: Place, match: list[str]
) -> None:
    with here.server.namespace.entered():
        programs.run(["ipset", "-exist", "create", "k8s-test", "hash:ip"])
        try:
            programs.run(["iptables-nft", "-A", "INPUT", "-p", "tcp", "-m", "tcp", "--dport", "22"])
            assert nft_bytes.may_name([A]) is False
            programs.run(["iptables-nft", "-A", "INPUT", *match, "-j", "ACCEPT"])
            assert nft_bytes.may_name([A]) is True
        finally:
            programs.run(["nft", "flush", "ruleset"])
            programs.run(["ipset", "destroy", "k8s-test"])


def test_where_no_bytes_are_found_nft_is_not_run(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with here.server.namespace.entered():
        programs.run(["nft", f"{NFT} add rule inet x in ip saddr 10.0.0.1 accept"])
        asked: list[list[str]] = []
        run = programs.run
        monkeypatch.setattr(
            programs, "run", lambda argv, *more: asked.append(argv) or run(argv, *more)
        )
        assert reading.read_named([A], ()).openings == ()
        assert reading.LIST_RULESET not in asked
        assert verify.find(reading.read_named(["10.0.0.1"], ()), ["10.0.0.1"])["10.0.0.1"].named
        assert reading.LIST_RULESET in asked


def dumps(answers: list[tuple[bytes, bool]]) -> Callable[..., tuple[bytes, bool]]:
    return lambda _sock, message, *_: answers.pop(0) if message == netlink.RULE else (b"", True)


def test_a_dump_that_others_cut_short_each_time_proves_nothing(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with here.server.namespace.entered():
        programs.run(["nft", f"{NFT} add rule inet x in counter; add rule inet x in accept"])
        with netlink.connect() as sock:
            rules, whole = netlink.messages(sock, netlink.RULE)
        assert whole
        assert nft_bytes.is_linked(rules)
        (size,) = nft_bytes.struct.unpack_from("=I", rules)
        monkeypatch.setattr(netlink, "messages", dumps([(rules[size:], False)] * 4))
        assert nft_bytes.may_name([A]) is True
        monkeypatch.setattr(netlink, "messages", dumps([(rules, False)] * 2))
        assert nft_bytes.may_name([A]) is False
