"""
See and drive the firewalls that follow Kubernetes clusters.

.. versionadded:: 0.1.0

.. code-block:: yaml

    # /etc/salt/master.d/k8s_nodes.conf
    k8s_nodes:
      apply:
        states: [firewall]
      clusters:
        prod:
          kubeconfig: /etc/salt/k8s/prod.kubeconfig
          allowed_networks: [192.0.2.0/24]
    reactor:
      # the folder of `python3 -c 'import salt_ext.reactor as r; print(r.__path__[0])'`
      - salt/k8s_nodes/*/changed: [/usr/lib/python3/dist-packages/salt_ext/reactor/apply.sls]
      - salt/k8s_nodes/*/lagging: [/usr/lib/python3/dist-packages/salt_ext/reactor/apply.sls]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import salt.utils.user
from salt.exceptions import CommandExecutionError

from salt_ext.commands import confirm as confirming
from salt_ext.commands import discover as discovering
from salt_ext.commands import status as looking
from salt_ext.commands.apply import Applying
from salt_ext.core.errors import K8sNodesError
from salt_ext.master.pillars import Pillars
from salt_ext.master.publisher import Publisher
from salt_ext.master.settings import settings
from salt_ext.store import Store

if TYPE_CHECKING:
    __opts__: dict[str, Any]

__virtualname__ = "k8s_nodes"


def __virtual__() -> str | tuple[bool, str]:
    if "k8s_nodes" not in __opts__:
        return False, "k8s_nodes: the master has no k8s_nodes configuration"
    return __virtualname__


def status() -> dict[str, Any]:
    """
    Show whether the engine runs, how current each cluster is, and which minions are behind.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.status
        salt-run k8s_nodes.status --out=json
    """
    config = settings(__opts__)
    return _translated(looking.status, config, Store(config.state_dir))


def nodes(cluster: str) -> dict[str, Any]:
    """
    Show the nodes of a cluster as last seen, with the addresses that were let through.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.nodes prod

    cluster
        Name of a cluster in the ``k8s_nodes`` configuration.
    """
    config = settings(__opts__)
    return _translated(looking.nodes, config, Store(config.state_dir), cluster)


def apply(cluster: str | None = None, force: bool = False) -> dict[str, Any]:
    """
    Publish the firewall states to the minions that are behind and due; do not wait for them.

    Returns ``jobs`` (job id to minions); the engine follows their returns.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.apply
        salt-run k8s_nodes.apply prod force=True

    cluster : None
        Only minions that are behind in this cluster; the default is every cluster.

    force : False
        Publish also to minions whose next try is later.
    """
    config = settings(__opts__)

    def run() -> dict[str, Any]:
        chosen = frozenset([config.known(cluster)] if cluster else config.names)
        applying = Applying(config, Store(config.state_dir), Publisher(__opts__))
        return applying.run(chosen, force=force)

    return _translated(run)


def confirm(cluster: str) -> dict[str, Any]:
    """
    Let through what a guard holds for a cluster, and say what that is.

    It holds for the changes that are named in the answer, and is recorded with the user's name.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.confirm prod

    cluster
        Name of a cluster in the ``k8s_nodes`` configuration.
    """
    config = settings(__opts__)
    by = salt.utils.user.get_specific_user()
    return _translated(confirming.confirm, config, Store(config.state_dir), cluster, by)


def discover(after: str = "", within: float = 300) -> dict[str, Any]:
    """
    Find out anew which minions refer to which clusters, and forget those whose keys are gone.

    Compiles the pillars of all accepted minions from the grains that this master keeps, one after
    the other; no minion is touched by that. Needed after the store was set aside or deleted.

    Returns how many were ``compiled``, who is ``referring`` to what, whose pillar ``failed``, who
    is ``without_grains`` (and is found when it next asks for its pillar), who was ``forgotten``,
    and how many are ``left``.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.discover
        salt-run k8s_nodes.discover after=web17

    after : ''
        Begin behind this minion, in the order of names: ``go_on_after`` of the call before.

    within : 300
        Seconds after which no further pillar is begun.
    """
    config = settings(__opts__)
    found = partial(discovering.discover, after=str(after), within=float(within))
    return _translated(found, Store(config.state_dir), Pillars(__opts__))


def _translated(call: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    try:
        return call(*args)
    except K8sNodesError as exc:
        raise CommandExecutionError(str(exc)) from exc
