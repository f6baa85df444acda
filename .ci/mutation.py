"""
Change the guard, the rollout and the expansion, one operator at a time; list what no test notices.

``make mutation`` runs it. cosmic-ray makes the mutants. Each is written to a copy of the tree in
``build/mutation``, and the tests of its module run there. A mutant that passes them is a survivor:
a test is missing, or the change makes no difference. In the second case its line is in
``.ci/mutation-survivors.txt``, with the reason. Exits with 1 when a survivor has no reason, or when
a line of that file is not among the survivors any more.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import io
import multiprocessing
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import MutationSpec

ROOT = Path(__file__).parents[1]
COPY = ROOT / "build" / "mutation"
SURVIVORS = Path(__file__).with_name("mutation-survivors.txt")
MODULES = {
    "guard": ("salt_ext/core/cluster/guard.py", "tests/core/test_guard.py"),
    "drift": ("salt_ext/core/rollout/drift.py", "tests/core/test_drift.py"),
    "wave": ("salt_ext/core/rollout/wave.py", "tests/core/test_wave.py"),
    "job_result": ("salt_ext/core/rollout/job_result.py", "tests/core/test_job_result.py"),
    "expand": ("salt_ext/core/references/expand.py", "tests/core/test_expand.py"),
}
# Why a test fails is of no interest, and plugins would cost more than the tests. pytest_timeout has
# a setting in pyproject.toml.
PYTEST = ["-x", "-q", "--tb=no", "--assert=plain", "-p", "pytest_timeout"]
PYTEST += ["-p", "no:cacheprovider", "-p", "no:unraisableexception"]
CPU_SECONDS = 30
"""A mutant may never end. Not wall-clock time: a busy machine must not kill a mutant."""
MEMORY = 4 << 30
# These are unlike any mistake that people make, and each place has other replacements.
EXCLUDED = re.compile(r"core/ReplaceBinaryOperator_\w+_(Pow|Mod|LShift|RShift)")


@dataclass(frozen=True)
class Mutant:
    """One changed copy of a module, and the text that names it."""

    line: str
    code: str


def main() -> int:
    """Return 1 when the survivors are not those that have a reason, else 0."""
    parser = argparse.ArgumentParser(description="Mutation tests of the guard and the rollout.")
    parser.add_argument("--only", choices=MODULES, action="append", metavar="|".join(MODULES))
    given = parser.parse_args()
    copy_tree()
    os.chdir(COPY)
    # Before the editable install, which has the tree itself.
    sys.path.insert(0, str(COPY))
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    wrong = 0
    for name in given.only or MODULES:
        wrong += run(*MODULES[name])
    return 1 if wrong else 0


def copy_tree() -> None:
    """Copy what git knows: the tree itself is never changed."""
    shutil.rmtree(COPY, ignore_errors=True)
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)


def run(module: str, tests: str) -> int:
    """Test all mutants of a module; return the number of unexplained survivors and stale lines."""
    began = time.monotonic()
    path = Path(module)
    source = path.read_text()
    preload(tests)
    if not passes(tests):
        sys.exit(f"{tests} fails without any mutant")
    path.write_text(f"{source}\nraise AssertionError\n")
    if passes(tests):
        sys.exit(f"{tests} does not import {module} from {COPY}")
    killed, survivors = 0, set()
    for mutant in mutants_of(path, source):
        path.write_text(mutant.code)
        if passes(tests):
            survivors.add(f"{module} {mutant.line}")
        else:
            killed += 1
    path.write_text(source)
    known = {line for line in explained() if line.startswith(f"{module} ")}
    print(
        f"{module}: {killed} mutants killed; {len(survivors & known)} survivors with a reason, "
        f"{len(survivors - known)} without; {time.monotonic() - began:.0f} s",
        flush=True,
    )
    for line in sorted(survivors - known):
        print(f"  NO REASON  {line}")
    for line in sorted(known - survivors):
        print(f"  STALE      {line}")
    return len(survivors ^ known)


def explained() -> set[str]:
    """Return the survivors that have a reason."""
    lines = SURVIVORS.read_text().splitlines()
    entries = [line for line in lines if line and not line.startswith("#")]
    for line in entries:
        if not line.partition(" # ")[2]:
            sys.exit(f"{SURVIVORS.name}: no reason: {line}")
    return {line.partition(" # ")[0].strip() for line in entries}


def mutants_of(path: Path, source: str) -> Iterator[Mutant]:
    """Yield each mutant that Python accepts and that is another program."""
    original = shape(source)
    with use_db(":memory:") as database:
        init([path], database, {})
        mutations = [item.mutations[0] for item in database.work_items]
    for mutation in mutations:
        if EXCLUDED.fullmatch(mutation.operator_name):
            continue
        operator = get_operator(mutation.operator_name)(**mutation.operator_args)
        code = mutate_code(source, operator, mutation.occurrence)
        try:
            differs = shape(code) != original
        except SyntaxError:
            continue
        if differs:
            yield Mutant(line=describe(mutation, source, code), code=code)


def describe(mutation: MutationSpec, source: str, code: str) -> str:
    """Return the function and the first changed line, with ``[before => after]`` in it."""
    pairs = zip(_words(source), _words(code), strict=False)
    old, new = next((old, new) for old, new in pairs if old != new)
    start = end = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    before, after = (" ".join(words[start : len(words) - end]) for words in (old, new))
    changed = [*old[:start], f"[{before} => {after}]", *old[len(old) - end :]]
    return f"{mutation.definition_name or 'module'}: {' '.join(changed)}"


def _words(source: str) -> list[list[str]]:
    return [line.partition(" # ")[0].split() for line in source.splitlines()]


def shape(source: str) -> str:
    """Return a syntax tree without annotations, slots, and what is passed by name only."""
    return ast.dump(_Shape().visit(ast.parse(source)))


class _Shape(ast.NodeTransformer):
    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        # The `*` of a signature looks like an operator.
        node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        node.defaults = [*node.defaults, *filter(None, node.kw_defaults)]
        node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Name("_")
        return self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> ast.AST | None:
        return None if node.arg in ("slots", "kw_only") else self.generic_visit(node)


def preload(tests: str) -> None:
    """Import what the tests import, so that a forked process has all but this project's code."""
    # The bytecode of the mutants is not written: two may have the same size and time.
    sys.dont_write_bytecode = False
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main([*PYTEST, "--collect-only", tests])
    sys.dont_write_bytecode = True
    for name in [name for name in sys.modules if name.partition(".")[0] in ("salt_ext", "tests")]:
        del sys.modules[name]
    gc.collect()
    gc.freeze()


def passes(tests: str) -> bool:
    """Whether the tests pass on the copy as it is now."""
    # To fork a process costs 0.2 s for each mutant, to start one costs 2 s.
    process = multiprocessing.get_context("fork").Process(target=_test, args=(tests,))
    process.start()
    process.join()
    return process.exitcode == 0


def _test(tests: str) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    sys.exit(pytest.main([*PYTEST, tests]))


if __name__ == "__main__":
    sys.exit(main())
