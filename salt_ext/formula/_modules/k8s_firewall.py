"""
Kernel sets, gates and rules, filled with the addresses behind references such as ``k8s://prod``.

.. versionadded:: 0.1.0

.. code-block:: yaml

    # pillar
    k8s_firewall:
      sets:
        prod: ['k8s://prod', 192.0.2.200]
      gates:
        5432: prod

The record of what was applied, and the files for the next boot, are in ``/var/lib/k8s_firewall``,
or in the folder that ``k8s_firewall:state_dir`` of the minion's configuration names.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import salt.exceptions
import salt.pillar

# Salt loads this file under a name that it makes up, and again after each sync: the parts are
# imported from the folder beside this file, and those imported before are outdated then.
for _name in [name for name in sys.modules if name.split(".")[0] == "k8s_firewall_parts"]:
    del sys.modules[_name]
_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE))
try:
    # Modules and classes only: Salt would take an imported function for one of this module.
    from k8s_firewall_parts import (
        access,
        applied,
        closing,
        connections,
        delivery,
        departures,
        errors,
        ownership,
        reading,
    )
    from k8s_firewall_parts import addresses as parts_addresses
    from k8s_firewall_parts import status as firewall_status
    from k8s_firewall_parts import verify as firewall_verify
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
        return False, "k8s_firewall: needs Linux, for its sets and gates are in the Linux kernel"
    return __virtualname__


def version() -> str:
    """
    Return the version of this module: the release, and a digest of its files.

    On the master, ``python3 -m salt_ext.formula --version`` prints the version that it would send.

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
    Apply the sets, gates and rules of the pillar; one call, without a state run.

    Returns ``result`` (``False`` where something was not applied, ``None`` where ``test`` found
    changes), ``comment``, ``changes``, ``version``, and the ``digest`` and ``revision`` that are
    applied. ``connections`` has, for each removed address, how many of its connections were
    ``ended`` and are ``still_open``. ``delivered`` is ``True`` where a delivery was accepted, else
    the reason why it was rejected. ``ends_connections`` is ``False`` where open connections of
    removed addresses cannot be ended: ``ss`` is not installed, or the kernel does not support it.

    A failure does not raise: ``result`` is ``False``, and the return code of the job is 1.

    CLI Example:

    .. code-block:: bash

        salt 'db*' k8s_firewall.sync
        salt 'db*' k8s_firewall.sync test=True

    fresh : True
        Ask the master for the pillar. ``False`` uses the pillar that this minion has in memory,
        which is the fresh one within a state run.

    test : None
        ``True`` changes nothing and returns what would change. Where it is not given, the
        minion's own ``test`` option counts.

    delivered : None
        Addresses that the master publishes with the job, so that it need not compile the pillar.
        They are rejected, and the pillar is asked for, where they are not signed for this minion,
        not newer than what is applied, or for other references than those of its pillar.
    """
    if delivered is None:
        return _run("sync", fresh, test)
    run = Run({}, _state_dir(), _masters(), version(), test=_testing(test))
    try:
        outcome = run.deliver(delivered, __opts__["id"])
    except delivery.Rejected as exc:
        log.info(
            "k8s_firewall: delivery rejected (%s); asking for the pillar [delivery-rejected]", exc
        )
        outcome = _run("sync", True, test)
        outcome["changes"] = {**run.outcome["changes"], **outcome["changes"]}
        return {**outcome, "delivered": str(exc)}
    return {**_logged("sync", outcome), "delivered": True}


def prune(fresh: bool = True, test: bool | None = None) -> dict[str, Any]:
    """
    Delete the rules of removed addresses, where another formula only appends rules.

    Deletes the rules that accept exactly an address which references served before and no longer
    serve, in the kernel and in saved files, and ends the connections of such an address. The
    pillar's ``k8s_firewall:prune`` can limit where. An address that is written in the pillar or in
    ``k8s_firewall:keep`` is spared. :py:func:`sync` does the same at its end.

    ``departures`` in the return has every removed address that is still ``open`` or ``unknown``,
    with the reason, and those that are newly ``closed`` or are ``spared``; ``result`` is ``False``
    with any that is open or unknown.

    CLI Example:

    .. code-block:: bash

        salt 'db*' k8s_firewall.prune test=True

    fresh : True
        Ask the master for the pillar; see :py:func:`sync`.

    test : None
        Delete nothing and return what would be deleted; see :py:func:`sync`.
    """
    return _run("prune", fresh, test)


def close(
    departed: dict[str, float] | list[str] | None = None,
    fresh: bool = True,
    test: bool | None = None,
) -> dict[str, Any]:
    """
    Close removed addresses whatever firewall lets them in, and prove it by the kernel.

    The same as :py:func:`prune`, and also where the pillar has no block ``k8s_firewall``. The
    master publishes it after the run of another formula.

    CLI Example:

    .. code-block:: bash

        salt 'db1' k8s_firewall.close
        salt 'db1' k8s_firewall.close departed='[192.0.2.10]' test=True

    departed : None
        Removed addresses that this minion may not know of, or a mapping of them to the time since
        when (seconds since 1970). One that the pillar still serves or has written is not closed.

    fresh : True
        Ask the master for the pillar; see :py:func:`sync`.

    test : None
        Delete nothing and return what would be deleted; see :py:func:`sync`.
    """
    return _run("close", fresh, test, departed)


def record(fresh: bool = True, test: bool | None = None) -> dict[str, Any]:
    """
    Record the addresses that references serve, before a formula lets them in.

    :py:func:`prune` then knows an address whose rule was added by a state run that failed later.

    CLI Example:

    .. code-block:: bash

        salt 'db*' k8s_firewall.record

    fresh : True
        Ask the master for the pillar; see :py:func:`sync`.

    test : None
        Record nothing; see :py:func:`sync`.
    """
    return _run("record", fresh, test)


def rollback(test: bool | None = None) -> dict[str, Any]:
    """
    Apply the state from before the last change; a second call undoes the first.

    The next :py:func:`sync` applies the pillar again: correct the pillar, or pause the master's
    publishing, before you call this.

    CLI Example:

    .. code-block:: bash

        salt 'db1' k8s_firewall.rollback

    test : None
        Change nothing and return what would change; see :py:func:`sync`.
    """
    return _run("rollback", False, test)


def drift(repair: bool = False) -> dict[str, Any]:
    """
    Return how the kernel differs from what was applied; the master is not asked.

    A difference fires an event with ``problems`` on the minion's and the master's bus:
    ``salt/k8s_firewall/<minion>/repaired`` where it was repaired, else
    ``salt/k8s_firewall/<minion>/drift``, after which the engine applies the minion again. The SLS
    ``k8s_firewall.drift`` schedules this function.

    CLI Example:

    .. code-block:: bash

        salt 'db*' k8s_firewall.drift
        salt 'db*' k8s_firewall.drift repair=True

    repair : False
        Apply again what this minion's own record says.
    """
    try:
        problems = _drift_problems()
    except (errors.FirewallError, OSError) as exc:
        return {"result": False, "comment": str(exc), "changes": {}}
    if not problems:
        return {"result": True, "comment": "no drift", "changes": {}}
    event = {"problems": problems, "repaired": False}
    tag = f"salt/k8s_firewall/{__opts__['id']}"
    outcome = {"result": False, "comment": "; ".join(problems), "changes": {}}
    if repair:
        outcome = _repaired()
        # Some problems cannot be repaired from the record.
        if outcome["result"] and (remaining := _remaining_problems()):
            outcome.update(result=False, comment="; ".join(remaining))
        event["repaired"] = outcome["result"] is True
    __salt__["event.send"](f"{tag}/{'repaired' if event['repaired'] else 'drift'}", event)
    log.error("k8s_firewall: drift: %s [firewall-drift]", "; ".join(problems))
    return {**outcome, **event}


def verify(addresses: Any = None) -> dict[str, Any]:
    """
    Return for each address whether this host lets it in: ``closed``, ``open`` or ``unknown``.

    Reads the kernel's rules and sets whole, whichever program made them (iptables with nf_tables
    or legacy, nft, ipset), the files that are loaded at boot (also those of ufw and firewalld),
    and the connections and flows that go on. Changes nothing.

    Returns ``verdict``, ``by`` (each rule, set element, file, connection or flow that lets the
    address in) and ``why`` (what could not be read whole). A rule for a larger network around the
    address counts as open. A rule for every source does not: see :py:func:`check_access`.

    Raises ``CommandExecutionError`` for a wrong argument.

    CLI Example:

    .. code-block:: bash

        salt 'db1' k8s_firewall.verify 192.0.2.10
        salt 'db*' k8s_firewall.verify '[192.0.2.10, 198.51.100.0/24]'

    addresses : None
        An address, a network, or a list of them. Where it is not given: every removed address
        that this minion has recorded.
    """
    try:
        if addresses is None:
            entries = _removed()
        else:
            listed = addresses if isinstance(addresses, (list, tuple)) else [addresses]
            entries = parts_addresses.parse_separately(listed)
        return {
            entry: verdict.to_dict()
            for entry, verdict in firewall_verify.verify(sorted(entries)).items()
        }
    except (parts_addresses.InvalidAddress, errors.FirewallError) as exc:
        raise salt.exceptions.CommandExecutionError(str(exc)) from exc


def check_access(address: str, port: int, protocol: str = "tcp") -> dict[str, Any]:
    """
    Return whether an address can reach a port of this host, and which rule decides.

    Takes the first packet of a connection through every chain of the kernel, whichever program
    made the rules. Returns ``allowed`` (``None`` where a rule decides that is not understood),
    ``decided_by`` and ``reason``.

    Raises ``CommandExecutionError`` for a wrong argument.

    CLI Example:

    .. code-block:: bash

        salt 'db1' k8s_firewall.check_access 192.0.2.10 5432

    address
        An IPv4 or IPv6 address.

    port
        A port number, 1 to 65535.

    protocol : tcp
        ``tcp`` or ``udp``.
    """
    try:
        packet = access.parse(address, port, protocol)
        return access.decide(reading.read_kernel(address), packet).to_dict()
    except errors.FirewallError as exc:
        raise salt.exceptions.CommandExecutionError(str(exc)) from exc


def remove(test: bool | None = None) -> dict[str, Any]:
    """
    Remove all sets, gates, rules and records of this module from the kernel and the disk.

    The formula's systemd units stay installed, and load nothing.

    CLI Example:

    .. code-block:: bash

        salt 'db1' k8s_firewall.remove

    test : None
        Change nothing and return what would change; see :py:func:`sync`.
    """
    return _run("remove", False, test)


def status() -> dict[str, Any]:
    """
    Return what is applied, and every way in which the kernel or the boot files differ from it.

    Returns ``result`` (``False`` with any problem), ``comment``, ``problems``, ``digest``,
    ``revision``, ``applied_at`` (seconds since 1970), ``sets`` with the number of their entries,
    ``gates`` and ``rules``. ``ends_connections`` is ``False`` where the kernel cannot end
    connections (it lacks CONFIG_INET_DIAG_DESTROY), ``None`` where that could not be tried.

    A gate that ``nft flush ruleset`` has deleted is such a problem; the next :py:func:`sync`
    repairs it.

    CLI Example:

    .. code-block:: bash

        salt 'db*' k8s_firewall.status
    """
    found = _status()
    if not found["result"]:
        __context__["retcode"] = 1
    return {**found, "ends_connections": connections.can_end()}


def served(known: Any = ()) -> dict[str, Any]:
    """
    Return which addresses references served to this minion last, from this module's own record.

    Returns ``addresses``, their ``digest``, ``clusters`` (each cluster of the last pillar with its
    ``revision`` and ``observed_at``) and ``version``. The master asks for it after it lost its
    store. Changes nothing.

    CLI Example:

    .. code-block:: bash

        salt 'db*' k8s_firewall.served

    known : ()
        Digests of lists that are left out of the answer: the caller has them.
    """
    return ownership.answer(_state_dir(), known, version())


def sets(name: str | None = None) -> dict[str, Any]:
    """
    Return the entries of the applied sets, from this module's own record.

    Raises ``CommandExecutionError`` where no set of that name is applied.

    CLI Example:

    .. code-block:: bash

        salt 'db*' k8s_firewall.sets
        salt 'db*' k8s_firewall.sets prod

    name : None
        The name of one set; every set where it is not given.
    """
    if name is not None and not isinstance(name, str):
        raise salt.exceptions.CommandExecutionError(f"{name!r} is not the name of a set")
    desired = applied.last(_state_dir())
    found = desired.all_sets() if desired else {}
    if name is not None and name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise salt.exceptions.CommandExecutionError(
            f"the set {name!r} is not applied; applied sets: {known}"
        )
    return {
        key: sorted(content.entries())
        for key, content in sorted(found.items())
        if name in (None, key)
    }


def remember(*_: Any, **__: Any) -> dict[str, Any]:
    """
    Renamed: call :py:func:`record`. Raises ``CommandExecutionError`` with the new name.

    CLI Example:

    .. code-block:: bash

        salt 'db*' k8s_firewall.record
    """
    raise salt.exceptions.CommandExecutionError(
        "k8s_firewall.remember was renamed; call k8s_firewall.record"
    )


def _removed() -> frozenset[str]:
    """Return the addresses that references served before and serve no more."""
    return frozenset(departures.recorded(_state_dir()))


def _repaired() -> dict[str, Any]:
    """Apply the record again, and close removed addresses that came back."""
    outcome: dict[str, Any] = {"result": True, "changes": {}}
    if applied.last(_state_dir()) is not None:
        outcome = _run("repair", False, None)
    if outcome["result"] and _came_back():
        # The pillar in memory may be from before an address was wanted again.
        closed = _run("close", True, None)
        return {**closed, "changes": {**outcome["changes"], **closed["changes"]}}
    return outcome


def _came_back() -> list[str]:
    """Return a sentence for each removed address that was closed and is let in again."""
    recorded = departures.recorded(_state_dir())
    closed = {address: one for address, one in recorded.items() if one.state == departures.CLOSED}
    return departures.problems(_read_again(closed))


def _read_again(recorded: dict[str, Any]) -> dict[str, Any]:
    """Return departures as the kernel has them now, without those that are wanted again."""
    now = closing.read_again(recorded)
    if not departures.still_open(now):
        return now
    # The run of another formula opens an address again without this module.
    try:
        pillar = _fresh_pillar()
    except errors.Refused:
        pillar = dict(__pillar__)
    wanted = ownership.served(pillar)
    return {address: one for address, one in now.items() if address not in wanted}


def _status() -> dict[str, Any]:
    """Return what is applied, with every problem, also with removed addresses."""
    state_dir = _state_dir()
    found = firewall_status.status(state_dir, version())
    recorded = departures.recorded(state_dir)
    if not recorded:
        return found
    now = _read_again(recorded)
    problems = [
        one for one in found["problems"] if one != firewall_status.NOTHING_APPLIED
    ] + departures.problems(now)
    return {
        **found,
        "departures": departures.answer(now),
        "problems": problems,
        "result": not problems,
        "comment": "; ".join(problems) or "up to date",
    }


def _drift_problems() -> list[str]:
    """Return what another program has changed, but not while a run is under way."""
    state_dir = _state_dir()
    with state_dir.locked():
        found = list(firewall_status.status(state_dir, version())["problems"])
        if departures.recorded(state_dir):
            # A minion of another formula has only removed addresses to look after.
            found = [one for one in found if one != firewall_status.NOTHING_APPLIED]
            found += _came_back()
    return found


def _remaining_problems() -> list[str]:
    """Return the problems that are still there after a repair."""
    try:
        return _drift_problems()
    except (errors.FirewallError, OSError) as exc:
        return [str(exc)]


def _run(step: str, fresh: bool, test: bool | None, departed: object = None) -> dict[str, Any]:
    try:
        pillar = _fresh_pillar() if fresh else dict(__pillar__)
    except errors.Refused as exc:
        comment = f"firewall unchanged: {exc}"
        outcome = {"result": False, "comment": comment, "version": version(), "changes": {}}
    else:
        run = Run(
            pillar, _state_dir(), _masters(), version(), test=_testing(test), departed=departed
        )
        outcome = getattr(run, step)()
    return _logged(step, outcome)


def _testing(test: bool | None) -> bool:
    return bool(__opts__.get("test")) if test is None else bool(test)


def _logged(step: str, outcome: dict[str, Any]) -> dict[str, Any]:
    if outcome["result"] is False:
        log.error("k8s_firewall: %s failed: %s [step-failed]", step, outcome["comment"])
        __context__["retcode"] = 1
    elif outcome["result"] and outcome["changes"]:
        log.info(
            "k8s_firewall: %s applied digest %s, %s [step-applied]",
            *(step, outcome["digest"], outcome["revision"]),
        )
    return outcome


def _state_dir() -> StateDir:
    options = __opts__.get("k8s_firewall")
    folder = options.get("state_dir") if isinstance(options, dict) else None
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
        raise errors.Refused(f"the master returned no pillar: {exc}") from exc
    return dict(found or {})
