"""Minions with several masters whose own firewall lets only one of them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from salt_ext.core.config.apply import MODULE
from salt_ext.core.diagnosis.formula_pitfalls import Pitfall


def known_masters(pillar: Mapping[str, object], grains: Mapping[str, object]) -> tuple[str, ...]:
    """
    Return the masters of a minion when several are known, else nothing.

    A minion that is connected to several masters reports to each only that one. All are known
    where the salt-formula manages the list, or the grains have it.
    """
    managed: object = pillar
    for key in ("salt", "minion", "master"):
        managed = managed.get(key) if isinstance(managed, Mapping) else None
    for masters in (managed, grains.get("master")):
        if isinstance(masters, (list, tuple)) and len(masters) > 1:
            return tuple(map(str, masters))
    return ()


def lockouts(pillar: Mapping[str, object], masters: Sequence[str]) -> Iterator[Pitfall]:
    """Yield that each run of ``k8s_firewall`` locks the other masters out."""
    block = pillar.get(MODULE)
    if not masters or not isinstance(block, Mapping) or block.get("keep"):
        return
    if any(block.get(key) for key in ("sets", "gates", "rules")):
        yield Pitfall(
            where=MODULE,
            what=f"this minion has several masters ({', '.join(masters)}). Each run lets in only "
            "the master that started it: it locks the others out and resets their connections",
            fix=f"add the addresses of all masters to {MODULE}:keep (docs/topologies.md)",
        )
