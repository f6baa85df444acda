"""The table of the benchmark, its exit code, and its comparison with the baseline."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from benchmarks import baseline, report, session
from benchmarks.baseline import Baseline
from benchmarks.comparison import Comparison, quantile
from lab.errors import LabError

MACHINE = {"cpu": "a CPU", "cores": 2, "python": "3.11.7", "date": "2026-01-02"}


def comparison(name="first sync", ours=3.0, peer=2.0, **rest):
    rest = {"part": "engine", "unit": "s", "peer_name": "bare pages", **rest}
    return Comparison(name=name, ours=ours, peer=peer, **rest)


def run(folder, **rest):
    """Run the parts that are given as keywords; the exit code and what is printed."""
    options = {key: rest.pop(key) for key in ("write_baseline",) if key in rest}
    output = io.StringIO()
    code = session.run(
        rest,
        Console(file=output, width=200),
        results=folder / "build" / "bench.json",
        baseline_path=folder / "baseline.json",
        describe_machine=lambda: MACHINE,
        **options,
    )
    return code, output.getvalue()


def not_measured(_progress):
    raise LabError("no kube-apiserver here")


def test_a_ratio_up_to_its_aim_is_met():
    assert comparison(aim=1.5).met is True
    assert comparison(aim=1.49).met is False
    assert comparison().met is None


def test_a_slow_machine_meets_the_aims_that_a_quick_one_meets():
    quick, slow = comparison(aim=1.5), comparison(ours=5.1, peer=3.4, aim=1.5)
    assert quick.met
    assert slow.met


def test_a_peer_that_took_no_time_is_refused_with_its_row():
    with pytest.raises(ValueError, match="engine: first sync: the peer measured 0"):
        comparison(peer=0.0)


def test_the_highest_of_few_values_is_their_worst():
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0


@pytest.mark.parametrize(
    ("aims", "unmeasured", "code"),
    [
        ((1.5, 2.0), (), 0),
        ((None,), (), 0),
        ((1.5, 1.0), (), 1),
        ((1.5,), ("pillar",), 2),
        ((1.0,), ("pillar",), 1),
        ((), ("pillar",), 2),
    ],
)
def test_the_exit_code_is_1_for_a_missed_aim_and_2_for_a_part_not_measured(aims, unmeasured, code):
    rows = [comparison(name=str(number), aim=aim) for number, aim in enumerate(aims)]
    assert report.exit_code(rows, unmeasured) == code


def test_the_change_is_that_of_the_ratio_not_of_the_seconds():
    before = Baseline().replaced([comparison(ours=3.0, peer=2.0)], MACHINE)
    assert before.change(comparison(ours=6.0, peer=4.0)) == pytest.approx(0)
    assert before.change(comparison(ours=3.3, peer=2.0)) == pytest.approx(10)
    assert before.change(comparison(ours=1.5, peer=2.0)) == pytest.approx(-50)


@pytest.mark.parametrize("ours", [0.0, -0.5])
def test_a_baseline_of_nothing_gives_no_percentage(ours):
    assert Baseline().replaced([comparison(ours=ours)], MACHINE).change(comparison()) is None


def test_a_row_of_another_part_is_no_baseline():
    before = Baseline().replaced([comparison()], MACHINE)
    assert before.ratio(comparison(part="pillar")) is None
    assert before.change(comparison(part="pillar")) is None


def test_a_baseline_survives_the_file(tmp_path):
    path = tmp_path / "baseline.json"
    rows = [comparison(), comparison(part="pillar", name='with "quotes"', ours=1 / 3)]
    written = Baseline().replaced(rows, MACHINE)
    baseline.write(written, path)
    assert baseline.read(path) == written
    assert json.loads(path.read_text())["parts"]["pillar"]["machine"] == MACHINE


def test_a_missing_file_is_an_empty_baseline(tmp_path):
    assert baseline.read(tmp_path / "baseline.json") == Baseline()


def test_writing_one_part_keeps_the_others_and_drops_its_old_rows():
    old = [comparison(name="gone"), comparison(part="pillar")]
    before = Baseline().replaced(old, {**MACHINE, "cpu": "an older CPU"})
    after = before.replaced([comparison(name="new")], MACHINE)
    assert list(after.parts["engine"]["rows"]) == ["new"]
    assert after.parts["engine"]["machine"]["cpu"] == "a CPU"
    assert after.parts["pillar"] == before.parts["pillar"]


def test_a_row_only_in_the_baseline_is_named_for_measured_parts_alone():
    before = Baseline().replaced([comparison(name="gone"), comparison(part="pillar")], MACHINE)
    assert before.missing([comparison()]) == ["engine: gone"]


def test_the_machine_is_described_without_its_name():
    machine = baseline.this_machine()
    assert machine.keys() == {"cpu", "cores", "python", "date", "reference_loop_ms"}
    assert machine["reference_loop_ms"] > 0


def test_the_table_has_ratio_aim_baseline_and_change(tmp_path):
    run(tmp_path, engine=lambda _: [comparison(ours=2.0)], write_baseline=True)
    code, output = run(tmp_path, engine=lambda _: [comparison(aim=1.6), comparison(name="other")])
    assert code == 0
    (row,) = [line for line in output.splitlines() if "first sync" in line]
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == [
        "engine", "first sync", "bare pages", "s", "3", "2", "1.5", "1.6", "1", "+50 %", "yes",
    ]  # fmt: skip
    (row,) = [line for line in output.splitlines() if "other" in line]
    assert "new" in row
    assert "1 of 1 aims met." in output


def test_a_missed_aim_exits_1_and_is_said_with_its_origin_and_reason(tmp_path):
    row = comparison(aim=1.3, derivation="a ratio from the start", reason="storing follows")
    code, output = run(tmp_path, engine=lambda _: [row])
    assert code == 1
    assert "0 of 1 aims met." in output
    assert "Aim missed: engine: first sync: ratio 1.5, aim 1.3" in output
    assert "aim from: a ratio from the start" in output
    assert "reason: storing follows" in output


def with_a_mistake(_progress):
    raise TypeError("no such argument")


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (not_measured, "LabError: no kube-apiserver here"),
        (with_a_mistake, "TypeError: no such argument"),
    ],
)
def test_a_part_that_is_not_measured_does_not_stop_the_next(tmp_path, part, why):
    code, output = run(tmp_path, pillar=part, engine=lambda _: [comparison(aim=2.0)])
    assert code == 2
    assert f"pillar: not measured: {why}" in output
    assert "first sync" in output


def test_the_results_are_written_with_a_reason_only_where_an_aim_is_missed(tmp_path):
    rows = [
        comparison(aim=2.0, reason="not needed"),
        comparison(name="missed", aim=1.0, reason="slow"),
    ]
    run(tmp_path, engine=lambda _: rows)
    met, missed = json.loads((tmp_path / "build" / "bench.json").read_text())
    assert met["met"] is True
    assert "reason" not in met
    assert (missed["met"], missed["ratio"], missed["reason"]) == (False, 1.5, "slow")


def test_a_baseline_is_written_only_when_asked_for(tmp_path):
    run(tmp_path, engine=lambda _: [comparison()])
    assert not (tmp_path / "baseline.json").exists()
    run(tmp_path, engine=lambda _: [comparison()], write_baseline=True)
    assert baseline.read(tmp_path / "baseline.json").ratio(comparison()) == 1.5


def test_nothing_is_written_when_no_part_is_measured(tmp_path):
    code, _ = run(tmp_path, pillar=not_measured, write_baseline=True)
    assert code == 2
    assert not list(tmp_path.iterdir())
