"""
The story: blocked, joined, joined again, left, the API away, the API back.

Every time is measured between two observations: the API's confirmation that a node was written or
deleted, and the fate of a connection that a host tried.
"""

from __future__ import annotations

import contextlib
import time

from lab.demo.narrator import Narrator
from lab.demo.result import Result
from lab.errors import TookTooLong
from lab.polling import wait_until
from lab.salt.extension_config import CLUSTER
from lab.traffic.probe import Probe
from lab.traffic.service import PORT
from lab.world.world import JoinedNode, World

WITHIN = 120.0
STALE_WITHIN = 150.0
OUTAGE_SECONDS = 5.0
AFTERMATH_SECONDS = 30.0


class Story:
    """One run of the story in one world."""

    def __init__(self, world: World, narrator: Narrator) -> None:
        self.world = world
        self.narrator = narrator
        self.result = Result()
        self.minions = [minion.host.name for minion in world.minions]
        self.attempts = {"office": 0, "stranger": 0}
        self._left: list[str] = []
        self._verdicts: list[bool] = []
        self._families: list[Probe] = []

    def run(self) -> Result:
        """Run to the end, or to the first step that fails or takes too long."""
        try:
            self._blocked()
            self._joins("node1")
            self._joins("node2")
            self._leaves("node1")
            self._outage()
            self._back()
            self._joins("node3")
            self._leaves("node2")
        finally:
            self._count_attempts()
        return self.result

    def _blocked(self) -> None:
        self.narrator.chapter("The cluster has no nodes: no node is let in")
        self._also_over_ipv6()
        self.world.join("node1", create=False)
        for name, expected in (("office", "open"), ("stranger", "closed"), ("node1", "closed")):
            for minion in self.minions:
                self.world.traffic[name].connect(minion).wait(expected, within=WITHIN)
            why = {"office": "is on the list by hand", "stranger": "is on no list"}.get(
                name, "has no Node object yet"
            )
            self.narrator.fact(f"{name} {why}: {expected}", good=True)

    def _also_over_ipv6(self) -> None:
        minion = self.world.minions[0].host
        folder = self.world.folder / "probes"
        for name in ("office", "stranger"):
            host, address = self.world.hosts[name], str(minion.addresses.v6)
            probe = Probe.start(host, "connect", minion.name, address, PORT, folder=folder)
            self._families.append(probe)

    def _joins(self, name: str) -> None:
        self.narrator.chapter(f"{name} joins the cluster")
        self._settled()
        self._opens(self.world.join(name))

    def _opens(self, node: JoinedNode) -> None:
        address = node.host.addresses.v4
        with self.narrator.waiting(f"{node.name} tries a connection every 10 ms"):
            for minion in self.minions:
                probe = self.world.traffic[node.name].connect(minion)
                took = _ms(probe.wait("open", since=node.at, within=WITHIN).at - node.at)
                self.result.opened_ms.append(took)
                self.narrator.fact(f"{address} gets in at {minion} after {took} ms", good=True)

    def _leaves(self, name: str) -> None:
        self.narrator.chapter(f"{name} leaves the cluster, but its machine goes on sending")
        self._settled()
        traffic = self.world.traffic[name]
        for minion in self.minions:
            traffic.flow(minion).wait("flowing", within=WITHIN)
        self.narrator.fact(
            f"{name} has a connection open to each minion, with data in both directions"
        )
        at = self.world.leave(name)
        self._left.append(name)
        with self.narrator.waiting(f"{name} tries a connection every 10 ms"):
            for minion in self.minions:
                probe = traffic.connect(minion)
                took = _ms(probe.wait("closed", since=at, within=WITHIN).at - at)
                self.result.closed_ms.append(took)
                self.narrator.fact(f"new connections to {minion} fail after {took} ms", good=True)
        flows = [traffic.flow(minion) for minion in self.minions]
        with (
            self.narrator.waiting("is the old connection really over?"),
            contextlib.suppress(TookTooLong),
        ):
            wait_until(
                lambda: all(flow.state() != "flowing" for flow in flows),
                within=AFTERMATH_SECONDS,
                what="the end of the old connections",
            )
        for minion in self.minions:
            flow = traffic.flow(minion)
            over = flow.state() != "flowing"
            last = _ms(flow.transitions()[-1].at - at) if over else 0
            self.narrator.fact(
                f"the old connection to {minion} "
                + (f"got its last answer after {last} ms" if over else "is still alive"),
                good=over,
            )
        self._verified(str(self.world.hosts[name].addresses.v4))

    def _verified(self, address: str) -> None:
        """Ask each minion's kernel whether anything still lets an address in."""
        self._settled()
        answers = self.world.salt("minion*", "k8s_firewall.verify", [address])
        for minion in self.minions:
            found = answers[minion][address]
            closed = found["verdict"] == "closed"
            self._verdicts.append(closed)
            self.narrator.fact(
                f"k8s_firewall.verify {address} on {minion}: {found['verdict']}"
                + "".join(f", by {place}" for place in found["by"]),
                good=closed,
            )

    def _outage(self) -> None:
        self.narrator.chapter("The Kubernetes API goes down")
        begin = time.monotonic()
        self.world.api.stop()
        self.narrator.fact("its process was stopped")
        with self.narrator.waiting("waiting until the status shows it"):
            took = wait_until(self._stale, within=STALE_WITHIN, what="a stale status", every=0.2)
        self.narrator.fact(f"k8s_nodes.status shows stale ({took:.1f} s)", good=True)
        self.world.apply()
        self.narrator.fact("the firewalls were applied again meanwhile, from the last known nodes")
        with self.narrator.waiting("waiting: does anything change?"):
            time.sleep(max(0.0, begin + OUTAGE_SECONDS - time.monotonic()))
        changes = [
            f"{probe.source} to {probe.target}: {transition.state}"
            for probe in self._probes()
            for transition in probe.transitions(since=begin)
        ]
        self.result.outage_unchanged = not changes
        gone = time.monotonic() - begin
        for change in changes:
            self.narrator.fact(change, good=False)
        if not changes:
            self.narrator.fact(
                f"nothing has changed in {gone:.1f} s: node2 in, {', '.join(self._left)} out",
                good=True,
            )

    def _back(self) -> None:
        self.narrator.chapter("The Kubernetes API comes back")
        self.world.api.start()
        with self.narrator.waiting("waiting until the status shows it"):
            took = wait_until(
                lambda: not self._stale(), within=STALE_WITHIN, what="a fresh status", every=0.2
            )
        self.narrator.fact(f"k8s_nodes.status shows watching again ({took:.1f} s)", good=True)

    def _count_attempts(self) -> None:
        """Count what the permanent probes saw, and the state of the old connections."""
        counts = {name: [0.0, 0.0] for name in self.attempts}
        for probe in self._families:
            probe.stop()
        for probe in self._probes():
            if probe.source in counts and probe.kind == "connect":
                count = probe.count()
                counts[probe.source][0] += count["open"]
                counts[probe.source][1] += count["closed"]
        let_in, shut_out = counts["office"]
        self.result.always_open = let_in > 0 and shut_out == 0
        let_in, shut_out = counts["stranger"]
        self.result.never_opened = shut_out > 0 and let_in == 0
        flows = [self.world.traffic[name].flow(m) for name in self._left for m in self.minions]
        self.result.established_ended = bool(flows) and all(
            flow.count()["answers"] and flow.state() != "flowing" for flow in flows
        )
        self.result.verified = bool(self._verdicts) and all(self._verdicts)
        self.attempts = {name: int(sum(count)) for name, count in counts.items()}

    def _probes(self) -> list[Probe]:
        running = [probe for traffic in self.world.traffic.values() for probe in traffic.probes]
        return [*running, *self._families]

    def _settled(self) -> None:
        """One change at a time, so that a measurement does not include the one before."""
        with self.narrator.waiting("waiting until every minion is up to date"):
            self.world.settle(within=WITHIN)

    def _stale(self) -> bool:
        status = self.world.salt_run("k8s_nodes.status")
        return bool(status["clusters"][CLUSTER]["stale"])


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
