"""The difference between a kernel and the desired state, with what its tools would print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from k8s_firewall_parts import (
    addresses,
    applied,
    errors,
    foreign_firewalls,
    generation,
    ipset,
    ipset_sets,
    nft,
    nft_table,
    plan,
    programs,
    status,
)
from k8s_firewall_parts.desired import Desired
from k8s_firewall_parts.state_dir import StateDir
from tests.minion.build import state

ABSENT = errors.CommandFailed(["nft"], 1, "Error: No such file or directory")

Prints = Callable[..., None]


@pytest.fixture
def prints(monkeypatch: pytest.MonkeyPatch) -> Prints:
    """Set what the programs print, by their first two words; an error is raised."""
    outputs: dict[str, str | Exception] = {}

    def run(argv: list[str], text: str = "") -> str:
        if argv[0] == "ipset":
            saved = str(outputs["ipset"]).splitlines(keepends=True)
            if argv == ipset.LIST_NAMES:
                return "".join(f"{line.split()[1]}\n" for line in saved if line[:6] == "create")
            return "".join(line for line in saved if line.split()[1] == argv[-1])
        key = argv[0]
        output = outputs[key]
        if isinstance(output, Exception):
            raise output
        return output

    def prints(**more: str | Exception) -> None:
        outputs.update(more)

    monkeypatch.setattr(programs, "run", run)
    monkeypatch.setattr(programs, "installed", lambda _: True)
    monkeypatch.setattr(generation, "current", lambda _: "")
    monkeypatch.setattr(foreign_firewalls, "conflict", lambda *_, **__: "")
    prints(nft=ABSENT, ipset="")
    return prints


def listing(desired: Desired) -> str:
    """Return about what nft lists of a table."""
    text = nft.full(desired).removeprefix(nft.DELETE)
    lines = text.splitlines()
    return "\n".join(
        [
            lines[0],
            *(("\t" if one.startswith("set ") else "\t\t") + one for one in lines[1:-1]),
            "}",
            "",
        ]
    )


def recorded(desired: Desired, ipsets: list[str] | None = None) -> dict[str, Any]:
    return {
        "structure": nft.structure(desired),
        "listing": nft.parse(listing(desired)).structure,
        "generation": "g",
        "ipsets": ipsets or [],
    }


def table(made: plan.Plan) -> nft_table.TableChange:
    (change,) = (one for one in made.each if isinstance(one, nft_table.TableChange))
    return change


def sets(made: plan.Plan) -> ipset_sets.IpsetChange:
    (change,) = (one for one in made.each if isinstance(one, ipset_sets.IpsetChange))
    return change


def loaded(made: plan.Plan, generation: str, listing: str = "") -> plan.Plan:
    """Return a plan as it is once the kernel has its table."""
    (one, _), *others = made.parts
    change = replace(table(made), generation_after=generation, listing=listing)
    return plan.Plan(((one, change), *others))


PROD = state(sets={"prod": ["192.0.2.1"]}, gates={5432: "prod"})


def test_without_a_table_the_whole_one_is_loaded(prints: Prints) -> None:
    made = plan.make(PROD, {})
    assert (table(made).text, made.replaces, made.empty) == (nft.full(PROD), True, False)
    assert made.changes()["table"] == "replaced"
    assert made.changes()["sets"] == {"prod": {"added": ["192.0.2.1"], "removed": []}}
    assert "+chain gate_tcp_5432 {" in made.changes()["table_diff"]


def test_a_table_as_it_was_applied_is_left_alone(prints: Prints) -> None:
    prints(nft=listing(PROD))
    made = plan.make(PROD, recorded(PROD))
    assert made.empty
    assert made.changes() == {}
    assert status.drift(made) == []


def test_another_element_is_one_line(prints: Prints) -> None:
    prints(nft=listing(PROD))
    after = state(sets={"prod": ["192.0.2.2"]}, gates={5432: "prod"})
    made = plan.make(after, recorded(PROD))
    (_, added) = table(made).text.splitlines()
    assert added == "add element inet k8s_firewall prod_v4 { 192.0.2.2 }"
    assert not made.replaces
    assert made.changes()["sets"] == {"prod": {"added": ["192.0.2.2"], "removed": ["192.0.2.1"]}}


GONE = addresses.parse(["192.0.2.9", "198.51.100.0/24"])


def test_departed_addresses_are_elements_and_are_kept_where_none_are_given(
    prints: Prints, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = StateDir(str(tmp_path))
    prints(nft=listing(PROD))
    made = plan.make(PROD, recorded(PROD), None, GONE)
    assert table(made).text.splitlines() == [
        "add element inet k8s_firewall k8sfw-departed_v4 { 192.0.2.9 }",
        "flush set inet k8s_firewall k8sfw-departed_v4_net",
        "add element inet k8s_firewall k8sfw-departed_v4_net { 198.51.100.0/24 }",
    ]
    assert made.changes() == {}
    applied.record(PROD, loaded(made, "g 7"), folder, "v1")
    assert "192.0.2.9" in (tmp_path / nft_table.RULESET).read_text()
    monkeypatch.setattr(generation, "current", lambda _: "g 7")
    record, before = folder.read(applied.FILE), applied.last(folder)
    known = nft_table.NftTable(record, before).observe(PROD).table
    assert known is not None
    assert known.elements == nft.elements(PROD, GONE)
    # A run that does not know them leaves them as they are, and status takes them for no drift.
    assert plan.make(PROD, record, before).empty
    none = plan.make(PROD, record, before, addresses.Content())
    assert table(none).text.startswith("flush set")


@pytest.mark.parametrize("value", [None, 5, [], {"v4": 5}, {"x": []}])
def test_departed_addresses_in_another_form_are_none(value: Any) -> None:
    assert nft_table.recorded_departed({"departed": value}) == addresses.Content()
    assert nft_table.recorded_departed({}) == addresses.Content()


def test_a_table_that_another_program_changed_is_replaced(prints: Prints) -> None:
    prints(nft=listing(PROD).replace("counter drop", "counter accept", 1))
    made = plan.make(PROD, recorded(PROD))
    assert made.replaces
    assert [line.strip() for line in table(made).diff if line[0] in "+-"] == [
        "-counter accept", "+counter drop",
    ]  # fmt: skip
    assert status.drift(made) == ["the nft table k8s_firewall was changed by another program"]


def test_a_missing_table_is_drift_with_its_gates(prints: Prints) -> None:
    made = plan.make(PROD, recorded(PROD))
    assert status.drift(made) == [
        "the nft table k8s_firewall is missing, with the gates 5432/tcp",
        "the set prod has 0 unexpected entries and lacks 1",
    ]


def test_a_table_that_is_not_needed_is_deleted(prints: Prints) -> None:
    assert plan.make(Desired(), {}).empty
    prints(nft=listing(PROD))
    made = plan.make(Desired(), recorded(PROD))
    assert table(made).text == nft.DELETE
    assert made.changes() == {"table": "deleted"}


def test_without_the_program_a_table_that_is_not_needed_is_not_looked_for(
    prints: Prints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "installed", lambda _: False)
    prints(nft=AssertionError("read"))
    assert plan.make(Desired(), {}).empty


def test_a_kernel_without_nf_tables_is_no_error_where_nothing_needs_it(prints: Prints) -> None:
    failed = errors.CommandFailed(["nft"], 1, "cache initialization failed: Protocol not supported")
    prints(nft=failed)
    assert plan.make(Desired(), {}).empty
    wish = state(backend="ipset", sets={"prod": ["192.0.2.1"]})
    assert sets(plan.make(wish, {"structure": "", "ipsets": []})).text.startswith("create prod_v4")
    # What was loaded must be deleted, and what is needed must be loaded.
    for desired, record in ((Desired(), recorded(PROD)), (PROD, {})):
        with pytest.raises(errors.CommandFailed, match="Protocol not supported"):
            plan.make(desired, record)


def test_another_error_of_nft_is_raised(prints: Prints) -> None:
    prints(nft=errors.CommandFailed(["nft"], 1, "Operation not permitted"))
    with pytest.raises(errors.CommandFailed, match="nft: Operation not permitted"):
        plan.make(PROD, {})


def test_a_known_table_is_not_read(prints: Prints, monkeypatch: pytest.MonkeyPatch) -> None:
    prints(nft=AssertionError("read"))
    monkeypatch.setattr(generation, "current", lambda _: "g")
    made = plan.make(PROD, recorded(PROD), PROD)
    assert made.empty
    assert table(made).generation_before == "g"


def test_rules_that_a_foreign_chain_makes_useless_are_refused(
    prints: Prints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        foreign_firewalls, "conflict", lambda *_, **__: "no effect: ip filter INPUT drops"
    )
    rules = state(rules=[{"name": "a", "sources": "any"}])
    with pytest.raises(errors.Refused, match="no effect: ip filter INPUT drops"):
        plan.make(rules, {})


def test_ipsets_are_filled_and_unused_ones_are_named(prints: Prints) -> None:
    after = state(backend="ipset", sets={"prod": ["192.0.2.1", "192.0.2.2"]})
    old = ipset.full(ipset.members(state(sets={"prod": ["192.0.2.1"], "old": []}).sets))
    prints(ipset=old + "create foreign hash:ip family inet maxelem 8\n")
    made = plan.make(after, {"ipsets": ["old_v4", "old_v6", "prod_v4", "prod_v6", "gone_v4"]})
    assert sets(made).text == "add prod_v4 192.0.2.2\n"
    assert sets(made).unused == ("old_v4", "old_v6")
    assert made.changes() == {
        "sets": {"prod": {"added": ["192.0.2.2"], "removed": []}},
        "unused_ipsets": ["old_v4", "old_v6"],
    }


def test_a_set_in_both_backends_is_reported_as_an_ipset(prints: Prints) -> None:
    both = state(backend="ipset", sets={"prod": ["192.0.2.1"]}, gates={5432: "prod"})
    prints(ipset=ipset.full(ipset.members(both.sets)))
    made = plan.make(both, {})
    assert "192.0.2.1" in table(made).text
    assert made.sets == {}


def test_long_lists_are_cut(prints: Prints) -> None:
    many = state(sets={"a": [f"10.0.{high}.{low}" for high in range(2) for low in range(1, 61)]})
    added = plan.make(many, {}).changes()["sets"]["a"]["added"]
    assert (len(added), added[-1]) == (101, "... and 20 more")


def test_the_structure_is_read_from_the_own_table_alone(prints: Prints) -> None:
    own = listing(state(sets={"a": []}))
    prints(nft=own)
    assert nft_table.read_structure() == nft.parse(own).structure
    prints(nft=ABSENT)
    assert nft_table.read_structure() == ""


# The record


def test_what_was_applied_is_recorded_with_the_one_before(prints: Prints, tmp_path: Any) -> None:
    folder = StateDir(str(tmp_path))
    assert applied.last(folder) is None
    assert applied.previous(folder) is None
    first = loaded(plan.make(PROD, {}), "g", "listed")
    folder.mark_dirty()
    applied.record(PROD, first, folder, "v1")
    assert applied.last(folder) == PROD
    assert applied.last(folder) is applied.last(folder)
    assert not folder.is_dirty()
    assert (tmp_path / nft_table.RULESET).read_text().endswith(nft.full(PROD))
    assert applied.missing_boot_files(folder, PROD) == []
    after = state(backend="ipset", sets={"prod": ["192.0.2.2"]})
    applied.record(after, plan.make(after, folder.read(applied.FILE)), folder, "v2")
    assert applied.last(folder) == after
    assert applied.previous(folder) == PROD
    assert not (tmp_path / nft_table.RULESET).exists()
    assert "add k8sfw-0 192.0.2.2" in (tmp_path / ipset_sets.SETS).read_text()
    assert folder.read(applied.FILE)["ipsets"] == ["prod_v4", "prod_v6"]
    (tmp_path / ipset_sets.SETS).unlink()
    assert applied.missing_boot_files(folder, after) == [str(tmp_path / ipset_sets.SETS)]


def test_nothing_is_written_where_nothing_has_changed(prints: Prints, tmp_path: Any) -> None:
    folder = StateDir(str(tmp_path))
    made = plan.make(PROD, {})
    applied.record(PROD, loaded(made, "", recorded(PROD)["listing"]), folder, "v1")
    before = (tmp_path / "applied.json").stat().st_ino
    prints(nft=listing(PROD))
    unchanged = plan.make(PROD, folder.read(applied.FILE))
    applied.record(PROD, unchanged, folder, "v2")
    assert (tmp_path / "applied.json").stat().st_ino == before
    # A file for the next boot that is missing is written again.
    (tmp_path / nft_table.RULESET).unlink()
    applied.record(PROD, unchanged, folder, "v2")
    assert (tmp_path / nft_table.RULESET).exists()


def test_a_table_is_known_only_in_the_generation_that_was_recorded(
    prints: Prints, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = StateDir(str(tmp_path))

    def known() -> nft.Table | None:
        record, before = folder.read(applied.FILE), applied.last(folder)
        return nft_table.NftTable(record, before).observe(PROD).table

    assert known() is None
    made = plan.make(PROD, {})
    # Neither generation could be read.
    applied.record(PROD, loaded(made, "", "listed"), folder, "v1")
    assert known() is None
    applied.record(PROD, loaded(made, "g 7", "listed"), folder, "v1")
    assert known() is None
    monkeypatch.setattr(generation, "current", lambda _: "g 7")
    assert known() == nft.Table("listed", nft.elements(PROD))


@pytest.mark.parametrize("data", [None, 5, "x", [], {"sets": 1}, {"backend": "nft"}])
def test_a_record_in_another_form_is_no_record(data: Any) -> None:
    assert applied.parse(data) is None
