"""What others can put in the way: files, texts of any encoding, records of another version."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from tests.firewall.place import MEMBER, OTHER, PORT, Minion, Place

pytestmark = pytest.mark.root

MEMBERS = [str(MEMBER.v4), str(MEMBER.v6)]
OTHERS = [str(OTHER.v4), str(OTHER.v6)]
LATIN = b'-A INPUT -s 10.77.2.1/32 -m comment --comment "\xe9\xe8" -j ACCEPT'
NODES = {"served": MEMBERS, "clusters": {"prod": {"revision": 1, "observed_at": 1.0}}}


def prune(minion: Minion, saved: Path) -> dict:
    """Serve the members, then nobody; what was done."""
    block = {"iptables": {"filter": ["INPUT"]}, "saved": [str(saved)]}
    minion.wants(nodes=NODES, prune=block, keep=[])
    assert minion.call("prune")["result"] is True
    nobody = {"served": [], "clusters": {"prod": {"revision": 2, "observed_at": 2.0}}}
    minion.wants(nodes=nobody, prune=block, keep=[])
    return dict(minion.call("prune"))


def test_rules_and_files_of_any_encoding_are_pruned_and_kept_byte_by_byte(
    minion: Minion, here: Place, tmp_path: Path
) -> None:
    others = b'# \xe9\xe8\r\n-A INPUT -s 10.9.9.9/32 -m comment --comment "\xff" -j ACCEPT\r\n'
    text = b"*filter\n:INPUT ACCEPT [0:0]\n" + others + LATIN + b"\nCOMMIT\n"
    saved = tmp_path / "rules.v4"
    saved.write_bytes(text)
    here.server.run("sh", "-c", f"tr -d '\\r' < {saved} | iptables-restore")
    done = prune(minion, saved)
    assert done["result"] is True, done
    assert saved.read_bytes() == text.replace(LATIN + b"\n", b"")
    # What is told can be sent to anybody.
    assert "\ufffd\ufffd" in json.dumps(done["changes"], ensure_ascii=False).encode().decode()
    assert MEMBERS[0] not in here.server.run("sh", "-c", "iptables-save | tr -cd '[:print:]'")


def test_a_link_in_the_place_of_a_new_file_leads_nowhere(
    minion: Minion, here: Place, tmp_path: Path
) -> None:
    saved, victim = tmp_path / "rules.v4", tmp_path / "shadow"
    saved.write_bytes(b"*filter\n" + LATIN + b"\nCOMMIT\n")
    victim.write_text("secret")
    (tmp_path / ".rules.v4.new").symlink_to(victim)
    prune(minion, saved)
    assert saved.read_bytes() == b"*filter\nCOMMIT\n"
    assert victim.read_text() == "secret"
    assert not saved.is_symlink()


def test_nobody_else_reads_or_writes_the_records(minion: Minion, here: Place) -> None:
    minion.state_dir.mkdir()
    minion.state_dir.chmod(0o777)
    minion.sync(sets={"prod": MEMBERS}, gates={PORT: "prod"})
    assert stat.S_IMODE(minion.state_dir.stat().st_mode) == 0o700
    for path in minion.state_dir.iterdir():
        if path.name != "lock":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_folder_of_another_user_is_refused(minion: Minion, here: Place) -> None:
    minion.state_dir.mkdir()
    os.chown(minion.state_dir, 12345, 12345)
    minion.wants(sets={"prod": MEMBERS}, gates={PORT: "prod"})
    done = minion.call("sync")
    assert done["result"] is False
    assert "belongs to another user (uid 12345)" in done["comment"]
    assert "k8s_firewall" not in here.server.run("nft", "list", "tables")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"desired": {"sets": 1}}', '{"desired": {"backend": "nft"}}']
)
def test_a_record_that_cannot_be_read_is_made_anew(minion: Minion, here: Place, text: str) -> None:
    minion.sync(sets={"prod": MEMBERS}, gates={PORT: "prod"})
    (minion.state_dir / "applied.json").write_text(text)
    assert minion.call("status")["result"] is False
    done = minion.sync(sets={"prod": OTHERS}, gates={PORT: "prod"})
    assert done["changes"]["sets"]["prod"]["removed"] == MEMBERS
    assert here.other.gets_in(here.server.v4)
    assert not here.member.gets_in(here.server.v4)
    assert minion.call("status")["problems"] == []


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ({"rules": [{"name": "a", "ports": ["\uff12\uff12"], "sources": "any"}]}, "is not a port"),
        ({"sets": {"a": []}, "gates": {"\uff18\uff10": "a"}}, "is not a port"),
        ({"rules": [{"name": "a", "ports": ["0022"], "sources": "any"}]}, "is not a port"),
        ({"sets": {"a\n": []}}, "is not a valid name of a set"),
        ({"sets": {"a": ["192.0.2.1\n"]}}, "is not an IP address"),
        ({"sets": {"a": ["192.0.2.1\0"]}}, "is not an IP address"),
        ({"sets": {"a": ["192.0.2.0/24 ; flush ruleset"]}}, "is not a network"),
        ({"prune": {"nft": {"inet -f": ["x"]}}}, "is not a table"),
        ({"prune": {"nft": {"inet a; flush ruleset": ["x"]}}}, "is not a table"),
        ({"prune": {"commands": ["/tmp/iptables"]}}, "is not one of"),
        ({"rules": [{"name": "a", "sources": "any", "comment": "x\n"}]}, "has characters"),
        ({"policy": {"input": "drop; }"}}, "not accept or drop"),
    ],
)
def test_no_text_of_a_pillar_gets_further_than_it_should(
    minion: Minion, here: Place, block: dict, says: str
) -> None:
    minion.wants(**block)
    done = minion.call("sync")
    assert done["result"] is False
    assert says in done["comment"]
    assert here.server.run("nft", "list", "ruleset") == ""
