"""``history address=``: when an address was open and why, and what became of it on each minion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address, IPv6Network, ip_network
from typing import cast

from salt_ext.core import answers
from salt_ext.core.cluster.address import Network
from salt_ext.core.config.config import Config
from salt_ext.core.display import parse_time, utc
from salt_ext.core.errors import BadArgument
from salt_ext.core.rollout.departures import Departure, State, canonical
from salt_ext.store import Store
from salt_ext.store.address_history import Interval, ProvenAddress
from salt_ext.store.history import HistoryEntry

_MAX_INTERVALS = 200
"""Intervals of one address that are shown, newest first."""


def address_history(
    config: Config,
    store: Store,
    address: object,
    *,
    cluster: str | None = None,
    minion: str | None = None,
    at: object = None,
) -> answers.AddressHistory:
    """
    Return when nodes had an address, who let it in, and what became of it on each minion.

    With ``at`` only what was open then: in the view of a cluster, or not proven to be closed on a
    minion. :class:`UnknownCluster`, and :class:`BadArgument` for what is no address or no time.
    """
    wanted = _network(address)
    moment = None if at is None else _time(at)
    intervals = store.address_history.of(_names(wanted))
    departures = store.departures.of_addresses(_names(wanted))
    in_force = store.address_history.in_force(_names(wanted))
    if cluster:
        known = {
            *(one.cluster for one in intervals),
            *(one.cluster for one in departures),
            *(one.cluster for one in in_force),
        }
        name = cluster if cluster in known else config.known(cluster)
        intervals = [one for one in intervals if one.cluster == name]
        departures = [one for one in departures if one.cluster == name]
        in_force = [one for one in in_force if one.cluster == name]
    if minion is not None:
        departures = [one for one in departures if one.minion == minion]
        in_force = [one for one in in_force if one.minion == minion]
    departed, proven = _by_interval(intervals, departures), _current(intervals, in_force)
    found = []
    for number, interval in enumerate(intervals):
        if (moment is None or _was_open(interval, departed[number], moment)) and (
            minion is None or departed[number] or proven[number]
        ):
            proofs = store.address_history.first_proofs(interval)
            shown = _with_proofs(_minions(departed[number], proven[number]), proofs)
            found.append(_interval(interval, shown, store))
            if len(found) == _MAX_INTERVALS:
                break
    others = _minions(
        [one for one in departed[-1] if moment is None or _not_closed(one, moment)],
        proven[-1],
    )
    answer: answers.AddressHistory = {
        "address": canonical(str(wanted)),
        "intervals": found,
        "other_minions": others,
    }
    if moment is not None:
        answer["at"] = utc(moment)
    return answer


def _network(value: object) -> Network:
    try:
        network = ip_network(str(value).strip())
    except ValueError:
        allowed = "an IP address such as 192.0.2.10, or a network such as 192.0.2.0/24"
        raise BadArgument("address", value, allowed) from None
    mapped = network.network_address
    if isinstance(mapped, IPv6Address) and mapped.ipv4_mapped and network.prefixlen == 128:
        return ip_network(mapped.ipv4_mapped)
    return network


def _time(value: object) -> float:
    try:
        return parse_time(value)
    except ValueError:
        raise BadArgument("at", value, "a time such as 2026-11-27T12:00 (UTC)") from None


def _names(wanted: Network) -> list[str]:
    """Return each text under which the store may have an address: with the networks around it."""
    if isinstance(wanted, IPv6Network):
        around: Iterable[Network] = (
            wanted.supernet(new_prefix=n) for n in range(wanted.prefixlen + 1)
        )
    else:
        around = (wanted.supernet(new_prefix=n) for n in range(wanted.prefixlen + 1))
    return [*dict.fromkeys(text for one in around for text in (str(one), canonical(str(one))))]


def _by_interval(
    intervals: list[Interval], departures: Iterable[Departure]
) -> dict[int, list[Departure]]:
    """Return the departures of each interval, by its place in the list; -1 is for the others."""
    found: dict[int, list[Departure]] = {n: [] for n in range(-1, len(intervals))}
    for one in departures:
        begun = [
            number
            for number, interval in enumerate(intervals)
            if (interval.cluster, canonical(interval.address)) == (one.cluster, one.address)
            and interval.opened_at <= one.since
        ]
        covering = [number for number in begun if _until(intervals[number]) >= one.since]
        # The view that took it may be another than the one in which it was last.
        for number in covering or begun[:1] or [-1]:
            found[number].append(one)
    return found


def _current(
    intervals: list[Interval], in_force: Iterable[ProvenAddress]
) -> dict[int, list[ProvenAddress]]:
    """Return the proofs that are in force, in the same way."""
    found: dict[int, list[ProvenAddress]] = {n: [] for n in range(-1, len(intervals))}
    for one in in_force:
        of_cluster = [n for n, interval in enumerate(intervals) if interval.cluster == one.cluster]
        still = [n for n in of_cluster if intervals[n].closed_at is None]
        for number in still or of_cluster[:1] or [-1]:
            found[number].append(one)
    return found


def _until(interval: Interval) -> float:
    return float("inf") if interval.closed_at is None else interval.closed_at


def _was_open(interval: Interval, departures: Iterable[Departure], moment: float) -> bool:
    return interval.opened_at <= moment < _until(interval) or any(
        _not_closed(one, moment) for one in departures
    )


def _not_closed(one: Departure, moment: float) -> bool:
    return one.since <= moment and (one.ended_at is None or moment < one.ended_at)


def _minions(
    departures: Iterable[Departure], in_force: Iterable[ProvenAddress]
) -> dict[str, answers.AddressOnMinion]:
    found: dict[str, answers.AddressOnMinion] = {}
    for proof in in_force:
        found[proof.minion] = {"in_force": True}
    for one in departures:
        shown = found.setdefault(one.minion, {"in_force": False})
        shown |= {"departed_at": utc(one.since), "cause": one.cause, "state": one.state.value}
        if one.ended_at is not None:
            shown["ended_at"] = utc(one.ended_at)
        if one.evidence:
            shown["evidence"] = one.evidence
        if one.state is State.OPEN:
            shown["open_by"] = one.open_by or "not checked yet"
    return dict(sorted(found.items()))


def _with_proofs(
    minions: Mapping[str, answers.AddressOnMinion], proofs: Mapping[str, float]
) -> dict[str, answers.IntervalOnMinion]:
    found: dict[str, answers.IntervalOnMinion] = {}
    for name, one in minions.items():
        # The keys of one type are among those of the other.
        found[name] = cast("answers.IntervalOnMinion", {**one})
        if name in proofs:
            found[name]["applied_at"] = utc(proofs[name])
    return found


def _interval(
    interval: Interval, minions: dict[str, answers.IntervalOnMinion], store: Store
) -> answers.AddressInterval:
    shown: answers.AddressInterval = {
        "cluster": interval.cluster,
        "node": interval.node,
        "address": interval.address,
        "opened_at": utc(interval.opened_at),
        "opened_revision": interval.opened_revision,
        "closed_at": None if interval.closed_at is None else utc(interval.closed_at),
        "closed_revision": interval.closed_revision,
        "minions": minions,
    }
    token = interval.let_in_by
    if token:
        entry = store.history.confirmations(interval.cluster, [token]).get(token)
        shown["let_in_by"] = _let_in_by(token, entry)
    return shown


def _let_in_by(token: str, entry: HistoryEntry | None) -> answers.LetInBy:
    shown: answers.LetInBy = {"token": token}
    if entry is not None:
        shown["by"] = str(entry.detail.get("by", ""))
        shown["at"] = utc(entry.at)
        if entry.detail.get("reason"):
            shown["reason"] = str(entry.detail["reason"])
    return shown
