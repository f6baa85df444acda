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

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import salt.utils.user

from salt_ext.admin import confirm as confirming
from salt_ext.admin import controls
from salt_ext.admin import history as past
from salt_ext.admin import setup as setting_up
from salt_ext.admin import status as looking
from salt_ext.core.config.config import KEY, Config
from salt_ext.core.errors import BadArgument, K8sNodesError, NotConfigured
from salt_ext.master import minion_module
from salt_ext.master.pillar_compiler import PillarCompiler
from salt_ext.master.publisher import Publisher
from salt_ext.master.settings import settings
from salt_ext.master.targets import TargetMatcher
from salt_ext.references import discovery as discovering
from salt_ext.rollout import plan as planning
from salt_ext.rollout.apply import ApplyRun
from salt_ext.store import Store

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    __opts__: dict[str, Any]
    __context__: dict[str, Any]

__virtualname__ = "k8s_nodes"


def __virtual__() -> str:
    # Also without a configuration, which is when `setup` and `check` are needed most.
    return __virtualname__


def status() -> dict[str, Any]:
    """
    Show whether the engine runs, how current each cluster is, and which minions are behind.

    A terminal is shown the first twenty minions that are not up to date; ``--out`` gives all of
    them, with what was published to each, when, and when it is tried next.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.status
        salt-run k8s_nodes.status --out=json
    """
    return _answer(
        partial(looking.status, meant=TargetMatcher(__opts__), brief=_at_terminal("status"))
    )


def nodes(cluster: str) -> dict[str, Any]:
    """
    Show the nodes of a cluster as last seen, with the addresses that were let through.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.nodes prod

    cluster
        Name of a cluster in the ``k8s_nodes`` configuration.
    """
    return _answer(partial(looking.nodes, cluster=cluster))


def apply(
    cluster: str | list[str] | None = None, minions: str | None = None, force: bool = False
) -> dict[str, Any]:
    """
    Publish to the minions that are behind and due what their class is told; do not wait for them.

    Returns ``jobs`` (job id to minions), ``skipped`` (minions that are behind and not published
    to, and why not) and ``waiting`` (why nothing is published at all). The engine follows the
    returns and asks for the next batch.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.apply
        salt-run k8s_nodes.apply prod,staging
        salt-run k8s_nodes.apply prod minions='web* and G@os:Debian' force=True

    cluster : None
        Only minions that are behind in this cluster, or in one of several, with commas or as a
        list; the default is every cluster.

    minions : None
        Compound target; only minions that it means.

    force : False
        Publish also to minions whose next try is later, that are only observed, or whose class
        was stopped; all at once, without canaries.

    With ``minions`` or ``force`` it waits up to a minute for another apply that is at work, and
    says in ``waiting`` if it was not done for that.
    """

    def run(config: Config, store: Store) -> dict[str, Any]:
        apply_run = ApplyRun(
            config,
            store,
            Publisher(__opts__),
            TargetMatcher(__opts__),
            minion_module.shipped_version(),
        )
        answer = apply_run.run(_chosen(config, cluster), minions=minions, force=force)
        jobs = answer["jobs"]
        if jobs and (force or minions is not None):
            # By hand: the reactor says neither.
            controls.record_apply(store, _person(), force=force, minions=minions, jobs=jobs)
        return dict(answer)

    return _answer(run)


def plan(cluster: str | list[str] | None = None, minions: str | None = None) -> dict[str, Any]:
    """
    Show which minions are behind, which addresses would come and go on each, and when.

    Nothing is published.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.plan
        salt-run k8s_nodes.plan prod minions='web*'

    cluster : None
        Only changes of this cluster, or of several, with commas or as a list.

    minions : None
        Compound target; only minions that it means.
    """

    def run(config: Config, store: Store) -> dict[str, Any]:
        return planning.plan(
            config, store, TargetMatcher(__opts__), _chosen(config, cluster), minions
        )

    return _answer(run)


def history(cluster: str | None = None, count: int = 20) -> dict[str, Any]:
    """
    Show who or what changed which addresses when, and how long each minion took.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.history
        salt-run k8s_nodes.history prod count=100 --out=json

    cluster : None
        Name of a cluster in the ``k8s_nodes`` configuration; the default is all of them.

    count : 20
        How many of the newest entries.
    """

    def run(config: Config, store: Store) -> dict[str, Any]:
        return past.history(config, store, cluster, int(_number("count", count)))

    return _answer(run)


def refresh(cluster: str | list[str] | None = None, timeout: float = 30) -> dict[str, Any]:
    """
    Have the engine list clusters anew, and tell what came of it.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.refresh
        salt-run k8s_nodes.refresh prod

    cluster : None
        One cluster, or several, with commas or as a list; the default is every cluster.

    timeout : 30
        Seconds to wait for it; the LIST happens all the same.
    """

    def run(config: Config, store: Store) -> dict[str, Any]:
        chosen = _chosen(config, cluster)
        return controls.refresh(config, store, chosen, _person(), _number("timeout", timeout))

    return _answer(run)


