"""Which rules are deleted, and that one that cannot be deleted keeps back no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from k8s_firewall_parts import errors, programs, prune
from k8s_firewall_parts.openings import UNCLEAR, FileLines, NftRule, Opening, XtRule


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "prune is not a mapping; write true for the defaults, false for none"),
        ({"chains": []}, "prune:chains is not a known key; known keys: commands, iptables, nft"),
        ({"iptables": ["INPUT"]}, "prune:iptables is not a mapping of tables to lists of chains"),
        ({"iptables": {"filter": "INPUT"}}, "prune:iptables:filter is not a list of names"),
        ({"saved": "x"}, "prune:saved is not a list of names"),
        ({"saved": [5]}, "prune:saved is not a list of names"),
        ({"commands": ["/tmp/iptables"]}, "prune:commands: '/tmp/iptables' is not one of iptables"),
        ({"nft": {"filter": ["input"]}}, "prune:nft:filter is not a table; example: inet filter"),
        ({"nft": {"inet -f": ["input"]}}, "prune:nft:inet -f is not a table"),
    ],
)
def test_a_mistake_is_named(value: Any, message: str) -> None:
    problems: list[str] = []
    prune.parse(value, problems)
    assert len(problems) == 1
    assert message in problems[0]


def test_pruning_is_the_default_and_false_turns_it_off() -> None:
    problems: list[str] = []
    for default in (None, True, {}):
        assert prune.parse(default, problems) == prune.PruneConfig()
    assert prune.parse(False, problems) is None
    found = prune.parse({"saved": (), "nft": {"ip filter": ["input"]}}, problems)
    assert found == prune.PruneConfig(saved=[], nft={"ip filter": ["input"]})
    assert not problems


def nft_rule(handle: int, table: str = "inet filter", chain: str = "input") -> Opening:
    family, name = table.split()
    place = f"nft {table} {chain} handle {handle}"
    rule = NftRule(family, name, chain, handle)
    return Opening(place, f"rule {handle}", ("192.0.2.1",), removal=rule)


def xt_rule(number: int, program: str = "iptables-legacy", table: str = "filter") -> Opening:
    text = f"-A INPUT -s 192.0.2.{number}/32 -j ACCEPT"
    rule = XtRule(program, table, "INPUT", number, text)
    return Opening(
        f"iptables {table} INPUT rule {number}", text, (f"192.0.2.{number}",), removal=rule
    )


IPTABLES_NFT = Opening(
    "iptables filter INPUT rule 1", "-A INPUT -s ...", ("192.0.2.1",),
    removal=NftRule("ip", "filter", "INPUT", 9),
)  # fmt: skip
LINES = Opening(
    "/x/rules.v4 line 2", "-A ...", ("192.0.2.1",), removal=FileLines("/x/rules.v4", 1, 2, "x\n")
)
ELEMENT = Opening("nft set inet filter prod", "192.0.2.1", ("192.0.2.1",), element=True)
STRANGE = Opening("nft inet filter input handle 3", "mark", ("192.0.2.1",), UNCLEAR, "it marks")
OURS = nft_rule(4, "inet k8s_firewall", "rules_input")


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, ["iptables", "legacy", "lines", "nft"]),
        ({"iptables": {"filter": ["INPUT"]}}, ["iptables", "legacy", "lines", "nft"]),
        ({"iptables": {"filter": ["other"]}}, ["lines", "nft"]),
        ({"iptables": {}}, ["lines", "nft"]),
        ({"nft": {}}, ["iptables", "legacy", "lines"]),
        ({"nft": {"inet filter": ["input"]}}, ["iptables", "legacy", "lines", "nft"]),
        ({"saved": []}, ["iptables", "legacy", "nft"]),
        ({"saved": ["/x/../x/rules.v4"]}, ["iptables", "legacy", "lines", "nft"]),
        ({"commands": ["iptables-nft"]}, ["iptables", "lines", "nft"]),
        ({"commands": ["iptables"]}, ["iptables", "legacy", "lines", "nft"]),
    ],
)
def test_the_pillar_limits_where_rules_are_deleted(
    limits: dict[str, Any], expected: list[str]
) -> None:
    config = prune.parse(limits, [])
    assert config is not None
    all_of_them = {"iptables": IPTABLES_NFT, "legacy": xt_rule(1), "lines": LINES,
                   "nft": nft_rule(1)}  # fmt: skip
    assert [name for name, one in all_of_them.items() if config.covers(one)] == expected
    assert not any(config.covers(one) for one in (ELEMENT, STRANGE, OURS))


class Kernel:
    """Stands for the programs: what they were given, and what they refuse."""

    def __init__(self) -> None:
        self.given: list[tuple[str, ...]] = []
        self.refuses: tuple[str, ...] = ()
        self.output = "not permitted"
        self.saved = ""

    def run(self, argv: list[str], text: str = "") -> str:
        if argv[0].endswith("-save"):
            return self.saved
        if any(word in " ".join([*argv, text]) for word in self.refuses):
            raise errors.CommandFailed(argv, 1, self.output)
        self.given.append((*argv, text))
        return ""


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(programs, "run", kernel.run)
    return kernel


ALL = prune.PruneConfig()


def test_the_rules_of_a_table_go_in_one_transaction(kernel: Kernel) -> None:
    rules = [nft_rule(1), nft_rule(2), xt_rule(1), xt_rule(2), xt_rule(3, table="mangle")]
    would = prune.prune(ALL, rules, test=True)
    assert not kernel.given
    done = prune.prune(ALL, [*rules, rules[0]], test=False)
    assert done == would
    assert done.deleted == {
        "iptables-legacy": [one.text for one in rules[2:]],
        "nft inet filter": ["rule 1", "rule 2"],
    }
    assert kernel.given == [
        ("iptables-legacy-restore", "-w", "--noflush",
         ("*filter\n-D INPUT -s 192.0.2.1/32 -j ACCEPT\n"
          "-D INPUT -s 192.0.2.2/32 -j ACCEPT\nCOMMIT\n"
         "*mangle\n-D INPUT -s 192.0.2.3/32 -j ACCEPT\nCOMMIT\n")),
        ("nft", "-f", "-", ("delete rule inet filter input handle 1\n"
                           "delete rule inet filter input handle 2\n")),
    ]  # fmt: skip


def test_rules_with_one_program_are_deleted_each_in_its_way(kernel: Kernel) -> None:
    # On an older host the plain name is the legacy one, and nf_tables has rules of iptables too.
    plain = XtRule("iptables", "filter", "INPUT", 1, "-A INPUT -s 192.0.2.1/32 -j ACCEPT")
    rules = [replace(xt_rule(1), removal=plain), IPTABLES_NFT]
    done = prune.prune(ALL, rules, test=False)
    assert not done.problems
    assert done.deleted == {"iptables": [rules[0].text, rules[1].text]}
    assert [argv[0] for argv in kernel.given] == ["iptables-restore", "nft"]


def test_a_rule_that_cannot_be_deleted_is_named_and_keeps_back_no_other(kernel: Kernel) -> None:
    kernel.refuses = ("handle 3\n",)
    done = prune.prune(ALL, [nft_rule(number) for number in range(1, 9)], test=False)
    assert done.deleted["nft inet filter"] == [f"rule {one}" for one in (1, 2, 4, 5, 6, 7, 8)]
    (problem,) = done.problems
    assert problem == (
        "not deleted: nft inet filter input handle 3: rule 3: nft -f -: not permitted"
    )


def test_a_rule_that_another_program_has_deleted_meanwhile_is_deleted(kernel: Kernel) -> None:
    kernel.refuses, kernel.output = ("handle 1\n",), "Error: No such file or directory"
    done = prune.prune(ALL, [nft_rule(1), nft_rule(2)], test=False)
    assert not done.problems
    assert done.deleted["nft inet filter"] == ["rule 1", "rule 2"]


def test_a_rule_that_its_own_text_does_not_delete_goes_by_its_number(kernel: Kernel) -> None:
    kernel.refuses, kernel.output = ("-D INPUT -s 192.0.2.1/32",), "Bad rule"
    one, other = xt_rule(1), xt_rule(2)
    kernel.saved = f"*filter\n-A OTHER -j ACCEPT\n-A INPUT -j LOG\n{one.text}\nCOMMIT\n"
    done = prune.prune(ALL, [one, other], test=False)
    assert not done.problems
    assert ("iptables-legacy", "-w", "-t", "filter", "-D", "INPUT", "2", "") in kernel.given
    # It is gone by now: nothing else has its number.
    kernel.given.clear()
    kernel.saved = "*filter\n-A INPUT -j LOG\nCOMMIT\n"
    assert not prune.prune(ALL, [one], test=False).problems
    assert not kernel.given


def in_file(path: Path, first: int, end: int) -> Opening:
    lines = path.read_bytes().decode().splitlines(keepends=True)
    span = FileLines(str(path), first, end, "".join(lines[first:end]))
    return Opening(f"{path} line {first + 1}", lines[first], ("192.0.2.1",), removal=span)


def test_each_file_is_tried_and_keeps_every_other_byte(tmp_path: Path) -> None:
    good, gone, changed = (tmp_path / name for name in ("good", "gone", "changed"))
    for path in (good, gone, changed):
        path.write_bytes(b"a\nb\r\nc\nd\ne")
    rules = [in_file(good, 1, 3), in_file(good, 4, 5), in_file(gone, 0, 1), in_file(changed, 0, 1)]
    gone.unlink()
    changed.write_text("x\na\n")
    done = prune.prune(ALL, rules, test=False)
    assert good.read_bytes() == b"a\nd\n"
    assert list(done.deleted) == [str(good)]
    assert len(done.problems) == 2
    assert f"not deleted from {changed}: another program has changed it meanwhile" in done.problems
    assert changed.read_text() == "x\na\n"


def test_nothing_is_run_without_a_rule_to_delete(kernel: Kernel) -> None:
    assert prune.prune(ALL, [ELEMENT, STRANGE, OURS], test=False) == prune.Pruned()
    assert not kernel.given
