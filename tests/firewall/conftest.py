"""One place for all tests; each begins with an empty kernel and an empty record."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import place
import pytest
from place import Minion, Place

from lab.machine import unfit


@pytest.fixture(scope="session")
def everywhere() -> Iterator[Place]:
    if reason := unfit():
        pytest.skip(reason)
    with place.made(place.name()) as made, place.service(made.server, place.PORT):
        yield made


@pytest.fixture(scope="session")
def loaded(everywhere: Place, tmp_path_factory: pytest.TempPathFactory) -> Minion:
    return Minion(tmp_path_factory.mktemp("minion"), everywhere.server)


@pytest.fixture
def here(everywhere: Place) -> Place:
    everywhere.server.run("nft", "flush", "ruleset")
    everywhere.server.run("ipset", "destroy")
    everywhere.server.run("conntrack", "-F")
    return everywhere


@pytest.fixture
def minion(here: Place, loaded: Minion) -> Minion:
    shutil.rmtree(loaded.state_dir, ignore_errors=True)
    options = loaded.functions["k8s_firewall.version"].__globals__["__opts__"]
    if options["cachedir"] != loaded.opts["cachedir"] or "pillar" in options:
        # Another minion of this process has loaded the module, or a state run has, with the pillar
        # of then below every later one: Salt keeps one of a name.
        loaded.functions = loaded.load()
    return loaded
