"""Where stale rules are looked for, and how they are deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from k8s_firewall_parts import errors, programs, prune

GONE = frozenset({"192.0.2.1"})
SAVED = "*filter\n-A INPUT -s 192.0.2.1/32 -j ACCEPT\n-A INPUT -s 192.0.2.2/32 -j ACCEPT\nCOMMIT\n"
SAVED_NFT = "table inet filter {\n\tchain input {\n\t\tip saddr 192.0.2.1 accept\n\t}\n}\n"
LISTED = {
    "nftables": [
        {"rule": {"chain": "input", "handle": 7, "expr": [
            {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}},
                       "right": "192.0.2.1"}},
            {"accept": None},
        ]}}
    ]
}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "prune is not a mapping; write {} for the defaults"),
        ({"chains": []}, "prune:chains is not a known key; known keys: commands, iptables, nft"),
        ({"iptables": ["INPUT"]}, "prune:iptables is not a mapping of tables to lists of chains"),
        ({"iptables": {"filter": "INPUT"}}, "prune:iptables:filter is not a list of names"),
        ({"saved": "x"}, "prune:saved is not a list of names"),
        ({"saved": [5]}, "prune:saved is not a list of names"),
        ({"commands": ["/tmp/iptables"]}, "prune:commands: '/tmp/iptables' is not one of iptables"),
        ({"nft": {"filter": ["input"]}}, "prune:nft:filter is not a table; example: inet filter"),
        ({"nft": {"inet -f": ["input"]}}, "prune:nft:inet -f is not a table"),
    ],
)
def test_a_mistake_is_named(value: Any, message: str) -> None:
    problems: list[str] = []
    prune.parse(value, problems)
    assert len(problems) == 1
    assert message in problems[0]


def test_defaults() -> None:
    problems: list[str] = []
    assert prune.parse(None, problems) is None
    assert prune.parse(False, problems) is None
    assert prune.parse({}, problems) == prune.PruneConfig()
    found = prune.parse({"saved": (), "nft": {"ip filter": ["input"]}}, problems)
    assert found == prune.PruneConfig(saved=[], nft={"ip filter": ["input"]})
    assert not problems


class Tools:
    """Stands for the programs: what they print, and what they were given."""

    def __init__(self) -> None:
        self.outputs = {
            "iptables-save": [SAVED],
            "ip6tables-save": [""],
            "nft": [json.dumps(LISTED)],
        }
        self.given: list[tuple[str, str]] = []
        self.refuses: set[str] = set()

    def run(self, argv: list[str], text: str = "") -> str:
        if argv[0] in self.outputs and "-f" not in argv:
            outputs = self.outputs[argv[0]]
            return outputs.pop(0) if len(outputs) > 1 else outputs[0]
        if argv[0] in self.refuses:
            self.refuses.discard(argv[0])
            raise errors.CommandFailed(argv, 1, "no")
        self.given.append((argv[0], text))
        return ""


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Tools:
    tools = Tools()
    monkeypatch.setattr(programs, "run", tools.run)
    monkeypatch.setattr(programs, "installed", lambda _: True)
    return tools


DELETION = "*filter\n-D INPUT -s 192.0.2.1/32 -j ACCEPT\nCOMMIT\n"


def test_rules_are_deleted_in_the_kernel_and_in_files(tools: Tools, tmp_path: Path) -> None:
    for name, text in (("v4", SAVED), ("nft", SAVED_NFT), ("other", "nothing")):
        (tmp_path / name).write_text(text)
    saved = [str(tmp_path / name) for name in ("v4", "nft", "other", "absent")]
    config = prune.PruneConfig(nft={"inet filter": ["input"]}, saved=saved)
    would = prune.prune(config, GONE, test=True)
    assert not tools.given
    assert (tmp_path / "v4").read_text() == SAVED
    assert prune.prune(config, GONE, test=False) == would
    assert would == {
        "iptables": ["filter: -A INPUT -s 192.0.2.1/32 -j ACCEPT"],
        "nft inet filter": ["input: saddr 192.0.2.1"],
        saved[0]: ["filter: -A INPUT -s 192.0.2.1/32 -j ACCEPT"],
        saved[1]: ["inet filter: ip saddr 192.0.2.1 accept"],
    }
    assert tools.given == [
        ("iptables-restore", DELETION),
        ("nft", "delete rule inet filter input handle 7\n"),
    ]
    assert "192.0.2.1/32" not in (tmp_path / "v4").read_text()
    assert "192.0.2.1" not in (tmp_path / "nft").read_text()


def test_nothing_is_read_for_nobody(tools: Tools) -> None:
    tools.outputs.clear()
    assert prune.prune(prune.PruneConfig(), frozenset(), test=False) == {}
    assert prune.prune(prune.PruneConfig(iptables={}, saved=[]), GONE, test=False) == {}


def test_a_program_that_is_missing_is_left_out(
    tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "installed", lambda _: False)
    assert prune.prune(prune.PruneConfig(saved=[]), GONE, test=False) == {}


def test_a_deletion_that_another_program_outran_is_made_of_the_rest(tools: Tools) -> None:
    tools.refuses = {"iptables-restore"}
    both = SAVED.replace("COMMIT", "-A INPUT -s 192.0.2.1/32 -p tcp -j ACCEPT\nCOMMIT")
    tools.outputs["iptables-save"] = [both, SAVED]
    prune.prune(prune.PruneConfig(saved=[]), GONE, test=False)
    assert tools.given == [("iptables-restore", DELETION)]


def test_a_deletion_that_is_refused_is_an_error(tools: Tools) -> None:
    tools.refuses = {"iptables-restore"}
    with pytest.raises(errors.CommandFailed, match="iptables-restore -w --noflush: no"):
        prune.prune(prune.PruneConfig(saved=[]), GONE, test=False)


@pytest.mark.parametrize(
    ("output", "raises"), [("Error: No such file or directory", False), ("not permitted", True)]
)
def test_a_table_that_does_not_exist_has_no_rules(
    monkeypatch: pytest.MonkeyPatch, output: str, raises: bool
) -> None:
    def fails(argv: list[str]) -> str:
        raise errors.CommandFailed(argv, 1, output)

    monkeypatch.setattr(programs, "run", fails)
    config = prune.PruneConfig(iptables={}, nft={"inet filter": ["input"]}, saved=[])
    if raises:
        with pytest.raises(errors.CommandFailed):
            prune.prune(config, GONE, test=False)
    else:
        assert prune.prune(config, GONE, test=False) == {}
