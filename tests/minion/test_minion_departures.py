"""The record of removed addresses: kept until it is proven that nothing lets them in."""

from __future__ import annotations

from pathlib import Path

import pytest

from k8s_firewall_parts import addresses, departures
from k8s_firewall_parts.departures import CLOSED, OPEN, SPARED, Departure
from k8s_firewall_parts.state_dir import StateDir

A, B, C = "192.0.2.1", "192.0.2.2", "10.1.0.0/24"
DAY = 86_400.0


def left(since: float = 1.0, **more: object) -> Departure:
    return Departure(since=since, cause="left", **more)  # type: ignore[arg-type]


def test_the_record_survives_and_goes_with_the_last_departure(tmp_path: Path) -> None:
    folder = StateDir(str(tmp_path))
    assert departures.recorded(folder) == {}
    kept = {A: left(state=CLOSED, why="read", checked_at=3.0), B: left(served=False)}
    departures.record(folder, kept)
    assert departures.recorded(StateDir(str(tmp_path))) == kept
    departures.record(folder, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("entry", [5, {}, {"since": "x"}, {"since": 1, "cause": "", "state": "?"}])
def test_an_entry_of_another_version_counts_as_open(tmp_path: Path, entry: object) -> None:
    folder = StateDir(str(tmp_path))
    folder.write(departures.FILE, {"departed": {A: entry}})
    assert departures.recorded(folder)[A].state == OPEN
    folder.write(departures.FILE, {"departed": [A]})
    assert departures.recorded(folder) == {}


def test_a_new_departure_is_open_and_a_known_one_keeps_its_time() -> None:
    known = {A: left(5.0, state=CLOSED, why="read")}
    found = departures.updated(known, {A: left(9.0), B: left(9.0)}, (), {}, 10.0)
    assert found == {A: known[A], B: left(9.0)}


def test_an_address_that_is_wanted_again_is_forgotten() -> None:
    assert departures.updated({A: left(), B: left()}, {C: left()}, [A, C], {}, 10.0) == {B: left()}


def test_an_address_is_spared_as_long_as_there_is_a_reason_for_it() -> None:
    spared = departures.updated({A: left(state=CLOSED)}, {}, (), {A: "is written"}, 10.0)
    assert (spared[A].state, spared[A].why) == (SPARED, "is written")
    assert departures.to_close(spared) == frozenset()
    again = departures.updated(spared, {}, (), {}, 11.0)
    assert (again[A].state, again[A].why) == (OPEN, departures.NOT_CHECKED)


def test_only_a_whole_reading_without_the_address_closes_it() -> None:
    found = {A: left(), B: left(), C: left(), "::1": left(state=SPARED, why="is written")}
    judged = departures.judged(found, {A: "rule 7"}, {B: "iptables: cut"}, now=20.0)
    assert [(one.state, one.why) for one in judged.values()] == [
        (OPEN, "open by rule 7"),
        (OPEN, "unknown: iptables: cut"),
        (CLOSED, "kernel and boot files read whole: nothing lets it in"),
        (SPARED, "is written"),
    ]
    assert departures.still_open(judged).keys() == {A, B}
    # A rule comes back: it is open again.
    assert departures.judged({C: judged[C]}, {C: "rule 1"}, {}, now=21.0)[C].state == OPEN


def test_the_answer_tells_open_from_unknown() -> None:
    found = departures.judged(
        {A: left(), B: left(), C: left()}, {A: "rule 7"}, {B: "iptables: cut"}, now=20.0
    )
    found["::1"] = left()
    answer = departures.answer(found)
    assert answer == {
        "open": {A: "rule 7"},
        "unknown": {B: "iptables: cut", "::1": departures.NOT_CHECKED},
        "closed": {C: "kernel and boot files read whole: nothing lets it in"},
    }
    assert departures.answer(found, [C, "192.0.2.99"]).keys() == {"closed"}
    sentence = departures.sentence(answer)
    assert sentence.startswith(f"removed addresses are still open: {A} (open by rule 7), {B} (unk")
    assert departures.sentence({}) == ""
    many = {"open": {f"192.0.2.{number}": "x" for number in range(9)}}
    assert departures.sentence(many).endswith("and 6 more")
    assert len(departures.problems(found)) == 3


def test_a_closed_one_is_kept_for_months_and_an_open_one_for_ever() -> None:
    now = 1000 * DAY
    known = {
        A: left(now - 179 * DAY, state=CLOSED),
        B: left(now - 181 * DAY, state=CLOSED),
        C: left(0.0),
    }
    assert departures.updated(known, {}, (), {}, now).keys() == {A, C}


def test_beyond_a_number_the_oldest_closed_ones_go_and_no_open_one() -> None:
    known = {
        f"10.0.{one // 250}.{one % 250}": left(float(one), state=CLOSED) for one in range(10_003)
    }
    known["192.0.2.1"] = left(0.0)
    found = departures.updated(known, {}, (), {}, 10_003.0)
    assert len(found) == 10_001
    assert known.keys() - found.keys() == {"10.0.0.0", "10.0.0.1", "10.0.0.2"}


def test_what_the_master_names_is_read_strictly() -> None:
    assert departures.of_master(None) == {}
    assert departures.of_master([A, C]) == {A: 0.0, C: 0.0}
    assert departures.of_master({A: 5, B: True, C: "x"}) == {A: 5.0, B: 0.0, C: 0.0}
    for junk in (7, "192.0.2.1", ["x"], [None], [[A]], {5: 1}, ["192.0.2.1/8"]):
        with pytest.raises(addresses.InvalidAddress):
            departures.of_master(junk)
