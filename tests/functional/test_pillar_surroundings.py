"""What else a master, or a minion without one, may do around our ext_pillar."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import salt.pillar
import yaml

from salt_ext.core.diagnosis.pillar_options import findings
from salt_ext.daemon import engine
from salt_ext.store import Health, Store
from tests.core.build import member, snapshot
from tests.functional.pillars import Pillars

CLUSTER = {"in_cluster": True, "allowed_networks": ["192.0.2.0/24"]}
ALLOW = {"allow": ["198.51.100.1", "k8s://prod"]}
SERVED = ["198.51.100.1", "192.0.2.1"]


def known(state_dir: Path) -> None:
    one = member("n1", "192.0.2.1")
    store = Store(str(state_dir))
    store.snapshots.save(snapshot(one), [one], [])
    store.health.report("prod", Health(state="watching", reported_at=time.time()))


@pytest.fixture
def pillars(tmp_path):
    found = Pillars(tmp_path, clusters={"prod": CLUSTER})
    known(found.state_dir)
    found.write(ALLOW)
    return found


def ext_pillars(folder: Path, **modules: str) -> str:
    """Write ext_pillars of other people."""
    folder = folder / "others"
    folder.mkdir()
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return str(folder)


def test_with_ext_pillar_first_references_stay_and_it_is_said(pillars):
    pillar = pillars.compile(ext_pillar_first=True)
    assert pillar["allow"] == ALLOW["allow"]
    assert "ext_pillar_first" in str(findings({**pillars.opts, "ext_pillar_first": True})[0])


def test_the_engine_says_it_when_it_starts(pillars, monkeypatch, caplog):
    def enough(*_):
        raise InterruptedError

    monkeypatch.setattr(engine, "engine_lock", enough)
    with pytest.raises(InterruptedError):
        engine.Engine({**pillars.opts, "ext_pillar_first": True}).run()
    assert "ext_pillar_first: true" in caplog.text


def test_an_ext_pillar_behind_us_keeps_its_own_references_and_spoils_nothing(pillars, tmp_path):
    folder = ext_pillars(
        tmp_path,
        behind="""
        def ext_pillar(minion_id, pillar):
            return {"more": ["k8s://prod"], "seen": list(pillar["allow"])}
        """,
    )
    listed = [{"k8s_nodes": {}}, {"behind": {}}]
    pillar = pillars.compile(pillar_dirs=[folder], ext_pillar=listed)
    assert pillar["allow"] == SERVED
    assert pillar["seen"] == SERVED
    assert pillar["more"] == ["k8s://prod"]
    assert "behind comes after" in str(findings({**pillars.opts, "ext_pillar": listed})[0])


@pytest.mark.parametrize("strategy", ["smart", "recurse", "aggregate", "overwrite", "none"])
@pytest.mark.parametrize("lists", [True, False], ids=["merge_lists", "no merge_lists"])
def test_what_an_ext_pillar_behind_us_adds_is_merged_as_ever(pillars, tmp_path, strategy, lists):
    folder = ext_pillars(
        tmp_path,
        behind="""
        def ext_pillar(minion_id, pillar):
            return {"other": {"a": 1}}
        """,
    )
    pillar = pillars.compile(
        pillar_dirs=[folder],
        ext_pillar=[{"k8s_nodes": {}}, {"behind": {}}],
        pillar_source_merging_strategy=strategy,
        pillar_merge_lists=lists,
    )
    assert pillar["allow"] == SERVED
    assert pillar["other"] == {"a": 1}


@pytest.mark.parametrize(
    "options",
    [{"k8s_nodes": None}, {"ext_pillar": [{"k8s_nodes": {"no_such_option": True}}]}],
    ids=["no configuration", "an option that does not exist"],
)
def test_where_the_ext_pillar_cannot_run_the_references_stay(pillars, options, caplog):
    opts = {**pillars.opts, **options}
    if opts["k8s_nodes"] is None:
        del opts["k8s_nodes"]
    with caplog.at_level(logging.CRITICAL):
        compiler = salt.pillar.Pillar(opts, {"id": "m1"}, "m1", "base")
        pillar = compiler.compile_pillar()
        compiler.destroy()
    assert pillar["allow"] == ALLOW["allow"]
    assert "k8s_nodes" in caplog.text


def test_a_pillar_of_odd_values_is_compiled(pillars, tmp_path):
    folder = ext_pillars(
        tmp_path,
        odd="""
        import collections
        import datetime

        class Mine(dict):
            def copy(self):
                raise TypeError("no copies")
            __copy__ = copy

        def ext_pillar(minion_id, pillar):
            ring = {"allow": ["k8s://prod"]}
            ring["ring"] = ring
            pillar["ring"] = ring
            pillar["odd"] = {
                None: None, 1: 2.5, ("k8s://x",): b"k8s://prod", "day": datetime.date(2026, 1, 1),
                "user": collections.UserDict(allow=["k8s://prod"]), "set": {"k8s://prod"},
                "mine": Mine(allow=["k8s://prod"]),
            }
            pillar["many"] = {f"key{n}": {"a": [n]} for n in range(100_000)}
            return {}
        """,
    )
    listed = [{"odd": {}}, {"k8s_nodes": {}}]
    pillar = pillars.compile(pillar_dirs=[folder], ext_pillar=listed)
    assert "_errors" not in pillar
    assert pillar["allow"] == SERVED
    assert pillar["ring"]["allow"] == ["192.0.2.1"]
    assert pillar["odd"]["mine"] == {"allow": ["192.0.2.1"]}
    assert pillar["odd"]["user"]["allow"] == ["k8s://prod"]
    assert pillar["odd"][("k8s://x",)] == b"k8s://prod"
    assert len(pillar["many"]) == 100_000


def test_a_minion_without_a_master_gets_addresses(tmp_path):
    known(tmp_path / "state")
    roots = tmp_path / "pillar"
    roots.mkdir()
    (roots / "top.sls").write_text("base: {'*': [data]}\n")
    (roots / "data.sls").write_text(yaml.safe_dump(ALLOW))
    states = tmp_path / "states"
    states.mkdir()
    (states / "seen.sls").write_text(
        f"{tmp_path}/seen:\n  file.managed:\n    - contents: {{{{ pillar['allow'] | json }}}}\n"
    )
    conf = {
        "root_dir": str(tmp_path),
        "id": "alone",
        "file_client": "local",
        "pillar_roots": {"base": [str(roots)]},
        "file_roots": {"base": [str(states)]},
        "ext_pillar": [{"k8s_nodes": {}}],
        "k8s_nodes": {"state_dir": str(tmp_path / "state"), "clusters": {"prod": CLUSTER}},
    }
    (tmp_path / "minion").write_text(yaml.safe_dump(conf))

    def call(*words: str) -> dict:
        argv = [str(Path(sys.executable).with_name("salt-call")), "--local", "-c", str(tmp_path)]
        done = subprocess.run(
            [*argv, "--out=json", *words], capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)["local"]

    # Salt 3008 masks what it prints of a pillar, and not what a state sees.
    (state,) = call("state.apply", "seen").values()
    assert state["result"] is True
    assert (tmp_path / "seen").read_text().split() == SERVED
    assert Store(str(tmp_path / "state")).subscriptions.all() == []
