"""The steps that a run takes with each backend, and what it does when one of them fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from k8s_firewall_parts import errors, foreign_firewalls, generation, ipset, kernel, nft, programs
from k8s_firewall_parts.desired import Desired
from k8s_firewall_parts.state_dir import StateDir
from tests.minion.build import state

FAILED = errors.CommandFailed(["nft"], 1, "no")
BOTH = state(backend="ipset", sets={"prod": ["192.0.2.1"]}, gates={5432: "prod"})
SETS = state(sets={"prod": ["192.0.2.1"]})


class Programs:
    """Stands for nft and ipset: an empty kernel, and what it was given."""

    def __init__(self) -> None:
        self.given: list[list[str]] = []
        self.fails: dict[str, int] = {}
        """How often a program refuses a change, by its name."""
        self.ipsets = ""

    def run(self, argv: list[str], _: str = "") -> str:
        if argv == nft.LIST:
            raise errors.CommandFailed(argv, 1, "No such file or directory")
        if argv == ipset.LIST_NAMES:
            return "\n".join(line.split()[1] for line in self.ipsets.splitlines())
        if argv[:2] == ipset.READ:
            return "".join(
                line for line in self.ipsets.splitlines(keepends=True) if line.split()[1] == argv[2]
            )
        self.given.append(argv)
        if self.fails.get(argv[0], 0) > 0:
            self.fails[argv[0]] -= 1
            raise errors.CommandFailed(argv, 1, "no")
        return ""


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Programs:
    found = Programs()
    monkeypatch.setattr(programs, "run", found.run)
    monkeypatch.setattr(programs, "installed", lambda _: True)
    monkeypatch.setattr(generation, "current", lambda _: "")
    monkeypatch.setattr(foreign_firewalls, "conflict", lambda *_, **__: "")
    monkeypatch.setattr(nft, "is_as_loaded", lambda *_: True)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> StateDir:
    return StateDir(str(tmp_path))


def unused(given: Programs, folder: StateDir) -> None:
    """Let the kernel and the record have a set that no pillar names any more."""
    given.ipsets = "create old_v4 hash:net family inet maxelem 65536\n"
    folder.write("applied", {"ipsets": ["old_v4"]})


def test_sets_are_there_before_the_table_and_unused_ones_go_after_it(
    given: Programs, folder: StateDir
) -> None:
    unused(given, folder)
    kernel.apply(BOTH, folder)
    changes = [ipset.APPLY, nft.APPLY, [*ipset.FLUSH, "old_v4"], [*ipset.DESTROY, "old_v4"]]
    assert given.given == [*changes, nft.LIST_HANDLES]


def test_a_change_that_another_program_made_impossible_is_planned_again(
    given: Programs, folder: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    given.fails["ipset"] = 1
    run = given.run

    def changed(argv: list[str], text: str = "") -> str:
        try:
            return run(argv, text)
        except errors.CommandFailed:
            if argv == ipset.APPLY:
                given.ipsets = "create prod_v4 hash:net family inet maxelem 65536\n"
            raise

    monkeypatch.setattr(programs, "run", changed)
    made = kernel.apply(BOTH, folder)
    assert [argv[0] for argv in given.given] == ["ipset", "ipset", "nft", "nft"]
    assert "create prod_v4" not in made.each[1].text


@pytest.mark.parametrize(
    ("desired", "fails", "dirty"),
    [
        # nft takes all or nothing.
        (SETS, "nft", False),
        # What ipset took before is in the kernel.
        (BOTH, "nft", True),
        (BOTH, "ipset", True),
    ],
)
def test_after_a_failure_the_kernel_is_known_where_all_or_nothing_was_changed(
    given: Programs, folder: StateDir, desired: Desired, fails: str, dirty: bool
) -> None:
    given.fails[fails] = 9
    with pytest.raises(errors.CommandFailed, match="no"):
        kernel.apply(desired, folder)
    assert folder.is_dirty() is dirty


def test_only_the_table_is_checked_by_the_kernel(given: Programs) -> None:
    kernel.check(kernel.plan.make(BOTH, {}))
    assert given.given == [nft.CHECK]


@pytest.mark.parametrize(("output", "raised"), [("Set is in use", False), ("no", True)])
def test_an_ipset_that_a_rule_uses_is_emptied_and_left(
    given: Programs, folder: StateDir, monkeypatch: pytest.MonkeyPatch, output: str, raised: bool
) -> None:
    unused(given, folder)
    run = given.run

    def in_use(argv: list[str], text: str = "") -> str:
        if argv[:2] == ipset.DESTROY:
            raise errors.CommandFailed(argv, 1, output)
        return run(argv, text)

    monkeypatch.setattr(programs, "run", in_use)
    if raised:
        with pytest.raises(errors.CommandFailed, match="no"):
            kernel.apply(Desired(), folder)
        return
    kernel.apply(Desired(), folder)
    assert given.given == [[*ipset.FLUSH, "old_v4"]]
    (left,) = kernel.leftovers(folder)
    assert left.startswith("the ipset old_v4 is empty but not removed: ")


def test_without_a_recorded_ipset_none_is_looked_for(
    folder: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The program need not even be installed.
    monkeypatch.setattr(programs, "run", None)
    assert kernel.leftovers(folder) == []


def test_a_table_that_another_program_changed_at_once_is_loaded_again(
    given: Programs, folder: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([False, True])
    monkeypatch.setattr(nft, "is_as_loaded", lambda *_: next(looks))
    made: Any = kernel.apply(SETS, folder).each[0]
    assert given.given == [nft.APPLY, nft.LIST_HANDLES] * 2
    # What is in it now is known only by reading it.
    assert made.generation_after == ""
