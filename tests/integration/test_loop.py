"""
The whole loop, from a Node object to a packet: Kubernetes API, engine, pillar, reactor, firewall.

What is asserted was seen by probes that try a fresh connection every 10 ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from lab.polling import wait_until
from lab.traffic.probe import Probe
from lab.traffic.service import PORT
from lab.world.world import World

pytestmark = pytest.mark.root

MINIONS = ("minion1", "minion2")
WITHIN = 180.0
STALE_WITHIN = 300.0
"""Most of it is there for an API whose packets vanish: silence is noticed late."""


def wait(world: World, name: str, what: str, *, since: float) -> None:
    for minion in MINIONS:
        world.traffic[name].connect(minion).wait(what, since=since, within=WITHIN)


def join(world: World, name: str) -> None:
    """A node joins and gets in."""
    wait(world, name, "open", since=world.join(name).at)


def flowing(world: World, name: str) -> None:
    """Wait until a node's lasting connections carry data: they begin after its first ones."""
    for minion in MINIONS:
        world.traffic[name].flow(minion).wait("flowing", within=WITHIN)


def stale(world: World) -> bool:
    return bool(world.salt_run("k8s_nodes.status")["clusters"]["prod"]["stale"])


def changes(world: World, *, since: float) -> list[str]:
    """What any probe of the world has seen change."""
    return [
        f"{probe.source} to {probe.target}: {transition.state}"
        for traffic in world.traffic.values()
        for probe in traffic.probes
        for transition in probe.transitions(since=since)
    ]


@pytest.fixture
def over_ipv6(quiet: World) -> Iterator[Callable[[str], Probe]]:
    """Start a probe of minion1's IPv6 address from a host."""
    started = []

    def start(name: str) -> Probe:
        address = str(quiet.hosts["minion1"].addresses.v6)
        folder = quiet.folder / "probes"
        probe = Probe.start(quiet.hosts[name], "connect", "minion1", address, PORT, folder=folder)
        started.append(probe)
        return probe

    yield start
    for probe in started:
        probe.stop()


def test_a_node_that_joins_gets_in_everywhere(
    quiet: World, over_ipv6: Callable[[str], Probe]
) -> None:
    quiet.join("node1", create=False)
    wait(quiet, "node1", "closed", since=0)
    probe = over_ipv6("node1")
    probe.wait("closed", within=WITHIN)
    node = quiet.join("node1")
    wait(quiet, "node1", "open", since=node.at)
    probe.wait("open", since=node.at, within=WITHIN)


def test_a_node_that_leaves_is_shut_out_with_its_open_connections(quiet: World) -> None:
    join(quiet, "node1")
    join(quiet, "node2")
    for name in ("node1", "node2"):
        flowing(quiet, name)
    quiet.settle()
    at = quiet.leave("node1")
    wait(quiet, "node1", "closed", since=at)
    for minion in MINIONS:
        # Silent, and then reset.
        quiet.traffic["node1"].flow(minion).wait("ended", since=at, within=WITHIN)
        assert quiet.traffic["node2"].flow(minion).state() == "flowing"
    assert not [change for change in changes(quiet, since=at) if not change.startswith("node1")]


def test_both_ways_of_a_firewall_are_in_use(quiet: World) -> None:
    node = quiet.join("node1")
    wait(quiet, "node1", "open", since=node.at)
    quiet.settle()
    address = str(node.host.addresses.v4)
    assert f"-s {address}/32" in quiet.hosts["minion1"].run(["iptables", "-S"]).stdout
    assert address not in quiet.hosts["minion2"].run(["iptables", "-S"]).stdout
    told = quiet.salt("minion*", "k8s_firewall.status")
    assert [told[minion]["problems"] for minion in MINIONS] == [[], []]
    assert told["minion2"]["sets"] == {"postgresql": 4}
    # Somebody changes it, harmlessly.
    quiet.hosts["minion2"].run(
        ["nft", "add", "rule", "inet", "k8s_firewall", "gate_forward", "counter"]
    )
    done = quiet.salt("minion2", "k8s_firewall.drift", repair=True)["minion2"]
    assert (done["result"], done["repaired"]) == (True, True)
    assert quiet.salt("minion2", "k8s_firewall.drift")["minion2"]["comment"] == "no drift"


def test_a_node_that_comes_back_gets_in_again(quiet: World) -> None:
    join(quiet, "node1")
    wait(quiet, "node1", "closed", since=quiet.leave("node1"))
    join(quiet, "node1")


@pytest.mark.parametrize("how", ["stopped", "black-holed"])
def test_without_the_api_nothing_changes_and_status_says_stale(quiet: World, how: str) -> None:
    for name in ("node1", "node2"):
        join(quiet, name)
        flowing(quiet, name)
    at = quiet.leave("node2")
    wait(quiet, "node2", "closed", since=at)
    for minion in MINIONS:
        quiet.traffic["node2"].flow(minion).wait("ended", since=at, within=WITHIN)
    quiet.settle()
    begin = time.monotonic()
    gone, back = {
        "stopped": (quiet.api.stop, quiet.api.start),
        "black-holed": (lambda: quiet.cut("kube"), lambda: quiet.reconnect("kube")),
    }[how]
    gone()
    try:
        wait_until(lambda: stale(quiet), within=STALE_WITHIN, what="a stale status", every=0.5)
        quiet.apply()
        assert not changes(quiet, since=begin)
    finally:
        back()
    wait_until(lambda: not stale(quiet), within=STALE_WITHIN, what="a fresh status", every=0.5)
    assert not changes(quiet, since=begin)
    join(quiet, "node3")


def test_who_left_while_the_api_was_unreachable_is_shut_out_after(quiet: World) -> None:
    join(quiet, "node1")
    quiet.settle()
    quiet.cut("kube")
    quiet.leave("node1")  # The administrator is on the API's own host.
    quiet.reconnect("kube")
    wait(quiet, "node1", "closed", since=0)


def test_who_came_and_left_while_the_master_was_down_is_so_after(quiet: World) -> None:
    join(quiet, "node1")
    quiet.settle()
    quiet.master.kill()
    at = quiet.leave("node1")
    quiet.join("node2")
    assert not changes(quiet, since=at + 1)
    quiet.master.start()
    quiet.master.wait(len(MINIONS), within=WITHIN)
    wait(quiet, "node1", "closed", since=at)
    wait(quiet, "node2", "open", since=at)


def test_a_node_cannot_let_others_in(quiet: World) -> None:
    own = quiet.join("node1", create=False).host.addresses
    stranger = quiet.hosts["stranger"].addresses
    claimed = [str(own.v4), str(stranger.v4), str(stranger.v6), "0.0.0.0", "::"]
    node = quiet.join("node1", internal=claimed, pod_cidrs=["0.0.0.0/0"])
    wait(quiet, "node1", "open", since=node.at)
    quiet.settle()
    assert str(stranger.v4) not in quiet.hosts["minion1"].run(["iptables", "-S"]).stdout


def test_office_got_in_always_and_stranger_never(world: World) -> None:
    for minion in MINIONS:
        office = world.traffic["office"].connect(minion).count()
        stranger = world.traffic["stranger"].connect(minion).count()
        assert (office["closed"], stranger["open"]) == (0, 0)
        assert min(office["open"], stranger["closed"]) > 100
