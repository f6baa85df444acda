"""Real ufw: its tuples bring a rule back at each change, so the tuple is what is deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.firewall import userland
from tests.firewall.place import Minion, Place
from tests.firewall.test_firewall_userlands import MEMBERS, OTHERS, closes, is_closed
from tests.firewall.userland import Userland

pytestmark = pytest.mark.root


@pytest.fixture
def debian(minion: Minion, here: Place, tmp_path: Path) -> Iterator[Userland]:
    with userland.used("trixie", minion, tmp_path) as one:
        one.run("ufw", "--force", "enable")
        yield one
        one.run("ufw", "disable")


@pytest.mark.parametrize(
    "rule",
    [
        # The forms of ufw-formula.
        "limit proto tcp from {} to any port 5432",
        "allow log proto tcp from {} to any port 5432",
        "allow proto tcp from {} to any port 5432",
        "allow in on eth0 from {} comment node",
    ],
)
def test_a_rule_of_ufw_is_closed_and_stays_closed(
    minion: Minion, here: Place, debian: Userland, rule: str
) -> None:
    for one in (*MEMBERS, *OTHERS):
        debian.run("ufw", *rule.format(one).split())
    debian.run("ufw", "route", "allow", "from", MEMBERS[0])
    # Until then its chain for IPv6 limits has no rule that accepts.
    debian.run("ufw", "reload")
    closes(here, minion)
    for file in ("user.rules", "user6.rules"):
        text = debian.file(f"/etc/ufw/{file}").read_text()
        assert not any(one in text for one in MEMBERS)
    # Both write the rules again from the tuples.
    debian.run("ufw", "allow", "proto", "tcp", "from", "192.0.2.77", "to", "any", "port", "99")
    debian.run("ufw", "reload")
    is_closed(here, minion)
    assert all(one in debian.run("ufw", "status") for one in OTHERS)
    saved = debian.run("iptables-save") + debian.run("ip6tables-save")
    assert not any(one in saved for one in MEMBERS)
