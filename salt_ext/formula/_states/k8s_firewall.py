"""
Apply sets, gates and rules in a state run, and close removed addresses.

.. versionadded:: 0.1.0

.. code-block:: yaml

    sets and gates:
      k8s_firewall.applied: []

Where another formula only appends rules, the first state of the run records the served addresses,
and the last one deletes the rules of removed addresses, also where the other formula has failed:

.. code-block:: yaml

    record served addresses:
      k8s_firewall.recorded:
        - order: 1

    prune removed addresses:
      k8s_firewall.pruned:
        - order: last
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __opts__: dict[str, Any]
    __salt__: Any

__virtualname__ = "k8s_firewall"

_RENAMED = {"in_force": "applied", "remembered": "recorded"}


def __virtual__() -> str | tuple[bool, str]:
    if "k8s_firewall.sync" not in __salt__:
        return False, "k8s_firewall: the execution module is missing; run saltutil.sync_all"
    return __virtualname__


def applied(name: str) -> dict[str, object]:
    """
    Apply the sets, gates and rules of the pillar, and prune where the pillar says so.

    .. code-block:: yaml

        sets and gates:
          k8s_firewall.applied: []

    name
        Any text; it is not used.
    """
    return _state(name, "sync")


def recorded(name: str) -> dict[str, object]:
    """
    Record the addresses that references serve, before another formula lets them in.

    .. code-block:: yaml

        record served addresses:
          k8s_firewall.recorded:
            - order: 1

    name
        Any text; it is not used.
    """
    return _state(name, "record")


def pruned(name: str) -> dict[str, object]:
    """
    Delete the rules of addresses that references served before and no longer serve.

    .. code-block:: yaml

        prune removed addresses:
          k8s_firewall.pruned:
            - order: last

    name
        Any text; it is not used.
    """
    return _state(name, "prune")


def _state(name: str, function: str) -> dict[str, object]:
    # The state run has asked for a fresh pillar already.
    outcome = __salt__[f"k8s_firewall.{function}"](fresh=False, test=__opts__["test"])
    changes = dict(outcome["changes"])
    if ended := outcome.get("connections"):
        changes["connections"] = ended
    return {
        "name": name,
        "result": outcome["result"],
        "comment": outcome["comment"],
        "changes": changes,
    }


def _renamed(old: str, new: str) -> Callable[..., dict[str, object]]:
    """Return a state of an old name: it fails and says the new one."""

    def state(name: str) -> dict[str, object]:
        comment = f"k8s_firewall.{old} was renamed; write k8s_firewall.{new}"
        return {"name": name, "result": False, "comment": comment, "changes": {}}

    state.__doc__ = f"Renamed: write ``k8s_firewall.{new}``."
    return state


globals().update({old: _renamed(old, new) for old, new in _RENAMED.items()})
