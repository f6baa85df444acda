"""The state folder: whole files, a lock, and nothing that another user could have written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from k8s_firewall_parts import errors, state_dir
from k8s_firewall_parts.state_dir import StateDir


def test_what_was_written_is_read_until_the_file_changes(tmp_path: Path) -> None:
    folder = StateDir(str(tmp_path))
    assert folder.read("a") == {}
    folder.write("a", {"x": 1})
    assert folder.read("a") == {"x": 1}
    assert folder.read("a") is folder.read("a")
    StateDir(str(tmp_path)).write("a", {"x": 2})
    assert folder.read("a") == {"x": 2}
    folder.copy("a", "b")
    folder.write("a", {"x": 3})
    assert (folder.read("a"), folder.read("b")) == ({"x": 3}, {"x": 2})
    folder.remove("a.json")
    folder.remove("a.json")
    assert folder.read("a") == {}


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "\udcff"])
def test_what_cannot_be_read_is_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert StateDir(str(tmp_path)).read("a") == {}


def test_dirty_until_marked_clean(tmp_path: Path) -> None:
    folder = StateDir(str(tmp_path))
    assert not folder.is_dirty()
    folder.mark_dirty()
    assert StateDir(str(tmp_path)).is_dirty()
    folder.mark_clean()
    assert not folder.is_dirty()


def test_the_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with StateDir(str(tmp_path)).locked():
        assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_the_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(errors.Refused, match=f"another user \\(uid {owner}\\)"):
        StateDir(str(tmp_path)).locked().__enter__()


def test_a_run_that_waits_too_long_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_dir, "_LOCK_SECONDS", 0.05)
    with StateDir(str(tmp_path)).locked(), pytest.raises(errors.Busy, match="another run still"):
        StateDir(str(tmp_path)).locked().__enter__()


def test_a_file_is_replaced_with_the_mode_of_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "rules"
    file.write_bytes(b"old")
    file.chmod(0o640)
    state_dir.replace_file(file, "new \udce9", like=file)
    assert file.read_bytes() == b"new \xe9"
    assert file.stat().st_mode & 0o777 == 0o640
    state_dir.replace_file(file, "newer")
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["rules"]


def test_a_link_left_in_the_way_is_not_followed(tmp_path: Path) -> None:
    victim, file = tmp_path / "victim", tmp_path / "rules"
    victim.write_text("secret")
    (tmp_path / ".rules.new").symlink_to(victim)
    state_dir.replace_file(file, "new")
    assert (victim.read_text(), file.read_text()) == ("secret", "new")


def test_errors_say_what_a_person_needs() -> None:
    assert str(errors.MissingProgram("nft")) == "the program nft is not installed on this minion"
    assert str(errors.CommandFailed(["nft", "-f"], 1, "  a\n  b ")) == "nft -f: a b"
    assert str(errors.CommandFailed(["nft"], 3, "")) == "nft: exit code 3"
    assert len(str(errors.CommandFailed(["nft"], 3, "x" * 900))) < 420
    assert errors.printable("a\udce9") == "a\ufffd"
