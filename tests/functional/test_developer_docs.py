"""What the pages for developers name exists, and packages and functions describe themselves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from salt_ext.core.cluster.hold import Kind

ROOT = Path(__file__).parents[2]

DEVELOPERS = ROOT / "docs/developers"
PAGES = [
    *(ROOT / f"{name}.md" for name in ("ARCHITECTURE", "CONTRIBUTING", "SECURITY", "RELEASING")),
    *sorted(DEVELOPERS.glob("*.md")),
]

FOLDERS = (
    *("salt_ext", "engine", "pillar", "reactor"),
    *("lab", "tests", "benchmarks", "docs", "examples", "changelog"),
)
PATH = re.compile(rf"^(?:{'|'.join(FOLDERS)})/[\w./*-]*$")

WALK = re.compile(r"^\| `([\w./]+\.py)` \| ((?:`[\w.]+`(?:, )?)+) \|", re.MULTILINE)
"""A row of a walk: a file, and functions in it."""

PACKAGES = [
    *sorted(ROOT.glob("salt_ext/*/__init__.py")),
    *(ROOT / folder / "__init__.py" for folder in ("engine", "pillar", "reactor")),
]

FIREWALL = ROOT / "salt_ext/formula/_modules/k8s_firewall.py"
STATES = ROOT / "salt_ext/formula/_states/k8s_firewall.py"
RUNNERS = sorted(ROOT.glob("salt_ext/runners/[!_]*.py"))


def prose(page: Path) -> str:
    """Return a page without its blocks of code, whose paths are examples."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def paths(page: Path) -> set[str]:
    """Return the paths of this repository that a page has in backticks."""
    return {text for text in re.findall(r"`([^`\n]+)`", prose(page)) if PATH.match(text)}


def definitions(tree: ast.Module) -> set[str]:
    """Return the functions and classes of a module, and the methods as ``Class.method``."""
    found = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}.{item.name}"
                for item in node.body
                if isinstance(item, ast.FunctionDef)
            }
    return found


def public_functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_path_that_a_page_names_exists(page):
    missing = sorted(path for path in paths(page) if not any(ROOT.glob(path.rstrip("/"))))
    assert missing == []


def test_the_pages_name_paths_at_all():
    assert len(paths(ROOT / "ARCHITECTURE.md")) > 60
    assert len(paths(ROOT / "CONTRIBUTING.md")) > 30


def test_each_function_of_a_walk_is_in_its_file():
    rows = WALK.findall((ROOT / "ARCHITECTURE.md").read_text())
    assert len(rows) > 40
    missing = []
    for file, functions in rows:
        known = definitions(ast.parse((ROOT / file).read_text()))
        missing += [
            f"{file}: {name}" for name in re.findall(r"`([\w.]+)`", functions) if name not in known
        ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_relative_link_leads_to_a_page_and_a_heading(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name) if name else page
        if not linked.exists() or (anchor and anchor not in headings(linked)):
            broken.append(target)
    assert broken == []


def test_each_page_for_developers_is_linked_from_another():
    text = "".join(page.read_text() for page in PAGES)
    assert [page.name for page in DEVELOPERS.glob("*.md") if f"{page.name}" not in text] == []


def test_each_changelog_fragment_has_a_kind_that_towncrier_knows():
    kinds = re.findall(
        r'^\[\[tool\.towncrier\.type\]\]\ndirectory = "(\w+)"',
        (ROOT / "pyproject.toml").read_text(),
        re.MULTILINE,
    )
    fragments = [path.name for path in (ROOT / "changelog").glob("*.md")]
    assert fragments
    # Another kind is dropped without an error.
    assert [name for name in fragments if name.split(".")[-2] not in kinds] == []


def test_the_page_of_guards_has_a_section_for_each():
    assert {kind.value for kind in Kind} <= headings(DEVELOPERS / "guards.md")


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: path.parent.name)
def test_a_package_says_what_it_is_for_in_10_to_25_lines(path):
    # Read, not imported: a package of a loader may need Salt's globals.
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert 10 <= sum(bool(line.strip()) for line in text.splitlines()) <= 25


@pytest.mark.parametrize("path", [*RUNNERS, FIREWALL], ids=lambda path: path.stem)
def test_each_function_that_people_call_has_an_example_for_the_command_line(path):
    functions = list(public_functions(path))
    assert functions
    without = [
        function.name
        for function in functions
        if "CLI Example:\n\n.. code-block:: bash\n" not in (ast.get_docstring(function) or "")
    ]
    assert without == []


def test_each_state_has_an_example_in_sls():
    states = list(public_functions(STATES))
    assert states
    for state in states:
        text = ast.get_docstring(state) or ""
        assert ".. code-block:: yaml\n" in text
        assert f"k8s_firewall.{state.name}:" in text
