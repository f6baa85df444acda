"""
Watch the nodes of Kubernetes clusters, and tell the firewalls outside of them.

.. versionadded:: 0.1.0

The engine LISTs and WATCHes the nodes of every configured cluster, keeps them in its store and
fires an event after each change that is stored. The reactor that this package ships turns the
event into ``salt-run k8s_nodes.apply``; the ext_pillar of the same name serves the addresses.

.. code-block:: yaml

    # /etc/salt/master.d/k8s_nodes.conf
    k8s_nodes:
      apply:
        states: [firewall]
      clusters:
        prod:
          kubeconfig: /etc/salt/k8s/prod.kubeconfig
          allowed_networks: [192.0.2.0/24]
    engines:
      - k8s_nodes: {}

Events, all with plain JSON data of bounded size. They are hints: an event can be lost, doubled or
forged by a minion, so nothing that matters may be taken from its data. At most 100 addresses are
named in an event and at most 100 node events are fired for a change.

==========================================  ====================================================
tag                                         data
==========================================  ====================================================
``salt/k8s_nodes/<cluster>/changed``        ``cluster``, ``revision``, ``added`` and ``removed``
                                            (addresses), ``truncated``, ``nodes`` (their number)
``salt/k8s_nodes/<cluster>/node/joined``    ``cluster``, ``revision``, ``node`` (its name),
                                            ``addresses`` (by type)
``salt/k8s_nodes/<cluster>/node/left``      the same, with the addresses that it had
``salt/k8s_nodes/<cluster>/node/updated``   the same, with the addresses that it has now
``salt/k8s_nodes/<cluster>/sync/lost``      ``cluster``, ``error``
``salt/k8s_nodes/<cluster>/sync/restored``  ``cluster``
``salt/k8s_nodes/<cluster>/lagging``        ``cluster``, ``minions`` (how many are behind)
==========================================  ====================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from salt_ext.daemon.engine import Engine

if TYPE_CHECKING:
    __opts__: dict[str, Any]

__virtualname__ = "k8s_nodes"


def __virtual__() -> str | tuple[bool, str]:
    if "k8s_nodes" not in __opts__:
        return False, "k8s_nodes: the master has no k8s_nodes configuration"
    return __virtualname__


def start() -> None:
    """
    Run until the master ends the engine's process.

    Takes no arguments: everything is read from the ``k8s_nodes`` block of the master's
    configuration. Mistakes in it are logged, a line each; clusters without one are followed.
    """
    Engine(__opts__).run()
