"""
The chains that keep a departed address from coming back through connection tracking.

A removed address is dropped in the direction that its client began. But an entry of connection
tracking ends, by a time-out or a reset, and the next packet of the service, to the address that
has left, makes a new one in reverse: what the address sends then counts as the answer to something
that the host began. So for a departed address

- a packet of a service's port that would make such an entry is dropped: UDP, and TCP without SYN;
- its answers to a service's port are judged as if it had begun the flow itself, for entries that
  were made in reverse before it left.

Everything else that the host or a container begins to such an address goes on as before. Chains
that have neither a gate nor a rule for a set have nothing to keep closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from . import service_ports
from .desired import KEEP, Desired
from .gates import Gate
from .rules import Rule

DEPARTED = "k8sfw-departed"
"""The set of departed addresses; the pillar has no set of such a name."""
PUBLISHED = "k8sfw-published"
"""
The ports behind a gate after a redirect or a published container port has changed them.

Packets fill it: no pillar has these ports, and what is published changes with each container.
"""
PUBLISHED_SET = (
    f"set {PUBLISHED} {{",
    "type inet_proto . inet_service",
    "size 65535",
    "flags dynamic",
    "}",
)

_PARTS = (("v4", "ip"), ("v4_net", "ip"), ("v6", "ip6"), ("v6_net", "ip6"))
_PROTOCOLS = ("tcp", "udp")
# Without the ports that the kernel takes for what the host begins (net.ipv4.ip_local_port_range):
# a rule for every port must not break the host's own DNS, and few services listen there.
_SERVICES = ((1, 32767), (61000, 65535))

_Ranges = dict[str, list[tuple[int, int]]]


def members(name: str, field: str = "saddr") -> Iterator[str]:
    """Yield the matches on each part of a set."""
    return (f"{protocol} {field} @{name}_{part}" for part, protocol in _PARTS)


def needed(desired: Desired) -> bool:
    """Whether the table has gates or rules from which an address can depart."""
    return bool(desired.gates) or closes(desired.rules)


def closes(rules: Iterable[Rule]) -> bool:
    """Whether an address can lose something to these rules."""
    return any(map(_closes, rules))


def gate_chains(gates: Sequence[Gate]) -> Iterator[str]:
    """Yield the chains for the base chains of gates to jump to."""
    yield "chain gate_replies {"
    yield from _for_departed("saddr", "goto gate_departed")
    yield "}"
    yield "chain gate_departed {"
    for gate in gates:
        # The port as the address has it, before a published container port changes it.
        yield (f"meta l4proto {gate.protocol} ct reply proto-dst {gate.ports} goto {gate.chain}")
    yield f"meta l4proto . th dport @{PUBLISHED} goto gate_published"
    yield "}"
    yield "chain gate_published {"
    for name in _unique([*(name for gate in gates for name in gate.sets), KEEP]):
        yield from (f"{match} accept" for match in members(name))
    yield "counter drop"
    yield "}"


def published(condition: str) -> str:
    """Return the rule that notes the port behind a gate, where a packet shows it."""
    return f"{condition} add @{PUBLISHED} {{ meta l4proto . th dport }}"


def answers(chain: str, rules: Sequence[Rule]) -> str:
    """Return the rule of a base chain for answers; ``rule_chains`` has the chain it jumps to."""
    verdict = f"jump answers_{chain}" if closes(rules) else "accept"
    # Only replies: a removed address is cut off in established connections too.
    return f"ct state established,related ct direction reply {verdict}"


def rule_chains(chain: str, rules: Sequence[Rule]) -> Iterator[str]:
    """Yield the chains for a base chain of rules to jump to; none where its rules close nothing."""
    if not closes(rules):
        return
    yield f"chain answers_{chain} {{"
    yield from _for_departed("saddr", f"goto departed_{chain}")
    yield "accept"
    yield "}"
    yield f"chain departed_{chain} {{"
    # Back to the base chain: the rules decide.
    yield from (f"{match} return" for match in _matches("dport", _of_rules(rules)))
    yield "accept"
    yield "}"
    if chain == "forward":
        yield "chain new_forward {"
        yield from _for_departed("daddr", "goto new_departed_forward")
        yield "}"
        yield from _drops("new_departed_forward", rules, _of_rules(rules), gates=())


def output_chains(desired: Desired) -> Iterator[str]:
    """Yield the base chain for what leaves this host from its own address, and what it needs."""
    rules = [rule for rule in desired.rules if rule.chain == "input"]
    if not desired.gates and not closes(rules):
        return
    # After the source was changed (100): a container's packets may leave from this host's address.
    yield "chain departed_output {"
    yield "type filter hook postrouting priority 110; policy accept;"
    yield "ct state != new accept"
    yield 'oifname "lo" accept'
    yield "fib saddr type != local accept"
    yield from _for_departed("daddr", "goto new_departed_output")
    yield "}"
    ports = _of_rules(rules)
    for gate in desired.gates:
        ports[gate.protocol].append((gate.first_port, gate.last_port))
    yield from _drops("new_departed_output", rules, ports, gates=desired.gates)


def forward_chains(gates: Sequence[Gate]) -> Iterator[str]:
    """Yield the chain for new packets of containers behind gates."""
    yield "chain gate_new {"
    yield from _for_departed("daddr", "goto gate_new_departed")
    yield "}"
    yield from _drops("gate_new_departed", (), {}, gates=gates)


def _drops(
    chain: str, rules: Iterable[Rule], ports: _Ranges, *, gates: Sequence[Gate]
) -> Iterator[str]:
    """Yield the chain that drops what would make an entry in reverse, from these ports."""
    yield f"chain {chain} {{"
    # The host or the container begins a connection itself.
    yield "tcp flags & (fin | syn | rst | ack) == syn return"
    sets = [name for gate in gates for name in gate.sets]
    sets += [name for rule in rules if rule.action == "accept" for name in rule.sets]
    for name in _unique([*sets, KEEP]):
        # Let in by a network, or by a part of a departed network.
        yield from (f"{match} return" for match in members(name, "daddr"))
    yield from (f"{match} counter drop" for match in _matches("sport", ports))
    if gates:
        yield f"meta l4proto . th sport @{PUBLISHED} counter drop"
    yield "}"


def _for_departed(field: str, verdict: str) -> Iterator[str]:
    return (f"{match} {verdict}" for match in members(DEPARTED, field))


def _closes(rule: Rule) -> bool:
    """Whether an address that leaves a set of the rule loses something."""
    return rule.action == "accept" and bool(rule.sets) and not rule.any_source


def _of_rules(rules: Iterable[Rule]) -> _Ranges:
    found: _Ranges = {protocol: [] for protocol in _PROTOCOLS}
    for rule in filter(_closes, rules):
        ranges = list(service_ports.of_rule(rule)) if rule.ports else list(_SERVICES)
        for protocol in [rule.protocol] if rule.protocol else _PROTOCOLS:
            found[protocol] += ranges
    return found


def _matches(field: str, ports: _Ranges) -> Iterator[str]:
    for protocol, ranges in ports.items():
        if ranges:
            texts = (
                str(first) if first == last else f"{first}-{last}"
                for first, last in service_ports.merged(ranges)
            )
            yield f"{protocol} {field} {{ {', '.join(texts)} }}"


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
