"""Matches in the kernel's own form, and flags of TCP: whether they narrow what a rule is about."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from k8s_firewall_parts import foreign_nft_rules, read_nft

PORTS = b"\0\0\xff\xff\0\0\xff\xff"


def conntrack(wanted: int, inverted: int, states: int) -> bytes:
    return bytes(146) + struct.pack("=HHH", wanted, inverted, states)


@pytest.mark.parametrize(
    ("name", "info", "read"),
    [
        ("comment", b"x", 0),
        ("conntrack", conntrack(1, 0, 8), 1),
        ("conntrack", conntrack(0x2001, 1, 8), 1),
        ("conntrack", conntrack(2, 0, 8), None),
        ("conntrack", b"short", None),
        ("state", struct.pack("=I", 8), 1),
        ("state", b"", None),
        ("udp", PORTS + b"\0", 0),
        ("udp", PORTS + b"\1", None),
        ("tcp", PORTS + b"\0\2\2\0", 1),
        ("tcp", PORTS + b"\1\2\2\0", None),
        ("tcp", PORTS + b"\0", None),
        ("tcp", b"\0\1" + PORTS, None),
        ("addrtype", b"\1", None),
        ("pkttype", bytes(8), 0),
        ("pkttype", b"\1" * 8, None),
        ("recent", b"", None),
    ],
)
def test_a_match_of_iptables_narrows_or_is_read(name: str, info: bytes, read: int | None) -> None:
    """None: it may be about some packets only, so the rule drops not all."""
    if read is None:
        with pytest.raises(foreign_nft_rules._Narrow):
            foreign_nft_rules._match(name, info)
    else:
        assert len(foreign_nft_rules._match(name, info)) == read


FLAGS = {"payload": {"protocol": "tcp", "field": "flags"}}


@pytest.mark.parametrize(
    ("mask", "right", "operator", "matches"),
    [
        (None, "syn", "==", True),
        (None, "syn", "!=", False),
        (None, "ack", "==", False),
        (None, "syn", "in", True),
        (None, ["fin", "ack"], "in", False),
        (["fin", "syn", "rst", "ack"], "syn", "==", True),
        ({"|": ["fin", "syn"]}, 2, "==", True),
        ({"|": ["fin", "ack"]}, {"set": ["ack"]}, "!=", True),
        (["fin", "strange"], "syn", "==", None),
        (None, ["strange"], "==", None),
        (None, {"prefix": 1}, "==", None),
    ],
)
def test_the_first_packet_of_a_connection_has_the_flag_syn_alone(
    mask: Any, right: Any, operator: str, matches: bool | None
) -> None:
    left = FLAGS if mask is None else {"&": [FLAGS, mask]}
    assert read_nft._only_syn(left, right, operator) is matches
