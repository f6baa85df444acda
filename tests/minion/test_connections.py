"""What ss prints, and which connections are ended."""

from __future__ import annotations

from k8s_firewall_parts import connections

GONE = frozenset({"192.0.2.1", "2001:db8::1", "198.51.100.0/24"})

SS = """\
ESTAB 0      0           10.0.0.5:5432        192.0.2.1:40000
ESTAB 0      0   [::ffff:10.0.0.5]:5432 [::ffff:192.0.2.1]:40001
ESTAB 0      0      [2001:db8::5]:5432  [2001:db8::1]:40002
ESTAB 0      0           10.0.0.5:40003       192.0.2.1:5432
ESTAB 0      0           10.0.0.5:5432     198.51.100.9:40004
ESTAB 0      0      10.0.0.5%eth0:22         192.0.2.10:40005
"""


def test_connections_of_who_has_left_are_those_to_a_port_of_ours():
    found = connections.owned_by(
        connections.parse(SS), frozenset({5432, 22}), GONE, lambda one: one == "2001:db8::1"
    )
    assert [(one.local_port, one.peer_in_ss) for one in found] == [
        (5432, "192.0.2.1"),
        (5432, "::ffff:192.0.2.1"),
        (5432, "198.51.100.9"),
    ]


def test_ports_that_are_listened_on():
    printed = "LISTEN 0 128 0.0.0.0:5432 0.0.0.0:*\nLISTEN 0 128 [::]:22 [::]:*\n"
    assert connections.parse_listening(printed + "LISTEN 0 5 *:80 *:*\n") == {5432, 22, 80}
