"""One place for all tests; each begins with an empty kernel and an empty record."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

import pytest

from lab.network.namespace import Namespace
from lab.world import prerequisites
from tests.firewall import place
from tests.firewall.place import MEMBER, PORT, Host, Minion, Place


@pytest.fixture(scope="session")
def everywhere() -> Iterator[Place]:
    if reason := prerequisites.unmet():
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


@pytest.fixture
def container(here: Place) -> Iterator[Host]:
    """A host behind the server; the server routes, and publishes its port 5432 as 6001."""
    space = Namespace(f"k8s-fw.{place.name()}.container")
    space.create()
    try:
        here.server.run(
            "ip", "link", "add", "inside", "type", "veth", "peer", "eth0", "netns", space.name
        )
        here.server.run("ip", "address", "add", "172.31.9.1/24", "dev", "inside")
        here.server.run("ip", "link", "set", "inside", "up")
        here.server.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        space.batch(
            "link set lo up",
            "link set eth0 up",
            "address add 172.31.9.2/24 dev eth0",
            "route add default via 172.31.9.1",
        )
        for protocol in ("tcp", "udp"):
            here.server.run(
                "iptables", "-w", "-t", "nat", "-A", "PREROUTING", "-p", protocol, "--dport",
                "6001", "-j", "DNAT", "--to", f"172.31.9.2:{PORT}",
            )  # fmt: skip
        host = Host(space, MEMBER)
        with place.service(host, PORT):
            yield host
    finally:
        # A connection that was cut keeps the namespace, and with it the link, for minutes.
        with contextlib.suppress(AssertionError):
            here.server.run("ip", "link", "del", "inside")
        space.remove()
        for host in (here.member, here.other, here.stranger):
            host.run("ip", "route", "flush", "172.31.9.0/24")
