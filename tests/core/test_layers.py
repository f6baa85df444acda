"""Which file of a master's configuration counts, and what another one loses by it."""

from __future__ import annotations

from salt_ext.core.diagnosis.config_files import ConfigFile, effective, findings
from salt_ext.core.diagnosis.finding import Level


def files(*values: tuple[int, dict]) -> list[ConfigFile]:
    return [
        ConfigFile(path=f"/etc/{number}", layer=layer, values=those)
        for number, (layer, those) in enumerate(values)
    ]


def told(*values: tuple[int, dict]) -> list[tuple[Level, str]]:
    return [(one.level, str(one)) for one in findings(files(*values))]


def test_files_of_one_folder_add_to_each_other():
    both = ((0, {"interface": "::"}), (1, {"engines": ["a"]}), (1, {"engines": ["b"]}))
    assert told(*both) == []
    assert [file.path for file in effective(files(*both), "engines")] == ["/etc/1", "/etc/2"]


def test_a_list_and_a_mapping_of_one_folder_do_not_add_to_each_other():
    both = ((1, {"engines": ["a", "b"]}), (1, {"engines": {"b": {}, "c": {}}}))
    ((level, text),) = told(*both)
    assert level is Level.ERROR
    assert "stands in /etc/0 and in /etc/1, which replaces it as a whole: a is lost" in text
    assert [file.path for file in effective(files(*both), "engines")] == ["/etc/1"]


def test_a_key_without_a_value_loses_nothing():
    assert told((0, {"engines": None}), (1, {"engines": ["a"]})) == []


def test_a_list_of_the_main_file_is_replaced_and_what_is_lost_is_named():
    ((level, text),) = told((0, {"ext_pillar": [{"git": []}]}), (1, {"ext_pillar": [{"x": 1}]}))
    assert level is Level.ERROR
    assert "ext_pillar: stands in /etc/0 and in /etc/1" in text
    assert "git is lost" in text
    assert "take it out of /etc/0" in text


def test_what_is_there_twice_is_not_lost():
    ((level, _),) = told((0, {"engines": ["a"]}), (1, {"engines": ["a", "b"]}))
    assert level is Level.WARNING


def test_an_included_file_replaces_both():
    found = told((0, {"engines": ["a"]}), (1, {"engines": ["b"]}), (2, {"engines": ["c"]}))
    assert ["a is lost" in text or "b is lost" in text for _, text in found] == [True, True]


def test_folders_and_parts_of_our_block_are_lost_by_name():
    ((_, text),) = told(
        (0, {"file_roots": {"base": ["/srv/salt"]}}), (1, {"file_roots": {"base": ["/ours"]}})
    )
    assert "base: /srv/salt is lost" in text
    ((_, text),) = told(
        (0, {"k8s_nodes": {"denied_networks": "x"}}), (1, {"k8s_nodes": {"clusters": {}}})
    )
    assert "denied_networks is lost" in text


def test_what_is_lost_is_told_without_what_may_be_a_secret():
    ((_, text),) = told(
        (0, {"ext_pillar": {"git": ["https://me:hunter2@git.example.com", {"token": "hunter2"}]}}),
        (1, {"ext_pillar": []}),
    )
    assert "git: https://...@git.example.com, git is lost" in text


def test_other_keys_are_nobodys_business():
    assert told((0, {"timeout": 5}), (1, {"timeout": 10})) == []
