"""
Change the code of the guard and the rollout, one operator at a time, and see which tests notice.

``make mutation`` runs it: a copy of the tree in ``build/mutation`` is changed, never the tree
itself. A mutant that no test notices is a survivor: a test is missing, or the change makes no
difference, and then ``.ci/mutation-survivors.txt`` has its line with the reason. Any other survivor
ends the run with 1. ``--only guard`` takes one module, ``--seconds`` bounds the whole.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPY = ROOT / "build" / "mutation"
SURVIVORS = Path(__file__).with_name("mutation-survivors.txt")
MODULES = {
    "guard": ("salt_ext/core/cluster/guard.py", "tests/core/test_guard.py"),
    "wave": ("salt_ext/core/rollout/wave.py", "tests/core/test_wave.py"),
    "drift": ("salt_ext/core/rollout/drift.py", "tests/core/test_drift.py"),
    "job_result": ("salt_ext/core/rollout/job_result.py", "tests/core/test_job_result.py"),
    "expand": ("salt_ext/core/references/expand.py", "tests/core/test_expand.py"),
}
# A union of types in an annotation is no operation.
CONFIG = """
[cosmic-ray]
module-path = "{module}"
timeout = 30.0
excluded-modules = []
test-command = "{python} -m pytest -x -q -n0 -p no:cacheprovider -p no:salt-factories {tests}"

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
exclude-operators = ["core/ReplaceBinaryOperator_BitOr_.*"]
"""


def main() -> int:
    """Return 1 when a survivor has no reason, 2 when the time was not enough, else 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=MODULES, action="append")
    parser.add_argument("--seconds", type=float, default=3600.0)
    given = parser.parse_args()
    copy_tree()
    known = {line.split(" # ")[0].strip() for line in SURVIVORS.read_text().splitlines()}
    deadline, unknown, unfinished = time.monotonic() + given.seconds, 0, False
    for name in given.only or MODULES:
        print(f"== {MODULES[name][0]}", flush=True)
        done, total, survivors = run(name, deadline)
        unfinished |= done < total
        print(f"{done} of {total} mutants run, {len(survivors)} survived", flush=True)
        for line in survivors:
            reason = "known" if line in known else "NOT EXPLAINED"
            unknown += line not in known
            print(f"  {line}  ({reason})")
    if unknown:
        print(f"{unknown} survivors without a reason: add a test, or a line to {SURVIVORS.name}")
        return 1
    return 2 if unfinished else 0


def copy_tree() -> None:
    """Copy what git knows, so that no mutant ever stands in the tree itself."""
    shutil.rmtree(COPY, ignore_errors=True)
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)


def run(name: str, deadline: float) -> tuple[int, int, list[str]]:
    """Return how many mutants ran, of how many, and a line for each that survived."""
    module, tests = MODULES[name]
    config, session = COPY / f"{name}.toml", COPY / f"{name}.sqlite"
    config.write_text(CONFIG.format(module=module, tests=tests, python=sys.executable))
    tool = Path(sys.executable).with_name("cosmic-ray")
    subprocess.run([tool, "init", config, session], cwd=COPY, check=True)
    operators = Path(sys.executable).with_name("cr-filter-operators")
    subprocess.run([operators, session, config], cwd=COPY, check=True)
    try:
        left = max(1.0, deadline - time.monotonic())
        subprocess.run([tool, "exec", config, session], cwd=COPY, check=True, timeout=left)
    except subprocess.TimeoutExpired:
        print("the time is over", flush=True)
        # It had no time to take its last mutant back.
        shutil.copy2(ROOT / module, COPY / module)
    dump = subprocess.run([tool, "dump", session], cwd=COPY, capture_output=True, check=True)
    source = (ROOT / module).read_text().splitlines()
    done, total, survivors = 0, 0, []
    for item, result in map(json.loads, dump.stdout.splitlines()):
        total += 1
        done += result is not None
        if result is not None and result["test_outcome"] == "survived":
            mutation = item["mutations"][0]
            text = source[mutation["start_pos"][0] - 1].strip()
            where = f"{module} {mutation['definition_name']}"
            survivors.append(f"{where}: {mutation['operator_name'].partition('/')[2]}: {text}")
    return done, total, sorted(set(survivors))


if __name__ == "__main__":
    sys.exit(main())
