"""Who gets in where, and what decides it, by what is in force; nothing is asked of the kernel."""

from __future__ import annotations

from typing import Any

from . import desired


def decide(this: desired.Wanted, address: str, protocol: str, port: int) -> dict[str, Any]:
    """
    Return ``let_in`` and what decides: ``True``, ``False``, or ``None`` where nothing of ours does.

    It is about a packet from another host to a port of this one.
    """
    for gate in this.gates:
        if gate.covers(protocol, port):
            through = _member(this, address, gate.sets)
            if through is None:
                sets = ", ".join(gate.sets)
                return _told(False, f"the gate {gate}", f"{address} is in none of: {sets}")
            gated = (f"the gate {gate}", f"{address} is in {through}")
            break
    else:
        gated = None
    if any(rule.chain == "input" for rule in this.rules):
        return _by_rule(this, address, protocol, port)
    if gated:
        return _told(True, *gated)
    return _told(None, "nothing of ours", "another firewall may have rules about it")


def _by_rule(this: desired.Wanted, address: str, protocol: str, port: int) -> dict[str, Any]:
    if this.keep.has(address):
        return _told(True, "k8s_firewall:keep", f"{address} is in it")
    for rule in this.rules:
        if rule.chain != "input" or not rule.covers(protocol, port):
            continue
        if rule.anyone:
            return _told(rule.action == "accept", f"the rule {rule.name}", "it is for anyone")
        for name in rule.sets:
            if this.contents()[name].has(address):
                why = f"{address} is in {name}"
                return _told(rule.action == "accept", f"the rule {rule.name}", why)
    why = "no rule is about it"
    return _told(this.policy["input"] == "accept", "k8s_firewall:policy:input", why)


def _member(this: desired.Wanted, address: str, names: tuple[str, ...]) -> str | None:
    contents = this.contents()
    return next((name for name in (*names, desired.KEEP) if contents[name].has(address)), None)


def _told(let_in: bool | None, by: str, why: str) -> dict[str, Any]:
    return {"let_in": let_in, "by": by, "why": why}
