"""The plan of `setup`: Salt's merge of its files is correct, and nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import Any

import pytest

from salt_ext.core.diagnosis.config_files import ConfigFile, effective, merge
from salt_ext.core.diagnosis.setup_plan import Plan, RequiredOptions, plan
from salt_ext.core.diagnosis.wiring import engine_is_listed

NEW = "/d/k8s_nodes.conf"
SLS = "/ext/apply.sls"
REQUIRED = RequiredOptions(
    sls=SLS, formula="/ext/formula", clusters={}, first={"apply": {"states": ["firewall"]}}
)
OPTS = {"fileserver_backend": ["roots"]}
REACTOR = [{f"salt/k8s_nodes/*/{kind}": [SLS]} for kind in ("changed", "lagging")]


def written(*values: tuple[str, int, dict[str, Any]]) -> list[ConfigFile]:
    return [ConfigFile(path=path, layer=layer, values=those) for path, layer, those in values]


def planned(files: list[ConfigFile], lists: dict[str, list[Any]]) -> Plan:
    return plan(files, OPTS, NEW, REQUIRED, lists)


def pasted(files: list[ConfigFile], lists: dict[str, list[Any]]) -> tuple[dict[str, Any], Plan]:
    """Return Salt's merge of the files with the plan applied, and the next plan."""
    made = planned(files, lists)
    after = [
        ConfigFile(
            path=file.path,
            layer=file.layer,
            values={
                **{
                    key: value
                    for key, value in file.values.items()
                    if key not in made.take_out.get(file.path, [])
                },
                **made.put.get(file.path, {}),
            },
        )
        for file in (*files, *([] if any(f.path == NEW for f in files) else written((NEW, 1, {}))))
    ]
    after.sort(key=lambda file: (file.layer, file.path))
    keys = {key for file in after for key in file.values}
    opts = {
        key: reduce(merge, (file.values[key] for file in effective(after, key)), None)
        for key in keys
    }
    return opts, planned(after, lists)


@pytest.mark.parametrize(
    "files",
    [
        (("/main", 0, {"engines": [{"mine": {}}]}), ("/d/a", 1, {"engines": {"other": {}}})),
        (("/main", 0, {"engines": {"mine": {}}}), ("/d/a", 1, {"engines": [{"other": {}}]})),
        (("/d/a", 1, {"engines": ["mine"]}), ("/d/b", 1, {"engines": {"other": {}}})),
        (("/d/a", 1, {"engines": {"mine": {}}}), ("/d/b", 1, {"engines": ["other"]})),
        (("/d/a", 1, {"engines": {"mine": {}}}), ("/d/b", 1, {"engines": {"other": {}}})),
        (
            ("/d/a", 1, {"engines": ["mine", "k8s_nodes"]}),
            ("/d/b", 1, {"engines": {"other": {}}}),
        ),
        (("/d/a", 1, {"engines": ["mine", "other"]}), ("/d/b", 1, {"engines": None})),
    ],
)
def test_a_list_and_a_mapping_of_engines_become_one_list(files):
    opts, again = pasted(written(*files), {})
    names = [one if isinstance(one, str) else next(iter(one)) for one in opts["engines"]]
    assert sorted(names) == ["k8s_nodes", "mine", "other"]
    assert engine_is_listed(opts)
    assert (again.put, again.take_out) == ({}, {})


@pytest.mark.parametrize(
    "files",
    [
        (("/d/10", 1, {"ext_pillar": [{"k8s_nodes": {}}]}), ("/d/20", 1, {"ext_pillar": ["git"]})),
        (
            ("/d/10", 1, {"ext_pillar": [{"k8s_nodes": {}}, {"x": 1}]}),
            ("/d/20", 1, {"ext_pillar": [{"k8s_nodes": {}}, {"git": []}]}),
        ),
        (("/main", 0, {"ext_pillar": [{"k8s_nodes": {}}, {"x": 1}]}),),
        (("/main", 0, {"ext_pillar": [{"k8s_nodes": {}, "git": []}]}),),
    ],
)
def test_k8s_nodes_becomes_the_last_ext_pillar(files):
    before = [
        name
        for _, _, values in files
        for one in values["ext_pillar"]
        for name in ([one] if isinstance(one, str) else one)
    ]
    opts, again = pasted(written(*files), {})
    names = [one if isinstance(one, str) else next(iter(one)) for one in opts["ext_pillar"]]
    assert names[-1] == "k8s_nodes"
    assert sorted(names) == sorted(set(before))
    assert (again.put, again.take_out) == ({}, {})


def test_a_list_merged_from_two_files_stays_in_both():
    files = written(*((f"/d/{one}", 1, {"ext_pillar": [{one: {}}]}) for one in ("git", "x")))
    made = planned(files, {})
    assert made.put["/d/x"] == {"ext_pillar": [{"x": {}}, {"k8s_nodes": {}}]}
    assert made.take_out == {}


def test_reactions_in_an_item_with_several_tags_are_added_again():
    both = {tag: files for one in REACTOR for tag, files in one.items()}
    opts, again = pasted(written(("/main", 0, {"reactor": [both]})), {})
    assert opts["reactor"] == [both, *REACTOR]
    assert (again.put, again.take_out) == ({}, {})


def test_a_reactor_list_in_a_separate_file_is_kept():
    start = {"salt/minion/*/start": ["/srv/start.sls"]}
    for files in (
        written(("/main", 0, {"reactor": "/srv/map"})),
        written(("/main", 0, {"reactor": "/srv/map"}), ("/d/a", 1, {"reactor": REACTOR})),
    ):
        opts, _ = pasted(files, {"/srv/map": [start]})
        assert sorted(map(str, opts["reactor"])) == sorted(map(str, [start, *REACTOR]))


def test_a_separate_file_with_the_reactions_needs_no_change():
    made = planned(written(("/main", 0, {"reactor": "/srv/map"})), {"/srv/map": REACTOR})
    assert "reactor" in made.right
    assert "/main" not in made.put


@pytest.mark.parametrize(
    ("block", "apply"),
    [
        ({}, {"states": ["firewall"]}),
        ({"state_dir": "/x"}, {"states": ["firewall"]}),
        ({"apply": {"highstate": True}}, {"highstate": True}),
        # With a cluster, the operator has decided what to publish.
        ({"clusters": {"there": {"page_size": 10}}}, None),
    ],
)
def test_the_first_cluster_comes_with_an_apply_block_and_a_second_without(block, apply):
    required = replace(REQUIRED, clusters={"new": {}})
    made = plan(written(("/d/x", 1, {"k8s_nodes": block})), OPTS, NEW, required, {})
    (put,) = (keys["k8s_nodes"] for keys in made.put.values() if "k8s_nodes" in keys)
    assert put.get("apply") == apply
    assert put["clusters"] == {"new": {}, **block.get("clusters", {})}
    assert {key: put[key] for key in block if key != "clusters"} == {
        key: value for key, value in block.items() if key != "clusters"
    }
