"""Which minions of the master a compound target matches."""

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
        # No grains of db2 are cached; those of a minion may be cached longer than its key.
        ("G@role:db", {"db1", "gone"}),
        (ANY_GRAINS, {"db1", "web1", "gone"}),
        ("db* and not G@role:db", {"db2"}),
        ("db2 or G@role:web", {"db2", "web1"}),
        ("( ", set()),
        ("X@y", set()),
    ],
)
def test_it_matches_by_keys_and_cached_grains(opts, target, minions):
    assert TargetMatcher(opts)(target) == minions


def test_answers_are_kept_for_a_while(opts, tmp_path):
    caching, plain = TargetMatcher(opts, keep=600.0), TargetMatcher(opts)
    assert caching("db*") == plain("db*")
    (tmp_path / "pki" / "minions" / "db2").unlink()
    assert caching("db*") == {"db1", "db2"}
    assert plain("db*") == {"db1"}