def pause() -> dict[str, Any]:
    """
    Publish nothing any more, whoever asks, until ``resume``; recorded with the user's name.

    Clusters are followed and pillars served as before.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.pause
    """
    return _answer(lambda _, store: controls.pause(store, _person()))


def resume() -> dict[str, Any]:
    """
    Publish again after a ``pause``, and begin anew with classes that were stopped.

    The engine tells every minion that is behind within seconds.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.resume
    """
    return _answer(lambda _, store: controls.resume(store, _person()))


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
    return _answer(partial(confirming.confirm, cluster=cluster, by=_person()))


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

    def run(_: Config, store: Store) -> dict[str, Any]:
        limit = _number("within", within)
        pillars = PillarCompiler(__opts__)
        return dict(discovering.discover(store, pillars, after=str(after), within=limit))

    return _answer(run)


def check(within: float = 20) -> dict[str, Any]:
    """
    Diagnose the whole set-up in one go, and say how to mend what is wrong.

    Looks at the configuration and the files that it comes from, the master's options that have to
    fit, the engine, each cluster (whether it answers, takes our credentials, gives the rights
    that are needed, and has the same time), references, the minions' modules, and what formulas
    make of the pillars. Changes nothing, and touches no minion.

    Ends with the exit code 1 when there is an error. A terminal is shown the first of each kind;
    ``--out`` gives everything: ``findings``, each with ``level``, ``where``, ``what`` and
    ``fix``, and what each cluster told.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.check
        salt-run k8s_nodes.check --out=json

    within : 20
        Seconds for looking through pillars, which are compiled for that from kept grains; 0 for
        not at all.
    """
    # Brings the official client along, which takes long to import.
    from salt_ext.admin.check.report import check as checked

    return _told(
        lambda: checked(__opts__, within=_number("within", within), brief=_at_terminal("check"))
    )


def setup(
    cluster: str | None = None,
    server: str | None = None,
    kubeconfig: str | None = None,
    ca_file: str | None = None,
    token_file: str | None = None,
    allowed_networks: str | list[str] | None = None,
    states: str | list[str] | None = None,
) -> Any:
    """
    Print the configuration to paste, merged with what is there, and what to apply to each cluster.

    Writes nothing. Names the file that each list belongs into: one that stands in the main file
    and in master.d would be lost in the former. Lists that are there are kept.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.setup
        salt-run k8s_nodes.setup cluster=prod server=https://192.0.2.1:6443 \\
            allowed_networks=192.0.2.0/24
        salt-run k8s_nodes.setup --out=json

    cluster : prod
        A cluster to add to the configuration; where there are clusters, the default is none.

    server : None
        URL of its API server.

    kubeconfig : None
        A kubeconfig in place of ``server``, ``ca_file`` and ``token_file``.

    ca_file : /etc/salt/k8s/<cluster>.crt
        The CA's certificate.

    token_file : /etc/salt/k8s/<cluster>.token
        The token.

    allowed_networks : None
        Networks that its nodes' addresses lie in, with commas or as a list.

    states : firewall
        SLS that applies the firewall on a minion, several with commas or as a list; only where
        there is no configuration yet.
    """
    given = {
        "cluster": cluster,
        "server": server,
        "kubeconfig": kubeconfig,
        "ca_file": ca_file,
        "token_file": token_file,
        "allowed_networks": _several(allowed_networks),
        "states": _several(states),
    }
    return _told(lambda: setting_up.setup(__opts__, given, brief=_at_terminal("setup")))


def _several(words: str | list[str] | None) -> list[str] | None:
    return words.split(",") if isinstance(words, str) else words


def _answer(call: Callable[[Config, Store], dict[str, Any]]) -> dict[str, Any]:
    """Return what a call returns of the configuration and the store."""

    def configured() -> dict[str, Any]:
        if __opts__.get(KEY) is None:
            raise NotConfigured
        config = settings(__opts__)
        return call(config, Store(config.state_dir))

    return _told(configured)


def _told(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """
    Return what a call returns, or its error: one line, and ``retcode``, which is the exit code.

    An exception would do as well, were it not that Salt prints its whole traceback.
    """
    try:
        told = call()
    except K8sNodesError as exc:
        told = {"error": str(exc), "retcode": 1}
        # Who typed it reads it; who had it called by the reactor reads the master's log.
        if not str(__opts__.get("fun", "")).startswith(f"{KEY}."):
            log.error("%s", exc)
    # Whether a job has succeeded, Salt takes from here; the reactor's is never emptied. What is
    # only words has succeeded.
    __context__["retcode"] = told.get("retcode", 0) if isinstance(told, dict) else 0
    return told


def _at_terminal(function: str) -> bool:
    """Whether a person has typed it, and wants no certain format."""
    return __opts__.get("fun") == f"{KEY}.{function}" and __opts__.get("output") is None


def _number(name: str, value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        raise BadArgument(name, value, "a number") from None


def _person() -> str:
    return str(salt.utils.user.get_specific_user())


def _chosen(config: Config, cluster: str | list[str] | None) -> frozenset[str]:
    named = _several(cluster)
    return frozenset(config.known(name) for name in named) if named else frozenset(config.names)
