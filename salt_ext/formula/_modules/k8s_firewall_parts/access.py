"""
Whether a packet of another host can reach a port here: the kernel's answer, whoever made the rule.

The packet is taken through every chain of the input path. Where a rule decides that may match or
not, the answer is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from . import addresses, errors, intervals, nft, programs, read_iptables, reading, rules
from .chains import (
    ACCEPT,
    DEST,
    DEST_TYPE,
    DIRECTION,
    DROP,
    FAMILY,
    GOTO,
    INTERFACE,
    JUMP,
    NOTHING,
    ORIGINAL_PORT,
    PACKET_TYPE,
    PORT,
    PROTOCOL,
    RETURN,
    SOURCE,
    STATE,
    STATUS,
    STRANGE,
    SYN,
    Chain,
    ChainKey,
    Chains,
    Condition,
    NamedSet,
    Rule,
    version_of,
)
from .desired import KEEP
from .intervals import Interval

_INPUT = ("ingress", "prerouting", "input")
_FORWARD = ("ingress", "prerouting", "forward")
_NEW, _ESTABLISHED = "new", "established"
_GATE = re.compile(r"gate_(tcp|udp)_(\d+)(?:_(\d+))?", re.ASCII)
_PART = re.compile(r"_v[46](?:_net)?$")
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_DEVICE = re.compile(r"\bdev (\S+)")
PROTOCOLS = {"tcp": 6, "udp": 17}


@dataclass(frozen=True)
class Packet:
    """The first packet of a connection to a port of this host, or a later one."""

    source: Interval
    protocol: int
    port: int
    established: bool = False
    forwarded: bool = False
    """Whether it goes on to another host or a container, perhaps to another port there."""
    interface: str = ""
    """Where it comes in; empty where that is not known."""


def parse(address: object, port: object, protocol: object) -> Packet:
    """Return the packet that an operator asks about; raise Refused for a wrong argument."""
    if not isinstance(address, str):
        raise errors.Refused(f"{address!r} is not an IP address; write it in quotes")
    try:
        canonical = addresses.canonical(address)[1]
    except addresses.InvalidAddress as exc:
        raise errors.Refused(str(exc)) from exc
    source = intervals.parse(canonical) or intervals.ALL_V4
    number = int(port) if isinstance(port, str) and _PORT.fullmatch(port) else port
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 65536:
        raise errors.Refused(f"{port!r} is not a port; it is a number from 1 to 65535")
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:
        raise errors.Refused(f"{protocol!r} is not tcp or udp")
    return Packet(source, PROTOCOLS[protocol], number, interface=route_to(str(source)))


class Reason(NamedTuple):
    """Which rule or policy decides, and its text."""

    by: str
    text: str
    policy: bool = False


@dataclass
class Outcomes:
    """What may happen to a packet in a chain, each with the first rule that does it."""

    possible: dict[str, Reason] = field(default_factory=dict)
    unsure: Reason | None = None
    """The first rule of which it is not known whether it matches, or what it does."""

    def add(self, outcome: str, reason: Reason) -> None:
        """Note one thing that may happen."""
        self.possible.setdefault(outcome, reason)

    def doubt(self, reason: Reason | None) -> None:
        """Note the first rule that is not understood."""
        self.unsure = self.unsure or reason


@dataclass(frozen=True)
class Answer:
    """``allowed`` is None where it is not known."""

    allowed: bool | None
    decided_by: str
    reason: str

    def to_dict(self) -> dict[str, object]:
        """Return the answer as Salt returns it."""
        return {"allowed": self.allowed, "decided_by": self.decided_by, "reason": self.reason}


def decide(kernel: reading.Kernel, packet: Packet) -> Answer:
    """Return what becomes of a packet; a chain that drops it has the last word."""
    accepted = Reason("no rule", "no rule drops it")
    unsure: Reason | None = None
    for chain in _input_chains(kernel.chains, packet):
        outcomes = Walk(kernel.chains, packet).through(chain)
        if outcomes.possible.keys() == {DROP}:
            return Answer(False, *outcomes.possible[DROP][:2])
        if DROP in outcomes.possible or STRANGE in outcomes.possible:
            unsure = unsure or outcomes.unsure or outcomes.possible.get(STRANGE)
        elif (reason := outcomes.possible.get(ACCEPT)) and not reason.policy:
            accepted = reason
    if unsure:
        return Answer(None, "not known", f"it depends on {unsure.by}: {unsure.text}")
    unknown = reading.unknown_for(kernel.unknown, str(packet.source))
    for what, why in unknown.items():
        return Answer(None, "not known", f"{what}: {why}")
    return Answer(True, *accepted[:2])


def _input_chains(chains: Chains, packet: Packet) -> Iterator[Chain]:
    families = ("ip", "inet", "ip-legacy", "netdev")
    if packet.source.version == 6:
        families = ("ip6", "inet", "ip6-legacy", "netdev")
    hooks = _FORWARD if packet.forwarded else _INPUT
    found = [
        chain
        for chain in chains.values()
        if chain.key[0] in families
        and chain.hook in hooks
        # Only the first packet of a connection goes through these.
        and not (packet.established and chain.type == "nat")
    ]
    return iter(sorted(found, key=lambda chain: (hooks.index(chain.hook), chain.priority)))


class Walk:
    """Takes one packet through chains; each is walked once, however many rules call it."""

    def __init__(self, chains: Chains, packet: Packet) -> None:
        self._chains = chains
        self._packet = packet
        self._walked: dict[ChainKey, Outcomes] = {}

    def through(self, chain: Chain) -> Outcomes:
        """Return what may happen in a chain; RETURN among it: it goes on in the caller."""
        if chain.key not in self._walked:
            # The kernel refuses chains that call each other in a circle.
            self._walked[chain.key] = Outcomes({RETURN: Reason("", "")})
            self._walked[chain.key] = self._through(chain)
        return self._walked[chain.key]

    def _through(self, chain: Chain) -> Outcomes:
        found = Outcomes()
        for rule in chain.rules:
            matched = matches(rule, self._packet)
            if matched is False:
                continue
            reason = Reason(_name(chain, rule), _text(chain, rule, self._packet))
            inner = self._outcomes(rule, reason)
            goes_on = NOTHING in inner.possible
            decided = {what: why for what, why in inner.possible.items() if what != NOTHING}
            for outcome, why in decided.items():
                found.add(outcome, why)
            if decided:
                found.doubt(inner.unsure)
            if decided and matched is None:
                found.doubt(reason)
            if matched and not goes_on:
                break
        else:
            found.add(RETURN, Reason("", ""))
        if chain.hook and RETURN in found.possible:
            del found.possible[RETURN]
            found.add(chain.policy, Reason(_policy_name(chain), "no rule matches", policy=True))
        return found

    def _outcomes(self, rule: Rule, reason: Reason) -> Outcomes:
        """Return what a rule does with what it matches; NOTHING: the next rule is asked."""
        if rule.verdict in (ACCEPT, DROP, RETURN):
            return Outcomes({rule.verdict: reason})
        if rule.verdict == STRANGE:
            # A mark, or an element added to a set, only counts where another rule asks for it.
            if "mark" in rule.why or rule.why.startswith("it adds"):
                return Outcomes({NOTHING: reason})
            strange = Reason(reason.by, f"{rule.why}: {reason.text}")
            return Outcomes({STRANGE: strange, NOTHING: reason}, strange)
        if rule.verdict not in (JUMP, GOTO):
            return Outcomes({NOTHING: reason})
        target = self._chains.get(rule.target) if rule.target else None
        if target is None:
            return Outcomes({STRANGE: reason, NOTHING: reason}, reason)
        inner = self.through(target)
        possible = {what: why for what, why in inner.possible.items() if what != RETURN}
        if RETURN in inner.possible:
            possible[NOTHING if rule.verdict == JUMP else RETURN] = reason
        return Outcomes(possible, inner.unsure)


def matches(rule: Rule, packet: Packet) -> bool | None:
    """Whether a rule matches a packet; None where it is not known."""
    sure = True
    for condition in rule.conditions:
        found = _holds(condition, packet)
        if found is False:
            return False
        sure = sure and found is True
    return True if sure else None


def _holds(condition: Condition, packet: Packet) -> bool | None:
    found: bool | None = False
    if condition.named and not condition.named.known:
        found = None
    for element in condition.all_elements():
        parts = [
            _fits(kind, element[at] if at < len(element) else None, packet)
            for at, kind in enumerate(condition.fields)
        ]
        if all(parts):
            found = True
            break
        if False not in parts:
            found = None
    if found is None:
        return None
    return found != condition.negated


def _fits(kind: str, value: object, packet: Packet) -> bool | None:
    """Whether one field of a packet has a value."""
    if kind == SOURCE:
        return packet.source.within(value) if isinstance(value, Interval) else None
    if kind == PORT and packet.forwarded:
        return None
    if kind in (PORT, ORIGINAL_PORT):
        if isinstance(value, tuple) and len(value) == 2:
            return bool(value[0] <= packet.port <= value[1])
        number = read_iptables.port_number(value)
        return None if number is None else number == packet.port
    if kind == PROTOCOL:
        if isinstance(value, tuple):
            return bool(value[0] <= packet.protocol <= value[1])
        protocol = read_iptables.protocol_number(value)
        return protocol == packet.protocol if protocol else None
    if kind == FAMILY:
        return version_of(value) == packet.source.version
    if kind == STATE:
        return value == (_ESTABLISHED if packet.established else _NEW)
    if kind == INTERFACE:
        if not packet.interface or not isinstance(value, str):
            return False if value == "lo" else None
        return fnmatchcase(packet.interface, value)
    if kind == SYN:
        return value if isinstance(value, bool) and not packet.established else None
    if kind == DEST:
        return False if isinstance(value, Interval) and intervals.is_multicast(value) else None
    if kind == STATUS and value == "dnat" and packet.forwarded:
        return True
    return _FIXED.get((kind, str(value).lower()), None if kind not in _KNOWN else False)


_FIXED: Mapping[tuple[str, str], bool] = {
    (DIRECTION, "original"): True,
    (DEST_TYPE, "local"): True,
    (PACKET_TYPE, "host"): True,
    (PACKET_TYPE, "unicast"): True,
    # A packet that was sent on to another port or address: such rules are strange by themselves.
    (STATUS, "dnat"): False,
    (STATUS, "snat"): False,
}
_KNOWN = (DIRECTION, DEST_TYPE, PACKET_TYPE)


def _name(chain: Chain, rule: Rule) -> str:
    """Return the name of a rule; gates and rules of this module have the names of the pillar."""
    if chain.key[:2] == ("inet", nft.TABLE):
        if gate := _GATE.fullmatch(chain.key[2]):
            ports = f"{gate[2]}-{gate[3]}" if gate[3] else gate[2]
            return f"the gate {ports}/{gate[1]}"
        if chain.key[2].startswith(rules.PREFIX):
            return f"the rule {chain.key[2].removeprefix(rules.PREFIX)}"
    return rule.place


def _text(chain: Chain, rule: Rule, packet: Packet) -> str:
    """Return why a rule decides: its text, or the set that has the address or lacks it."""
    if chain.key[:2] != ("inet", nft.TABLE):
        return rule.shown()
    if named := [one.named for one in rule.conditions if one.named]:
        return f"{packet.source} is in {_set_name(named[0])}"
    if _GATE.fullmatch(chain.key[2]) and rule.verdict == DROP:
        names = [
            _set_name(one.named) for other in chain.rules for one in other.conditions if one.named
        ]
        listed = ", ".join(name for name in dict.fromkeys(names) if name != KEEP)
        return f"{packet.source} is in none of: {listed}"
    return rule.shown()


def _set_name(one: NamedSet) -> str:
    """Return the name in the pillar of a kernel set of this module."""
    return _PART.sub("", one.place.rpartition(" ")[2])


def _policy_name(chain: Chain) -> str:
    if chain.key == ("inet", nft.TABLE, "rules_input"):
        return "k8s_firewall:policy:input"
    return f"the policy of {' '.join(chain.key)}"


def route_to(address: str) -> str:
    """Return the interface where an address is; empty where that is not known."""
    try:
        found = _DEVICE.search(programs.run(["ip", "-o", "route", "get", address]))
    except errors.FirewallError:
        return ""
    return found[1] if found else ""
