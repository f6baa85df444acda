"""
Keep sets and gates true to the pillar in a state run, and close who has left.

.. versionadded:: 0.1.0

.. code-block:: yaml

    sets and gates:
      k8s_firewall.in_force: []

Where a formula only appends rules, the first state of the run writes down who is served, and the
last one closes who is served no more, also when the formula itself has failed:

.. code-block:: yaml

    who is served:
      k8s_firewall.remembered:
        - order: 1

    who has left:
      k8s_firewall.pruned:
        - order: last
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __opts__: dict[str, Any]
    __salt__: Any

__virtualname__ = "k8s_firewall"


def __virtual__() -> str | tuple[bool, str]:
    if "k8s_firewall.sync" not in __salt__:
        return False, "k8s_firewall: the execution module is not there: saltutil.sync_all"
    return __virtualname__


def in_force(name: str) -> dict[str, Any]:
    """
    Bring sets and gates of the pillar into force, prune where the pillar asks for it.

    name
        Anything.
    """
    return _state(name, "sync")


def remembered(name: str) -> dict[str, Any]:
    """
    Write down who is served by references, before a formula lets them in.

    name
        Anything.
    """
    return _state(name, "remember")


def pruned(name: str) -> dict[str, Any]:
    """
    Close who was served by a reference and is not any more.

    name
        Anything.
    """
    return _state(name, "prune")


def _state(name: str, what: str) -> dict[str, Any]:
    # The state run has asked for a fresh pillar.
    done = __salt__[f"k8s_firewall.{what}"](fresh=False, test=__opts__["test"])
    changes = dict(done["changes"])
    if ended := done.get("connections"):
        changes["connections"] = ended
    return {
        "name": name,
        "result": done["result"],
        "comment": done["comment"],
        "changes": changes,
    }
