"""Which file of a master's configuration is effective, and what other files lose."""

from __future__ import annotations

from salt_ext.core.diagnosis.config_files import ConfigFile, effective, findings
from salt_ext.core.diagnosis.finding import Level


def files(*values: tuple[int, dict]) -> list[ConfigFile]:
    return [
        ConfigFile(path=f"/etc/{number}", layer=layer, values=those)
        for number, (layer, those) in enumerate(values)
    ]


def found_in(*values: tuple[int, dict]) -> list[tuple[Level, str]]:
    return [(one.level, str(one)) for one in findings(files(*values))]


def test_files_of_one_folder_are_merged():
    both = ((0, {"interface": "::"}), (1, {"engines": ["a"]}), (1, {"engines": ["b"]}))
    assert found_in(*both) == []
    assert [file.path for file in effective(files(*both), "engines")] == ["/etc/1", "/etc/2"]


def test_a_list_and_a_mapping_of_one_folder_are_not_merged():
    both = ((1, {"engines": ["a", "b"]}), (1, {"engines": {"b": {}, "c": {}}}))
    ((level, text),) = found_in(*both)
    assert level is Level.ERROR
    assert "is set in /etc/0 and in /etc/1, which replaces it as a whole: a is lost" in text
    assert [file.path for file in effective(files(*both), "engines")] == ["/etc/1"]


def test_a_key_without_a_value_loses_nothing():
    assert found_in((0, {"engines": None}), (1, {"engines": ["a"]})) == []


def test_a_list_of_the_main_file_is_replaced_and_what_is_lost_is_named():
    ((level, text),) = found_in((0, {"ext_pillar": [{"git": []}]}), (1, {"ext_pillar": [{"x": 1}]}))
    assert level is Level.ERROR
    assert "ext_pillar: is set in /etc/0 and in /etc/1" in text
    assert "git is lost" in text
    assert "remove it from /etc/0" in text


def test_an_item_that_is_in_both_files_is_not_lost():
    ((level, _),) = found_in((0, {"engines": ["a"]}), (1, {"engines": ["a", "b"]}))
    assert level is Level.WARNING


def test_an_included_file_replaces_both():
    found = found_in((0, {"engines": ["a"]}), (1, {"engines": ["b"]}), (2, {"engines": ["c"]}))
    assert ["a is lost" in text or "b is lost" in text for _, text in found] == [True, True]


def test_lost_folders_and_keys_are_named():
    ((_, text),) = found_in(
        (0, {"file_roots": {"base": ["/srv/salt"]}}), (1, {"file_roots": {"base": ["/ext"]}})
    )
    assert "base: /srv/salt is lost" in text
    ((_, text),) = found_in(
        (0, {"k8s_nodes": {"denied_networks": "x"}}), (1, {"k8s_nodes": {"clusters": {}}})
    )
    assert "denied_networks is lost" in text


def test_lost_items_are_named_without_secrets():
    ((_, text),) = found_in(
        (0, {"ext_pillar": {"git": ["https://me:hunter2@git.example.com", {"token": "hunter2"}]}}),
        (1, {"ext_pillar": []}),
    )
    assert "git: https://...@git.example.com, git is lost" in text


def test_other_keys_are_ignored():
    assert found_in((0, {"timeout": 5}), (1, {"timeout": 10})) == []
