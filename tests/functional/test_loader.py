"""Salt finds what this package ships, installed from a checkout and from the wheel."""

from __future__ import annotations

import ast
import json
import pickle
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
import salt.config
import salt.loader
import salt.utils.args

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest brings it along
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
TOOL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def options(tmp_path: Path) -> dict:
    opts = salt.config.master_config(None)
    opts.update(
        {
            "root_dir": str(tmp_path),
            "cachedir": str(tmp_path / "cache"),
            "extension_modules": str(tmp_path / "extmods"),
            "k8s_nodes": {
                "state_dir": str(tmp_path / "state"),
                "clusters": {"prod": {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]}},
            },
        }
    )
    return opts


def loaded(opts: dict) -> dict[str, list[str]]:
    return {
        "engines": sorted(n for n in salt.loader.engines(opts, {}, {}, {}) if "k8s_nodes" in n),
        "pillar": sorted(n for n in salt.loader.pillars(opts, {}) if "k8s_nodes" in n),
        "runners": sorted(n for n in salt.loader.runner(opts) if n.startswith("k8s_nodes.")),
    }


def test_salt_finds_engine_pillar_and_runner(tmp_path):
    found = loaded(options(tmp_path))
    assert found["engines"] == ["k8s_nodes.start"]
    assert found["pillar"] == ["k8s_nodes"]
    assert {"k8s_nodes.status", "k8s_nodes.nodes", "k8s_nodes.apply", "k8s_nodes.confirm"} <= set(
        found["runners"]
    )


def test_without_a_configuration_only_the_runner_is_loaded_and_says_what_to_do(tmp_path):
    opts = options(tmp_path)
    del opts["k8s_nodes"]
    found = loaded(opts)
    assert (found["engines"], found["pillar"]) == ([], [])
    for function, *arguments in (("status",), ("apply", "prod"), ("discover",), ("pause",)):
        told = salt.loader.runner(opts)[f"k8s_nodes.{function}"](*arguments)
        assert "has no k8s_nodes; salt-run k8s_nodes.setup" in told["error"]
        assert told["retcode"] == 1
    assert not (tmp_path / "state").exists()


def test_every_package_is_shipped():
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "salt_ext").rglob("__init__.py")
    }
    assert found | set(TOOL["package-dir"]) == set(TOOL["packages"])


@pytest.mark.parametrize(
    "path", [ROOT / "salt_ext/runners/k8s_nodes.py"], ids=lambda path: path.parent.name
)
def test_each_public_function_has_an_example_and_can_be_described(path, tmp_path):
    runners = salt.loader.runner(options(tmp_path))
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
        pickle.dumps(salt.utils.args.argspec_report(runners, f"k8s_nodes.{node.name}"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--wheel-dir", str(folder), str(ROOT)),
        ],
        check=True,
        timeout=120,
        capture_output=True,
    )
    (found,) = folder.glob("*.whl")
    return found


def test_nothing_is_missing_from_the_wheel_and_nothing_else_is_in_it(wheel):
    folders = {
        "salt_ext": ROOT / "salt_ext",
        **{name.replace(".", "/"): ROOT / path for name, path in TOOL["package-dir"].items()},
    }
    wanted = {
        f"{name}/{path.relative_to(folder)}"
        for name, folder in folders.items()
        for pattern in ("*.py", "*.sls", "*.example", "*.service", "py.typed")
        for path in folder.rglob(pattern)
        if "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as file:
        shipped = {name for name in file.namelist() if ".dist-info/" not in name}
        metadata = [name for name in file.namelist() if name.endswith("/entry_points.txt")]
        assert "salt_ext = salt_ext.loader:dirs" in file.read(metadata[0]).decode()
    assert wanted | {"salt_ext/version.py"} == shipped | {"salt_ext/version.py"}


def test_salt_finds_the_same_in_the_wheel(wheel, tmp_path):
    target = tmp_path / "installed"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"),
            *("--target", str(target), str(wheel)),
        ],
        check=True,
        timeout=120,
        capture_output=True,
    )
    script = textwrap.dedent(
        f"""
        import sys
        sys.meta_path = [one for one in sys.meta_path if "editable" not in repr(one).lower()]
        sys.path.insert(0, {str(target)!r})
        import json
        from pathlib import Path
        import salt_ext
        assert Path(salt_ext.__file__).is_relative_to({str(target)!r}), salt_ext.__file__
        import salt.config, salt.loader
        opts = salt.config.master_config(None)
        opts.update({{
            "k8s_nodes": {options(tmp_path)["k8s_nodes"]!r},
            "extension_modules": {str(tmp_path / "extmods")!r},
            "cachedir": {str(tmp_path / "cache")!r},
        }})
        import importlib.resources
        reactor = importlib.resources.files("salt_ext.reactor")
        print(json.dumps({{
            "engines": [n for n in salt.loader.engines(opts, {{}}, {{}}, {{}}) if "k8s_nodes" in n],
            "pillar": [n for n in salt.loader.pillars(opts, {{}}) if "k8s_nodes" in n],
            "runners": [n for n in salt.loader.runner(opts) if n == "k8s_nodes.status"],
            "reactor": reactor.joinpath("apply.sls").is_file(),
        }}))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "engines": ["k8s_nodes.start"],
        "pillar": ["k8s_nodes"],
        "runners": ["k8s_nodes.status"],
        "reactor": True,
    }


def test_a_kubernetes_client_that_sends_no_credentials_is_not_installed_beside_us():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (client,) = [one for one in project["dependencies"] if one.startswith("kubernetes")]
    assert "!=36.0.0" in client
