"""The held changes of single nodes: those that claim too much, and those with damped addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from salt_ext.core.cluster.address import address, network
from salt_ext.core.cluster.hold import Held, Kind
from salt_ext.core.cluster.member import Claim, Limits
from salt_ext.core.cluster.node import AddressType, Node, label_problem
from salt_ext.core.cluster.refusal import MAX_EXAMPLES, HeldReason, Refusal, shown
from salt_ext.core.display import names


@dataclass(frozen=True, slots=True)
class HeldNode:
    """A node of which nothing new counts."""

    refusal: Refusal
    why: str


@dataclass(frozen=True, slots=True)
class Damped:
    """The damped addresses of one node."""

    holds: Mapping[Claim, float]
    """For how many seconds the node must keep each."""
    level: int

    def texts(self) -> list[str]:
        """Return the addresses."""
        return sorted({str(item) for _, item in self.holds})


def hold(node: Node, limits: Limits) -> HeldNode | None:
    """Return why nothing new of a node counts, None when it may be admitted."""
    count = node.claim_count()
    if count > limits.addresses_per_node:
        refusal = Refusal(
            node=node.name,
            reason=HeldReason.TOO_MANY,
            count=count,
            examples=shown(node.examples(MAX_EXAMPLES)),
        )
        return HeldNode(refusal, f"claims {count}")
    problem = label_problem(node)
    if problem:
        return HeldNode(Refusal(node=node.name, reason=HeldReason.LABELS, count=1), problem)
    return None


def held_nodes(held: Mapping[str, HeldNode], limits: Limits) -> tuple[Held, ...]:
    """Return the nodes that claim too much, as one held change."""
    if not held:
        return ()
    reasons = []
    many = {
        name: one.refusal.count
        for name, one in held.items()
        if one.refusal.reason is HeldReason.TOO_MANY
    }
    if many:
        name = max(many, key=lambda one: many[one])
        reasons.append(
            f"{len(many)} nodes claim more than {limits.addresses_per_node} addresses each "
            f"(guards:addresses_per_node): {names(many)}; {name} claims {many[name]}"
        )
    labelled = sorted(held.keys() - many.keys())
    if labelled:
        reasons.append(
            f"{len(labelled)} nodes have labels that are not kept: {names(labelled)}; "
            f"{labelled[0]} has {held[labelled[0]].why}"
        )
    subjects = {name: one.why for name, one in held.items()}
    return (Held(kind=Kind.NODE, why="; ".join(reasons), subjects=subjects),)


def held_addresses(damped: Mapping[str, Damped]) -> tuple[Held, ...]:
    """Return the damped addresses, as one held change; its subjects serve :func:`read_damped`."""
    if not damped:
        return ()
    texts = []
    for name in sorted(damped)[:MAX_EXAMPLES]:
        seconds = max(damped[name].holds.values())
        texts.append(f"{names(damped[name].texts())} until {name} has kept it for {seconds:.0f} s")
    more = len(damped) - len(texts)
    why = "claimed and dropped again and again; stays out: " + "; ".join(texts)
    return (
        Held(
            kind=Kind.FLAPPING,
            why=why + (f"; and {more} more nodes" if more else ""),
            subjects={name: _subject(one) for name, one in damped.items()},
        ),
    )


def flapping(name: str, damped: Damped) -> Refusal:
    """Return the refusal of a node's damped addresses."""
    texts = damped.texts()
    return Refusal(node=name, reason=HeldReason.FLAPPING, count=len(texts), examples=shown(texts))


def read_damped(text: str) -> tuple[list[Claim], int]:
    """Read the subject of a stored hold: the damped addresses, and the level of their hold."""
    level, *claims = text.split(" ")
    return [*_read_claims(claims)], int(level) if level.isdecimal() else 0


def _subject(damped: Damped) -> str:
    claims = sorted(f"{kind.value}={item}" for kind, item in damped.holds)
    return " ".join([str(damped.level), *claims])


def _read_claims(texts: Iterable[str]) -> Iterable[Claim]:
    for text in texts:
        kind, _, item = text.partition("=")
        try:
            known = AddressType(kind)
            yield known, network(item) if known is AddressType.POD_CIDR else address(item)
        except ValueError:
            continue
