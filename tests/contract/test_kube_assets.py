"""
Where the real kube-apiserver comes from, and the message when it is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.kubernetes import build, real_backend
from lab.kubernetes.backend import BackendError
from lab.kubernetes.build import BuildError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no KUBEBUILDER_ASSETS."""
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setattr(build, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def no_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def test_kubebuilder_assets_come_first(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    reason = real_backend.unavailable()
    assert reason == f"KUBEBUILDER_ASSETS={tmp_path} lacks kube-apiserver and etcd"
    with pytest.raises(BackendError, match="KUBEBUILDER_ASSETS"):
        real_backend.assets()
    for program in build.PROGRAMS:
        (tmp_path / program).touch()
    assert real_backend.unavailable() is None
    assert real_backend.assets() == tmp_path


@pytest.mark.usefixtures("no_go")
def test_without_go_it_is_said_why_there_is_none(cache: Path):
    assert real_backend.unavailable() == (
        "no real kube-apiserver: KUBEBUILDER_ASSETS is not set, and Go is not installed"
    )
    with pytest.raises(BackendError, match="Go is not installed"):
        real_backend.assets()


def test_an_old_go_is_told_apart_from_none(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    old = tmp_path / "go"
    old.write_text("#!/bin/sh\necho go1.19.8\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])
    assert "Go is go1.19.8, and v" in str(real_backend.unavailable())


@pytest.mark.usefixtures("no_go")
def test_what_is_built_is_found_until_the_module_changes(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    build.folder().mkdir(parents=True)
    for program in build.PROGRAMS:
        (build.folder() / program).touch()
    assert not build.is_built()
    (build.folder() / "stamp").write_text(build._fingerprint())
    assert build.is_built()
    assert real_backend.unavailable() is None
    assert build.build() == build.folder()
    changed = tmp_path / "module"
    shutil.copytree(build.MODULE, changed)
    with (changed / "go.mod").open("a") as file:
        file.write("\n// another version\n")
    monkeypatch.setattr(build, "MODULE", changed)
    assert not build.is_built()


def test_a_build_that_fails_says_so_and_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    broken = tmp_path / "bin"
    broken.mkdir()
    tool = broken / "go"
    wanted = "case $1 in env) echo go9.9;; mod) ;; *) echo a: no space left >&2; exit 1;; esac"
    tool.write_text(f"#!/bin/sh\n{wanted}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(broken) + os.pathsep + os.environ["PATH"])
    said: list[str] = []
    with pytest.raises(BuildError, match="go build failed:\na: no space left"):
        build.build(said.append)
    assert "about 7 minutes" in said[0]
    assert [path.name for path in cache.iterdir()] == ["lock"]


def test_a_build_says_what_it_does_while_it_runs(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tool = tmp_path / "go"
    script = """
        case $1 in
        env) echo go9.9;;
        build)
            while [ "$1" != -o ]; do shift; done
            echo one >&2; echo two >&2
            sleep 0.4
            touch "$2/kube-apiserver" "$2/etcd";;
        esac
    """
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])
    monkeypatch.setattr(build, "PROGRESS_SECONDS", 0.15)
    said: list[str] = []
    assert build.build(said.append) == build.folder()
    assert build.is_built()
    assert "  0 min 00 s: compiling, 2 packages so far" in said
    assert said[-1].startswith(f"built {build.folder()} in ")


@pytest.mark.kube_real
def test_the_real_server_names_its_version():
    if reason := real_backend.unavailable():
        pytest.skip(reason)
    program = real_backend.assets() / "kube-apiserver"
    answer = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=30, check=True
    )
    assert answer.stdout.startswith("Kubernetes v1.")
