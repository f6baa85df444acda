"""Real firewalld with its D-Bus: it removes its settings itself, for now and for the next start."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.polling import wait_until
from tests.firewall import userland
from tests.firewall.place import MEMBER, OTHER, PORT, Minion, Place
from tests.firewall.test_firewall_userlands import (
    MEMBERS,
    OTHERS,
    closes,
    gets_in,
    is_closed,
    leaves,
)
from tests.firewall.userland import Userland

pytestmark = pytest.mark.root

OPEN = f"port port={PORT} protocol=tcp accept"


@contextlib.contextmanager
def running(one: Userland) -> Iterator[None]:
    one.file("/run/dbus").mkdir(exist_ok=True)
    socket = one.file("/run/dbus/system_bus_socket")
    socket.unlink(missing_ok=True)

    def answers() -> bool:
        with contextlib.suppress(AssertionError):
            return "running" in one.run("firewall-cmd", "--state")
        return False

    with one.daemon("dbus-daemon", "--system", "--nofork", "--nopidfile"):
        wait_until(socket.exists, within=30, what="a message bus")
        with one.daemon("firewalld", "--nofork", "--nopid"):
            wait_until(answers, within=60, what="firewalld")
            yield


@pytest.fixture
def debian(minion: Minion, here: Place, tmp_path: Path) -> Iterator[Userland]:
    with userland.used("trixie", minion, tmp_path) as one:
        yield one
        one.run("nft", "flush", "ruleset")


def family(address: str) -> str:
    return "ipv6" if ":" in address else "ipv4"


def setting(form: str, address: str) -> list[list[str]]:
    if form == "source":
        return [["--zone=trusted", f"--add-source={address}"]]
    if form == "rich rule":
        rule = f"rule family={family(address)} source address={address} {OPEN}"
        return [["--zone=public", f"--add-rich-rule={rule}"]]
    if form == "logged rich rule":
        rule = f"rule family={family(address)} priority=-5 source address={address} "
        return [["--zone=public", f"--add-rich-rule={rule}log prefix=node level=info accept"]]
    return [[f"--ipset=prod-{family(address)}", f"--add-entry={address}"]]


@pytest.mark.parametrize("form", ["source", "rich rule", "logged rich rule", "ipset"])
def test_a_setting_of_firewalld_is_closed_and_stays_closed(
    minion: Minion, here: Place, debian: Userland, form: str
) -> None:
    if form == "ipset":
        for one, inet in (("ipv4", "inet"), ("ipv6", "inet6")):
            debian.run("firewall-offline-cmd", f"--new-ipset=prod-{one}", "--type=hash:ip",
                       f"--option=family={inet}")  # fmt: skip
            debian.run("firewall-offline-cmd", "--zone=trusted", f"--add-source=ipset:prod-{one}")
    for address in (*MEMBERS, *OTHERS):
        for options in setting(form, address):
            debian.run("firewall-offline-cmd", *options)
    with running(debian):
        closes(here, minion)
        # It writes its rules again from its files.
        debian.run("firewall-cmd", "--reload")
        is_closed(here, minion)
        debian.run("firewall-cmd", "--complete-reload")
        is_closed(here, minion)
    for file in debian.file("/etc/firewalld").rglob("*.xml"):
        assert not any(one in file.read_text() for one in MEMBERS), file


def test_what_was_set_until_the_next_reload_is_closed(
    minion: Minion, here: Place, debian: Userland
) -> None:
    with running(debian):
        for address in (*MEMBERS, *OTHERS):
            debian.run("firewall-cmd", *setting("rich rule", address)[0])
        closes(here, minion)


def test_settings_are_removed_while_firewalld_is_stopped(
    minion: Minion, here: Place, debian: Userland
) -> None:
    for one in (str(MEMBER.v4), str(OTHER.v4)):
        debian.run("firewall-offline-cmd", *setting("source", one)[0])
    for one in (str(MEMBER.v6), str(OTHER.v6)):
        debian.run("firewall-offline-cmd", *setting("rich rule", one)[0])
    done = leaves(minion)
    assert done["departures"].keys() == {"closed"}, done["departures"]
    with running(debian):
        assert gets_in(here.member, here.server) == [False, False]
        assert gets_in(here.other, here.server) == [True, True]
