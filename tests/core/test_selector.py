"""Label selectors mean what they mean to Kubernetes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_ext.core.references.selector import parse

HERE = {"pool": "app", "tier": "a", "node-role.kubernetes.io/worker": ""}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "pool",
        "pool=app",
        "pool==app",
        "pool = app",
        "pool!=db",
        "absent!=db",
        "absent!=",
        "pool in (app)",
        "pool in (db, app)",
        "pool in(db,app)",
        "pool notin (db,web)",
        "absent notin (db,web)",
        "!absent",
        "! absent",
        "node-role.kubernetes.io/worker",
        "node-role.kubernetes.io/worker=",
        "node-role.kubernetes.io/worker in ()",
        "pool=app,tier=a",
        "pool in (app,db),tier in (a,b)",
        "tier in (a,b),pool",
        "pool, tier notin (x,y) , !absent",
    ],
)
def test_selects(text):
    assert parse(text).matches(HERE)


@pytest.mark.parametrize(
    "text",
    [
        "absent",
        "absent=app",
        "absent=",
        "absent in (app)",
        "absent in ()",
        "!pool",
        "pool=db",
        "pool=APP",
        "pool!=app",
        "pool in (db,web)",
        "pool notin (app,db)",
        "pool=app,tier=b",
        "pool in (app,db),tier in (c,d)",
        "tier in (a,b),!pool",
    ],
)
def test_does_not_select(text):
    assert not parse(text).matches(HERE)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("pool=app,", "''"),
        (",pool=app", "''"),
        ("pool=app tier=a", "'pool=app tier=a'"),
        ("pool=app,tier in (a", "'tier in (a'"),
        ("tier in a", "'tier in a'"),
        ("tier in (a),b)", "'b)'"),
        ("tier in (a b)", "'tier in (a b)'"),
        ("tier isin (a)", "'tier isin (a)'"),
        ("cpus>4", "'cpus>4'"),
        ("=app", "'=app'"),
        ("pool=-app", "'pool=-app'"),
        ("-pool=app", "'-pool=app'"),
        ("pool=a/b", "'pool=a/b'"),
        ("a/b/c=d", "'a/b/c=d'"),
        ("Example.com/pool=app", "'Example.com/pool=app'"),
        ("pool=" + "a" * 64, "'pool=aaa"),
        ("p" * 64, "'pppp"),
        ("pool=app\ntier", r"'pool=app\ntier'"),
        ("pool=ä", "'pool=ä'"),
    ],
)
def test_the_invalid_part_is_named(text, part):
    with pytest.raises(ValueError, match="is not a label selector") as caught:
        parse(text)
    assert str(caught.value).startswith(part)


def test_keys_are_those_of_all_requirements():
    assert parse("pool=app,tier in (a,b),!gone").keys == ("pool", "tier", "gone")


@given(st.text(alphabet="abAB/.-_=!,() \n1", max_size=60))
def test_any_text_is_parsed_or_refused(text):
    try:
        selector = parse(text)
    except ValueError:
        return
    assert selector.matches({}) in (True, False)


def test_a_hostile_selector_costs_no_time():
    # A minion can put any text into its pillar with `pillar=`.
    begun = time.process_time()
    for text in ("a" + "," * 50_000, "a in (" * 10_000, "a,a(" * 10_000, " " * 50_000 + "a b"):
        with pytest.raises(ValueError, match="is not a label selector"):
            parse(text)
    assert time.process_time() - begun < 1.0
