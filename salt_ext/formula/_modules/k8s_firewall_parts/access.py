"""Decide from the applied state, without asking the kernel, whether an address can reach a port."""

from __future__ import annotations

from .desired import KEEP, Desired


def decide(applied: Desired, address: str, protocol: str, port: int) -> dict[str, object]:
    """
    Return ``allowed``, ``decided_by`` and ``reason`` for a packet from another host to a port here.

    ``allowed`` is ``None`` where neither a gate nor a rule of this module decides.
    """
    gated = None
    for gate in applied.gates:
        if gate.covers(protocol, port):
            name = _set_with(applied, address, gate.sets)
            if name is None:
                sets = ", ".join(gate.sets)
                return _answer(False, f"the gate {gate}", f"{address} is in none of: {sets}")
            gated = (f"the gate {gate}", f"{address} is in {name}")
            break
    if any(rule.chain == "input" for rule in applied.rules):
        return _decide_by_rules(applied, address, protocol, port)
    if gated:
        return _answer(True, *gated)
    return _answer(None, "no gate or rule", "another firewall may have rules for it")


def _decide_by_rules(applied: Desired, address: str, protocol: str, port: int) -> dict[str, object]:
    if applied.keep.matches(address):
        return _answer(True, "k8s_firewall:keep", f"{address} is in it")
    for rule in applied.rules:
        if rule.chain != "input" or not rule.covers(protocol, port):
            continue
        accepts = rule.action == "accept"
        if rule.any_source:
            return _answer(accepts, f"the rule {rule.name}", "it matches every source")
        for name in rule.sets:
            if applied.all_sets()[name].matches(address):
                return _answer(accepts, f"the rule {rule.name}", f"{address} is in {name}")
    accepts = applied.policy["input"] == "accept"
    return _answer(accepts, "k8s_firewall:policy:input", "no rule matches")


def _set_with(applied: Desired, address: str, names: tuple[str, ...]) -> str | None:
    sets = applied.all_sets()
    return next((name for name in (*names, KEEP) if sets[name].matches(address)), None)


def _answer(allowed: bool | None, decided_by: str, reason: str) -> dict[str, object]:
    return {"allowed": allowed, "decided_by": decided_by, "reason": reason}
