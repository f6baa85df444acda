"""A class of minions that is told to call a module of ours, which is brought to them before."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from contextlib import closing

import pytest

from lab.polling import wait_until
from lab.world.world import World
from salt_ext.master import minion_module
from tests.integration.looking import WITHIN, Looking

pytestmark = pytest.mark.root


@pytest.fixture
def looking(quiet: World) -> Looking:
    return Looking(quiet)


def told(looking: Looking) -> list[str]:
    """What the class was told, oldest first; the function alone."""
    return [function for name, function, _ in looking.published() if name == "sets"]


def once(functions: list[str]) -> list[str]:
    """The same without what was sent again, as it is to a minion that takes too long."""
    return [function for function, _ in itertools.groupby(functions)]


def lets_in(looking: Looking, address: str) -> bool:
    listed = ["nft", "list", "set", "inet", "k8s_firewall", "postgresql_v4"]
    return address in looking.world.hosts["minion2"].run(listed).stdout


def test_the_class_is_told_its_function_and_the_others_theirs(looking: Looking) -> None:
    looking.world.nodes.create("x1", internal=["10.77.2.201"])
    wait_until(lambda: lets_in(looking, "10.77.2.201"), within=WITHIN, what="a node that is let in")
    looking.wait("minion1", "minion2")
    assert looking.published()[-1][:2] in (("sets", "k8s_firewall.sync"), ("", "state.apply"))
    assert told(looking)[-1] == "k8s_firewall.sync"
    # What has left before is closed there as a step of its own, with the module brought first.
    closing = {"saltutil.sync_all", "k8s_firewall.close"}
    others = {function for name, function, _ in looking.published() if name == ""}
    assert others - closing == {"state.apply"}


def test_modules_went_out_before_their_first_use(looking: Looking) -> None:
    assert once(told(looking))[:2] == ["saltutil.sync_all", "k8s_firewall.sync"]
    versions = looking.store.minion_facts.module_versions()
    assert versions["minion2"] == minion_module.shipped_version()


def test_and_go_out_again_after_an_upgrade(looking: Looking) -> None:
    host = looking.world.hosts["minion2"]
    parts = host.folder / "var" / "cache" / "salt" / "minion" / "extmods" / "modules"
    with closing(sqlite3.connect(looking.folder / "store.sqlite3")) as raw:
        raw.execute("UPDATE module_version SET version = 'the one before'")
        raw.commit()
    # The minion of an older version of us has not all of the files.
    (parts / "k8s_firewall_parts" / "freshness.py").unlink()
    shutil.rmtree(parts / "k8s_firewall_parts" / "__pycache__", ignore_errors=True)
    before = len(told(looking))
    looking.world.nodes.create("x2", internal=["10.77.2.202"])
    wait_until(lambda: lets_in(looking, "10.77.2.202"), within=WITHIN, what="a node that is let in")
    looking.wait("minion1", "minion2")
    assert once(told(looking)[before:]) == ["saltutil.sync_all", "k8s_firewall.sync"]
    versions = looking.store.minion_facts.module_versions()
    assert versions["minion2"] == minion_module.shipped_version()
