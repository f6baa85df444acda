"""
Selectors, as labels are written and as clients spell them.
"""

from __future__ import annotations

import pytest

from lab.kubernetes.client import Client
from lab.kubernetes.nodes import Nodes
from tests.contract.reading import NODES, failure, names


@pytest.fixture
def labelled(nodes: Nodes) -> None:
    nodes.create("a1", labels={"pool": "a", "size": "1"})
    nodes.create("a9", labels={"pool": "a", "size": "9"})
    nodes.create("b5", labels={"pool": "b", "size": "5", "example.com/gpu": ""})
    nodes.create("none")


@pytest.mark.usefixtures("labelled")
def test_selectors_pick_what_they_say(admin: Client):
    wanted = {
        "": ["a1", "a9", "b5", "none"],
        "pool=a": ["a1", "a9"],
        "pool==a": ["a1", "a9"],
        " pool = a ": ["a1", "a9"],
        "pool!=a": ["b5", "none"],
        "pool": ["a1", "a9", "b5"],
        "!pool": ["none"],
        "pool in (a,b)": ["a1", "a9", "b5"],
        "pool in (b)": ["b5"],
        "pool notin (a)": ["b5", "none"],
        "pool=a,size=9": ["a9"],
        "pool in (a,b),size notin (1,5)": ["a9"],
        "size>4": ["a9", "b5"],
        "size<5": ["a1"],
        "example.com/gpu": ["b5"],
        "example.com/gpu=": ["b5"],
        "pool=zzz": [],
    }
    found = {text: names(admin.get(NODES, labelSelector=text)) for text in wanted}
    assert found == wanted


@pytest.mark.parametrize(
    "text",
    ["=", "a in", "a in (b", "a=b=c", "a=b,", "!a!", "a b", "-x", "x=-y", "a>x", "a/b/c=d"],
)
def test_a_selector_that_cannot_be_read_is_refused(admin: Client, text: str):
    failure(admin.get(NODES, labelSelector=text), 400, "BadRequest")


@pytest.mark.usefixtures("labelled")
def test_fields_pick_by_name(admin: Client):
    assert names(admin.get(NODES, fieldSelector="metadata.name=a1")) == ["a1"]
    assert names(admin.get(NODES, fieldSelector="metadata.name!=a1")) == ["a9", "b5", "none"]
    failure(admin.get(NODES, fieldSelector="foo=bar"), 400, "BadRequest")
    failure(admin.get(NODES, fieldSelector="bad"), 400, "BadRequest")
