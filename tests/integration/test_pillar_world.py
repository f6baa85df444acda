"""What goes wrong between the store and a minion's pillar: nothing opens, and it is known."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from lab.polling import wait_until
from lab.world.world import World
from tests.integration.looking import BOTH, WITHIN, Looking, node, rules

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def world(ruled: World) -> World:
    """The rules of every minion can be read in one way."""
    return ruled


@contextmanager
def master_with(looking: Looking, settings: Mapping[str, Any]) -> Iterator[None]:
    """Restart the master with another configuration, and with its own at the end."""
    path = looking.master.host.folder / "salt" / "master.d" / "k8s_nodes.conf"
    before = path.read_text()
    path.write_text(yaml.safe_dump({**yaml.safe_load(before), **settings}))
    looking.master.restart()
    try:
        yield
    finally:
        path.write_text(before)
        looking.master.restart()


def failed(looking: Looking, name: str) -> None:
    """Wait until a run of a minion has failed."""
    wait_until(
        lambda: looking.minion(name).get("failed_attempts"),
        within=WITHIN,
        what=f"a failed run of {name}, but {looking.minion(name)}",
        every=0.05,
    )


def joined(looking: Looking, name: str, address: str) -> None:
    """A node joins, and is let in everywhere."""
    node(looking, name, address)
    let_in(looking, address)


def let_in(looking: Looking, address: str) -> None:
    looking.wait(*BOTH)
    for name in BOTH:
        assert f"{address}/" in rules(looking.world, name)


def test_without_our_ext_pillar_nothing_opens_and_nothing_counts_as_applied(
    looking: Looking,
) -> None:
    world = looking.world
    with master_with(looking, {"ext_pillar": []}):
        node(looking, "x1", "10.77.2.201")
        for name in BOTH:
            failed(looking, name)
            assert "10.77.2.201/" not in rules(world, name)
            assert "10.77.3.1/" in rules(world, name)
        assert not looking.up_to_date(*BOTH)
    let_in(looking, "10.77.2.201")


def test_a_mistake_in_the_options_of_our_ext_pillar_is_no_error_of_the_pillar(
    looking: Looking,
) -> None:
    world = looking.world
    joined(looking, "x1", "10.77.2.201")
    with master_with(looking, {"ext_pillar": [{"k8s_nodes": {"fetch": True, "ttl": "soon"}}]}):
        told = world.salt("*", "pillar.items")
        for name in BOTH:
            assert "_errors" not in told[name]
            assert "10.77.2.201/" in rules(world, name)


def test_other_looks_at_a_pillar_forget_nobody(looking: Looking) -> None:
    world = looking.world
    joined(looking, "x1", "10.77.2.201")
    world.salt_run("pillar.show_pillar", "minion1")
    override = json.dumps({"firewall": {"services": {}}})
    world.salt("minion1", "pillar.items", f"pillar={override}")
    world.salt("minion1", "pillar.items", "pillarenv=other")
    joined(looking, "x2", "10.77.2.202")


def test_a_pillar_cache_is_refused_by_check_and_old_addresses_count_for_nothing(
    looking: Looking,
) -> None:
    world = looking.world
    joined(looking, "x1", "10.77.2.201")
    with master_with(looking, {"pillar_cache": True}):
        done = looking.master.call("salt-run", "k8s_nodes.check", "within=0")
        assert done.returncode == 1
        assert "pillar_cache" in done.stdout
        # From here on it is the cache that answers.
        world.salt("*", "pillar.items")
        node(looking, "x2", "10.77.2.202")
        for name in BOTH:
            failed(looking, name)
            assert "was not served k8s://prod as it is now" in looking.minion(name)["last_error"]
    let_in(looking, "10.77.2.202")
