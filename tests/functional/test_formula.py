"""What Salt copies to minions: it gets there, needs nothing else there, and is described."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.exceptions
import salt.loader
import salt.utils.args
import yaml

from salt_ext import formula
from salt_ext.core.rollout.recovery import read_served
from salt_ext.master import minion_module

FILES = sorted(path for path in formula.path().glob("_*/**/*.py") if "__pycache__" not in str(path))


@pytest.fixture
def opts(tmp_path: Path) -> dict[str, Any]:
    opts = salt.config.minion_config(None)
    opts.update(
        {
            "id": "minion",
            "root_dir": str(tmp_path),
            "cachedir": str(tmp_path / "cache"),
            "extension_modules": str(tmp_path / "extmods"),
            "file_client": "local",
            "file_roots": {"base": [str(formula.path())]},
            "pillar_roots": {"base": [str(tmp_path / "pillar")]},
            "k8s_firewall": {"state_dir": str(tmp_path / "state")},
        }
    )
    opts["grains"] = salt.loader.grains(opts)
    return dict(opts)


def minion(opts: dict[str, Any]) -> Any:
    return salt.loader.minion_mods(opts, utils=salt.loader.utils(opts), context={})


def test_the_command_prints_file_roots_with_the_folder():
    done = subprocess.run(
        [sys.executable, "-m", "salt_ext.formula"], capture_output=True, text=True, check=True
    )
    (_, folder) = yaml.safe_load(done.stdout)["file_roots"]["base"]
    assert (Path(folder) / "_modules" / "k8s_firewall.py").is_file()


def test_salt_syncs_the_module_and_it_tells_the_version_that_the_master_has(opts):
    synced = minion(opts)["saltutil.sync_all"](refresh=False)
    assert "modules.k8s_firewall" in synced["modules"]
    done = subprocess.run(
        [sys.executable, "-m", "salt_ext.formula", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert minion(opts)["k8s_firewall.version"]() == done.stdout.strip()
    # What the publisher compares with, to know whom to bring up to date.
    assert minion_module.shipped_version() == done.stdout.strip()


def test_after_a_sync_the_new_parts_are_in_use_without_a_restart(opts, tmp_path):
    minion(opts)["saltutil.sync_all"](refresh=False)
    old = "this minion's pillar is empty"
    assert old in minion(opts)["k8s_firewall.sync"](fresh=False)["comment"]
    part = tmp_path / "extmods" / "modules" / "k8s_firewall_parts" / "desired.py"
    part.write_text(part.read_text().replace(old, "NEW"))
    assert "NEW" in minion(opts)["k8s_firewall.sync"](fresh=False)["comment"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_is_imported_that_a_minion_does_not_have(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        for name in names:
            top = name.split(".")[0]
            assert top in {*sys.stdlib_module_names, "salt", "k8s_firewall_parts"}, name


def test_each_public_function_has_an_example_and_can_be_described(opts):
    minion(opts)["saltutil.sync_all"](refresh=False)
    functions = minion(opts)
    path = formula.path() / "_modules" / "k8s_firewall.py"
    public = [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    assert public
    for node in public:
        text = ast.get_docstring(node) or ""
        assert "CLI Example:" in text, node.name
        for argument in node.args.args:
            assert f"\n{argument.arg}" in text, f"{node.name}: {argument.arg}"
        pickle.dumps(salt.utils.args.argspec_report(functions, f"k8s_firewall.{node.name}"))


def test_an_old_name_fails_and_says_the_new_one(opts):
    minion(opts)["saltutil.sync_all"](refresh=False)
    functions = minion(opts)
    with pytest.raises(salt.exceptions.CommandExecutionError, match=r"call k8s_firewall\.record"):
        functions["k8s_firewall.remember"]()
    for old, new in (("in_force", "applied"), ("remembered", "recorded")):
        (done,) = functions["state.single"](f"k8s_firewall.{old}", "x").values()
        said = f"k8s_firewall.{old} was renamed; write k8s_firewall.{new}"
        assert (done["result"], done["comment"]) == (False, said)


def test_only_functions_of_the_module_can_be_called(opts):
    minion(opts)["saltutil.sync_all"](refresh=False)
    names = {name for name in minion(opts) if name.startswith("k8s_firewall")}
    public = {
        f"k8s_firewall.{node.name}"
        for node in ast.parse((formula.path() / "_modules" / "k8s_firewall.py").read_text()).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }
    assert names == public


def test_the_master_can_ask_what_a_minion_was_served_last(opts):
    minion(opts)["saltutil.sync_all"](refresh=False)
    served = minion(opts)["k8s_firewall.served"]
    found = served()
    assert (found["addresses"], found["clusters"]) == ([], {})
    assert "addresses" not in served(known=[found["digest"]])
    assert read_served(found, {}) is None
