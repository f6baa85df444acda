"""Which minions of the master a compound target means."""

from __future__ import annotations

import pytest
import salt.cache
import salt.config

from salt_ext.core.config.apply import ANY_GRAINS
from salt_ext.master.targets import TargetMatcher


@pytest.fixture
def opts(tmp_path):
    found = salt.config.master_config(None)
    found.update({"pki_dir": str(tmp_path / "pki"), "cachedir": str(tmp_path / "cache")})
    for kind in ("", "_pre", "_rejected", "_denied", "_autosign"):
        (tmp_path / "pki" / f"minions{kind}").mkdir(parents=True)
    for minion in ("db1", "db2", "web1"):
        (tmp_path / "pki" / "minions" / minion).write_text("a key")
    (tmp_path / "pki" / "minions_pre" / "db3").write_text("a key")
    cache = salt.cache.factory(found)
    for minion, role in (("db1", "db"), ("web1", "web"), ("gone", "db")):
        grains = {"role": role, "id": minion}
        cache.store(f"minions/{minion}", "data", {"grains": grains, "pillar": {}})
        cache.store("grains", minion, grains)
    return found


@pytest.mark.parametrize(
    ("target", "minions"),
    [
        ("*", {"db1", "db2", "web1"}),
        ("db*", {"db1", "db2"}),
        ("L@web1,other", {"web1"}),
        # Nobody knows the grains of db2; those of a minion may be known longer than its key.
        ("G@role:db", {"db1", "gone"}),
        (ANY_GRAINS, {"db1", "web1", "gone"}),
        ("db* and not G@role:db", {"db2"}),
        ("db2 or G@role:web", {"db2", "web1"}),
        ("( ", set()),
        ("X@y", set()),
    ],
)
def test_it_means_minions_by_what_is_known_of_them(opts, target, minions):
    assert TargetMatcher(opts)(target) == minions


def test_what_was_found_is_kept_for_a_while(opts, tmp_path):
    keeping, asking = TargetMatcher(opts, keep=600.0), TargetMatcher(opts)
    assert keeping("db*") == asking("db*")
    (tmp_path / "pki" / "minions" / "db2").unlink()
    assert keeping("db*") == {"db1", "db2"}
    assert asking("db*") == {"db1"}
