"""
Watch the nodes of Kubernetes clusters and update the firewalls outside of them.

.. versionadded:: 0.1.0

The engine LISTs and WATCHes the nodes of every configured cluster. It keeps them in its store and
fires an event after each stored change. The reactor of this package turns the event into
``salt-run k8s_nodes.apply``. The ext_pillar of the same name puts the addresses into pillars.

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

All events have plain JSON data of bounded size. Events are hints: one can be lost, doubled or
forged by a minion, so do not rely on the data of an event. An event names at most 100 addresses;
a change fires at most 100 node events.

===========================================  ====================================================
tag                                          data
===========================================  ====================================================
``salt/k8s_nodes/<cluster>/changed``         ``cluster``, ``revision``, ``added`` and ``removed``
                                             (addresses), ``truncated``, ``nodes`` (their number)
``salt/k8s_nodes/<cluster>/node/joined``     ``cluster``, ``revision``, ``node`` (its name),
                                             ``addresses`` (by type)
``salt/k8s_nodes/<cluster>/node/left``       the same, with its last addresses
``salt/k8s_nodes/<cluster>/node/updated``    the same, with its new addresses
``salt/k8s_nodes/<cluster>/sync/lost``       ``cluster``, ``error``
``salt/k8s_nodes/<cluster>/sync/restored``   ``cluster``
``salt/k8s_nodes/<cluster>/refused``         ``cluster``, ``node``, ``reason``, ``count``, at most
                                             five ``examples`` as the kubelet wrote them, ``key``
                                             (of the cluster's block, or empty); once for each node
                                             and reason, at most every ten minutes
``salt/k8s_nodes/<cluster>/held``            ``cluster``, ``what`` (the guard), ``why``, at most 100
                                             ``names``, ``effect`` (of a release), ``token``; once
                                             for each hold, again after a minute if it changes
``salt/k8s_nodes/<cluster>/lagging``         ``cluster``, ``minions`` (how many are out of date)
``salt/k8s_nodes/<cluster>/departure/open``  ``cluster``, ``addresses`` that left ten minutes ago
                                             and can still get in, ``minions``, ``truncated``,
                                             ``open_by`` (one rule), ``seconds``; once for each
===========================================  ====================================================
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

    Takes no arguments: all settings come from the ``k8s_nodes`` block of the master's
    configuration. Each mistake in it is logged; clusters without a mistake are watched.
    """
    Engine(__opts__).run()
