"""What the documentation tells people to write is right."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s_firewall_parts import desired, prune, rules
from salt_ext.admin.check.report import GROUPS
from salt_ext.core.config import config
from salt_ext.core.errors import BadReference
from salt_ext.core.references import reference
from salt_ext.core.references.expand import Expansion
from salt_ext.core.references.expand import expand as expand_with
from salt_ext.core.references.resolution import Resolution, SnapshotStamp
from salt_ext.core.references.scan import scan

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

WRONG = r"^\| `(k8s://[^`]*)` \| `([^`]+)` \|$"
"""A row of the table of references that cannot be read, and why."""


def expand(pillar: dict[str, Any], look: Callable[[str], list[str]]) -> Expansion:
    """Return what a pillar becomes with these addresses."""
    stamp = SnapshotStamp(1, 1.0)
    texts = scan(pillar).texts
    return expand_with(pillar, {text: Resolution(tuple(look(text)), stamp) for text in texts})


def blocks(page: Path) -> list[object]:
    """Return every YAML document of a page's yaml blocks."""
    found = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [document for text in found for document in yaml.safe_load_all(text)]


def documents(key: str) -> list[tuple[str, dict]]:
    return [
        (page.name, block)
        for page in PAGES
        for block in blocks(page)
        if isinstance(block, dict) and key in block
    ]


CONFIGURATIONS = [
    (name, block[config.KEY])
    for name, block in documents(config.KEY)
    if "served" not in block[config.KEY]
]


@pytest.mark.parametrize(("page", "block"), CONFIGURATIONS)
def test_each_configuration_is_accepted(page, block):
    read = config.read(block)
    assert [str(problem) for problem in read.problems] == []
    assert read.clusters


def test_the_configuration_page_names_every_key():
    _, full = [block for page, block in CONFIGURATIONS if page == "configuration.md"]
    prod = full["clusters"]["prod"]
    text = (ROOT / "docs/configuration.md").read_text()
    for key in (*prod["guards"], *full["apply"], *full["metrics"], *prod["timing"], *prod):
        assert re.search(rf"^\|[^|]*`(\w+:)?{key}`", text, re.MULTILINE) or key in (
            "guards",
            "timing",
        )


def test_the_configuration_page_begins_with_ten_keys_and_an_example_of_each():
    text = (ROOT / "docs/configuration.md").read_text().partition("## Advanced")[0]
    keys = re.findall(r"^\| `([\w:<>]+)` \|", text, re.MULTILINE)
    assert len(keys) == 10
    (example, _) = [block for page, block in CONFIGURATIONS if page == "configuration.md"]
    for key in keys:
        value = example
        for part in key.split(":"):
            value = value["prod" if part == "<name>" else part]


def test_each_bad_reference_of_the_page_is_refused_as_it_says():
    rows = re.findall(WRONG, (ROOT / "docs/references.md").read_text(), re.MULTILINE)
    assert len(rows) >= 8
    for text, said in rows:
        with pytest.raises(BadReference) as caught:
            reference.parse(text)
        assert said in str(caught.value)


def test_each_reference_in_the_documentation_can_be_read():
    found = set()
    for page in PAGES:
        text = re.sub(WRONG, "", page.read_text(), flags=re.MULTILINE)
        found |= set(re.findall(r"k8s://[^\s'\"`]+(?: in \([^)]*\))?", text))
    found.discard("k8s://cluster")
    assert len(found) >= 4
    for text in found:
        reference.parse(text)


@pytest.mark.parametrize("page", ["README.md", "references.md"])
def test_each_pillar_of_the_documentation_is_expanded(page):
    pillars = [block for name, block in documents("firewall") if name == page]
    assert pillars
    for pillar in pillars:
        done = expand(pillar, lambda _: ["192.0.2.10", "192.0.2.11"])
        assert not done.unresolved
        assert "k8s://" not in str({**pillar, **done.changed})


def test_the_references_page_shows_what_becomes_of_mappings():
    (pillar,) = [block for name, block in documents("firewall") if name == "references.md"]
    done = expand(pillar, lambda _: ["192.0.2.10", "192.0.2.11"])
    assert [rule["name"] for rule in done.changed["rules"]] == [
        "from 192.0.2.10",
        "from 192.0.2.11",
    ]
    assert sorted(done.changed["tables"]) == ["web-192.0.2.10", "web-192.0.2.11"]
    assert "`web-192.0.2.10`" in (ROOT / "docs/references.md").read_text()


def test_the_manifest_grants_what_the_engine_asks_for_and_no_more():
    (role,) = [
        block
        for block in blocks(ROOT / "docs/installation.md")
        if isinstance(block, dict) and block.get("kind") == "ClusterRole"
    ]
    granted = {
        (resource, verb)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == {
        ("nodes", "get"),
        ("nodes", "list"),
        ("nodes", "watch"),
        ("namespaces", "get"),
    }


def test_the_operations_page_has_a_row_for_each_group_of_findings():
    text = (ROOT / "docs/operations.md").read_text()
    for group in GROUPS:
        assert re.search(rf"^\| `{group}` \|", text, re.MULTILINE), group


def test_each_link_between_pages_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_each_firewall_of_the_documentation_can_be_read():
    found = documents("k8s_firewall")
    assert found
    for _, pillar in found:
        done = expand(pillar, lambda _: ["192.0.2.10", "2001:db8::10"])
        read = desired.parse({**pillar, **done.changed}, {}, ["192.0.2.1"])
        assert read.desired.sets or read.prune
        assert not read.unresolved


def test_the_formulas_example_has_every_key_and_can_be_read():
    path = ROOT / "salt_ext/formula/k8s_firewall/pillar.example"
    # What is there as a comment can be taken in as it is.
    text = re.sub(
        r"^  # (?=keep:|rules:|policy:|prune:|  )", "  ", path.read_text(), flags=re.MULTILINE
    )
    pillar = yaml.safe_load(text)
    assert set(pillar["k8s_firewall"]) == desired.KEYS
    assert set(pillar["k8s_firewall"]["prune"]) == prune.KEYS
    done = expand(pillar, lambda _: ["192.0.2.10", "2001:db8::10"])
    assert desired.parse({**pillar, **done.changed}, {}).desired.gates


def test_the_firewall_page_names_every_key():
    text = (ROOT / "docs/firewall.md").read_text()
    for key in desired.KEYS | prune.KEYS | set(rules.KEYS):
        assert re.search(rf"^\| `{key}", text, re.MULTILINE), key
