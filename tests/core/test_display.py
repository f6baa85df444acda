"""What persons type is read whatever YAML has made of it, and shown on one line."""

from __future__ import annotations

from datetime import date, datetime, timezone

import pytest

from salt_ext.core.display import MAX_REASON, parse_time, reason_text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, ""),
        ("", ""),
        ("  new\tcore\n switch ", "new core switch"),
        (42, "42"),
        (["a", "b"], "['a', 'b']"),
        ("\x1b[2Jgone\u202e", "\\x1b[2Jgone\\u202e"),
        ("not \udce4 text", "not \\udce4 text"),
        ("für später", "für später"),
    ],
)
def test_a_reason_is_one_line(given, text):
    assert reason_text(given) == text


def test_a_reason_is_cut():
    assert len(reason_text("x" * 10_000)) == MAX_REASON
    assert len(reason_text("\x00" * 10_000)) == MAX_REASON


@pytest.mark.parametrize(
    "given",
    [
        "2023-11-14T22:13:20",
        "2023-11-14 22:13:20",
        "2023-11-14T22:13:20Z",
        "2023-11-14T23:13:20+01:00",
        datetime(2023, 11, 14, 22, 13, 20),  # noqa: DTZ001
        datetime(2023, 11, 14, 22, 13, 20, tzinfo=timezone.utc),
    ],
)
def test_a_time_is_utc_unless_it_says_otherwise(given):
    assert parse_time(given) == 1_700_000_000


def test_a_date_is_its_first_moment():
    assert parse_time("2023-11-14") == parse_time(date(2023, 11, 14)) == 1_699_920_000


@pytest.mark.parametrize(
    "given", ["", "yesterday", "12:00", 2023, 1_700_000_000, True, None, "0001-01-01", "9999-12-31"]
)
def test_anything_else_is_no_time(given):
    with pytest.raises(ValueError, match=r".*"):
        parse_time(given)
