"""
Kernel sets, gates and rules that hold what references such as ``k8s://prod`` stand for.

.. versionadded:: 0.1.0

.. code-block:: yaml

    # pillar
    k8s_firewall:
      sets:
        prod: ['k8s://prod', 192.0.2.200]
      gates:
        5432: prod

The state folder is ``/var/lib/k8s_firewall``, or ``k8s_firewall:state_dir`` of the minion's
configuration.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import salt.exceptions
import salt.pillar

# Salt loads this file under a name of its own making, and again after each sync: its parts are
# imported from the folder beside it, and what was imported before is old then.
for _name in [name for name in sys.modules if name.split(".")[0] == "k8s_firewall_parts"]:
    del sys.modules[_name]
_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE))
try:
    from k8s_firewall_parts import access, addresses, connections, delivery, errors, kernel
    from k8s_firewall_parts import status as statuses
    from k8s_firewall_parts.run import Run
    from k8s_firewall_parts.state_dir import StateDir
finally:
    sys.path.remove(str(_HERE))

if TYPE_CHECKING:
    __opts__: dict[str, Any]
    __grains__: Any
    __pillar__: Any
    __context__: dict[str, Any]
    __salt__: Any

log = logging.getLogger(__name__)

__virtualname__ = "k8s_firewall"

RELEASE = "0.1.0"


def __virtual__() -> str | tuple[bool, str]:
    if not sys.platform.startswith("linux"):
        return False, "k8s_firewall: sets and gates are those of the Linux kernel"
    return __virtualname__


def version() -> str:
    """
    Return the version of this module: the release, and a digest of its files.

    ``python3 -m salt_ext.formula --version`` on the master prints the one that it would send.

    CLI Example:

    .. code-block:: bash

        salt '*' k8s_firewall.version
    """
    digest = hashlib.sha256()
    for path in [_HERE / "k8s_firewall.py", *sorted(_HERE.glob("k8s_firewall_parts/*.py"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{RELEASE}+{digest.hexdigest()[:8]}"


def sync(
    fresh: bool = True, test: bool | None = None, delivered: dict[str, Any] | None = None
) -> dict[str, Any]:
    """
    Bring what the pillar asks for into force; one call, no state run.

    Returns ``result`` (``False`` when something is left as it is, ``None`` with ``test``),
    ``comment``, ``changes``, ``version``, and the ``digest`` and ``revision`` that are in force;
    ``delivered``, where a delivery came, is ``True`` or why it was not taken.
    ``ends_connections`` is there, and ``False``, where connections of who leaves stay open:
    ``ss`` is missing, or the kernel ends none on demand.

    CLI Example:

    .. code-block:: bash

        salt 'db*' k8s_firewall.sync
        salt 'db*' k8s_firewall.sync test=True

    fresh : True
        Ask the master for the pillar. ``False`` takes the one that this minion has, which a
        state run has asked for already.

    test : None
        Change nothing and tell the difference; the minion's own ``test`` where it is not given.

    delivered : None
        What the master's publisher hands over, so that it need not compile the pillar. What is
        not sealed for this minion, or not newer than what is in force, or about other references
        than its own, is not taken: then the pillar is asked for.
    """
    if delivered is None:
        return _run("sync", fresh, test)
    run = Run({}, _folder(), _masters(), version(), test=_testing(test))
    try:
        outcome = run.deliver(delivered, __opts__["id"])
    except delivery.NotTaken as exc:
        log.info("what was delivered is not all that is needed: %s", exc)
        outcome = _run("sync", True, test)
        outcome["changes"] = {**run.outcome["changes"], **outcome["changes"]}
        return {**outcome, "delivered": str(exc)}
    return {**_told("sync", outcome), "delivered": True}


def prune(fresh: bool = True, test: bool | None = None) -> dict[str, Any]:
    """
    Close who was served by a reference and is not any more, where a formula only appends rules.

    Deletes the rules of ``k8s_firewall:prune`` that accept exactly such an address, in force and
    saved, and ends its connections. An address that is written in the pillar, or is to be kept,
    or was not served by a reference, is spared. :py:func:`sync` does it too.

    CLI Example:

    .. code-block:: bash

        salt 'db*' k8s_firewall.prune test=True

    fresh : True
        Ask the master for the pillar; see :py:func:`sync`.

    test : None
        Delete nothing and tell what would be; see :py:func:`sync`.
    """
    return _run("prune", fresh, test)


def remember(fresh: bool = True, test: bool | None = None) -> dict[str, Any]:
    """
    Write down who is served by references, before a formula lets them in.

    CLI Example:

    .. code-block:: bash

        salt 'db*' k8s_firewall.remember

    fresh : True
        Ask the master for the pillar; see :py:func:`sync`.

    test : None
        Write nothing; see :py:func:`sync`.
    """
    return _run("remember", fresh, test)


def rollback(test: bool | None = None) -> dict[str, Any]:
    """
    Bring back what was in force before the last change; calling it again undoes that.

    The next :py:func:`sync` brings the pillar into force again: mend the pillar, or pause the
    master's publishing, first.

    CLI Example:

    .. code-block:: bash

        salt 'db1' k8s_firewall.rollback

    test : None
        Change nothing and tell the difference; see :py:func:`sync`.
    """
    return _run("rollback", False, test)


def drift(repair: bool = False) -> dict[str, Any]:
    """
    Return in what the kernel differs from what is in force; no master is asked.

    A difference is fired on the minion's and the master's bus, with ``problems``, as
    ``salt/k8s_firewall/<minion>/drift``, which the engine answers with another apply, or as
    ``salt/k8s_firewall/<minion>/repaired``. The SLS ``k8s_firewall.drift`` has a schedule for it.

    CLI Example:

    .. code-block:: bash

        salt 'db*' k8s_firewall.drift
        salt 'db*' k8s_firewall.drift repair=True

    repair : False
        Bring back what is in force, by this minion's own record.
    """
    try:
        told = _looked()
    except (errors.FirewallError, OSError) as exc:
        return {"result": False, "comment": str(exc), "changes": {}}
    if not told["problems"]:
        return {"result": True, "comment": "no drift", "changes": {}}
    found = {"problems": told["problems"], "repaired": False}
    tag = f"salt/k8s_firewall/{__opts__['id']}"
    outcome = {"result": False, "comment": told["comment"], "changes": {}}
    if repair:
        outcome = _run("repair", False, None)
        # What is in force by the record may not be all that is wrong.
        if outcome["result"] and (left := _left()):
            outcome.update(result=False, comment="; ".join(left))
        found["repaired"] = outcome["result"] is True
    __salt__["event.send"](f"{tag}/{'repaired' if found['repaired'] else 'drift'}", found)
    log.error("drift: %s", "; ".join(told["problems"]))
    return {**outcome, **found}


def check_access(address: str, port: int, protocol: str = "tcp") -> dict[str, Any]:
    """
    Return whether an address gets in at a port of this host, and what decides it.

    ``let_in`` is ``None`` where nothing of ours decides. What passes a gate may still meet another
    firewall. ``problems`` are those of :py:func:`status`: with any, the kernel may differ.

    CLI Example:

    .. code-block:: bash

        salt 'db1' k8s_firewall.check_access 192.0.2.10 5432

    address
        An IPv4 or IPv6 address.

    port
        A number.

    protocol : tcp
        Or ``udp``.
    """
    try:
        _, plain = addresses.canonical(address)
        number = int(port)
    except ValueError as exc:
        raise salt.exceptions.CommandExecutionError(str(exc)) from exc
    if protocol not in ("tcp", "udp"):
        raise salt.exceptions.CommandExecutionError(f"{protocol!r} is not tcp or udp")
    this = kernel.in_force(_folder())
    if this is None:
        raise salt.exceptions.CommandExecutionError("nothing was brought into force yet")
    told = access.decide(this, plain, protocol, number)
    return {**told, "problems": statuses.status(_folder(), version())["problems"]}


def remove(test: bool | None = None) -> dict[str, Any]:
    """
    Take everything of ours out of the kernel and off the disk: sets, gates, rules, records.

    The systemd units of the formula stay, and load nothing.

    CLI Example:

    .. code-block:: bash

        salt 'db1' k8s_firewall.remove

    test : None
        Change nothing and tell the difference; see :py:func:`sync`.
    """
    return _run("remove", False, test)


def status() -> dict[str, Any]:
    """
    Return what is in force and what is wrong with it: ``result``, ``comment``, ``problems``.

    A gate that somebody's ``nft flush ruleset`` has taken away is such a problem. The next
    :py:func:`sync` mends each of them. ``ends_connections`` is ``False`` where the kernel ends
    none on demand (CONFIG_INET_DIAG_DESTROY), ``None`` where that could not be tried.

    CLI Example:

    .. code-block:: bash

        salt 'db*' k8s_firewall.status
    """
    told = {**statuses.status(_folder(), version()), "ends_connections": connections.can_end()}
    if not told["result"]:
        __context__["retcode"] = 1
    return told


def sets(name: str | None = None) -> dict[str, Any]:
    """
    Return what the sets hold that are in force, by this module's own record.

    CLI Example:

    .. code-block:: bash

        salt 'db*' k8s_firewall.sets
        salt 'db*' k8s_firewall.sets prod

    name : None
        The name of one set; every one where it is not given.
    """
    known = kernel.in_force(_folder())
    found = known.contents() if known else {}
    if name is not None and name not in found:
        raise salt.exceptions.CommandExecutionError(
            f"no set {name!r} is in force; in force: {', '.join(sorted(found)) or 'none'}"
        )
    return {
        one: sorted(content.everything())
        for one, content in sorted(found.items())
        if name in (None, one)
    }


def _looked() -> dict[str, Any]:
    """Return the status, but not while a run is between the kernel and its record."""
    record = _folder()
    with record.locked():
        return statuses.status(record, version())


def _left() -> list[str]:
    """Return what is still wrong after a repair."""
    try:
        return list(_looked()["problems"])
    except (errors.FirewallError, OSError) as exc:
        return [str(exc)]


def _run(what: str, fresh: bool, test: bool | None) -> dict[str, Any]:
    try:
        pillar = _fresh_pillar() if fresh else dict(__pillar__)
    except errors.Refused as exc:
        comment = f"what is in force stays as it is: {exc}"
        outcome = {"result": False, "comment": comment, "version": version(), "changes": {}}
    else:
        run = Run(pillar, _folder(), _masters(), version(), test=_testing(test))
        outcome = getattr(run, what)()
    return _told(what, outcome)


def _testing(test: bool | None) -> bool:
    return bool(__opts__.get("test")) if test is None else bool(test)


def _told(what: str, outcome: dict[str, Any]) -> dict[str, Any]:
    if outcome["result"] is False:
        log.error("%s: %s", what, outcome["comment"])
        __context__["retcode"] = 1
    elif outcome["result"] and outcome["changes"]:
        log.info("in force: digest %s, revisions %s", outcome["digest"], outcome["revision"])
    return outcome


def _folder() -> StateDir:
    told = __opts__.get("k8s_firewall")
    folder = told.get("state_dir") if isinstance(told, dict) else None
    return StateDir(folder or "/var/lib/k8s_firewall")


def _masters() -> list[str]:
    """Return the addresses of the Salt master that this minion is connected to."""
    address = __opts__.get("master_ip")
    # Salt writes an IPv6 address as in a URL.
    return [address.strip("[]")] if address else []


def _fresh_pillar() -> dict[str, Any]:
    try:
        found = salt.pillar.get_pillar(
            __opts__,
            dict(__grains__),
            __opts__["id"],
            __opts__.get("saltenv"),
            pillarenv=__opts__.get("pillarenv"),
        ).compile_pillar()
    except salt.exceptions.SaltException as exc:
        raise errors.Refused(f"the master gave no pillar: {exc}") from exc
    return dict(found or {})
