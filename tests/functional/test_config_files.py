"""One reader of the master's configuration files, for places and for values as written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from salt_ext.core.config.config import KEY
from salt_ext.master.config_files import config_files, last_changed, unresolved_block

URI = "sdb://vault/prod"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "master.d").mkdir()
    (tmp_path / "extra").mkdir()
    return tmp_path


def write(path: Path, token: str, cluster: str = "prod") -> None:
    path.write_text(f"{KEY}: {{clusters: {{{cluster}: {{token: '{token}'}}}}}}\n")


def options(folder: Path, **clusters: str) -> dict[str, object]:
    """Return what Salt makes of the files, with each token resolved."""
    return {
        "conf_file": str(folder / "master"),
        "default_include": "master.d/*.conf",
        KEY: {"clusters": {name: {"token": token} for name, token in clusters.items()}},
    }


def token(opts: dict[str, object], cluster: str = "prod") -> object:
    block = unresolved_block(opts)
    assert isinstance(block, dict)
    return block["clusters"][cluster]["token"]


def test_files_come_in_the_order_in_which_salt_reads_them(folder):
    (folder / "master").write_text("include: extra/*.conf\n")
    for name in ("master.d/b.conf", "master.d/a.conf", "extra/z.conf"):
        write(folder / name, URI)
    files = config_files(options(folder))
    assert [(Path(file.path).name, file.layer) for file in files] == [
        ("master", 0),
        ("a.conf", 1),
        ("b.conf", 1),
        ("z.conf", 2),
    ]


def test_a_token_is_the_uri_of_the_file_that_counts(folder):
    (folder / "master").write_text("include: [extra/*.conf]\n")
    write(folder / "master.d" / "a.conf", "sdb://vault/replaced")
    write(folder / "extra" / "a.conf", "sdb://vault/first")
    write(folder / "extra" / "b.conf", URI)
    write(folder / "extra" / "c.conf", "sdb://vault/test", cluster="test")
    opts = options(folder, prod="sesame", test="sesame")
    assert token(opts) == URI
    assert token(opts, "test") == "sdb://vault/test"


def test_a_token_of_no_file_stays(folder):
    (folder / "master").write_text("user: root\n")
    assert token(options(folder, prod="sesame")) == "sesame"


def test_a_master_without_a_main_file_has_those_of_master_d(folder):
    write(folder / "master.d" / "a.conf", URI)
    opts = options(folder, prod="sesame")
    assert [file.layer for file in config_files(opts)] == [1]
    assert token(opts) == URI


def test_a_broken_file_is_marked_and_hides_no_other(folder):
    (folder / "master").write_text("a: [\n")
    (folder / "master.d" / "a.conf").write_text("b: {\n")
    write(folder / "master.d" / "b.conf", URI)
    opts = options(folder, prod="sesame")
    assert [file.broken for file in config_files(opts)] == [True, True, False]
    assert token(opts) == URI


def test_the_file_that_was_changed_last_is_known(folder):
    for age, name in enumerate(("master.d/b.conf", "master.d/a.conf")):
        write(folder / name, URI)
        os.utime(folder / name, (1000.0 - age, 1000.0 - age))
    assert last_changed(config_files(options(folder))) == (str(folder / "master.d/b.conf"), 1000.0)
    assert last_changed([]) == ("", 0.0)
