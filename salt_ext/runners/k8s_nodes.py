"""
Show and control the firewalls that follow Kubernetes clusters.

Each function prints its answer for reading; ``--out=json`` gives all of it, as documented in
``docs/answers.md``. An error is one line, ``error``, and the exit code 1.

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
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from salt_ext.admin import confirm as admin_confirm
from salt_ext.admin import controls
from salt_ext.admin import history as admin_history
from salt_ext.admin import observed as admin_observed
from salt_ext.admin import setup as admin_setup
from salt_ext.admin import status as admin_status
from salt_ext.admin.address_history import address_history
from salt_ext.core import answers
from salt_ext.core.config.config import KEY, Config
from salt_ext.core.display import reason_text
from salt_ext.core.errors import BadArgument, K8sNodesError, NotConfigured
from salt_ext.master import minion_module
from salt_ext.master.caller import caller
from salt_ext.master.pillar_compiler import PillarCompiler
from salt_ext.master.publisher import Publisher
from salt_ext.master.settings import settings
from salt_ext.master.targets import TargetMatcher
from salt_ext.references import discovery
from salt_ext.rollout import plan as rollout_plan
from salt_ext.rollout.apply import ApplyRun
from salt_ext.store import Store

if TYPE_CHECKING:
    __opts__: dict[str, Any]
    __context__: dict[str, Any]

log = logging.getLogger(__name__)

__virtualname__ = "k8s_nodes"

_Answer = TypeVar("_Answer")


def __virtual__() -> str:
    # Also without a configuration: `setup` and `check` are needed most then.
    return __virtualname__


def status() -> answers.Status | answers.Error:
    """
    Show whether the engine runs, how current each cluster is, and which minions are out of date.

    A terminal shows the first twenty minions that are not up to date; ``--out=json`` has all of
    them. The most useful keys: ``engine``, ``publishing`` (``on``, or why nothing is published),
    ``summary``, ``clusters:<name>:stale`` (the last known nodes stay in force) and
    ``minions:<id>:<cluster>:why``. An error is returned when the store cannot be read.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.status
        salt-run k8s_nodes.status --out=json
    """
    return _with_store(
        partial(admin_status.status, match=TargetMatcher(__opts__), brief=_at_terminal("status"))
    )


def nodes(cluster: str) -> dict[str, answers.Node] | answers.Error:
    """
    Show the nodes of a cluster as last seen, with their accepted addresses.

    Returns for each node ``ready``, and the lists ``InternalIP``, ``ExternalIP`` and ``podCIDR``
    that it has. An error is returned when the cluster is not configured or was never listed.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.nodes prod

    cluster
        Name of a cluster in the ``k8s_nodes`` configuration.
    """
    return _with_store(partial(admin_status.nodes, cluster=cluster))


def apply(
    cluster: str | list[str] | None = None,
    minions: str | None = None,
    force: bool = False,
    reason: str | None = None,
) -> answers.Applied | answers.Error:
    """
    Publish to the minions that are out of date and due; do not wait for their returns.

    Returns ``jobs`` (the minions of each job id), ``skipped`` (why a minion that is out of date
    was not published to) and ``waiting`` (why nothing is published at all). The engine follows
    the returns, and asks for the next batch. An error is returned when a cluster is not
    configured, or the store cannot be written.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.apply
        salt-run k8s_nodes.apply prod,staging
        salt-run k8s_nodes.apply prod minions='web* and G@os:Debian' force=True
        salt-run k8s_nodes.apply minions=web1 reason='restored from backup'

    cluster : None
        Only minions that are out of date with this cluster, or with one of several, separated by
        commas or as a list; the default is every cluster.

    minions : None
        Compound target; only minions that it matches.

    force : False
        Publish also to minions whose next try is later, that are only observed, or whose class
        is stopped; all at once, without canaries. The ceiling ``apply:max_per_minute`` and a
        pause still hold.

    reason : None
        Why, for ``history``; the first 500 characters are kept.

    With ``minions`` or ``force`` it waits up to 60 seconds for another apply that is running;
    ``waiting`` says so if that took longer and nothing was done.
    """

    def run(config: Config, store: Store) -> answers.Applied:
        apply_run = ApplyRun(
            config,
            store,
            Publisher(__opts__),
            TargetMatcher(__opts__),
            minion_module.shipped_version(),
        )
        # A cluster that was removed still has minions where it has to be closed.
        named = _clusters(config, cluster, also=store.applied.clusters() if cluster else ())
        answer = apply_run.run(named, minions=minions, force=force)
        by = _by(reason)
        # The reactor's own calls have neither, and are no news.
        if answer["jobs"] and (force or minions is not None or not by.automatic):
            jobs = answer["jobs"]
            controls.record_apply(store, by, force=force, minions=minions, jobs=jobs)
        return answer

    return _with_store(run)


def plan(
    cluster: str | list[str] | None = None, minions: str | None = None
) -> answers.Plan | answers.Error:
    """
    Show which minions are out of date, the addresses to add and remove on each, and when.

    Publishes nothing. Returns ``minions``, each with ``publishes``, ``class``, ``when`` and its
    ``clusters`` (``why``, ``added``, ``removed``, ``desired``: the number of addresses), and
    ``waiting`` (why nothing is published at all). The lists are null while the present addresses
    of the minion are unknown: nothing was proven yet, or it has started since. An error is
    returned when a cluster is not configured.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.plan
        salt-run k8s_nodes.plan prod minions='web*'

    cluster : None
        Only changes of this cluster, or of several, separated by commas or as a list.

    minions : None
        Compound target; only minions that it matches.
    """

    def run(config: Config, store: Store) -> answers.Plan:
        return rollout_plan.plan(
            config, store, TargetMatcher(__opts__), _clusters(config, cluster), minions
        )

    return _with_store(run)


def history(
    cluster: str | None = None,
    count: int = 20,
    what: str | list[str] | None = None,
    minion: str | None = None,
    address: str | None = None,
    at: str | None = None,
) -> answers.History | answers.AddressHistory | answers.Error:
    """
    Show what changed when, by whose hand and why; or why an address was open, and where.

    Returns ``entries``, newest first, each with ``at``, ``what`` and the details of its kind.
    Those of ``changed`` have ``seconds``: how long after the change each minion had proved it.
    What persons did has ``by``, and ``reason`` where they gave one. An entry with ``times`` stands
    for so many since ``first_at``.

    With ``address`` it returns ``intervals`` in place of that: which node of which cluster had
    the address from when to when, the revisions that opened and closed it, who confirmed it, and
    what became of it on each minion.

    An error is returned when the cluster is not configured, or an argument cannot be read.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.history
        salt-run k8s_nodes.history prod count=100 --out=json
        salt-run k8s_nodes.history what=confirmed,rejected,paused,resumed
        salt-run k8s_nodes.history prod address=192.0.2.10 at=2026-11-27T12:00

    cluster : None
        Name of a cluster in the ``k8s_nodes`` configuration; the default is all of them, and
        what concerns none: pauses, pillars, an apply by hand.

    count : 20
        Number of entries. For each cluster the newest 2,000 changes and 2,000 departures are
        kept, for each minion 50 entries about its pillar, and 2,000 of each action of persons.

    what : None
        Only entries of this kind, or of several, separated by commas or as a list.

    minion : None
        Only what concerns this minion.

    address : None
        An IP address, or a network that nodes have as their podCIDR. An address inside such a
        network is found too.

    at : None
        With ``address``: only where it was open at this time, in ISO 8601. It is UTC unless it
        has an offset such as ``+02:00``.
    """

    def run(config: Config, store: Store) -> answers.History | answers.AddressHistory:
        if address is not None:
            return address_history(config, store, address, cluster=cluster, minion=minion, at=at)
        if at is not None:
            raise BadArgument("at", at, "only together with address")
        limit = int(_number("count", count))
        return admin_history.history(config, store, cluster, limit, _split(what) or (), minion)

    return _with_store(run)


def observed(
    cluster: str | None = None,
    minion: str | None = None,
    since: str = "7d",
    count: int = 20,
) -> answers.Observed | answers.Error:
    """
    Show every change that would have been published, were it not for ``mode: observe``.

    Returns ``summary``, ``observing`` (the clusters and classes in that mode) and ``entries``,
    newest first. Each entry has the addresses that the change would have opened (``opens``) and
    closed (``closes``), on which minions, and ``why``. It is compared with the entry before, as
    if every change so far had been made. An error is returned when an argument is not allowed.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.observed
        salt-run k8s_nodes.observed prod since=12h count=100 --out=json
        salt-run k8s_nodes.observed minion=web1 since=2026-03-01

    cluster : None
        Name of a cluster in the ``k8s_nodes`` configuration; the default is all of them.

    minion : None
        Id of a minion; only changes on it. The default is every minion.

    since : 7d
        How far back: a number of ``m``, ``h``, ``d`` or ``w``, or a date and time in ISO 8601
        and UTC. Entries are kept for 60 days.

    count : 20
        Number of entries; ``summary`` counts all of that time.
    """

    def run(config: Config, store: Store) -> answers.Observed:
        limit = int(_number("count", count))
        return admin_observed.observed(
            config, store, cluster, minion=minion, since=str(since), count=limit
        )

    return _with_store(run)


def refresh(
    cluster: str | list[str] | None = None, timeout: float = 30, reason: str | None = None
) -> answers.Refreshed | answers.Error:
    """
    Ask the engine to list clusters now, and show the result.

    Returns for each cluster ``listed_at``, ``nodes``, ``revision`` and ``held`` (the number of
    held changes), or one line that says why it was not listed. An error is returned when a
    cluster is not configured.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.refresh
        salt-run k8s_nodes.refresh prod

    cluster : None
        One cluster, or several, separated by commas or as a list; the default is every cluster.

    timeout : 30
        Seconds to wait for the result; the engine lists the clusters all the same.

    reason : None
        Why, for ``history``; the first 500 characters are kept.
    """

    def run(config: Config, store: Store) -> answers.Refreshed:
        clusters = _clusters(config, cluster)
        return controls.refresh(config, store, clusters, _by(reason), _number("timeout", timeout))

    return _with_store(run)


def pause(reason: str | None = None) -> answers.Paused | answers.Error:
    """
    Stop all publishing, by hand and by the engine, until ``resume``.

    The clusters are still watched and the pillars still rendered; jobs in flight are followed to
    their end. The pause outlives restarts. Returns ``by`` (the user who paused first), ``since``
    and that user's ``reason``. An error is returned when the store cannot be written.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.pause
        salt-run k8s_nodes.pause reason='new core switch until noon'

    reason : None
        Why, for ``status`` and ``history``; the first 500 characters are kept.
    """
    return _with_store(lambda _, store: controls.pause(store, _by(reason)))


def resume(reason: str | None = None) -> answers.Resumed | answers.Error:
    """
    Publish again after a ``pause``, and restart the rollout of classes that were stopped.

    The engine publishes to every minion that is out of date within seconds. After a loss of the
    store, this accepts the nodes as they are listed now. A file of decisions that cannot be used
    is set aside.

    Returns ``was_paused`` and ``restarted_classes``, ``set_aside`` (the name of such a file) and
    ``recovered`` (what was lost). An error is returned when the store cannot be written.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.resume

    reason : None
        Why, for ``history``; the first 500 characters are kept.
    """
    return _with_store(lambda _, store: controls.resume(store, _by(reason)))


def confirm(
    cluster: str, token: str | list[str] | None = None, reason: str = ""
) -> answers.Confirmed | answers.Error:
    """
    Show the changes that guards hold for a cluster, or release those with a token.

    Without a token nothing is done: ``still_held`` has each change with its ``token``, and with
    what a release would do (``if_released``). A release is for exactly what was shown with the
    token: nodes, uids, addresses. Where that has changed, nothing is released, ``refused`` says
    so, and the exit code is 1. All other guards judge what one of them releases.

    Returns ``released``, ``still_held`` and ``takes_effect``. The release is recorded with the
    user's name. An error is returned when the cluster is not configured.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.confirm prod
        salt-run k8s_nodes.confirm prod fjkd-mwqa-btzx reason='rebuilt on Monday'

    cluster
        Name of a cluster in the ``k8s_nodes`` configuration.

    token : None
        The token of a held change, or several, separated by commas or as a list.

    reason : ''
        Why it is right, for the history.
    """
    return _with_store(
        partial(
            admin_confirm.confirm,
            cluster=cluster,
            by=_by(reason),
            tokens=_split(token) or (),
        )
    )


def reject(
    cluster: str, token: str | list[str], reason: str = ""
) -> answers.Rejected | answers.Error:
    """
    Keep nodes or another cluster out that a guard holds, for good: until they change.

    ``status`` goes on to show them; ``confirm`` with their new token takes the rejection back.
    What would leave cannot be rejected. Refused like a ``confirm``.

    Returns ``rejected``, ``still_held`` and ``takes_effect``. The rejection is recorded with the
    user's name. An error is returned when the cluster is not configured.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.reject prod fjkd-mwqa-btzx reason='forged nodes'

    cluster
        Name of a cluster in the ``k8s_nodes`` configuration.

    token
        The token of a held change, or several, separated by commas or as a list.

    reason : ''
        Why it is wrong, for the history.
    """
    return _with_store(
        partial(
            admin_confirm.reject,
            cluster=cluster,
            by=_by(reason),
            tokens=_split(token) or (),
        )
    )


def discover(after: str = "", within: float = 300) -> answers.Discovered | answers.Error:
    """
    Find out which minions reference which clusters, and forget minions whose keys are gone.

    Compiles the pillars of all accepted minions from their cached grains, one after the other;
    sends nothing to a minion. Needed after the store was set aside or deleted.

    Returns ``compiled`` (a number), ``referring`` (the references of each minion), ``failed``
    (minions whose pillar does not compile, and why), ``without_grains`` (found when they next
    ask for their pillar), ``forgotten``, ``left`` (a number) and ``go_on_after``. An error is
    returned when ``ext_pillar`` lacks ``k8s_nodes``, or no minion key is accepted.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.discover
        salt-run k8s_nodes.discover after=web17

    after : ''
        Start after this minion, in the order of names: ``go_on_after`` of the call before.

    within : 300
        Seconds after which no further pillar is begun.
    """

    def run(_: Config, store: Store) -> answers.Discovered:
        limit = _number("within", within)
        compiler = PillarCompiler(__opts__)
        answer = discovery.discover(store, compiler, after=str(after), within=limit)
        controls.record_discovery(store, _by(None), answer)
        return answer

    return _with_store(run)


def check(within: float = 20) -> answers.Checked | answers.CheckScreen | answers.Error:
    """
    Diagnose the whole set-up, and show how to fix what is wrong.

    Checks the configuration and its files, the master's options, the engine, each cluster
    (reachability, credentials, rights, clock), the references, the minions' modules, and the
    pitfalls of formulas in the pillars. Changes nothing, and sends nothing to a minion.

    Exits with 1 when there is an error. A terminal shows the first findings of each level;
    ``--out=json`` has all ``findings``, each with ``level``, ``where``, ``what`` and ``fix``, and
    the answer of each cluster.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.check
        salt-run k8s_nodes.check --out=json

    within : 20
        Seconds for the pillars, which are compiled from cached grains; 0 checks none of them.
    """
    # Imported here, since the official client takes long to import.
    from salt_ext.admin.check.report import check as admin_check

    return _without_traceback(
        lambda: admin_check(__opts__, within=_number("within", within), brief=_at_terminal("check"))
    )


def setup(
    cluster: str | None = None,
    server: str | None = None,
    kubeconfig: str | None = None,
    ca_file: str | None = None,
    token_file: str | None = None,
    allowed_networks: str | list[str] | None = None,
    states: str | list[str] | None = None,
) -> answers.Setup | str | answers.Error:
    """
    Print the configuration to paste, merged with the present one, and the manifest for clusters.

    Writes nothing. Names the file for each list: a list in the main file is lost when a file of
    ``master.d`` has it too. All entries of the present lists are kept.

    Returns one text at a terminal, and else ``put`` (YAML for each file), ``take_out`` (keys to
    remove from each file), ``unchanged``, ``manifest`` and ``steps``. An error is returned when
    ``reactor`` names a file without a list.

    CLI Example:

    .. code-block:: bash

        salt-run k8s_nodes.setup
        salt-run k8s_nodes.setup cluster=prod server=https://192.0.2.1:6443 \\
            allowed_networks=192.0.2.0/24
        salt-run k8s_nodes.setup --out=json

    cluster : prod
        Name of a cluster to add; no cluster is added by default where one is configured.

    server : None
        URL of its API server.

    kubeconfig : None
        Path of a kubeconfig, in place of ``server``, ``ca_file`` and ``token_file``.

    ca_file : /etc/salt/k8s/<cluster>.crt
        Path of the CA's certificate.

    token_file : /etc/salt/k8s/<cluster>.token
        Path of the token.

    allowed_networks : None
        Networks of its nodes' addresses, separated by commas or as a list.

    states : firewall
        SLS that apply the firewall on a minion, separated by commas or as a list; used only where
        nothing is configured yet.
    """
    given: admin_setup.Given = {
        "cluster": cluster,
        "server": server,
        "kubeconfig": kubeconfig,
        "ca_file": ca_file,
        "token_file": token_file,
        "allowed_networks": _split(allowed_networks),
        "states": _split(states),
    }
    return _without_traceback(
        lambda: admin_setup.setup(__opts__, given, brief=_at_terminal("setup"))
    )


def _split(text: str | list[str] | None) -> list[str] | None:
    return text.split(",") if isinstance(text, str) else text


def _with_store(call: Callable[[Config, Store], _Answer]) -> _Answer | answers.Error:
    """Return the answer of a call that needs the configuration and the store."""

    def configured() -> _Answer:
        if __opts__.get(KEY) is None:
            raise NotConfigured
        config = settings(__opts__)
        return call(config, Store(config.state_dir))

    return _without_traceback(configured)


def _without_traceback(call: Callable[[], _Answer]) -> _Answer | answers.Error:
    """
    Return the answer of a call, or its error: one line, and ``retcode``, which is the exit code.

    Of an exception Salt would print the whole traceback.
    """
    answer: _Answer | answers.Error
    try:
        answer = call()
    except K8sNodesError as exc:
        answer = {"error": str(exc), "retcode": 1}
        # An operator reads the answer; that of the reactor's call is seen in the log only.
        if not str(__opts__.get("fun", "")).startswith(f"{KEY}."):
            log.error("runner: %s [runner-error]", exc)
    # Salt reads the success of a job here, and never resets it for the reactor. A text, which has
    # no retcode, is a success.
    __context__["retcode"] = answer.get("retcode", 0) if isinstance(answer, Mapping) else 0
    return answer


def _at_terminal(function: str) -> bool:
    """Return whether the function was typed, and without ``--out``."""
    return __opts__.get("fun") == f"{KEY}.{function}" and __opts__.get("output") is None


def _number(name: str, value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        raise BadArgument(name, value, "a number") from None


def _by(reason: object) -> controls.By:
    """Return who calls; Salt has put the user into the globals of this module."""
    found = caller(__opts__, globals().get("__user__"))
    return controls.By(name=found.name, reason=reason_text(reason), automatic=not found.person)


def _clusters(
    config: Config, cluster: str | list[str] | None, *, also: Collection[str] = ()
) -> frozenset[str]:
    named = _split(cluster)
    if not named:
        return frozenset(config.names)
    return frozenset(name if name in also else config.known(name) for name in named)
